#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::sync::Arc;
use std::time::Instant as Moment;

use super::assembler::Assembler;
use super::stores::Stores;
use crate::config::Config;
use crate::lsn::Lsn;
use crate::source::StreamEvent;

fn assembler(position: u64) -> Assembler {
    let text = "[source]\nurl = 'postgresql://till@localhost/pos'\n[tenants]\nschemas = ['public']\n";
    let config = Config::parse("daemon.toml", text, &|_| None).unwrap();
    Assembler::new(Arc::new(config), Stores::default(), Lsn(position))
}

fn transaction(assembler: &mut Assembler, commit: u64, end: u64) {
    let (now, commit_time) = (Moment::now(), chrono::Utc::now());
    assembler.push(StreamEvent::Begin { final_lsn: Lsn(commit), xid: 1, commit_time }, now).unwrap();
    let event = StreamEvent::Commit { commit_lsn: Lsn(commit), end_lsn: Lsn(end), commit_time };
    assembler.push(event, now).unwrap();
}

#[test]
fn a_transaction_before_the_stored_position_is_skipped_whole() {
    let mut a = assembler(100);
    transaction(&mut a, 90, 100);
    assert_eq!((a.take().map(|batch| batch.end), a.idle_position(), a.handed_out()), (None, None, Lsn(100)));
    // The first one after it begins exactly where it stands.
    transaction(&mut a, 100, 120);
    assert_eq!(a.idle_position(), Some(Lsn(120)));
    let end = a.take().and_then(|batch| batch.end).unwrap();
    assert_eq!((end.lsn, a.handed_out()), (Lsn(120), Lsn(120)));
}

#[test]
fn a_limit_keeps_back_what_commits_at_it() {
    let mut a = assembler(100);
    a.set_limit(Some(Lsn(200)), Moment::now()).unwrap();
    transaction(&mut a, 150, 200);
    assert!(a.wants_more() && a.has_reached(Lsn(200)));
    let begin = StreamEvent::Begin { final_lsn: Lsn(200), xid: 2, commit_time: chrono::Utc::now() };
    a.push(begin, Moment::now()).unwrap();
    assert!(!a.wants_more() && a.has_reached(Lsn(200)) && !a.has_reached(Lsn(201)));
}
