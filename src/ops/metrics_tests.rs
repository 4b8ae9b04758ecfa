#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn full() -> Metrics {
    let m = Metrics::new("1.2.3", "abcdef0").unwrap();
    m.changes(TableKind::SaleItem, true).inc_by(7);
    m.set_slot("reserved", Some(5_000_000));
    m.transactions(true).inc_by(2);
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
        "tillstream_changes_total{state=\"live\",table=\"sale_item\"} 7",
        "tillstream_changes_total{state=\"set_aside\",table=\"sale\"} 0",
        "tillstream_transactions_total{state=\"live\"} 2",
        "tillstream_transactions_total{state=\"set_aside\"} 0",
        "tillstream_batch_changes_bucket{le=\"1000\"} 1",
        "tillstream_batch_seconds_bucket{le=\"0.0025\"} 0",
        "tillstream_commit_to_visible_seconds_count 1",
        "tillstream_reconnects_total{cause=\"server\"} 1",
        "tillstream_retained_wal_bytes 0",
        "tillstream_slot_active 0",
        "tillstream_slot_state{state=\"reserved\"} 1",
        "tillstream_slot_state{state=\"missing\"} 0",
        "tillstream_slot_safe_wal_bytes 5000000",
        "tillstream_config_last_reload_successful 1",
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
    assert_eq!(names.len(), 25);
}

#[test]
fn clones_count_together_from_many_threads() {
    let m = full();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let m = m.clone();
            scope.spawn(move || (0..1000).for_each(|_| m.changes(TableKind::Sale, true).inc()));
        }
    });
    assert_eq!(m.changes(TableKind::Sale, true).get(), 4000);
}

/// The linter that Prometheus brings; see [`super::super::deploy_tests::promtool`].
#[test]
fn promtool_is_content() {
    let Some(tool) = crate::ops::deploy_tests::promtool() else { return };
    let mut child = std::process::Command::new(tool)
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let text = full().render().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.trim().is_empty(), "{said}");
}
