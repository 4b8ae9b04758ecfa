//! What the writer does when a store is in trouble: finds out whose part of a batch the database refuses, gives up what is
//! half written, removes a store.

use std::collections::BTreeMap;

use super::batch::{Batch, Step};
use super::writer::Applied;
use super::{ApplyError, Writer, describe, does_not_fit};
use crate::domain::TenantId;
use crate::facts::change::Place;

/// Rows named in a message.
const NAMED: usize = 5;

impl Writer {
    /// As [`Writer::apply`], for a batch of which some store's part was refused: the stores are written one after the
    /// other, so that the error tells whose it is.
    ///
    /// # Errors
    /// As [`Writer::apply`]; [`ApplyError::Overflow`] names the store.
    pub async fn apply_apart(&mut self, batch: Batch) -> Result<Applied, ApplyError> {
        self.as_it_comes = true;
        let applied = self.apply_each(batch).await;
        self.as_it_comes = false;
        applied
    }

    async fn apply_each(&mut self, batch: Batch) -> Result<Applied, ApplyError> {
        let mut parts: BTreeMap<TenantId, Vec<Step>> = BTreeMap::new();
        for tenant in batch.steps.iter().filter_map(Step::tenant) {
            parts.entry(tenant).or_default();
        }
        let transactions = batch.steps.iter().filter(|step| matches!(step, Step::Commit)).count();
        for step in batch.steps {
            match step.tenant() {
                Some(tenant) => parts.entry(tenant).or_default().push(step),
                None => parts.values_mut().for_each(|steps| steps.push(Step::Commit)),
            }
        }
        let mut changes = 0;
        for (tenant, steps) in parts {
            let rows = named_rows(&steps);
            let part = Batch { steps, end: None };
            let applied = match self.apply(part).await {
                Ok(applied) => self.show().await.map(|()| applied),
                Err(e) => Err(e),
            };
            match applied {
                Ok(applied) => changes += applied.changes,
                Err(ApplyError::Database(e)) if does_not_fit(&e) => {
                    let message = format!("a report figure does not fit its column ({}): {rows}", describe(&e));
                    return Err(ApplyError::Overflow(tenant, message));
                }
                Err(e) => return Err(e),
            }
        }
        let rest = Batch { steps: Vec::new(), end: batch.end };
        let committed_at = batch.end.and_then(|end| end.committed_at).filter(|_| transactions > 0);
        let applied = self.apply(rest).await?;
        Ok(Applied { changes, transactions, committed_at, ..applied })
    }

    /// Gives up what is written of a source transaction larger than a batch, and all that is remembered of it. The caller
    /// reads on from [`Writer::position`].
    ///
    /// # Errors
    /// What the server says.
    pub async fn roll_back(&mut self) -> Result<(), tokio_postgres::Error> {
        let open = self.open;
        self.failed();
        if open {
            self.client.batch_execute("ROLLBACK").await?;
        }
        self.open = false;
        self.recall().await
    }

    /// Removes everything of a store that is gone: reports, facts, sums, its entry.
    ///
    /// # Errors
    /// What the server says.
    pub async fn purge(&mut self, name: &str, id: Option<TenantId>) -> Result<(), tokio_postgres::Error> {
        let (transaction, sql) = self.bulk().await?;
        if let Some(id) = id {
            for statement in ["clear_facts", "clear_sums"] {
                transaction.execute(sql.text(statement), &[&id.0]).await?;
            }
        }
        for statement in ["purge_reports", "purge_entry", "purge_name"] {
            transaction.execute(sql.text(statement), &[&name]).await?;
        }
        transaction.commit().await?;
        match id {
            Some(id) => self.facts_changed(id).await,
            None => Ok(()),
        }
    }
}

/// Which source rows the steps are about: the first few.
fn named_rows(steps: &[Step]) -> String {
    let mut rows = steps.iter().filter_map(|step| match step {
        Step::Change(_, change) => {
            let (kind, id) = change.row();
            Some(format!("{kind} row {id}"))
        }
        Step::Keyed(_, keyed) => {
            let (kind, id) = keyed.0.row();
            let own = keyed.1.iter().find(|key| matches!(key.place, Place::Column(0)));
            Some(own.map_or_else(|| format!("{kind} row {id}"), |key| format!("{kind} row {}", key.text)))
        }
        Step::Commit => None,
    });
    let first: Vec<String> = rows.by_ref().take(NAMED).collect();
    match rows.count() {
        0 => first.join(", "),
        more => format!("{} or one of {more} rows changed with them", first.join(", ")),
    }
}
