//! One session on the target that holds the writer's lock.

use std::time::{Duration, Instant as Moment};

use tokio_postgres::{Client, Transaction};

use super::batch::{Batch, End, Step};
use super::statements::Statements;
use super::{ApplyError, load, write};
use crate::domain::{BusinessDay, Instant, TenantId};
use crate::facts::working_set::Needs;
use crate::lsn::Lsn;
use crate::reports::{Deltas, Horizons};

/// Writes batches. At most one exists per target: it holds a session lock there.
pub struct Writer {
    pub client: Client,
    pub sql: Statements,
    /// The first kept date of each tenant.
    pub horizons: Horizons,
    /// Where the stored position stands.
    position: Lsn,
    /// A source transaction larger than a batch is being written.
    open: bool,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The stored position after it.
    pub position: Lsn,
    /// The target's WAL position after the commit: once that is flushed, `position` may be confirmed to the slot.
    /// `None`: nothing was committed yet.
    pub committed: Option<Lsn>,
    pub changes: usize,
    /// Source transactions that ended in it.
    pub transactions: usize,
    /// When the last of them was committed at the source; `None`: nothing became visible.
    pub committed_at: Option<Instant>,
    pub took: Duration,
}

/// Statements settled for the session: no query plan may depend on how many keys a batch happens to have.
/// Commits do not wait for the disk; the position is confirmed to the slot only once they are on it.
const SESSION: &str = "SET synchronous_commit = off; SET enable_seqscan = off; SET enable_mergejoin = off; \
    SET jit = off; SET plan_cache_mode = force_generic_plan; SET max_parallel_workers_per_gather = 0; \
    SET TimeZone = 'UTC'; SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0";

/// For statements over a whole tenant, which the session's own settings would slow down by far.
const BULK: &str = "SET LOCAL enable_seqscan = on; SET LOCAL enable_mergejoin = on; SET LOCAL plan_cache_mode = auto; \
    SET LOCAL work_mem = '64MB'";

/// The advisory lock of the writer of one state schema: its hash, in a class of our own.
const LOCK: &str = "SELECT pg_try_advisory_lock(1953066092, hashtext($1))";

const LOCKED: &str = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 \
      AND l.classid = 1953066092 AND l.objid = (hashtext($1)::bigint & 4294967295)::oid)";

impl Writer {
    /// What the session that holds the lock, or waits for it, calls itself at the server.
    pub const APPLICATION: &str = "tillstream writer";

    /// Takes the writer's lock on this session. `None`: another process holds it.
    pub async fn lock(client: &Client, state_schema: &str) -> Result<bool, tokio_postgres::Error> {
        client.query_one(LOCK, &[&state_schema]).await?.try_get(0)
    }

    /// Whether any process holds the writer's lock. Does not touch it.
    pub async fn is_locked(client: &Client, state_schema: &str) -> Result<bool, tokio_postgres::Error> {
        client.query_one(LOCKED, &[&state_schema]).await?.try_get(0)
    }

    /// A writer over a session that holds the lock. `position` is the stored one.
    pub async fn new(client: Client, sql: Statements, position: Lsn, horizons: Horizons) -> Result<Writer, ApplyError> {
        client.batch_execute(SESSION).await?;
        Ok(Writer { client, sql, horizons, position, open: false })
    }

    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Writes one batch. With an end: everything of it is visible and the position stands there. Without: written
    /// into the transaction that stays open.
    ///
    /// # Errors
    /// After any error the transaction is rolled back; the caller reads on from [`Writer::position`].
    pub async fn apply(&mut self, batch: Batch) -> Result<Applied, ApplyError> {
        let result = self.try_apply(batch).await;
        if result.is_err() {
            self.open = false;
            let _ = self.client.batch_execute("ROLLBACK").await;
        }
        result
    }

    async fn try_apply(&mut self, batch: Batch) -> Result<Applied, ApplyError> {
        let started = Moment::now();
        if !self.open {
            self.client.batch_execute("BEGIN").await?;
            self.open = true;
        }
        let (mut changes, mut transactions) = (0, 0);
        if !batch.steps.is_empty() {
            let mut needs = Needs::default();
            let mut fresh = !batch.continued;
            for step in &batch.steps {
                match step {
                    Step::Change(tenant, change) => {
                        changes += 1;
                        needs.add(*tenant, change, fresh);
                    }
                    Step::Commit => {
                        transactions += 1;
                        fresh = true;
                    }
                }
            }
            let mut set = load::working_set(&self.client, &self.sql, &mut needs).await?;
            for step in batch.steps {
                match step {
                    Step::Change(tenant, change) => set.apply(tenant, change),
                    Step::Commit => set.commit(),
                }
            }
            set.commit();
            let deltas = Deltas::of(&set, &self.horizons).map_err(|(tenant, e)| ApplyError::Refused(tenant, e))?;
            write::batch(&self.client, &mut self.sql, &set, deltas, &self.horizons).await?;
        }
        let Some(end) = batch.end else {
            let (position, took) = (self.position, started.elapsed());
            return Ok(Applied { position, committed: None, changes, transactions, committed_at: None, took });
        };
        self.sql.prepare(&self.client, &["move_position"]).await?;
        let moved =
            self.sql.query(&self.client, "move_position", &[&self.position, &end.lsn, &end.committed_at]).await?;
        if moved.is_empty() {
            return Err(ApplyError::Taken { expected: self.position });
        }
        self.client.batch_execute("COMMIT").await?;
        self.open = false;
        self.position = end.lsn;
        let row = self.client.query_one("SELECT pg_current_wal_insert_lsn()", &[]).await?;
        let committed_at = end.committed_at.filter(|_| transactions > 0);
        let (position, committed, took) = (end.lsn, Some(row.try_get(0)?), started.elapsed());
        Ok(Applied { position, committed, changes, transactions, committed_at, took })
    }

    /// A transaction for statements over many rows of a tenant.
    ///
    /// # Errors
    /// What the server says.
    pub async fn bulk(&mut self) -> Result<(Transaction<'_>, &Statements), tokio_postgres::Error> {
        let transaction = self.client.transaction().await?;
        transaction.batch_execute(BULK).await?;
        Ok((transaction, &self.sql))
    }

    /// A source transaction larger than a batch is half written.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Moves the position on where there was nothing to write.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn move_to(&mut self, lsn: Lsn) -> Result<Applied, ApplyError> {
        self.apply(Batch { steps: Vec::new(), continued: false, end: Some(End { lsn, committed_at: None }) }).await
    }

    /// All sums and report rows of a tenant, from its base facts, from scratch. Comes back: how many report rows differed.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn rebuild(&mut self, id: TenantId) -> Result<i64, ApplyError> {
        let (transaction, sql) = self.bulk().await?;
        transaction.execute(sql.text("clear_sums"), &[&id.0]).await?;
        super::copy::dimensions(&transaction, sql, id.0).await?;
        super::copy::sums(&transaction, sql, id.0).await?;
        let changed = super::copy::show(&transaction, sql, id.0, BusinessDay::MIN, BusinessDay::MAX).await?;
        transaction.commit().await?;
        Ok(changed)
    }

    /// Forces everything committed so far to disk. Comes back: how far the target's WAL is flushed.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn flush(&mut self) -> Result<Lsn, ApplyError> {
        self.client.batch_execute("BEGIN; SET LOCAL synchronous_commit = on").await?;
        self.sql.prepare(&self.client, &["move_position"]).await?;
        let none: Option<Instant> = None;
        self.sql.query(&self.client, "move_position", &[&self.position, &self.position, &none]).await?;
        self.client.batch_execute("COMMIT").await?;
        Ok(self.client.query_one("SELECT pg_current_wal_flush_lsn()", &[]).await?.try_get(0)?)
    }
}
