//! The screen.

use std::fmt::Write;

use serde_json::Value;

use super::Status;

/// With more stores than these only those that are not live have a line of their own.
const STORE_LINES: usize = 20;

pub(in crate::commands) fn screen(status: &Status) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{name:<12} {text}");
    };
    line("tillstream", status.phase.name());
    if let Some(answer) = &status.daemon {
        line("daemon", &format!("says: {}", answer.ready));
    }
    for standby in status.writers.iter().filter(|w| !w.writes) {
        line("standby", &format!("{} (process {} at the target)", standby.place, standby.pid));
    }
    if let Some(position) = status.position {
        line("position", &position.to_string());
    }
    if let (Some(b), Some(s)) = (status.lag_bytes, status.lag_seconds) {
        line("behind", &format!("{}, {s:.1} s", bytes(b)));
    }
    if let Some(slot) = &status.slot {
        let retained = status.retained_bytes.and_then(|b| u64::try_from(b).ok()).map_or("-".to_string(), bytes);
        let safe = status.safe_bytes.and_then(|b| u64::try_from(b).ok());
        let safe = safe.map_or(String::new(), |b| format!(", lost after {} more", bytes(b)));
        line("slot", &format!("{slot}, keeps {retained} of WAL{safe}"));
    }
    let many = status.stores.len() > STORE_LINES;
    if many {
        let live = status.stores.iter().filter(|s| s["state"] == "live").count();
        line("stores", &format!("{live} of {} live", status.stores.len()));
    }
    for store in status.stores.iter().filter(|store| !many || store["state"] != "live").take(STORE_LINES) {
        let text = |key: &str| store[key].as_str().unwrap_or("").to_string();
        let (tenant, state, zone) = (text("tenant"), text("state"), text("time_zone"));
        line("store", format!("{tenant:<24} {state:<12} {zone:<20} {}", text("name")).trim_end());
        // What is wrong with a quarantined one stands below, with what to do.
        if state != "quarantined" && !text("message").is_empty() {
            line("", &text("message"));
        }
    }
    if !status.jobs.is_empty() {
        let failed = status.jobs.iter().filter(|job| job["state"] == "failed").count();
        let next = status.jobs.iter().filter_map(|job| job["next"].as_str()).min().unwrap_or("-");
        line("jobs", &format!("{} scheduled, {failed} failed, next {next}", status.jobs.len()));
    }
    if !status.verification.is_empty() {
        let right: Vec<&str> = status.verification.iter().filter_map(|v: &Value| v["right_at"].as_str()).collect();
        let (all, oldest) = (status.verification.len(), right.iter().min().unwrap_or(&"-"));
        line("verified", &format!("{} of {all} stores, the oldest at {oldest}", right.len()));
    }
    if status.advice.is_empty() {
        let _ = writeln!(out, "\nall is well");
    }
    for advice in &status.advice {
        let _ = writeln!(out, "\n! {advice}");
    }
    out
}

pub(super) fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n} B"),
        10_000..=9_999_999 => format!("{} kB", n / 1000),
        10_000_000..=9_999_999_999 => format!("{} MB", n / 1_000_000),
        _ => format!("{} GB", n / 1_000_000_000),
    }
}
