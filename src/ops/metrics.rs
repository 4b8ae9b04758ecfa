//! Every figure the daemon shows at `/metrics`, as one struct of typed handles.
//!
//! The crate writes the Prometheus text format itself. (The official client writes only OpenMetrics, in which a counter's
//! help stands under a name without `_total`; the format's own linter then finds counters without help.)
//! Labels are few and bounded: table kinds, causes, states and job names. Never ids, stores' names or values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::config::TableKind;

/// Changes in one write to the target.
const BATCH_CHANGES: &[f64] = &[1., 3., 10., 30., 100., 300., 1e3, 3e3, 1e4, 3e4, 1e5, 1e6, 1e7];
/// Seconds of one write: a single sale takes a few milliseconds.
const BATCH_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 60., 600.];
/// Seconds from the source's commit to the report's.
const VISIBLE_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 5., 15., 60., 300., 3600.];
/// Seconds of one job.
const JOB_SECONDS: &[f64] = &[0.01, 0.03, 0.1, 0.3, 1., 3., 10., 30., 100., 300., 1000., 3600.];

/// Why a connection had to be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReconnectCause {
    /// It could not be made: refused, unreachable, name unknown.
    Unreachable,
    /// It was made and then lost: reset, closed, cut.
    Lost,
    /// Nothing was heard for too long.
    Silent,
    /// The server is starting, stopping, or ended the session.
    Server,
    /// Another process holds the slot.
    SlotInUse,
    /// Password, certificate or privileges.
    Refused,
    /// The target's write failed and is done again.
    Target,
    Other,
}

impl ReconnectCause {
    pub const ALL: [ReconnectCause; 8] = [
        ReconnectCause::Unreachable,
        ReconnectCause::Lost,
        ReconnectCause::Silent,
        ReconnectCause::Server,
        ReconnectCause::SlotInUse,
        ReconnectCause::Refused,
        ReconnectCause::Target,
        ReconnectCause::Other,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            ReconnectCause::Unreachable => "unreachable",
            ReconnectCause::Lost => "lost",
            ReconnectCause::Silent => "silent",
            ReconnectCause::Server => "server",
            ReconnectCause::SlotInUse => "slot_in_use",
            ReconnectCause::Refused => "refused",
            ReconnectCause::Target => "target",
            ReconnectCause::Other => "other",
        }
    }
}

/// The states of a store, as in the report table `tenant`.
pub const STORE_STATES: [&str; 6] = ["discovered", "published", "copying", "live", "quarantined", "gone"];

/// The states of the slot's WAL, as `pg_replication_slots.wal_status` names them, and that there is no slot.
pub const SLOT_STATES: [&str; 5] = ["reserved", "extended", "unreserved", "lost", "missing"];

/// Cheap to clone and safe to share: all clones count into one registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    pub lag_bytes: IntGauge,
    /// Read from [`super::health::Health::lag`] at each scrape, so that it grows when the engine is stuck.
    pub lag_seconds: Gauge,
    pub last_commit_timestamp_seconds: Gauge,
    changes: IntCounterVec,
    transactions: IntCounterVec,
    pub batch_changes: Histogram,
    pub batch_seconds: Histogram,
    pub commit_to_visible_seconds: Histogram,
    reconnects: IntCounterVec,
    pub retained_wal_bytes: IntGauge,
    pub slot_active: IntGauge,
    slot_state: IntGaugeVec,
    slot_safe_bytes: IntGaugeVec,
    pub reload_successful: IntGauge,
    stores: IntGaugeVec,
    job_last_success: GaugeVec,
    job_duration: HistogramVec,
    job_drifted_rows: IntCounterVec,
    job_failures: IntCounterVec,
    verify_last_success: GaugeVec,
    verify_differences: IntGaugeVec,
    resident_memory: IntGauge,
    cpu: Counter,
}

/// The figures of one job.
#[derive(Debug, Clone)]
pub struct JobMetrics {
    pub duration_seconds: Histogram,
    pub drifted_rows: IntCounter,
    pub failures: IntCounter,
    last_success: GaugeVec,
    name: String,
}

impl JobMetrics {
    /// When it last succeeded; absent until then. Set it from the stored run at start, or a restart looks like a missed job.
    pub fn succeeded_at(&self, at: SystemTime) {
        self.last_success.with_label_values(&[&self.name]).set(unix_seconds(at));
    }
}

impl Metrics {
    /// # Errors
    /// A name registered twice or malformed: a mistake in this file, found by its tests.
    pub fn new(version: &str, commit: &str) -> Result<Self, prometheus::Error> {
        let r = Registry::new();
        let metrics = Metrics {
            lag_bytes: gauge(&r, "tillstream_lag_bytes", "WAL between the source's end and the applied position")?,
            lag_seconds: float(&r, "tillstream_lag_seconds", "How far the reports are behind the source")?,
            last_commit_timestamp_seconds: float(
                &r,
                "tillstream_last_commit_timestamp_seconds",
                "When the source committed the last applied transaction; 0: none yet",
            )?,
            changes: counters(
                &r,
                "tillstream_changes_total",
                "Row changes by logical table: of live stores, applied; of stores set aside, passed over",
                &["table", "state"],
            )?,
            transactions: counters(
                &r,
                "tillstream_transactions_total",
                "Source transactions: with changes of live stores, applied; of stores set aside alone, passed over",
                &["state"],
            )?,
            batch_changes: histogram(&r, "tillstream_batch_changes", "Row changes in one write", BATCH_CHANGES)?,
            batch_seconds: histogram(
                &r,
                "tillstream_batch_seconds",
                "Time of one write, from begin to commit",
                BATCH_SECONDS,
            )?,
            commit_to_visible_seconds: histogram(
                &r,
                "tillstream_commit_to_visible_seconds",
                "Time from a commit at the source to its figures in the reports",
                VISIBLE_SECONDS,
            )?,
            reconnects: counters(&r, "tillstream_reconnects_total", "Connections made anew by cause", &["cause"])?,
            retained_wal_bytes: gauge(&r, "tillstream_retained_wal_bytes", "WAL the source keeps for the slot")?,
            slot_active: gauge(&r, "tillstream_slot_active", "1 while the slot is streamed by this daemon")?,
            slot_state: gauges(
                &r,
                "tillstream_slot_state",
                "1 for the state of the slot's WAL, 0 for the others",
                &["state"],
            )?,
            slot_safe_bytes: gauges(
                &r,
                "tillstream_slot_safe_wal_bytes",
                "WAL that may still be written before the slot is lost; absent: no limit is set",
                &[],
            )?,
            reload_successful: gauge(
                &r,
                "tillstream_config_last_reload_successful",
                "1 if the configuration as last read is in use; 0: it had mistakes, the one before is in use",
            )?,
            stores: gauges(&r, "tillstream_stores", "Stores by state", &["state"])?,
            job_last_success: floats(
                &r,
                "tillstream_job_last_success_timestamp_seconds",
                "When the job last succeeded; absent: never",
                &["job"],
            )?,
            job_duration: histograms(&r, "tillstream_job_duration_seconds", "Time of one run", JOB_SECONDS, &["job"])?,
            job_drifted_rows: counters(
                &r,
                "tillstream_job_drifted_rows_total",
                "Report rows the job found different from a recomputation",
                &["job"],
            )?,
            job_failures: counters(&r, "tillstream_job_failures_total", "Failed runs", &["job"])?,
            verify_last_success: floats(
                &r,
                "tillstream_verify_last_success_timestamp_seconds",
                "When the last complete verification ended without a difference; 0: never; absent: switched off",
                &[],
            )?,
            verify_differences: gauges(
                &r,
                "tillstream_verify_differences",
                "Rows that the last verification found wrong; absent: switched off",
                &[],
            )?,
            resident_memory: gauge(&r, "process_resident_memory_bytes", "Resident memory of the process")?,
            cpu: float_counter(&r, "process_cpu_seconds_total", "Time the process has spent on a processor")?,
            registry: r,
        };
        float(&metrics.registry, "process_start_time_seconds", "When the process started")?
            .set(unix_seconds(SystemTime::now()));
        metrics.reload_successful.set(1);
        gauges(&metrics.registry, "tillstream_build_info", "Always 1: what is running", &["version", "commit"])?
            .with_label_values(&[version, commit])
            .set(1);
        // A series that begins at its first event hides that event from rate(): show the known ones at zero.
        for kind in TableKind::ALL {
            metrics.changes(kind, true);
            metrics.changes(kind, false);
        }
        metrics.transactions(true);
        metrics.transactions(false);
        for cause in ReconnectCause::ALL {
            metrics.reconnects(cause);
        }
        metrics.set_stores(&[]);
        Ok(metrics)
    }

    pub fn changes(&self, table: TableKind, is_live: bool) -> IntCounter {
        self.changes.with_label_values(&[table.name(), of_stores(is_live)])
    }

    pub fn transactions(&self, is_live: bool) -> IntCounter {
        self.transactions.with_label_values(&[of_stores(is_live)])
    }

    pub fn reconnects(&self, cause: ReconnectCause) -> IntCounter {
        self.reconnects.with_label_values(&[cause.name()])
    }

    /// How many stores are in each of [`STORE_STATES`]. A state not named has none; an unknown one is not shown.
    pub fn set_stores(&self, counts: &[(&str, usize)]) {
        for state in STORE_STATES {
            let count = counts.iter().filter(|(name, _)| *name == state).map(|(_, count)| *count).sum::<usize>();
            self.stores.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The slot is in this one of [`SLOT_STATES`]; so much WAL more and it is lost.
    pub fn set_slot(&self, state: &str, safe_bytes: Option<i64>) {
        for known in SLOT_STATES {
            self.slot_state.with_label_values(&[known]).set(i64::from(known == state));
        }
        match safe_bytes {
            Some(bytes) => self.slot_safe_bytes.with_label_values::<&str>(&[]).set(bytes),
            // It fails only where it was not shown.
            None => drop(self.slot_safe_bytes.remove_label_values::<&str>(&[])),
        }
    }

    /// The figures of a scheduled job. Call it for each job at start, so that its counters begin at zero.
    pub fn job(&self, name: &str) -> JobMetrics {
        JobMetrics {
            duration_seconds: self.job_duration.with_label_values(&[name]),
            drifted_rows: self.job_drifted_rows.with_label_values(&[name]),
            failures: self.job_failures.with_label_values(&[name]),
            last_success: self.job_last_success.clone(),
            name: name.to_owned(),
        }
    }

    /// The verification is switched on and found this. `None`: nothing wrong was found since it was last right, or never.
    pub fn set_verify(&self, last_success: Option<SystemTime>, differences: u64) {
        self.verify_last_success.with_label_values::<&str>(&[]).set(last_success.map_or(0.0, unix_seconds));
        self.verify_differences.with_label_values::<&str>(&[]).set(i64::try_from(differences).unwrap_or(i64::MAX));
    }

    /// The Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// A family that cannot be written.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        if let Some(bytes) = resident_bytes() {
            self.resident_memory.set(bytes);
        }
        if let Some(seconds) = cpu_seconds() {
            // A counter is only ever added to.
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn of_stores(is_live: bool) -> &'static str {
    if is_live { "live" } else { "set_aside" }
}

/// Seconds since 1970 as Prometheus counts them.
pub fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).as_ref().map_or(0.0, Duration::as_secs_f64)
}

/// `None` where there is no /proc.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<i64>().ok()?.checked_mul(1024)
}

/// Of all threads together.
fn cpu_seconds() -> Option<f64> {
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
    #[allow(clippy::cast_precision_loss)] // exact to the microsecond for centuries
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    Some(seconds(used.user_time()) + seconds(used.system_time()))
}

type Result<T, E = prometheus::Error> = std::result::Result<T, E>;

fn add<M: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge> {
    add(registry, IntGauge::new(name, help)?)
}

fn float(registry: &Registry, name: &str, help: &str) -> Result<Gauge> {
    add(registry, Gauge::new(name, help)?)
}

fn float_counter(registry: &Registry, name: &str, help: &str) -> Result<Counter> {
    add(registry, Counter::new(name, help)?)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn floats(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
    add(registry, GaugeVec::new(Opts::new(name, help), labels)?)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
    add(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
}

fn histograms(registry: &Registry, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> Result<HistogramVec> {
    add(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
