//! Requests of commands, and holding the reports at one exact position for `verify`.
//!
//! `verify` asks for a hold (nothing further is taken), makes a snapshot of the source at a position X, asks the engine
//! to go on to exactly X, gets a snapshot of the target as it is there, and releases. The stream goes on receiving all
//! the while; a hold that nobody releases ends by itself.

use std::time::{Duration, Instant as Moment};

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::error::EngineError;
use super::jobs::Task;
use super::session::Session;
use crate::apply::Writer;
use crate::domain::TenantId;
use crate::lsn::Lsn;

/// A hold that is not released lasts no longer than this.
const LONGEST: Duration = Duration::from_secs(20);

/// The reports are held, or on their way to where they are to be held.
pub struct Hold {
    limit: Lsn,
    /// The run in progress and a copy's hand-over have ended, and nothing beyond the limit is taken any more; until then the stream goes on.
    begun: bool,
    /// Who waits for the answer; `None`: it was given.
    request: Option<i64>,
    /// The server process of whoever asked for it.
    asker: i32,
    since: Moment,
    /// A snapshot of the target is wanted, and kept open until the release.
    export: bool,
    snapshot: Option<Client>,
}

/// A commit of our own in the source's WAL, its position: what the stream has passed it, it has everything before.
pub async fn mark(source: &Client) -> Result<Lsn, EngineError> {
    let row = source.query_one("SELECT pg_logical_emit_message(true, 'tillstream', '')", &[]).await?;
    Ok(row.try_get(0)?)
}

impl Session {
    /// Takes up what commands have asked for.
    pub(super) async fn serve(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let rows = writer.client.query(writer.sql.text("take_requests"), &[]).await?;
        for row in rows {
            let (id, kind, arguments): (i64, String, Value) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let asker: i32 = row.try_get(3)?;
            tracing::debug!(id, kind, "request");
            match kind.as_str() {
                "hold" => self.begin_hold(Lsn::ZERO, false, id, asker),
                "advance" => {
                    let lsn = arguments.get("lsn").and_then(Value::as_str).and_then(|text| text.parse().ok());
                    match lsn {
                        Some(lsn) => self.begin_hold(lsn, true, id, asker),
                        None => self.answer(id, Err("advance needs a position".into())).await?,
                    }
                }
                "release" => {
                    self.release()?;
                    self.answer(id, Ok(json!({}))).await?;
                }
                "job" | "recalculate" => {
                    if let Err(message) = self.ask_runs(id, &kind, &arguments) {
                        self.answer(id, Err(message)).await?;
                    }
                }
                _ => {
                    let answer = self.command(&kind, &arguments).await;
                    self.answer(id, answer).await?;
                }
            }
        }
        Ok(())
    }

    fn begin_hold(&mut self, limit: Lsn, export: bool, request: i64, asker: i32) {
        let (request, since) = (Some(request), Moment::now());
        self.hold = Some(Hold { limit, begun: false, request, asker, since, export, snapshot: None });
    }

    /// Whoever asked for the hold may have been killed: nothing is held up for nobody.
    pub(super) async fn end_forgotten_hold(&mut self) -> Result<(), EngineError> {
        let (Some(hold), Some(writer)) = (&self.hold, &self.writer) else { return Ok(()) };
        let row = writer.client.query_one(writer.sql.text("asker_is_there"), &[&hold.asker]).await?;
        if row.try_get(0)? {
            return Ok(());
        }
        tracing::info!("who asked to hold the reports is gone; going on");
        self.release()
    }

    fn release(&mut self) -> Result<(), EngineError> {
        self.hold = None;
        self.assembler.set_limit(None, Moment::now())?;
        Ok(())
    }

    /// Answers a hold that has got where it was to get; ends one that was forgotten.
    pub(super) async fn advance_hold(&mut self) -> Result<(), EngineError> {
        let Some(hold) = &mut self.hold else { return Ok(()) };
        if !hold.begun {
            if self.jobs.is_running() || self.meeting {
                return Ok(());
            }
            (hold.begun, hold.since) = (true, Moment::now());
            self.assembler.set_limit(Some(hold.limit), hold.since)?;
        }
        if hold.since.elapsed() > LONGEST {
            tracing::warn!("a hold for verify was not released in time; going on");
            let waiting = hold.request;
            self.release()?;
            return match waiting {
                Some(request) => self.answer(request, Ok(json!({ "snapshot": null }))).await,
                None => Ok(()),
            };
        }
        let Some(request) = hold.request else { return Ok(()) };
        let open = self.writer.as_ref().is_none_or(Writer::is_open);
        if open || !self.assembler.has_reached(hold.limit) {
            return Ok(());
        }
        hold.request = None;
        let past = hold.export && self.assembler.handed_out() > hold.limit;
        if past {
            // A session that began after the hold: whoever asks has to begin again.
            return self.answer(request, Ok(json!({ "snapshot": null }))).await;
        }
        let mut answer = json!({ "position": self.assembler.handed_out().to_string() });
        if hold.export {
            let client = self.config.target_connection().connect("tillstream snapshot").await?;
            client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let name: String = client.query_one("SELECT pg_export_snapshot()", &[]).await?.try_get(0)?;
            answer = json!({ "snapshot": name, "position": self.assembler.handed_out().to_string() });
            hold.snapshot = Some(client);
        }
        self.answer(request, Ok(answer)).await
    }

    pub(super) async fn answer(&self, id: i64, answer: Result<Value, String>) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let (state, answer) = match answer {
            Ok(answer) => ("done", answer),
            Err(message) => ("failed", json!({ "error": message })),
        };
        writer.client.execute(writer.sql.text("answer_request"), &[&id, &state, &answer]).await?;
        Ok(())
    }

    /// Tells a command that waits how far it is.
    pub(super) async fn tell(&self, id: i64, told: &Value) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        writer.client.execute(writer.sql.text("answer_request"), &[&id, &"taken", told]).await?;
        Ok(())
    }

    /// The stores that a command is about.
    fn named(&self, arguments: &Value) -> Result<Vec<(TenantId, String)>, String> {
        let tenant = arguments.get("tenant").and_then(Value::as_str);
        let mut stores: Vec<(TenantId, String)> = self
            .assembler
            .stores
            .iter()
            .filter(|s| tenant.is_none_or(|t| t == s.name))
            .map(|s| (s.id, s.name.clone()))
            .collect();
        stores.sort_unstable();
        match (stores.is_empty(), tenant) {
            (false, _) => Ok(stores),
            (true, Some(tenant)) => Err(format!("there is no store {tenant:?}")),
            (true, None) => Err("there is no store".to_string()),
        }
    }

    /// Of a store that is not live there is nothing to compute from, and while it is copied its rows are locked.
    fn named_live(&self, arguments: &Value) -> Result<Vec<(TenantId, String)>, String> {
        let mut stores = self.named(arguments)?;
        stores.retain(|(id, _)| self.assembler.stores.get(*id).is_some_and(|s| s.live));
        if stores.is_empty() {
            return Err("the store is not live; tillstream status says why".to_string());
        }
        Ok(stores)
    }

    fn ask_runs(&mut self, request: i64, kind: &str, arguments: &Value) -> Result<(), String> {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str);
        let day = |key: &str| text(key).and_then(|day| day.parse().ok()).ok_or("recalculate needs days");
        let task = match kind {
            "recalculate" => Task::Recalculate { from: day("from")?, to: day("to")? },
            _ => Task::Job(text("job").unwrap_or_default().parse().map_err(|e| format!("{e}"))?),
        };
        let at = match text("at") {
            Some(at) => at.parse().map_err(|_| format!("{at:?} is not a timestamp"))?,
            None => self.clock.now(),
        };
        let tenants = self.named_live(arguments)?.into_iter().map(|(id, _)| id).collect();
        self.jobs.ask(request, tenants, task, at);
        Ok(())
    }

    /// Commands that write: between two batches, through the one writer.
    async fn command(&mut self, kind: &str, arguments: &Value) -> Result<Value, String> {
        let tenant = arguments.get("tenant").and_then(Value::as_str);
        match kind {
            "rebuild" => {
                let stores = self.named_live(arguments)?;
                let Some(writer) = &mut self.writer else { return Err("the writer is busy".into()) };
                let mut changed = 0;
                for (id, name) in stores {
                    changed += writer.rebuild(id).await.map_err(|e| e.to_string())?;
                    tracing::info!(store = %name, "report rows rebuilt from the base facts");
                }
                Ok(json!({ "changed": changed }))
            }
            "resync" => self.resync(tenant).await,
            "purge" => self.purge(tenant).await,
            other => Err(format!("this daemon does not know {other:?}; is it older than the command?")),
        }
    }
}
