//! What is wrong, in words, and what to do about it: a function of what was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::screen::bytes;
use super::{Asked, Phase, Status};
use crate::config::Config;
use crate::engine::EngineError;
use crate::engine::position::Decision;

/// Reports this far behind are worth a warning, in seconds; as /readyz has it.
const LATE: f64 = 60.0;
/// Stores named for one kind of trouble.
const NAMED: usize = 5;

/// Where the target cannot be asked.
pub(super) fn unreachable(status: &Status, error: &str, listen: Option<SocketAddr>) -> Vec<String> {
    let mut advice = vec![error.to_string()];
    match (&status.daemon, listen) {
        (Some(_), _) => advice.push(
            "the daemon runs, and goes on by itself once the database is back; nothing is lost meanwhile".to_string(),
        ),
        (None, Some(listen)) => advice.push(format!(
            "no daemon answers at {listen} either: systemctl status tillstream, journalctl -u tillstream -e"
        )),
        (None, None) => {}
    }
    advice
}

/// Most urgent first.
pub(super) fn advice(config: &Config, status: &Status, source: &Asked) -> Vec<String> {
    let mut advice = Vec::new();
    match source {
        Err(e) => advice.push(e.to_string()),
        Ok(source) if source.standby => advice.push(EngineError::Standby.to_string()),
        Ok(source) => {
            match &source.decision {
                Some(Decision::Lost(why)) => advice.push(format!("{why}; run: tillstream resync")),
                Some(Decision::Refuse(why)) => advice.push(why.clone()),
                _ if source.info.is_none() => {
                    advice.push(format!("slot {:?} does not exist; run: tillstream init", config.source.slot));
                }
                _ => {}
            }
            if let Some(stranger) = &source.stranger {
                advice.push(format!(
                    "slot {:?} is read by {stranger}, which is no tillstream: stop that, or name a slot of our own in \
                     [source] slot",
                    config.source.slot
                ));
            }
            if source.info.as_ref().is_some_and(|i| i.wal_status.as_deref() == Some("unreserved")) {
                advice.push(
                    "the slot is about to lose WAL that it still needs: let the daemon catch up now, and raise \
                     max_slot_wal_keep_size"
                        .to_string(),
                );
            }
        }
    }
    daemon(status, &mut advice);
    retained(config.source.retained_wal_warning, status, &mut advice);
    stores(status, &mut advice);
    jobs(status, &mut advice);
    verification(config, status, &mut advice);
    advice
}

fn daemon(status: &Status, advice: &mut Vec<String>) {
    if status.phase == Phase::Down {
        advice.push(
            "the daemon does not run: journalctl -u tillstream -e says why it ended; systemctl start tillstream (or \
             tillstream run) goes on where it stopped"
                .to_string(),
        );
    }
    if let Some(trouble) = status.daemon.as_ref().and_then(|answer| answer.stuck.as_ref()) {
        advice.push(format!(
            "the daemon is stuck ({trouble}): its watchdog restarts it; at once: systemctl restart tillstream"
        ));
    }
    for writer in status.writers.iter().filter(|w| w.writes) {
        if let Some(blocked_by) = &writer.blocked_by {
            advice.push(format!(
                "the daemon waits for a lock that {blocked_by} holds at the target; to end that: SELECT \
                 pg_terminate_backend({})",
                writer.blocker
            ));
        }
    }
    let late = status.lag_seconds.filter(|seconds| *seconds > LATE && status.phase == Phase::Live);
    if let Some(seconds) = late {
        advice.push(format!(
            "the reports are {seconds:.0} s behind: a bulk change in the POS passes by itself; else look at the \
             database's load and disk, and at journalctl -u tillstream -e"
        ));
    }
    if status.phase == Phase::Connecting {
        advice.push(
            "the daemon runs and does not read the slot at this moment: it is starting, or tries again; if that stays \
             so, journalctl -u tillstream -e says why"
                .to_string(),
        );
    }
}

fn retained(warning: i64, status: &Status, advice: &mut Vec<String>) {
    let Some(retained) = status.retained_bytes else { return };
    // What is left of max_slot_wal_keep_size is less than what is used of it.
    let tight = status.safe_bytes.filter(|safe| *safe < retained && *safe < warning);
    if let Some(safe) = tight.and_then(|safe| u64::try_from(safe).ok()) {
        advice.push(format!(
            "after {} more of WAL the slot is lost, by max_slot_wal_keep_size: raise it (ALTER SYSTEM, \
             pg_reload_conf()), or let the daemon catch up now",
            bytes(safe)
        ));
    }
    if retained <= warning {
        return;
    }
    let kept = bytes(u64::try_from(retained).unwrap_or_default());
    advice.push(match status.phase {
        Phase::Down => format!(
            "the source keeps {kept} of WAL for the stopped daemon: start it, or run tillstream drop before its disk is full"
        ),
        _ => format!(
            "the source keeps {kept} of WAL for the slot: look for a transaction that is open for long \
             (SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start), for a copy that takes long, or \
             for a daemon that cannot keep up"
        ),
    });
}

fn stores(status: &Status, advice: &mut Vec<String>) {
    let set_aside: Vec<_> = status.stores.iter().filter(|store| store["state"] == "quarantined").collect();
    for store in set_aside.iter().take(NAMED) {
        let text = |key: &str| store[key].as_str().unwrap_or_default();
        let (tenant, message) = (text("tenant"), text("message"));
        advice.push(match store["synchronized_at"].is_string() {
            true => format!(
                "store {tenant} is quarantined, its reports stand still: {message}; mend it, then run: tillstream \
                 resync --tenant {tenant}"
            ),
            // What the catalogue shows is seen by itself once it is mended; rows are not looked at again.
            false => format!(
                "store {tenant} cannot be copied: {message}; mend it, and if it is not copied a moment later run: \
                 tillstream resync --tenant {tenant}"
            ),
        });
    }
    if set_aside.len() > NAMED {
        advice.push(format!("{} more stores are quarantined: see status --json", set_aside.len() - NAMED));
    }
}

fn jobs(status: &Status, advice: &mut Vec<String>) {
    let mut failed: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for job in status.jobs.iter().filter(|job| job["state"] == "failed") {
        let text = |key: &str| job[key].as_str().unwrap_or_default();
        failed.entry(text("job")).or_default().push((text("tenant"), text("error")));
    }
    for (job, failures) in failed {
        let Some((tenant, error)) = failures.first() else { continue };
        let others = match failures.len() - 1 {
            0 => String::new(),
            more => format!(" (and of {more} more)"),
        };
        advice.push(format!(
            "job {job} of {tenant}{others} failed: {error}; it is tried again; now: tillstream jobs run {job}"
        ));
    }
}

fn verification(config: &Config, status: &Status, advice: &mut Vec<String>) {
    let Some(every) = config.verify.every else { return };
    let (mut wrong, mut failed, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for found in &status.verification {
        let tenant = found["tenant"].as_str().unwrap_or_default();
        if let Some(differences) = found["differences"].as_i64().filter(|n| *n > 0) {
            wrong.push((tenant, differences));
        } else if let Some(error) = found["error"].as_str() {
            failed.push((tenant, error));
        } else if found["right_age_seconds"].as_f64().is_some_and(|age| age > 2.0 * every.as_secs_f64()) {
            old.push(tenant);
        }
    }
    for (tenant, differences) in wrong.iter().take(NAMED) {
        advice.push(format!(
            "{differences} report values of store {tenant} differ from the POS tables: tillstream verify --tenant \
             {tenant} shows them, --repair puts them right; please report it with the output of tillstream doctor"
        ));
    }
    if wrong.len() > NAMED {
        advice.push(format!("report values of {} more stores differ: tillstream verify", wrong.len() - NAMED));
    }
    let and_more = |n: usize| if n > 1 { format!(" (and {} more)", n - 1) } else { String::new() };
    if let Some((tenant, error)) = failed.first() {
        advice.push(format!(
            "store {tenant}{} could not be verified: {error}; it is tried again",
            and_more(failed.len())
        ));
    }
    if let Some(tenant) = old.first() {
        advice.push(format!("store {tenant}{} was not verified for long: is the daemon running?", and_more(old.len())));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::super::Source;
    use super::*;
    use crate::source::slot::SlotInfo;

    fn config() -> Config {
        Config::parse("daemon.toml", "", &|_| None).unwrap()
    }

    fn source() -> Source {
        let info = SlotInfo {
            plugin: Some("pgoutput".into()),
            database: Some("pos".into()),
            active_pid: Some(7),
            restart_lsn: None,
            confirmed_flush_lsn: None,
            wal_status: Some("reserved".into()),
            invalidation_reason: None,
            retained_bytes: None,
            safe_wal_size: None,
            failover: false,
        };
        Source { info: Some(info), decision: None, stranger: None, standby: false }
    }

    fn told(status: &Status) -> String {
        advice(&config(), status, &Ok(source())).join("\n")
    }

    fn live() -> Status {
        Status { phase: Phase::Live, lag_seconds: Some(0.0), ..Status::default() }
    }

    #[test]
    fn a_daemon_that_is_well_needs_no_advice() {
        assert_eq!(told(&live()), "");
        assert_eq!(told(&Status { retained_bytes: Some(500_000_000), safe_bytes: Some(20_000_000_000), ..live() }), "");
    }

    #[test]
    fn wal_that_is_kept() {
        let status = Status { retained_bytes: Some(3 << 30), ..live() };
        assert!(told(&status).contains("3221 MB of WAL for the slot: look for a transaction that is open for long"));
        let status = Status { phase: Phase::Down, ..status };
        assert!(told(&status).contains("run tillstream drop before its disk is full"));
        let status = Status { retained_bytes: Some(900_000_000), safe_bytes: Some(100_000_000), ..live() };
        assert!(told(&status).contains("after 100 MB more of WAL the slot is lost, by max_slot_wal_keep_size"));
        let mut losing = source();
        losing.info.as_mut().unwrap().wal_status = Some("unreserved".into());
        assert!(advice(&config(), &live(), &Ok(losing)).join("").contains("about to lose WAL"));
    }

    #[test]
    fn reports_that_are_late() {
        assert!(told(&Status { lag_seconds: Some(75.4), ..live() }).contains("the reports are 75 s behind"));
        assert_eq!(told(&Status { lag_seconds: Some(30.0), ..live() }), "");
        let daemon =
            super::super::answer::Answer { stuck: Some("the work does not move on".into()), ready: String::new() };
        assert!(told(&Status { daemon: Some(daemon), ..live() }).contains("systemctl restart tillstream"));
    }

    #[test]
    fn two_hundred_stores_in_trouble_are_still_one_screen() {
        let name = |n: usize| format!("tenant_{n:03}");
        let store = |n| json!({ "tenant": name(n), "state": "quarantined", "message": "no column total_amount" });
        let job = |n| json!({ "tenant": name(n), "job": "prune", "state": "failed", "error": "the disk is full" });
        let wrong = |n| json!({ "tenant": name(n), "differences": 3 });
        let status = Status {
            stores: (0..200).map(store).collect(),
            jobs: (0..200).map(job).collect(),
            verification: (0..200).map(wrong).collect(),
            ..live()
        };
        let text = told(&status);
        assert!(
            text.contains("195 more stores are quarantined") && text.contains("of 195 more stores differ"),
            "{text}"
        );
        assert!(text.contains("job prune of tenant_000 (and of 199 more) failed: the disk is full"), "{text}");
        assert!(text.lines().count() < 15, "{text}");
        assert!(super::super::screen(&status).lines().count() < 60);
    }

    #[test]
    fn verification_that_does_not_come_to_an_end() {
        let found = json!({ "tenant": "tenant_a", "differences": 0, "right_age_seconds": 49.0 * 3600.0 });
        let status = Status { verification: vec![found], ..live() };
        assert!(told(&status).contains("store tenant_a was not verified for long"));
        let failed = json!({ "tenant": "tenant_a", "differences": 0, "error": "it took longer than 6 h" });
        let status = Status { verification: vec![failed.clone(), failed], ..live() };
        assert!(told(&status).contains("store tenant_a (and 1 more) could not be verified: it took longer than 6 h"));
    }
}
