//! The files under deploy/ fit the program. Where promtool (or the one PROMTOOL names) and systemd-analyze are not installed,
//! what only they can tell is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use super::metrics::Metrics;

const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../deploy/prometheus/alerts_test.yml");
const UNIT: &str = include_str!("../../deploy/tillstream.service");

/// Everything that looks like the name of a metric.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| w.starts_with("tillstream_")).collect()
}

#[test]
fn the_alerts_ask_for_metrics_that_exist() {
    let metrics = Metrics::new("1", "c").unwrap();
    metrics.job("prune").succeeded_at(UNIX_EPOCH);
    metrics.set_verify(None, 0);
    let shown = metrics.render().unwrap();
    let known = names(&shown);
    let unknown: Vec<_> = names(ALERTS).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn each_alert_says_what_to_do_and_is_tested() {
    let alerts: Vec<_> = ALERTS.split("- alert: ").skip(1).collect();
    assert_eq!(alerts.len(), 10);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(alert.contains("          runbook: \""), "{name} has no runbook line");
        assert!(alert.contains("severity: page") || alert.contains("severity: ticket"), "{name} has no severity");
        let tested = ALERTS_TEST.split("- eval_time").any(|t| t.contains(name) && t.contains("exp_alerts"));
        assert!(tested, "{name} is not tested to fire");
    }
}

#[test]
fn the_unit_starts_what_the_command_line_knows() {
    let start = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let arguments: Vec<_> = start.split(' ').collect();
    <crate::cli::Cli as clap::Parser>::try_parse_from(arguments).unwrap();
}

/// Runs a tool in the folder; `None` where it is not installed.
fn tool(name: &str, arguments: &[&str], folder: &Path) -> Option<(bool, String)> {
    let out = Command::new(name).args(arguments).current_dir(folder).output().ok()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    Some((out.status.success(), said))
}

#[test]
fn promtool_is_content_with_the_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        match tool(&promtool, &arguments, &folder) {
            Some((well, said)) => assert!(well, "{said}"),
            None => eprintln!("skipped: no {promtool} here"),
        }
    }
}

#[test]
fn the_unit_is_hardened() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tillstream.service"), UNIT).unwrap();
    // The threshold is in tenths of the rating.
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=20", "./tillstream.service"];
    match tool("systemd-analyze", &arguments, folder.path()) {
        Some((well, said)) => assert!(well, "{said}"),
        None => eprintln!("skipped: no systemd-analyze here"),
    }
}
