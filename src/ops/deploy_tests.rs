//! The files under deploy/ fit the program. What only promtool and systemd-analyze can tell is tested where they are
//! installed, or where PROMTOOL and SYSTEMD_ANALYZE name them: then they have to be there. CI names them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use super::metrics::Metrics;

const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const ALERTS_TEST: &str = include_str!("../../deploy/prometheus/alerts_test.yml");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");
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
    metrics.set_slot("reserved", Some(0));
    let shown = metrics.render().unwrap();
    let known = names(&shown);
    let unknown: Vec<_> = names(ALERTS).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn each_alert_says_what_to_do_and_is_tested() {
    let alerts: Vec<_> = ALERTS.split("- alert: ").skip(1).collect();
    assert_eq!(alerts.len(), 12);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(alert.contains("          runbook: \""), "{name} has no runbook line");
        assert!(alert.contains("severity: page") || alert.contains("severity: ticket"), "{name} has no severity");
        let tested = ALERTS_TEST.split("- eval_time").any(|t| t.contains(name) && t.contains("exp_alerts"));
        assert!(tested, "{name} is not tested to fire");
        assert!(RUNBOOK.contains(&format!("\n## {name}\n")), "{name} has no section in the runbook");
        assert!(alert.contains(&format!("runbook.md, {name}\"")), "{name} does not name its section");
    }
}

#[test]
fn the_unit_starts_what_the_command_line_knows() {
    let start = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let arguments: Vec<_> = start.split(' ').collect();
    <crate::cli::Cli as clap::Parser>::try_parse_from(arguments).unwrap();
}

/// The tool that the variable names, which has to be there; else the one that is installed. `None`: said aloud.
fn tool(variable: &str, name: &str) -> Option<String> {
    let named = std::env::var(variable).ok().filter(|path| !path.is_empty());
    let tool = named.clone().unwrap_or_else(|| name.to_owned());
    let runs = Command::new(&tool).arg("--version").output().is_ok_and(|out| out.status.success());
    assert!(runs || named.is_none(), "{variable} names {tool}, which does not run");
    if !runs {
        eprintln!("NOT TESTED: there is no {name} here");
    }
    runs.then_some(tool)
}

pub fn promtool() -> Option<String> {
    tool("PROMTOOL", "promtool")
}

/// Runs it in the folder.
fn run(tool: &str, arguments: &[&str], folder: &Path) -> (bool, String) {
    let out = Command::new(tool).args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), said)
}

#[test]
fn promtool_is_content_with_the_rules() {
    let Some(promtool) = promtool() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let (well, said) = run(&promtool, &arguments, &folder);
        assert!(well, "{said}");
    }
}

#[test]
fn the_unit_is_hardened() {
    let Some(analyze) = tool("SYSTEMD_ANALYZE", "systemd-analyze") else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tillstream.service"), UNIT).unwrap();
    // The threshold is in tenths of the rating.
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=20", "./tillstream.service"];
    let (well, said) = run(&analyze, &arguments, folder.path());
    assert!(well, "{said}");
}

/// What `deploy/package.sh` makes itself is under target/package.
#[test]
fn what_the_package_holds_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    assert!(assets.len() > 10, "{assets:?}");
    for asset in assets {
        let file = asset[0].as_str().unwrap();
        let path = if file.contains('*') { root.join(file).parent().unwrap().to_path_buf() } else { root.join(file) };
        assert!(file.starts_with("target/package/") || path.exists(), "{file} is not there");
    }
}

#[test]
fn the_scripts_can_be_read_by_their_shells() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (shell, scripts) in [
        ("sh", &["deploy/debian/postinst", "deploy/debian/prerm", "deploy/debian/postrm", "deploy/package.sh"][..]),
        ("bash", &["deploy/trial/run.sh", ".ci/run", ".ci/promtool"]),
    ] {
        for script in scripts {
            let (well, said) = run(shell, &["-n", script], root);
            assert!(well, "{script}: {said}");
        }
    }
}
