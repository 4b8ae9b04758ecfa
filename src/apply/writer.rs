//! One session on the target that holds the writer's lock.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::batch::{Batch, End, Step, in_parts};
use super::bulk::Bulk;
use super::cache::{self, Cache};
use super::copy::Gathered;
use super::known::Known;
pub use super::sent::Sent;
use super::staging::{self, Large};
use super::statements::Statements;
use super::write::{self, Call};
use super::{ApplyError, keys, load, whole};
use crate::domain::{Instant, TenantId};
use crate::facts::WorkingSet;
use crate::facts::working_set::{Key, Needs};
use crate::lsn::Lsn;
use crate::reports::{Calendar, Deltas};

/// Writes batches. At most one exists per target: it holds a session lock there.
pub struct Writer {
    pub client: Arc<Client>,
    pub sql: Statements,
    /// Where each tenant stands among its days.
    pub calendar: Calendar,
    /// Days before today that belong to a customer's window.
    window_days: u64,
    cache: Cache,
    known: Known,
    /// The POS has no totals of sales: they are the sums of their items.
    pub totals_from_items: bool,
    /// Where the stored position stands.
    position: Lsn,
    /// Where it will stand once everything sent is written.
    sent: Lsn,
    /// A source transaction larger than a batch is being written.
    pub(super) open: bool,
    /// How it is written.
    pub(super) large: Large,
    /// Nothing of it may be set aside.
    pub(super) as_it_comes: bool,
    /// Called now and then while a long batch is written.
    pub moves_on: Arc<dyn Fn() + Send + Sync>,
    /// What is written of it but not yet part of sums and report rows: they are written once, at its end. A row that is
    /// written again and again in one transaction gets slower with each time.
    pub(super) unshown: Deltas,
}

/// So many steps are folded at a time: what a change takes in memory until it is sent comes to some 5 kB.
const PART: usize = 4_000;
/// So many parts of a batch may be sent and not answered.
const AHEAD: usize = 2;
/// After so many steps others have their turn: the server reads what was sent to it while the next part is folded.
const TURN: usize = 500;
/// With more keys than this sums and report rows are written also in the middle of a transaction.
pub(super) const UNSHOWN: usize = 50_000;

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The stored position after it.
    pub position: Lsn,
    /// It is committed, though perhaps not on disk yet; `false`: written into the transaction that stays open.
    pub committed: bool,
    pub changes: usize,
    /// Source transactions that ended in it.
    pub transactions: usize,
    /// When the last of them was committed at the source; `None`: nothing became visible.
    pub committed_at: Option<Instant>,
    pub took: Duration,
}

/// Statements settled for the session: no query plan may depend on how many keys a batch happens to have, or on how many
/// rows a table is thought to have. Rows are found by key, one after the other.
/// Commits do not wait for the disk; the position is confirmed to the slot only once they are on it.
const SESSION: &str = "SET synchronous_commit = off; SET enable_seqscan = off; SET enable_mergejoin = off; \
    SET enable_hashjoin = off; SET enable_nestloop = on; SET jit = off; SET plan_cache_mode = force_generic_plan; \
    SET max_parallel_workers_per_gather = 0; SET TimeZone = 'UTC'; SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0";

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
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn new(
        client: Client,
        sql: Statements,
        position: Lsn,
        calendar: Calendar,
        window_days: u32,
    ) -> Result<Writer, ApplyError> {
        client.batch_execute(SESSION).await?;
        let (client, cache, window_days) = (Arc::new(client), Cache::default(), u64::from(window_days));
        let mut writer = Writer {
            client,
            sql,
            calendar,
            window_days,
            totals_from_items: false,
            cache,
            known: Known::default(),
            position,
            sent: position,
            open: false,
            large: Large::None,
            as_it_comes: false,
            moves_on: Arc::new(|| {}),
            unshown: Deltas::default(),
        };
        writer.recall().await?;
        Ok(writer)
    }

    /// Somebody else wrote the tenant's facts.
    ///
    /// # Errors
    /// What the server says.
    pub async fn facts_changed(&mut self, tenant: TenantId) -> Result<(), tokio_postgres::Error> {
        self.cache.forget(tenant);
        self.known.clear();
        self.recall().await
    }

    /// Reads again which sales are stored without a header, without which every fresh sale has to be looked for.
    pub(super) async fn recall(&mut self) -> Result<(), tokio_postgres::Error> {
        let limit = i64::try_from(cache::HEADLESS).unwrap_or(i64::MAX);
        let rows = self.client.query(self.sql.text("load_headless"), &[&limit]).await?;
        let keys = rows.iter().map(|row| Ok((TenantId(row.try_get(0)?), row.try_get(1)?)));
        self.cache.set_headless(keys.collect::<Result<Vec<Key>, tokio_postgres::Error>>()?);
        Ok(())
    }

    /// One that writes into the transaction that is open on `client`, and never ends it: every batch it gets has no end.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn within(
        client: Client,
        sql: Statements,
        calendar: Calendar,
        window_days: u32,
    ) -> Result<Writer, ApplyError> {
        Ok(Writer { open: true, ..Writer::new(client, sql, Lsn::ZERO, calendar, window_days).await? })
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
        let result = match self.send(batch).await {
            Ok(mut sent) => sent.answered().await,
            Err(e) => Err(e),
        };
        match &result {
            Ok(applied) => self.acknowledged(applied),
            Err(_) => {
                self.failed();
                self.open = false;
                let _ = self.client.batch_execute("ROLLBACK").await;
            }
        }
        result
    }

    /// Sends one batch; may have to read before it can. Another one may be sent before it is answered: where one is
    /// refused those after it are, too, since the position that they follow from is not there.
    ///
    /// # Errors
    /// As [`Writer::apply`], but the caller has to see to it that the transaction ends.
    pub async fn send(&mut self, mut batch: Batch) -> Result<Sent, ApplyError> {
        let began = Moment::now();
        let changes = batch.steps.iter().filter(|step| !matches!(step, Step::Commit)).count();
        let transactions = batch.steps.len() - changes;
        let position = self.sent;
        if batch.steps.iter().any(|step| matches!(step, Step::Keyed(..))) {
            // New keys get their numbers in the transaction that uses them.
            if !self.open {
                self.client.batch_execute("BEGIN").await?;
                self.open = true;
            }
            keys::resolve(&self.client, &mut self.sql, &mut batch.steps).await?;
        }
        let took = began.elapsed();
        let applied = Applied { position, committed: false, changes, transactions, committed_at: None, took };
        let mut sent = Sent::new(applied, batch.end, began);
        match self.send_steps(&mut sent, batch).await {
            Ok(()) => Ok(sent),
            // Something sent before was refused: that is what is to be told.
            Err(e) if e.is_consequence() => Err(sent.wait(0).await.err().unwrap_or(e)),
            Err(e) => Err(e),
        }
    }

    async fn send_steps(&mut self, sent: &mut Sent, batch: Batch) -> Result<(), ApplyError> {
        let mut steps = batch.steps;
        if let Some(end) = batch.end.filter(|_| !self.open && steps.len() <= PART) {
            let mut calls = self.facts(steps).await?;
            calls.extend(self.sums()?);
            calls.push(self.moved_to(&end));
            self.hand_over(sent, whole::transaction(calls)).await?;
            self.sent = end.lsn;
            return Ok(());
        }
        if !self.open {
            self.hand_over(sent, vec![("begin", Vec::new())]).await?;
            self.open = true;
        }
        let end = steps.iter().position(|step| matches!(step, Step::Commit));
        if self.large != Large::None || end.is_none() && !steps.is_empty() {
            let rest = steps.split_off(end.unwrap_or(steps.len()));
            self.write_large(sent, steps).await?;
            if end.is_some() {
                self.write_staged(sent).await?;
                self.large = Large::None;
            }
            steps = rest;
        }
        staging::by_sale(&mut steps, PART);
        self.write_parts(sent, steps).await?;
        if batch.end.is_some() || self.unshown.len() > UNSHOWN {
            self.write_sums(sent).await?;
        }
        if let Some(end) = &batch.end {
            let moved = self.moved_to(end);
            self.hand_over(sent, vec![moved, ("commit", Vec::new())]).await?;
            self.sent = end.lsn;
            self.open = false;
        }
        Ok(())
    }

    /// Writes the facts that come of the steps.
    pub(super) async fn write_parts(&mut self, sent: &mut Sent, steps: Vec<Step>) -> Result<(), ApplyError> {
        for part in in_parts(steps, PART) {
            let facts = self.facts(part).await?;
            self.hand_over(sent, facts).await?;
            sent.wait(AHEAD).await?;
        }
        Ok(())
    }

    /// The facts that come of the steps, to be sent before anything else is looked up.
    async fn facts(&mut self, steps: Vec<Step>) -> Result<Vec<Call>, ApplyError> {
        let set = self.fold(steps).await?;
        self.unshown.take_in(&set, &self.calendar).map_err(|(tenant, e)| ApplyError::Refused(tenant, e))?;
        let facts = write::facts(&set)?;
        self.cache.take_in(set);
        Ok(facts)
    }

    fn moved_to(&self, end: &End) -> Call {
        let moved: [Box<dyn ToSql + Sync + Send>; 3] =
            [Box::new(self.sent), Box::new(end.lsn), Box::new(end.committed_at)];
        ("move_position", moved.into())
    }

    /// Writes sums and report rows of what was written and not shown yet.
    pub(super) async fn write_sums(&mut self, sent: &mut Sent) -> Result<(), ApplyError> {
        let sums = self.sums()?;
        self.hand_over(sent, sums).await
    }

    pub(super) async fn hand_over(&mut self, sent: &mut Sent, calls: Vec<Call>) -> Result<(), ApplyError> {
        if calls.is_empty() {
            return Ok(());
        }
        let names: Vec<&'static str> = calls.iter().map(|(name, _)| *name).collect();
        self.sql.prepare(&self.client, &names).await?;
        sent.send(&self.client, &self.sql, calls).await;
        Ok(())
    }

    /// Sums and report rows of what was written and not shown yet.
    fn sums(&mut self) -> Result<Vec<Call>, ApplyError> {
        let mut deltas = std::mem::take(&mut self.unshown);
        deltas.consolidate();
        write::sums(&deltas, &self.calendar, self.window_days, &mut self.known)
    }

    /// Sums and report rows of all that was written into the open transaction.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn show(&mut self) -> Result<(), ApplyError> {
        let sums = self.sums()?;
        let names: Vec<&'static str> = sums.iter().map(|(name, _)| *name).collect();
        self.sql.prepare(&self.client, &names).await?;
        for (name, params) in sums {
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p.as_ref() as &(dyn ToSql + Sync)).collect();
            self.sql.query(&self.client, name, &params).await?;
        }
        Ok(())
    }

    /// A batch that was sent is written.
    pub fn acknowledged(&mut self, applied: &Applied) {
        if applied.committed {
            self.position = applied.position;
        }
    }

    /// A batch that was sent is not: whatever was sent after it is not either, and nothing of it may be remembered.
    pub fn failed(&mut self) {
        self.sent = self.position;
        self.cache.clear();
        self.known.clear();
        self.unshown = Deltas::default();
        self.large = Large::None;
        // Where its transaction stands nobody can tell; the next thing to do is to roll it back.
        self.open = true;
    }

    /// The facts that the steps touch, before and after them.
    async fn fold(&mut self, steps: Vec<Step>) -> Result<WorkingSet, ApplyError> {
        let mut needs = Needs::default();
        let cache = &self.cache;
        for step in &steps {
            if let Step::Change(tenant, change) = step {
                let (headless, priced) = (|key| cache.may_be_headless(key), |product| cache.prices.knows(product));
                needs.add(*tenant, change, headless, priced);
            }
        }
        let mut set = load::working_set(&self.client, &mut self.sql, &mut self.cache, &mut needs).await?;
        set.totals_from_items = self.totals_from_items;
        let refused = |(tenant, e)| ApplyError::Refused(tenant, e);
        for (n, step) in steps.into_iter().enumerate() {
            if n % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            match step {
                Step::Change(tenant, change) => set.apply(tenant, change),
                // Its keys have their numbers: it has become a change.
                Step::Keyed(..) => {}
                Step::Commit => set.commit().map_err(refused)?,
            }
        }
        set.commit().map_err(refused)?;
        Ok(set)
    }

    /// A transaction for statements over many rows of a tenant.
    ///
    /// # Errors
    /// What the server says.
    pub async fn bulk(&mut self) -> Result<(Bulk<'_>, &Statements), tokio_postgres::Error> {
        self.known.clear();
        Ok((Bulk::begin(&self.client).await?, &self.sql))
    }

    /// The same over a part of them, some thousands: none of its plans may read a whole table.
    ///
    /// # Errors
    /// What the server says.
    pub async fn part(&mut self) -> Result<(Bulk<'_>, &Statements), tokio_postgres::Error> {
        self.known.clear();
        Ok((Bulk::begin_part(&self.client).await?, &self.sql))
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
        self.apply(Batch { steps: Vec::new(), end: Some(End { lsn, committed_at: None }) }).await
    }

    /// All sums and report rows of a tenant, from its base facts, from scratch. Comes back: how many report rows differed.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn rebuild(&mut self, id: TenantId) -> Result<i64, ApplyError> {
        let horizon = self.calendar.get(&id).copied().unwrap_or_default().horizon;
        let (transaction, sql) = self.bulk().await?;
        transaction.execute(sql.text("clear_sums"), &[&id.0]).await?;
        Gathered::stored(&transaction, sql, id, horizon).await?;
        super::copy::dimensions(&transaction, sql, id.0).await?;
        super::copy::sums(&transaction, sql, id.0).await?;
        let changed = super::copy::show(&transaction, sql, id.0).await?;
        transaction.commit().await?;
        Ok(changed)
    }

    /// Forces everything committed so far to disk.
    ///
    /// # Errors
    /// As [`Writer::apply`].
    pub async fn flush(&mut self) -> Result<(), ApplyError> {
        self.client.batch_execute("BEGIN; SET LOCAL synchronous_commit = on").await?;
        self.sql.prepare(&self.client, &["move_position"]).await?;
        let none: Option<Instant> = None;
        self.sql.query(&self.client, "move_position", &[&self.position, &self.position, &none]).await?;
        Ok(self.client.batch_execute("COMMIT").await?)
    }
}
