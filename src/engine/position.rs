//! Whether the stored position and the slot fit together. Pure.

use crate::lsn::Lsn;
use crate::source::Identity;
use crate::source::slot::SlotInfo;

/// The stored position with what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPosition {
    pub slot: String,
    pub database: String,
    pub system_identifier: String,
    pub timeline: i32,
    pub lsn: Lsn,
}

/// What to do at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is stored: begin where the slot stands.
    Begin(Lsn),
    /// Nothing is stored and there is no slot: make one.
    CreateSlot,
    /// Go on from the stored position.
    Continue(Lsn),
    /// What lies between position and slot cannot be had any more: stop, or copy everything again.
    Lost(String),
    /// The position belongs to something else: only a person knows what to do.
    Refuse(String),
}

/// Decides from what is stored and what the source says.
pub fn decide(
    stored: Option<&StoredPosition>,
    slot: Option<&SlotInfo>,
    source: &Identity,
    slot_name: &str,
) -> Decision {
    let Some(stored) = stored else {
        return match slot {
            None => Decision::CreateSlot,
            Some(slot) if slot.lost() => Decision::Lost(invalidated(slot, slot_name)),
            Some(slot) => Decision::Begin(slot.confirmed_flush_lsn.unwrap_or_default()),
        };
    };
    if stored.system_identifier != source.system_identifier {
        return Decision::Refuse(format!(
            "the reports were made from another database cluster (system identifier {}, this one is {}); \
             if this is meant to be their source now, run: tillstream resync",
            stored.system_identifier, source.system_identifier
        ));
    }
    if stored.database != source.database {
        return Decision::Refuse(format!(
            "the reports were made from database {:?}, the config names {:?}; if that is meant, run: tillstream resync",
            stored.database, source.database
        ));
    }
    if let Err(why) = same_history(stored, source) {
        return Decision::Refuse(format!("{why}; changes may be missing or come again: run: tillstream resync"));
    }
    if stored.lsn > source.flushed {
        return Decision::Refuse(format!(
            "the stored position {} is ahead of the source's WAL, which ends at {}: it was restored to an earlier state; \
             run: tillstream resync",
            stored.lsn, source.flushed
        ));
    }
    let Some(slot) = slot else {
        return Decision::Lost(format!("slot {slot_name:?} is gone, the reports stand at {}", stored.lsn));
    };
    if slot.lost() {
        return Decision::Lost(invalidated(slot, slot_name));
    }
    match slot.confirmed_flush_lsn {
        Some(confirmed) if confirmed > stored.lsn => Decision::Lost(format!(
            "slot {slot_name:?} stands at {confirmed}, ahead of the reports at {}: it was made anew or moved by someone",
            stored.lsn
        )),
        _ => Decision::Continue(stored.lsn),
    }
}

/// Whether everything up to the stored position also happened where the source is now: it may have failed over since, or
/// have been restored.
fn same_history(stored: &StoredPosition, source: &Identity) -> Result<(), String> {
    let (ours, now) = (u32::try_from(stored.timeline).unwrap_or_default(), source.timeline);
    if ours == now {
        return Ok(());
    }
    let left = source.history.iter().find(|fork| fork.timeline == ours);
    match left {
        Some(fork) if stored.lsn <= fork.at => Ok(()),
        Some(fork) => Err(format!(
            "the source is on timeline {now} now, which left the reports' timeline {ours} at {}, before their position {}: \
             it was restored from a backup, or failed over to a standby that lagged behind",
            fork.at, stored.lsn
        )),
        None => Err(format!(
            "the source is on timeline {now} now, which does not come from the reports' timeline {ours}: it was restored \
             from a backup"
        )),
    }
}

fn invalidated(slot: &SlotInfo, slot_name: &str) -> String {
    format!("the server has invalidated slot {slot_name:?}: {}", slot.why_lost())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Fork;

    fn stored() -> StoredPosition {
        StoredPosition {
            slot: "s".into(),
            database: "pos".into(),
            system_identifier: "7".into(),
            timeline: 1,
            lsn: Lsn(100),
        }
    }

    fn source() -> Identity {
        Identity {
            system_identifier: "7".into(),
            timeline: 1,
            flushed: Lsn(200),
            database: "pos".into(),
            history: Vec::new(),
        }
    }

    fn slot(confirmed: u64) -> SlotInfo {
        SlotInfo {
            plugin: Some("pgoutput".into()),
            database: Some("pos".into()),
            active_pid: None,
            restart_lsn: Some(Lsn(50)),
            confirmed_flush_lsn: Some(Lsn(confirmed)),
            wal_status: Some("reserved".into()),
            invalidation_reason: None,
            retained_bytes: None,
            safe_wal_size: None,
            failover: false,
        }
    }

    #[test]
    fn goes_on_only_where_nothing_can_be_missing() {
        assert_eq!(decide(Some(&stored()), Some(&slot(100)), &source(), "s"), Decision::Continue(Lsn(100)));
        assert_eq!(decide(Some(&stored()), Some(&slot(90)), &source(), "s"), Decision::Continue(Lsn(100)));
        assert!(matches!(decide(Some(&stored()), Some(&slot(101)), &source(), "s"), Decision::Lost(_)));
        assert!(matches!(decide(Some(&stored()), None, &source(), "s"), Decision::Lost(_)));
        let lost = SlotInfo { wal_status: Some("lost".into()), ..slot(100) };
        assert!(matches!(decide(Some(&stored()), Some(&lost), &source(), "s"), Decision::Lost(_)));
        assert_eq!(decide(None, Some(&slot(70)), &source(), "s"), Decision::Begin(Lsn(70)));
        assert_eq!(decide(None, None, &source(), "s"), Decision::CreateSlot);
    }

    #[test]
    fn refuses_another_source() {
        for other in [
            Identity { system_identifier: "8".into(), ..source() },
            Identity { timeline: 2, ..source() },
            Identity { flushed: Lsn(99), ..source() },
            Identity { database: "other".into(), ..source() },
        ] {
            assert!(matches!(decide(Some(&stored()), Some(&slot(100)), &other, "s"), Decision::Refuse(_)), "{other:?}");
        }
    }
    #[test]
    fn goes_on_where_the_history_is_the_same() {
        let on = |timeline, history: &[(u32, u64)]| {
            let history = history.iter().map(|(timeline, at)| Fork { timeline: *timeline, at: Lsn(*at) }).collect();
            decide(Some(&stored()), Some(&slot(90)), &Identity { timeline, history, ..source() }, "s")
        };
        assert_eq!(on(2, &[(1, 100)]), Decision::Continue(Lsn(100)));
        assert_eq!(on(3, &[(1, 150), (2, 160)]), Decision::Continue(Lsn(100)));
        for (timeline, history, why) in
            [(2, &[(1, 99)][..], "at 0/63"), (3, &[(2, 150)], "does not come from"), (0, &[], "does not come from")]
        {
            assert!(matches!(on(timeline, history), Decision::Refuse(said) if said.contains(why)), "{why}");
        }
    }

    #[test]
    fn a_lost_slot_says_why() {
        for (reason, why) in [
            (Some("wal_removed"), "max_slot_wal_keep_size"),
            (Some("rows_removed"), "conflict with recovery"),
            (Some("idle_timeout"), "idle_replication_slot_timeout"),
            (None, "lost"),
        ] {
            let info = SlotInfo {
                wal_status: Some("lost".into()),
                invalidation_reason: reason.map(str::to_string),
                ..slot(100)
            };
            let said = decide(Some(&stored()), Some(&info), &source(), "s");
            assert!(matches!(&said, Decision::Lost(said) if said.contains(why)), "{said:?}");
        }
    }
}
