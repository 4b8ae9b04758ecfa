//! Every figure the daemon shows at `/metrics`, as one struct of typed handles.
//!
//! The crate writes the Prometheus text format itself. (The official client writes only OpenMetrics, in which a counter's
//! help stands under a name without `_total`; the format's own linter then finds counters without help.)
//! Labels are few and bounded: table kinds, causes, states and job names. Never ids, stores' names or values.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
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

/// Cheap to clone and safe to share: all clones count into one registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    pub lag_bytes: IntGauge,
    /// Read from [`super::health::Health::lag`] at each scrape, so that it grows when the engine is stuck.
    pub lag_seconds: Gauge,
    pub last_commit_timestamp_seconds: Gauge,
    changes: IntCounterVec,
    pub transactions: IntCounter,
    pub batch_changes: Histogram,
    pub batch_seconds: Histogram,
    pub commit_to_visible_seconds: Histogram,
    reconnects: IntCounterVec,
    pub retained_wal_bytes: IntGauge,
    pub slot_active: IntGauge,
    stores: IntGaugeVec,
    job_last_success: GaugeVec,
    job_duration: HistogramVec,
    job_drifted_rows: IntCounterVec,
    job_failures: IntCounterVec,
    verify_last_success: GaugeVec,
    verify_differences: IntGaugeVec,
    resident_memory: IntGauge,
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
            changes: counters(&r, "tillstream_changes_total", "Applied row changes by logical table", &["table"])?,
            transactions: counter(&r, "tillstream_transactions_total", "Applied source transactions")?,
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
            registry: r,
        };
        gauges(&metrics.registry, "tillstream_build_info", "Always 1: what is running", &["version", "commit"])?
            .with_label_values(&[version, commit])
            .set(1);
        // A series that begins at its first event hides that event from rate(): show the known ones at zero.
        for kind in TableKind::ALL {
            metrics.changes(kind);
        }
        for cause in ReconnectCause::ALL {
            metrics.reconnects(cause);
        }
        metrics.set_stores(&[]);
        Ok(metrics)
    }

    pub fn changes(&self, table: TableKind) -> IntCounter {
        self.changes.with_label_values(&[table.name()])
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
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
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

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn floats(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
    add(registry, GaugeVec::new(Opts::new(name, help), labels)?)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter> {
    add(registry, IntCounter::new(name, help)?)
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
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn full() -> Metrics {
        let m = Metrics::new("1.2.3", "abcdef0").unwrap();
        m.changes(TableKind::SaleItem).inc_by(7);
        m.transactions.inc_by(2);
        m.batch_changes.observe(900.0);
        m.batch_seconds.observe(0.004);
        m.commit_to_visible_seconds.observe(0.006);
        m.reconnects(ReconnectCause::Server).inc();
        m.set_stores(&[("live", 49), ("quarantined", 1), ("no such state", 3)]);
        m.lag_bytes.set(1024);
        m.last_commit_timestamp_seconds.set(1_700_000_000.5);
        let job = m.job("daily_sales");
        job.duration_seconds.observe(0.2);
        job.drifted_rows.inc_by(3);
        job.failures.inc();
        job.succeeded_at(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        m.set_verify(Some(UNIX_EPOCH + Duration::from_secs(1_700_000_001)), 0);
        m
    }

    #[test]
    fn every_promised_name_is_there() {
        let text = full().render().unwrap();
        for line in [
            "tillstream_lag_bytes 1024",
            "tillstream_lag_seconds 0",
            "tillstream_last_commit_timestamp_seconds 1700000000.5",
            "tillstream_changes_total{table=\"sale_item\"} 7",
            "tillstream_changes_total{table=\"sale\"} 0",
            "tillstream_transactions_total 2",
            "tillstream_batch_changes_bucket{le=\"1000\"} 1",
            "tillstream_batch_seconds_bucket{le=\"0.0025\"} 0",
            "tillstream_commit_to_visible_seconds_count 1",
            "tillstream_reconnects_total{cause=\"server\"} 1",
            "tillstream_retained_wal_bytes 0",
            "tillstream_slot_active 0",
            "tillstream_stores{state=\"live\"} 49",
            "tillstream_stores{state=\"gone\"} 0",
            "tillstream_job_last_success_timestamp_seconds{job=\"daily_sales\"} 1700000000",
            "tillstream_job_duration_seconds_sum{job=\"daily_sales\"} 0.2",
            "tillstream_job_drifted_rows_total{job=\"daily_sales\"} 3",
            "tillstream_job_failures_total{job=\"daily_sales\"} 1",
            "tillstream_verify_last_success_timestamp_seconds 1700000001",
            "tillstream_verify_differences 0",
            "tillstream_build_info{commit=\"abcdef0\",version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("no such state"));
    }

    #[test]
    fn memory_is_read_at_each_scrape() {
        let text = full().render().unwrap();
        let line = text.lines().find(|l| l.starts_with("process_resident_memory_bytes ")).unwrap();
        assert!(line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() > 100_000, "{line}");
    }

    #[test]
    fn what_never_happened_has_no_time() {
        let text = Metrics::new("1", "").unwrap().render().unwrap();
        assert!(!text.contains("tillstream_verify_"), "verify is shown while switched off");
        assert!(!text.contains("tillstream_job_last_success"), "a job that never ran has a time");
    }

    #[test]
    fn each_family_has_help_and_type_once() {
        let text = full().render().unwrap();
        let mut names = std::collections::BTreeSet::new();
        for line in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
        assert_eq!(names.len(), 20);
    }

    #[test]
    fn clones_count_together_from_many_threads() {
        let m = full();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let m = m.clone();
                scope.spawn(move || (0..1000).for_each(|_| m.changes(TableKind::Sale).inc()));
            }
        });
        assert_eq!(m.changes(TableKind::Sale).get(), 4000);
    }

    /// The linter that Prometheus brings, where it is installed (or named by PROMTOOL); the tests above say most of it.
    #[test]
    fn promtool_is_content() {
        let tool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
        let child = std::process::Command::new(&tool)
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: no {tool} here");
            return;
        };
        let text = full().render().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.trim().is_empty(), "{said}");
    }
}
