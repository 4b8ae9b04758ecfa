//! Which stores there are and what is to become of each: found, copied, set aside, gone. The states are those of
//! `{reports}.tenant`; every change of them is written here, by the session's writer, between two batches.
//!
//! ```text
//! discovered ─> published ─> copying ─> live ──(rows or tables that cannot be used)──> quarantined ─ resync ─> copying
//!                               ^        │ └──(schema dropped or excluded)──> gone ─(it is back)─> discovered
//!                               └────────┘ truncated, re-typed, rewritten, unpublished for a while, resync
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant as Moment};

use serde_json::{Value, json};

use super::assembler::FaultReason;
use super::copier::{Copied, CopyFault, Stage};
use super::definitions::{definitions, difference};
use super::error::EngineError;
use super::prepare::{load_store, registered, scope};
use super::session::{Session, answer};
use crate::apply::Writer;
use crate::domain::TenantId;
use crate::source::catalog::{self, StoreTables};
use crate::source::publication::{self, Drift, PublicationError};

/// How long the hand-over of a copy may take: a few rows and a commit.
const HANDOVER_LIMIT: Duration = Duration::from_secs(15);

/// A store as the report table has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    pub name: String,
    pub state: String,
    pub message: Option<String>,
    /// Its number and what it was read by, once it was copied.
    pub copied: Option<(TenantId, String)>,
}

/// What is to be done about a store that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Nothing,
    Quarantine(String),
    /// With the reason, where it is live.
    Copy(Option<String>),
}

/// Decides about a store that was found. `definitions`: what it would be read by now. `unpublished`: a table of it that
/// is not published and should be.
pub fn next(known: Option<&Known>, trouble: Option<String>, definitions: &str, unpublished: Option<&str>) -> Next {
    if let Some(trouble) = trouble {
        return Next::Quarantine(trouble);
    }
    let Some(known) = known else { return Next::Copy(None) };
    let Some((_, old)) = &known.copied else { return Next::Copy(None) };
    match known.state.as_str() {
        "quarantined" => Next::Nothing,
        "live" => {
            let unpublished = unpublished.map(|table| format!("{table} was not published"));
            unpublished.or_else(|| difference(old, definitions)).map_or(Next::Nothing, |why| Next::Copy(Some(why)))
        }
        _ => Next::Copy(None),
    }
}

/// Why a store cannot be followed, with the statements that mend it.
pub fn trouble(store: &StoreTables) -> Option<String> {
    let all: Vec<String> = store.problems.iter().map(|p| format!("{}; mend: {}", p.what, p.fix_sql)).collect();
    (!store.healthy()).then(|| all.join("; "))
}

impl Session {
    /// Looks at the source's catalogue and does what follows from it.
    pub(super) async fn look_for_stores(&mut self) -> Result<(), EngineError> {
        let discovery = answer("source", catalog::discover(&self.source, &self.config)).await?;
        let found = discovery.stores;
        let drift = answer("source", publication::drift(&self.source, &self.config, &found)).await?;
        for problem in discovery.problems.iter().filter(|_| self.looks == 0) {
            tracing::warn!(problem = %problem.what, mend = %problem.fix_sql, "discovery");
        }
        self.looks += 1;
        self.mend_publication(&drift).await?;
        let roster = self.roster().await?;
        let mut suspected = BTreeMap::new();
        for store in &found {
            let known = roster.get(&store.schema);
            let tables = store.tables.values().map(|t| crate::sql::qualified(&store.schema, &t.name));
            let unpublished = tables.into_iter().find(|table| drift.add.contains(table));
            let unpublished = match drift.options_wrong {
                true => Some("all that happens to its rows".to_string()),
                false => unpublished,
            };
            let now = definitions(&self.config, &scope(&self.config, store), store, &drift.entries);
            match next(known, trouble(store), &now, unpublished.as_deref()) {
                Next::Nothing => {}
                // The catalogue is read in several questions: a migration that commits between two of them looks like
                // trouble. What is copied is set aside only when it looks the same twice.
                Next::Quarantine(why)
                    if known.is_some_and(|known| known.copied.is_some() && known.state != "quarantined")
                        && self.suspected.get(&store.schema) != Some(&why) =>
                {
                    suspected.insert(store.schema.clone(), why);
                }
                Next::Quarantine(why) => {
                    self.copier.abandon(&store.schema);
                    self.register(store, known, "quarantined").await?;
                    self.quarantine(&store.schema, &why).await?;
                }
                Next::Copy(_) if self.copier.has(&store.schema) => {}
                Next::Copy(why) => {
                    self.withdraw(&store.schema).await?;
                    match (known, &why) {
                        (_, Some(reason)) => {
                            tracing::warn!(store = %store.schema, %reason, "store is copied again");
                            self.set_state(&store.schema, "copying", None).await?;
                        }
                        (None, None) => tracing::info!(store = %store.schema, "found a store"),
                        (Some(known), None) if known.state == "gone" => {
                            tracing::info!(store = %store.schema, "store is back");
                            self.set_state(&store.schema, "discovered", None).await?;
                        }
                        (Some(_), None) => {}
                    }
                    self.register(store, known, "discovered").await?;
                    self.copier.want(&store.schema);
                }
            }
            if known.is_some_and(|known| known.name != store.display_name) {
                let Some(writer) = &self.writer else { return Ok(()) };
                let statement = writer.sql.text("rename_tenant");
                writer.client.execute(statement, &[&store.schema, &store.display_name]).await?;
            }
        }
        if !suspected.is_empty() {
            self.look_soon();
        }
        self.suspected = suspected;
        let there: BTreeSet<&str> = found.iter().map(|store| store.schema.as_str()).collect();
        for name in
            roster.iter().filter(|(name, k)| k.state != "gone" && !there.contains(name.as_str())).map(|(n, _)| n)
        {
            self.copier.abandon(name);
            self.withdraw(name).await?;
            let message = format!(
                "its schema is not there any more, or is excluded; its reports stay until: tillstream resync --tenant {name} --purge"
            );
            self.set_state(name, "gone", Some(&message)).await?;
            tracing::warn!(store = %name, "store is gone; its reports stay");
        }
        Ok(())
    }

    pub(super) async fn roster(&self) -> Result<BTreeMap<String, Known>, EngineError> {
        let Some(writer) = &self.writer else { return Ok(BTreeMap::new()) };
        let mut roster = BTreeMap::new();
        for row in writer.client.query(writer.sql.text("read_roster"), &[]).await? {
            let (id, definitions): (Option<i32>, Option<String>) = (row.try_get(4)?, row.try_get(5)?);
            let known = Known {
                name: row.try_get(1)?,
                state: row.try_get(2)?,
                message: row.try_get(3)?,
                copied: id.map(TenantId).zip(definitions),
            };
            roster.insert(row.try_get(0)?, known);
        }
        Ok(roster)
    }

    /// Takes out of the publication what must not be in it, beside the stream: the POS may hold the locks for a while.
    async fn mend_publication(&mut self, drift: &Drift) -> Result<(), EngineError> {
        if drift.too_wide {
            let name = self.config.source.publication.clone();
            return Err(PublicationError::Foreign { name }.into());
        }
        if !drift.exists {
            return Err(EngineError::Moved(format!("publication {:?} is gone", self.config.source.publication)));
        }
        if self.mending.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        if let Some(task) = self.mending.take()
            && let Ok(Err(e)) = task.await
        {
            tracing::error!("{e}");
        }
        if drift.options_wrong || !drift.drop.is_empty() {
            tracing::warn!(tables = ?drift.drop, "the publication is not as it should be; mending it");
            let (config, wrong, unwanted) = (self.config.clone(), drift.options_wrong, drift.drop.clone());
            self.mending = Some(tokio::spawn(async move {
                let client = config.source.connection.connect("tillstream").await?;
                publication::mend(&client, &config, wrong, &unwanted).await?;
                Ok(())
            }));
        }
        Ok(())
    }

    /// Its line in the report table, where it has none.
    async fn register(&self, store: &StoreTables, known: Option<&Known>, state: &str) -> Result<(), EngineError> {
        let Some(writer) = self.writer.as_ref().filter(|_| known.is_none()) else { return Ok(()) };
        let zone = self.config.tenants.zone_of(&store.schema);
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&store.schema, &store.display_name, &zone.name(), &state, &None::<String>];
        writer.client.execute(writer.sql.text("put_tenant"), &values).await?;
        Ok(())
    }

    /// True: it was another before.
    async fn set_state(&self, name: &str, state: &str, message: Option<&str>) -> Result<bool, EngineError> {
        let Some(writer) = &self.writer else { return Ok(false) };
        let changed = writer.client.execute(writer.sql.text("set_tenant_state"), &[&name, &state, &message]).await?;
        Ok(changed > 0)
    }

    async fn quarantine(&mut self, name: &str, why: &str) -> Result<(), EngineError> {
        self.withdraw(name).await?;
        if self.set_state(name, "quarantined", Some(why)).await? {
            tracing::error!(store = %name, problem = %why, "store is quarantined; mend it, then run: tillstream resync --tenant {name}");
        }
        Ok(())
    }

    /// Nothing of the store is taken or written from now on. What is half written of a source transaction is given up: it
    /// would be committed with a part of this store's.
    async fn withdraw(&mut self, name: &str) -> Result<(), EngineError> {
        let Some(store) = self.assembler.stores.by_name(name).filter(|s| s.live) else { return Ok(()) };
        let id = store.id;
        self.set_aside_now(id).await
    }

    async fn set_aside_now(&mut self, id: TenantId) -> Result<(), EngineError> {
        self.assembler.forget(id);
        if self.writer.as_ref().is_some_and(Writer::is_open) {
            self.read_again().await?;
        }
        let Some(writer) = &self.writer else { return Ok(()) };
        if let Some((request, why)) = self.jobs.abandon(id, writer, &self.clock).await? {
            self.answer(request, Err(why)).await?;
        }
        Ok(())
    }

    /// One store is in trouble: the others go on without it.
    pub(super) async fn set_aside(&mut self, tenant: TenantId, reason: FaultReason) -> Result<(), EngineError> {
        let Some(name) = self.assembler.stores.get(tenant).map(|s| s.name.clone()) else { return Ok(()) };
        self.set_aside_now(tenant).await?;
        match reason {
            FaultReason::Unusable(message) => self.quarantine(&name, &message).await,
            FaultReason::Truncated(message) => {
                tracing::warn!(store = %name, reason = %message, "store is copied again");
                self.set_state(&name, "copying", None).await?;
                self.copier.want_anew(&name);
                Ok(())
            }
        }
    }

    /// Begins copies, tells how far they are, takes them over, deals with those that failed.
    pub(super) async fn advance_copy(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        if writer.is_open() {
            return Ok(());
        }
        let stored = writer.position();
        let stores = &self.assembler.stores;
        self.copier.begin(stored, |name| stores.by_name(name).is_some());
        let Some(current) = &mut self.copier.current else { return Ok(()) };
        let (name, again, rows) = (current.store.clone(), current.again, current.rows);
        let (finished, ready) = (current.is_finished(), current.is_ready());
        match current.news() {
            Some(Stage::Published) if !again => drop(self.set_state(&name, "published", None).await?),
            Some(Stage::Copying { rows, expected, .. }) => {
                let message = match expected {
                    0 => format!("{rows} rows copied"),
                    _ => format!("{rows} of about {} rows copied", expected.max(rows)),
                };
                if rows > 0 {
                    tracing::info!(store = %name, rows, expected, "copying");
                }
                self.set_state(&name, "copying", Some(&message)).await?;
            }
            Some(Stage::Ready { .. }) => {
                let message = format!("{rows} rows copied, its reports are built");
                self.set_state(&name, "copying", Some(&message)).await?;
            }
            _ => {}
        }
        if finished || ready && self.hold.is_none() {
            let Some(current) = self.copier.current.take() else { return Ok(()) };
            let (pause, started) = (current.pause, current.started);
            let outcome = match tokio::time::timeout(HANDOVER_LIMIT, current.hand_over(stored)).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(EngineError::Silent { whom: "target", limit: HANDOVER_LIMIT }),
            };
            match outcome {
                Ok(copied) => {
                    self.take_over(copied, stored).await?;
                    let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
                    tracing::info!(store = %name, rows, seconds, "copied: the store is live");
                }
                // It may have been committed, or not.
                Err(CopyFault::Failed(e)) if ready => return Err(e),
                Err(fault) => self.copy_failed(&name, pause, fault).await?,
            }
        }
        Ok(())
    }

    async fn copy_failed(&mut self, name: &str, pause: Duration, fault: CopyFault) -> Result<(), EngineError> {
        match fault {
            CopyFault::Unusable(why) => return self.quarantine(name, &why).await,
            CopyFault::Changed => {
                tracing::info!(store = %name, "its tables were changed meanwhile; looking again");
                self.copier.try_again(name, pause);
                self.look_soon();
            }
            CopyFault::Failed(e) if self.until.is_some() => return Err(e),
            CopyFault::Failed(e) => {
                let pause = self.copier.try_again(name, pause);
                let seconds = pause.as_secs();
                tracing::warn!(store = %name, seconds, "the copy failed and is tried again after a pause: {e}");
                let message = format!("the copy failed and is tried again: {e}");
                if let Some(writer) = &self.writer {
                    writer.client.execute(writer.sql.text("set_tenant_progress"), &[&name, &message]).await?;
                }
            }
        }
        Ok(())
    }

    /// The copy is committed, the stored position has gone back to where the stream is read on from.
    async fn take_over(&mut self, copied: Copied, stored: crate::lsn::Lsn) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.handed_over(copied.back);
        self.confirmations.clear();
        self.durable = None;
        let known = registered(&writer.client, &writer.sql).await?;
        self.assembler.stores.raise_floors(stored);
        if let Some(registered) = known.get(&copied.store.schema) {
            self.assembler.stores.put(load_store(&self.config, &copied.store, registered, true));
        }
        writer.horizons = self.assembler.stores.horizons();
        self.jobs.add(&self.config, writer, &self.assembler.stores, copied.id, &self.clock).await?;
        tracing::debug!(store = %copied.store.schema, position = %copied.position, back = %copied.back, %stored, "hand-over");
        self.reopen(copied.back).await
    }

    /// `resync`: the stores named are copied again from the beginning.
    pub(super) async fn resync(&mut self, tenant: Option<&str>) -> Result<Value, String> {
        let roster = self.roster().await.map_err(|e| e.to_string())?;
        let there = roster.iter().filter(|(name, _)| tenant.is_none_or(|t| t == name.as_str()));
        let names: Vec<String> =
            there.clone().filter(|(_, k)| k.state != "gone").map(|(name, _)| name.clone()).collect();
        match (names.is_empty(), there.count(), tenant) {
            (false, _, _) => {}
            (true, 0, Some(tenant)) => return Err(format!("there is no store {tenant:?}")),
            (true, _, Some(tenant)) => {
                return Err(format!("the schema of {tenant:?} is gone: there is nothing to copy"));
            }
            (true, _, None) => return Err("there is no store".to_string()),
        }
        for name in &names {
            let begin = async {
                self.withdraw(name).await?;
                self.set_state(name, "copying", None).await
            };
            begin.await.map_err(|e| e.to_string())?;
            self.copier.want_anew(name);
        }
        self.look_soon();
        Ok(json!({ "stores": names }))
    }

    /// `resync --purge`: nothing of a store that is gone is left.
    pub(super) async fn purge(&mut self, tenant: Option<&str>) -> Result<Value, String> {
        let Some(tenant) = tenant else { return Err("purge needs the name of a store".to_string()) };
        let roster = self.roster().await.map_err(|e| e.to_string())?;
        let Some(known) = roster.get(tenant) else { return Err(format!("there is no store {tenant:?}")) };
        if known.state != "gone" {
            return Err(format!(
                "store {tenant:?} is {}: leave it out with [tenants] exclude, or drop its schema, and purge it when it is gone",
                known.state
            ));
        }
        let Some(writer) = &mut self.writer else { return Err("the writer is busy".into()) };
        let id = known.copied.as_ref().map(|(id, _)| *id);
        writer.purge(tenant, id).await.map_err(|e| crate::apply::describe(&e))?;
        if let Some(id) = id {
            self.assembler.stores.remove(id);
        }
        tracing::info!(store = %tenant, "removed with all its reports");
        Ok(json!({}))
    }

    pub(super) fn look_soon(&mut self) {
        self.looked = Moment::now().checked_sub(self.config.tenants.discover_every).unwrap_or(self.looked);
        self.chores = true;
    }

    /// Nothing is to be copied, and that is known.
    pub(super) fn roster_is_settled(&self) -> bool {
        self.looks > 0
            && self.suspected.is_empty()
            && self.copier.is_idle()
            && self.mending.as_ref().is_none_or(|task| task.is_finished())
    }

    pub(super) fn is_between_transactions(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer: &Writer| !writer.is_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(state: &str, definitions: Option<&str>) -> Known {
        Known {
            state: state.to_string(),
            copied: definitions.map(|d| (TenantId(1), d.to_string())),
            ..Known::default()
        }
    }

    #[test]
    fn what_becomes_of_a_store() {
        let now = r#"{"config":1,"tables":{}}"#;
        let decide = |state: &str, definitions: Option<&str>, unpublished| {
            next(Some(&known(state, definitions)), None, now, unpublished)
        };
        assert_eq!(next(None, None, now, None), Next::Copy(None));
        assert_eq!(next(None, Some("bad".into()), now, None), Next::Quarantine("bad".into()));
        assert_eq!(decide("live", Some(now), None), Next::Nothing);
        assert!(matches!(decide("live", Some("{}"), None), Next::Copy(Some(_))));
        assert!(matches!(decide("live", Some(now), Some("t")), Next::Copy(Some(why)) if why.contains("t was not")));
        assert_eq!(decide("quarantined", Some("{}"), None), Next::Nothing, "until resync");
        assert_eq!(decide("quarantined", None, None), Next::Copy(None), "it never was copied, and is well now");
        for state in ["discovered", "published", "copying", "gone"] {
            assert_eq!(decide(state, Some(now), None), Next::Copy(None), "{state}");
        }
    }
}
