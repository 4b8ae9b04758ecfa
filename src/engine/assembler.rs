//! Stream events in, batches out. Synchronous and pure: what to take, what to skip, where a batch ends.
//!
//! Skipping is by commit position alone, never by the position of a change: several changes share one.
//! A transaction whose commit record lies before the stored position is in the reports; one whose commit record lies
//! before a tenant's floor is in that tenant's copy.

mod pace;
mod routes;

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use foldhash::HashMap;
use pace::Pace;
use routes::{Route, Seen};

use super::progress::Received;
use super::stores::Stores;
use crate::apply::batch::{Batch, End, Step};
use crate::config::Config;
use crate::domain::{Instant, TenantId};
use crate::facts::Vocabulary;
use crate::facts::change::TextKey;
use crate::lsn::Lsn;
use crate::pgoutput::DecodeError;
use crate::source::StreamEvent;

/// Something is wrong with one store: it is set aside, the others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub tenant: TenantId,
    pub reason: FaultReason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultReason {
    /// A row or a table that cannot be used: quarantined until the operator has put it right.
    Unusable(String),
    /// A table was truncated or renamed: what is kept of the store is copied again, exactly.
    Changed(String),
}

/// The stream said something that this program does not understand: definite, never retried.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("cannot read the replication stream: {0}")]
    Decode(#[from] DecodeError),
    #[error("the replication stream breaks its own rules: {0}")]
    Order(&'static str),
}

/// Committed longer ago than this when it arrives: a backlog. It is late whatever we do, and done with soonest in batches
/// that are full.
const LATE: Duration = Duration::from_secs(1);
/// So long a batch of a backlog waits to be filled, in all and after the last that arrived.
const FILL: Duration = Duration::from_millis(500);
const SILENCE: Duration = Duration::from_millis(5);
/// And so long one transaction of the target takes in full batches of a backlog, before their sums are added up and seen:
/// the less often, the less there is to write.
const HOLD: Duration = Duration::from_secs(1);
/// The fastest server fills a Unix socket in a millisecond and a half: what a fraction of that brings is read together.
const TOGETHER: Duration = Duration::from_micros(400);
/// And where sales arrive as fast as they can be made, which fills it in some twenty milliseconds.
const RUSH: Duration = Duration::from_millis(5);

/// The source transaction being received.
#[derive(Debug)]
struct Transaction {
    final_lsn: Lsn,
    committed_at: Instant,
    /// It is in the reports already.
    skipped: bool,
    /// Its first step in the batch.
    start: usize,
    /// A part of it was handed out already.
    begun: bool,
    /// It has changes of stores that are not live.
    passes_over: bool,
}

pub struct Assembler {
    config: Arc<Config>,
    words: Arc<Vocabulary>,
    pub stores: Stores,
    routes: HashMap<u32, Route>,
    /// What the server said of each relation: it does not say it again when a store is taken on.
    relations: HashMap<u32, Seen>,
    /// The stored position, or the end of what was handed out since.
    position: Lsn,
    steps: Vec<Step>,
    transaction: Option<Transaction>,
    /// End of the last whole transaction in `steps`.
    end: Option<End>,
    /// Whole transactions were handed out without an end: up to which one, and since when.
    held: Option<(End, Moment)>,
    /// When the oldest change in `steps` arrived.
    since: Option<Moment>,
    /// When the last event arrived that says more than that the server is there.
    arrived: Moment,
    /// The last transaction that began was [`LATE`].
    late: bool,
    pace: Pace,
    /// Stop before the transaction whose commit record lies at or beyond this.
    limit: Option<Lsn>,
    /// The Begin that the limit kept back.
    kept_back: Option<StreamEvent>,
    /// The furthest position with everything before it received.
    received: Lsn,
    faults: Vec<Fault>,
    /// Keys of the change being read that the POS keeps as text.
    keys: Vec<TextKey>,
    pub counts: Received,
}

impl Assembler {
    pub fn new(config: Arc<Config>, stores: Stores, position: Lsn) -> Assembler {
        let words = Arc::new(Vocabulary::new(&config));
        Assembler {
            config,
            words,
            stores,
            routes: HashMap::default(),
            relations: HashMap::default(),
            position,
            steps: Vec::new(),
            transaction: None,
            end: None,
            held: None,
            since: None,
            arrived: Moment::now(),
            late: false,
            pace: Pace::new(Moment::now()),
            limit: None,
            kept_back: None,
            received: position,
            faults: Vec::new(),
            keys: Vec::new(),
            counts: Received::default(),
        }
    }

    /// Forgets what was received and not written: the stream starts again at `position`.
    pub fn restart(&mut self, position: Lsn) {
        self.routes.clear();
        self.relations.clear();
        self.steps.clear();
        self.transaction = None;
        self.end = None;
        self.held = None;
        self.since = None;
        self.kept_back = None;
        self.faults.clear();
        self.position = position;
        self.received = position;
    }

    /// Takes in one event.
    ///
    /// # Errors
    /// A stream that cannot be understood.
    pub fn push(&mut self, event: StreamEvent, now: Moment) -> Result<(), StreamError> {
        if !matches!(event, StreamEvent::KeepAlive { .. }) {
            self.arrived = now;
        }
        match event {
            StreamEvent::Begin { final_lsn, commit_time, .. } => {
                if self.transaction.is_some() {
                    return Err(StreamError::Order("a transaction begins inside another"));
                }
                if self.limit.is_some_and(|limit| final_lsn >= limit) {
                    self.kept_back = Some(event);
                    return Ok(());
                }
                let age = chrono::Utc::now().signed_duration_since(commit_time);
                self.late = age.to_std().is_ok_and(|age| age > LATE);
                self.transaction = Some(Transaction {
                    final_lsn,
                    committed_at: commit_time,
                    skipped: final_lsn < self.position,
                    start: self.steps.len(),
                    begun: false,
                    passes_over: false,
                });
            }
            StreamEvent::Change(bytes) => self.change(&bytes, now)?,
            StreamEvent::Commit { commit_lsn, end_lsn, .. } => {
                let transaction = self.transaction.take().ok_or(StreamError::Order("a commit without a begin"))?;
                if transaction.final_lsn != commit_lsn {
                    return Err(StreamError::Order("a commit is not where its begin said it would be"));
                }
                self.received = self.received.max(end_lsn);
                if !transaction.skipped {
                    if self.steps.len() > transaction.start || transaction.begun {
                        self.steps.push(Step::Commit);
                        self.pace.arrived(self.steps.len() - transaction.start, now);
                        self.since.get_or_insert(now);
                    } else if transaction.passes_over {
                        self.counts.passed_over_transactions += 1;
                    }
                    self.end = Some(End { lsn: end_lsn, committed_at: Some(transaction.committed_at) });
                }
            }
            StreamEvent::KeepAlive { wal_end, .. } => {
                if self.transaction.is_none() && self.kept_back.is_none() {
                    self.received = self.received.max(wal_end);
                }
            }
            StreamEvent::LogicalMessage { .. } => {}
        }
        Ok(())
    }

    /// A store has to be set aside before anything is handed out.
    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// Room for more, and nothing holds it back.
    pub fn wants_more(&self) -> bool {
        self.kept_back.is_none() && !self.is_full()
    }

    /// A batch of the largest size is there.
    pub fn is_full(&self) -> bool {
        self.steps.len() >= self.config.apply.max_batch_rows
    }

    /// How long what arrives may wait to be read with what comes after it.
    pub fn reading_pause(&self) -> Duration {
        match self.gather() {
            _ if self.late => TOGETHER,
            Some(gather) => (gather / 8).clamp(TOGETHER, RUSH),
            None => Duration::ZERO,
        }
    }

    fn gather(&self) -> Option<Duration> {
        self.pace.gather(self.config.apply.max_delay)
    }

    /// When what has arrived is due to be written at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let (since, fill) = match self.held {
            Some((_, since)) => (since, HOLD),
            None => (self.end.and(self.since)?, FILL),
        };
        match self.late {
            true => Some((self.arrived + SILENCE).min(since + fill)),
            false => since.checked_add(self.gather().unwrap_or(self.config.apply.max_delay)),
        }
    }

    /// Whether a batch should be written now. `more`: further events are waiting already.
    pub fn is_ready(&self, more: bool, now: Moment) -> bool {
        if self.steps.is_empty() && self.held.is_none() {
            return false;
        }
        let ends = self.end.is_some() || self.held.is_some();
        let at_once = !self.late && self.gather().is_none();
        let (blocked, idle) = (self.kept_back.is_some(), !more && at_once);
        self.is_full() || ends && (idle || blocked || self.deadline().is_some_and(|at| now >= at))
    }

    /// The batch to write now: all whole transactions; where there is none, the part of one that fills a batch. `hold`:
    /// nothing has to be done between two batches, so that whole transactions of a backlog may be left open for a while.
    pub fn take(&mut self, hold: bool, now: Moment) -> Option<Batch> {
        let (end, before) = (self.end.take(), self.held.take());
        // What is held ends before a part of a transaction that has no end yet.
        if let Some(last) = end.or(before.map(|(last, _)| last)) {
            let since = before.map_or(now, |(_, since)| since);
            let held = hold && end.is_some() && self.late && self.is_full() && now < since + HOLD;
            self.held = held.then_some((last, since));
            let whole = self.transaction.as_ref().map_or(self.steps.len(), |t| t.start);
            let rest = self.steps.split_off(whole);
            let steps = std::mem::replace(&mut self.steps, rest);
            if let Some(transaction) = &mut self.transaction {
                transaction.start = 0;
            }
            self.since = self.since.filter(|_| !self.steps.is_empty());
            self.position = self.position.max(last.lsn);
            return Some(Batch { steps, end: (!held).then_some(last) });
        }
        if !self.is_full() {
            return None;
        }
        let transaction = self.transaction.as_mut()?;
        (transaction.start, transaction.begun) = (0, true);
        self.since = None;
        Some(Batch { steps: std::mem::take(&mut self.steps), end: None })
    }

    /// Whole transactions were handed out without an end.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// What was handed out last has no end yet: whole transactions, or a part of one.
    pub fn is_inside(&self) -> bool {
        self.is_holding() || self.transaction.as_ref().is_some_and(|transaction| transaction.begun)
    }

    /// The furthest position with everything before it received.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Beyond every transaction of which anything was received.
    pub fn begun(&self) -> Lsn {
        let inside = self.transaction.as_ref().map_or(Lsn::ZERO, |t| Lsn(t.final_lsn.0 + 1));
        self.received.max(self.position).max(inside)
    }

    /// End of what was handed out; the position at the start where nothing was yet.
    pub fn handed_out(&self) -> Lsn {
        self.position
    }

    /// With nothing received that is not handed out: the position up to which there is nothing for us.
    pub fn idle_position(&self) -> Option<Lsn> {
        let idle = self.steps.is_empty() && self.transaction.is_none() && self.held.is_none();
        idle.then_some(self.received).filter(|received| *received > self.position)
    }

    /// The idle position was stored.
    pub fn moved_to(&mut self, position: Lsn) {
        self.position = self.position.max(position);
        self.end = None;
    }

    /// Stops before the first transaction whose commit record lies at or beyond `limit`; `None`: goes on.
    pub fn set_limit(&mut self, limit: Option<Lsn>, now: Moment) -> Result<(), StreamError> {
        self.limit = limit;
        match self.kept_back.take() {
            Some(event) => self.push(event, now),
            None => Ok(()),
        }
    }

    pub fn limit(&self) -> Option<Lsn> {
        self.limit
    }

    /// Everything before `limit` was received and handed out.
    pub fn has_reached(&self, limit: Lsn) -> bool {
        self.steps.is_empty()
            && self.transaction.is_none()
            && self.held.is_none()
            && (self.received >= limit
                || self
                    .kept_back
                    .as_ref()
                    .is_some_and(|event| matches!(event, StreamEvent::Begin { final_lsn, .. } if *final_lsn >= limit)))
    }
}
