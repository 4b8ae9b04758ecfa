//! The session's part in a copy: tells how far it is, stops where both meet, makes the store live. And what commands ask
//! of single stores: `resync`, `--purge`.

use std::time::{Duration, Instant as Moment};

use serde_json::{Value, json};

use super::copying::{Copied, CopyFault, Stage};
use super::error::EngineError;
use super::prepare::{load_store, registered};
use super::session::Session;
use crate::apply::{Writer, describe};

impl Session {
    /// Begins copies, tells how far they are, takes on the stores copied, deals with copies that failed.
    pub(super) async fn advance_copy(&mut self) -> Result<(), EngineError> {
        if self.writer.as_ref().is_none_or(Writer::is_open) {
            return Ok(());
        }
        // Where the copy was abandoned on its way to the meeting, the others wait for nothing.
        if self.meeting && !self.copier.current.as_ref().is_some_and(|current| current.is_meeting()) {
            self.end_meeting()?;
        }
        self.copier.begin();
        let Some(current) = &mut self.copier.current else { return Ok(()) };
        let (name, rows, finished) = (current.store.clone(), current.rows, current.is_finished());
        let news = current.news();
        if let Some(stage) = news {
            self.tell_stage(&name, rows, stage).await?;
        }
        if let Some(Stage::Meeting(at)) = news {
            self.assembler.set_limit(Some(at), Moment::now())?;
        }
        if finished {
            return self.end_copy().await;
        }
        let Some(current) = &mut self.copier.current else { return Ok(()) };
        if self.hold.is_none() && current.is_near() {
            // Beyond all that was received so far: of that nothing was kept for a store that is not live.
            let at = self.assembler.begun();
            current.meet(at);
            self.meeting = true;
            self.assembler.set_limit(Some(at), Moment::now())?;
        }
        Ok(())
    }

    async fn tell_stage(&mut self, name: &str, rows: u64, stage: Stage) -> Result<(), EngineError> {
        let message = match stage {
            Stage::Publishing | Stage::Meeting(_) => return Ok(()),
            Stage::Published => "waits for the transactions that are open at the source".to_string(),
            Stage::Copying { rows, expected, since } => copied_so_far(rows, expected, since.elapsed()),
            Stage::Building => format!("{rows} rows copied, building its reports"),
            Stage::CatchingUp | Stage::Near => format!("{rows} rows copied, following what happened meanwhile"),
        };
        if matches!(stage, Stage::Copying { rows: 1.., .. } | Stage::CatchingUp) {
            tracing::info!(store = %name, "copying: {message}");
        }
        let first = stage == Stage::Published && self.assembler.stores.by_name(name).is_none();
        self.set_state(name, if first { "published" } else { "copying" }, Some(&message)).await?;
        Ok(())
    }

    async fn end_copy(&mut self) -> Result<(), EngineError> {
        let Some(current) = &self.copier.current else { return Ok(()) };
        let (name, rows, seconds) = (current.store.clone(), current.rows, current.started.elapsed().as_secs_f64());
        // A stream that may go on to leave out the store's changes is read anew, from where it cannot any more.
        if let Some(met) = self.assembler.limit()
            && self.stale.contains(&name)
            && !self.assembler.has_reached(met)
        {
            return Ok(());
        }
        let Some(current) = self.copier.current.take() else { return Ok(()) };
        match current.outcome().await {
            (Ok(copied), _) => {
                self.take_on(copied).await?;
                if self.stale.remove(&name) {
                    self.move_to_idle().await?;
                    self.read_again().await?;
                }
                self.end_meeting()?;
                tracing::info!(store = %name, rows, seconds = format!("{seconds:.1}"), "copied: the store is live");
                Ok(())
            }
            (Err(fault), pause) => {
                self.end_meeting()?;
                self.copy_failed(&name, pause, fault).await
            }
        }
    }

    /// The limit goes; what it kept back is taken.
    fn end_meeting(&mut self) -> Result<(), EngineError> {
        if std::mem::take(&mut self.meeting) {
            self.assembler.set_limit(None, Moment::now())?;
        }
        Ok(())
    }

    /// The store is live: on record, then for the assembler, which has taken nothing beyond the copy's position yet.
    async fn take_on(&mut self, copied: Copied) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let name = &copied.store.schema;
        writer.client.execute(writer.sql.text("synchronize_tenant"), &[name, &copied.position]).await?;
        let known = registered(&writer.client, &writer.sql).await?;
        if let Some(registered) = known.get(name) {
            self.assembler.take_on(load_store(&self.config, &copied.store, registered, true));
        }
        writer.calendar = self.assembler.stores.calendar();
        writer.facts_changed(copied.id).await?;
        self.jobs.add(&self.config, writer, &self.assembler.stores, copied.id, &self.clock).await?;
        self.counted = None;
        Ok(())
    }

    async fn copy_failed(&mut self, name: &str, pause: Duration, fault: CopyFault) -> Result<(), EngineError> {
        match fault {
            CopyFault::Unusable(why) => {
                self.unfit.insert(name.to_string());
                return self.quarantine(name, &why).await;
            }
            CopyFault::Forbidden(why) => return self.quarantine(name, &why).await,
            CopyFault::Changed(why) => {
                tracing::info!(store = %name, reason = %why, "its tables were changed meanwhile; looking again");
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

    /// `resync`: the stores named are copied again from the beginning.
    pub(super) async fn resync(&mut self, tenant: Option<&str>) -> Result<Value, String> {
        let roster = self.roster().await.map_err(|e| e.to_string())?;
        let named: Vec<_> = roster.iter().filter(|(name, _)| tenant.is_none_or(|t| t == name.as_str())).collect();
        let names: Vec<&String> = named.iter().filter(|(_, k)| k.state != "gone").map(|(name, _)| *name).collect();
        match (names.is_empty(), named.is_empty(), tenant) {
            (false, _, _) => {}
            (true, true, Some(tenant)) => return Err(format!("there is no store {tenant:?}")),
            (true, false, Some(tenant)) => {
                return Err(format!("the schema of {tenant:?} is gone: there is nothing to copy"));
            }
            (true, _, None) => return Err("there is no store".to_string()),
        }
        for name in &names {
            let begin = async {
                self.withdraw(name).await?;
                self.forget_copy(name).await?;
                self.set_state(name, "copying", None).await
            };
            begin.await.map_err(|e| e.to_string())?;
            self.unfit.remove(*name);
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
        writer.purge(tenant, id).await.map_err(|e| describe(&e))?;
        if let Some(id) = id {
            self.assembler.forget(id);
            self.assembler.stores.remove(id);
        }
        tracing::info!(store = %tenant, "removed with all its reports");
        Ok(json!({}))
    }
}

/// How far the reading of a store is, how fast, and how much longer that takes; the reports are built after it.
fn copied_so_far(rows: u64, expected: u64, took: Duration) -> String {
    let rate = rows as f64 / took.as_secs_f64().max(0.001);
    match (rows, expected) {
        (0, 0) => "0 rows copied".to_string(),
        (0, _) => format!("0 of about {expected} rows copied"),
        (_, 0) => format!("{rows} rows copied, {rate:.0} a second"),
        _ => {
            let left = expected.saturating_sub(rows) as f64 / rate;
            let expected = expected.max(rows);
            format!("{rows} of about {expected} rows copied, {rate:.0} a second, {left:.0} s left to read")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_rows_rate_and_time_left() {
        let so_far = |rows, expected, seconds| copied_so_far(rows, expected, Duration::from_secs(seconds));
        assert_eq!(so_far(0, 0, 1), "0 rows copied");
        assert_eq!(so_far(0, 900, 1), "0 of about 900 rows copied");
        assert_eq!(so_far(300, 0, 2), "300 rows copied, 150 a second");
        assert_eq!(so_far(300, 900, 2), "300 of about 900 rows copied, 150 a second, 4 s left to read");
        // Statistics are estimates.
        assert_eq!(so_far(900, 800, 3), "900 of about 900 rows copied, 300 a second, 0 s left to read");
    }
}
