#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use super::assembler::Assembler;
use super::stores::Stores;
use crate::config::Config;
use crate::lsn::Lsn;
use crate::source::StreamEvent;

fn assembler(position: u64) -> Assembler {
    assembler_of(position, 20_000)
}

fn assembler_of(position: u64, max_batch_rows: usize) -> Assembler {
    let text = "[source]\nurl = 'postgresql://till@localhost/pos'\n[tenants]\nschemas = ['public']\n";
    let mut config = Config::parse("daemon.toml", text, &|_| None).unwrap();
    config.apply.max_batch_rows = max_batch_rows;
    Assembler::new(Arc::new(config), Stores::default(), Lsn(position))
}

fn transaction(assembler: &mut Assembler, commit: u64, end: u64) {
    transaction_of(assembler, commit, end, chrono::Utc::now());
}

fn transaction_of(assembler: &mut Assembler, commit: u64, end: u64, commit_time: chrono::DateTime<chrono::Utc>) {
    let now = Moment::now();
    assembler.push(StreamEvent::Begin { final_lsn: Lsn(commit), xid: 1, commit_time }, now).unwrap();
    let event = StreamEvent::Commit { commit_lsn: Lsn(commit), end_lsn: Lsn(end), commit_time };
    assembler.push(event, now).unwrap();
}

#[test]
fn a_transaction_before_the_stored_position_is_skipped_whole() {
    let mut a = assembler(100);
    transaction(&mut a, 90, 100);
    assert_eq!(
        (a.take(true, Moment::now()).map(|batch| batch.end), a.idle_position(), a.handed_out()),
        (None, None, Lsn(100))
    );
    // The first one after it begins exactly where it stands.
    transaction(&mut a, 100, 120);
    assert_eq!(a.idle_position(), Some(Lsn(120)));
    let end = a.take(true, Moment::now()).and_then(|batch| batch.end).unwrap();
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

#[test]
fn whole_transactions_of_a_backlog_are_held_open_for_a_while() {
    // Whatever has arrived fills a batch.
    let mut a = assembler_of(100, 0);
    let (long_ago, now) = (chrono::Utc::now() - Duration::from_secs(60), Moment::now());
    let mut next = 100;
    let mut take = |a: &mut Assembler, committed, hold, now| {
        next += 10;
        transaction_of(a, next - 5, next, committed);
        a.take(hold, now).unwrap().end.map(|end| end.lsn.0)
    };
    assert_eq!([take(&mut a, long_ago, true, now), take(&mut a, long_ago, true, now)], [None, None]);
    assert!(a.is_holding() && !a.has_reached(Lsn(120)) && a.handed_out() == Lsn(120));
    assert_eq!(take(&mut a, long_ago, true, now + Duration::from_secs(1)), Some(130), "long enough");
    assert!(!a.is_holding() && a.has_reached(Lsn(130)));
    assert_eq!([take(&mut a, long_ago, true, now), take(&mut a, long_ago, false, now)], [None, Some(150)], "no more");
    assert_eq!(take(&mut a, chrono::Utc::now(), true, now), Some(160), "no backlog");

    // A part of a transaction is never committed with what was held before it.
    assert_eq!(take(&mut a, long_ago, true, now), None);
    a.push(StreamEvent::Begin { final_lsn: Lsn(900), xid: 3, commit_time: long_ago }, now).unwrap();
    assert!(a.is_ready(false, now));
    assert_eq!(a.take(true, now).map(|batch| batch.end.map(|end| end.lsn)), Some(Some(Lsn(170))));
    assert!(!a.is_inside());
    assert_eq!(a.take(true, now).map(|batch| batch.end), Some(None));
    assert!(!a.is_holding() && a.is_inside());
    a.push(StreamEvent::Commit { commit_lsn: Lsn(900), end_lsn: Lsn(910), commit_time: long_ago }, now).unwrap();
    assert!(a.take(false, now).is_some_and(|batch| batch.end.is_some()) && !a.is_inside());
}

#[test]
fn what_is_held_ends_when_nothing_comes_any_more() {
    let mut a = assembler_of(100, 0);
    transaction_of(&mut a, 105, 110, chrono::Utc::now() - Duration::from_secs(60));
    assert!(a.take(true, Moment::now()).unwrap().end.is_none());
    a.restart(Lsn(100));
    assert!(!a.is_holding(), "it was rolled back");
    transaction_of(&mut a, 105, 110, chrono::Utc::now() - Duration::from_secs(60));
    assert!(a.take(true, Moment::now()).unwrap().end.is_none());
    let silent = Moment::now() + Duration::from_millis(6);
    // That the server is still there is nothing to wait for.
    a.push(StreamEvent::KeepAlive { wal_end: Lsn(111), reply_requested: false }, silent).unwrap();
    assert!(a.deadline().unwrap() <= silent && a.is_ready(false, silent));
    assert_eq!(a.take(true, silent).unwrap().end.map(|end| end.lsn), Some(Lsn(110)));
    assert_eq!((a.deadline(), a.take(true, silent).map(|batch| batch.end)), (None, None));
}
