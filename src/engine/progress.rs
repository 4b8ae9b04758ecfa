//! What can be seen of a running engine from outside its loop, and how the loop tells of it: few, cheap calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as Moment, SystemTime};

use crate::apply::writer::Applied;
use crate::config::TableKind;
use crate::domain::Instant;
use crate::lsn::Lsn;
use crate::ops::health::Health;
use crate::ops::metrics::{Metrics, ReconnectCause};
use crate::ops::systemd::Notifier;
use crate::schedule::Job;
use crate::source::slot::SlotInfo;

/// What was received since the last look, for metrics.
#[derive(Debug, Default)]
pub struct Received {
    /// Row changes by table.
    pub live: HashMap<TableKind, u64>,
    /// The same of stores that are not live: they are left out.
    pub passed_over: HashMap<TableKind, u64>,
    /// Source transactions with nothing but such changes.
    pub passed_over_transactions: u64,
}

/// Cheap to clone; all clones are one. Without [`Progress::watched`] only the counters are kept.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_live: AtomicBool,
    is_settled: AtomicBool,
    position: AtomicU64,
    changes: AtomicU64,
    batches: AtomicU64,
    heard: Mutex<Option<Moment>>,
    ops: Option<Ops>,
}

/// Where a daemon's progress is shown.
#[derive(Debug, Clone)]
pub struct Ops {
    pub metrics: Metrics,
    pub health: Health,
    pub notifier: Notifier,
}

impl Progress {
    /// Progress that is also shown to operators and to the service manager.
    pub fn watched(ops: Ops) -> Progress {
        for job in Job::ALL {
            ops.metrics.job(job.name());
        }
        Progress(Arc::new(Inner { ops: Some(ops), ..Inner::default() }))
    }

    fn ops(&self) -> Option<&Ops> {
        self.0.ops.as_ref()
    }

    /// The stream is open and followed.
    pub fn is_live(&self) -> bool {
        self.0.is_live.load(Ordering::Relaxed)
    }

    /// The stream is followed, and no store waits to be copied.
    pub fn is_settled(&self) -> bool {
        self.0.is_settled.load(Ordering::Relaxed)
    }

    /// Row changes written since the start.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Relaxed)
    }

    pub fn batches(&self) -> u64 {
        self.0.batches.load(Ordering::Relaxed)
    }

    /// The stored position; 0 before there is one.
    pub fn position(&self) -> Lsn {
        Lsn(self.0.position.load(Ordering::Relaxed))
    }

    pub(super) fn stands_at(&self, position: Lsn) {
        self.0.position.store(position.0, Ordering::Relaxed);
    }

    pub(super) fn live(&self) {
        self.0.is_live.store(true, Ordering::Relaxed);
        if let Some(ops) = self.ops() {
            ops.health.set_stream_live(true);
            ops.metrics.slot_active.set(1);
            // Who waits for the start finds the right word as soon as it is over.
            ops.notifier.status("live: following the stream");
            ops.notifier.ready();
        }
    }

    pub(super) fn settled(&self, settled: bool) {
        self.0.is_settled.store(settled, Ordering::Relaxed);
    }

    /// The session has ended, however; nothing is in hand any more.
    pub(super) fn down(&self) {
        self.0.is_live.store(false, Ordering::Relaxed);
        self.settled(false);
        if let Some(ops) = self.ops() {
            ops.health.set_stream_live(false);
            ops.health.work_ends();
            ops.metrics.slot_active.set(0);
        }
    }

    /// One line for whoever asks the service manager what the daemon does.
    pub(super) fn says(&self, line: &str) {
        if let Some(ops) = self.ops() {
            ops.notifier.status(line);
        }
    }

    /// Whatever the databases were last asked was answered, or nothing is waited for.
    pub(super) fn heard(&self) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Moment::now());
    }

    /// How long an answer has been waited for.
    pub(super) fn quiet_for(&self) -> Duration {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed()).unwrap_or_default()
    }

    /// The engine's loop came round.
    pub(super) fn turned(&self) {
        if let Some(ops) = self.ops() {
            ops.health.turned();
        }
    }

    pub(super) fn work_begins(&self) {
        if let Some(ops) = self.ops() {
            ops.health.work_begins();
        }
    }

    pub(super) fn work_ends(&self) {
        if let Some(ops) = self.ops() {
            ops.health.work_ends();
        }
    }

    /// The work in hand goes on, and takes long.
    pub(super) fn moves_on(&self) {
        self.heard();
        self.work_begins();
    }

    /// A write was done; `now` is the time of day at which its figures can be seen.
    pub(super) fn applied(&self, applied: &Applied, now: Instant) {
        let changes = u64::try_from(applied.changes).unwrap_or(u64::MAX);
        self.0.changes.fetch_add(changes, Ordering::Relaxed);
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        self.stands_at(applied.position);
        let Some(ops) = self.ops() else { return };
        let metrics = &ops.metrics;
        if applied.changes > 0 {
            #[allow(clippy::cast_precision_loss)] // a histogram's buckets are that coarse
            metrics.batch_changes.observe(changes as f64);
            metrics.batch_seconds.observe(applied.took.as_secs_f64());
        }
        metrics.transactions(true).inc_by(u64::try_from(applied.transactions).unwrap_or(u64::MAX));
        if let Some(at) = applied.committed_at {
            // The source's clock may be ahead of ours: then it was at once.
            let visible = (now - at).to_std().unwrap_or_default();
            metrics.commit_to_visible_seconds.observe(visible.as_secs_f64());
            metrics.last_commit_timestamp_seconds.set(unix_seconds(at));
        }
    }

    /// What was received, of live stores and of those set aside; takes the counts.
    pub(super) fn seen(&self, received: &mut Received) {
        let Received { live, passed_over, passed_over_transactions } = std::mem::take(received);
        let Some(ops) = self.ops() else { return };
        for (is_live, changes) in [(true, live), (false, passed_over)] {
            for (table, count) in changes {
                ops.metrics.changes(table, is_live).inc_by(count);
            }
        }
        ops.metrics.transactions(false).inc_by(passed_over_transactions);
    }

    pub(super) fn behind(&self, bytes: u64, time: Duration) {
        if let Some(ops) = self.ops() {
            ops.metrics.lag_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            ops.health.set_lag(time);
        }
    }

    /// `None`: there is no such slot.
    pub(super) fn slot(&self, slot: Option<&SlotInfo>) {
        let Some(ops) = self.ops() else { return };
        let metrics = &ops.metrics;
        metrics.retained_wal_bytes.set(slot.and_then(|s| s.retained_bytes).unwrap_or_default());
        metrics.slot_active.set(i64::from(slot.is_some_and(|s| s.active_pid.is_some())));
        metrics.set_slot(slot.map_or("missing", SlotInfo::state), slot.and_then(|s| s.safe_wal_size));
    }

    /// How many stores are in each state.
    pub(super) fn stores(&self, counts: &[(String, usize)]) {
        if let Some(ops) = self.ops() {
            let counts: Vec<(&str, usize)> = counts.iter().map(|(state, count)| (state.as_str(), *count)).collect();
            ops.metrics.set_stores(&counts);
        }
    }

    pub(super) fn reconnects(&self, cause: ReconnectCause) {
        if let Some(ops) = self.ops() {
            ops.metrics.reconnects(cause).inc();
        }
    }

    pub(super) fn job_done(&self, job: Job, took: Duration, drifted: i64, failed: bool) {
        let Some(ops) = self.ops() else { return };
        let metrics = ops.metrics.job(job.name());
        metrics.duration_seconds.observe(took.as_secs_f64());
        metrics.drifted_rows.inc_by(u64::try_from(drifted).unwrap_or_default());
        if failed {
            metrics.failures.inc();
        }
    }

    /// The last success of a job: that of the store where it is longest ago.
    pub(super) fn job_succeeded(&self, job: Job, at: Instant) {
        if let Some(ops) = self.ops() {
            ops.metrics.job(job.name()).succeeded_at(SystemTime::from(at));
        }
    }
}

fn unix_seconds(at: Instant) -> f64 {
    #[allow(clippy::cast_precision_loss)] // exact to the microsecond until the year 2255
    let micros = at.timestamp_micros() as f64;
    micros / 1e6
}
