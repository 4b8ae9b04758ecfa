//! Fortnights over clock changes, held to a list made another way: every UTC minute is visited, the wall clock is read,
//! and readings that the clock skipped since the minute before count as read now.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeSet, HashSet};

use chrono::{Datelike, NaiveDateTime, TimeDelta, Timelike, Weekday};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Due, Failure, Job, JobState, Timetable, next_wakeup, plan};
use crate::domain::{Instant, TenantId};

/// Zone and first UTC day of a fortnight with a clock change in it.
const FORTNIGHTS: [(Tz, &str); 9] = [
    (Tz::Europe__Berlin, "2026-03-22"),
    (Tz::Europe__Berlin, "2026-10-18"),
    (Tz::America__New_York, "2026-03-01"),
    (Tz::America__New_York, "2026-10-25"),
    (Tz::Australia__Lord_Howe, "2026-03-29"),
    (Tz::Australia__Lord_Howe, "2026-09-27"),
    // Midnight is skipped; an hour before midnight is repeated.
    (Tz::America__Santiago, "2026-08-30"),
    (Tz::America__Santiago, "2026-03-29"),
    // No change at all.
    (Tz::Asia__Tashkent, "2026-03-22"),
];

type Reading = fn(NaiveDateTime) -> bool;

fn hm(wall: NaiveDateTime, hour: u32, minute: u32) -> bool {
    (wall.hour(), wall.minute()) == (hour, minute)
}

/// Two stores: one with the default expressions, one with expressions that aim at the changes.
const JOBS: [(i32, Job, &str, Reading); 12] = [
    (1, Job::DayRoll, "0 0 * * *", |w| hm(w, 0, 0)),
    (1, Job::DailySales, "30 0 * * *", |w| hm(w, 0, 30)),
    (1, Job::ProductPerformance, "0 1 * * *", |w| hm(w, 1, 0)),
    (1, Job::CustomerAnalytics, "0 2 * * 0", |w| hm(w, 2, 0) && w.weekday() == Weekday::Sun),
    (1, Job::InventorySnapshot, "50 23 * * *", |w| hm(w, 23, 50)),
    (1, Job::Prune, "0 3 1 * *", |w| hm(w, 3, 0) && w.day() == 1),
    (2, Job::DayRoll, "0 0 * * *", |w| hm(w, 0, 0)),
    (2, Job::DailySales, "45 1 * * *", |w| hm(w, 1, 45)),
    (2, Job::ProductPerformance, "15 2 * * 0,6", |w| {
        hm(w, 2, 15) && matches!(w.weekday(), Weekday::Sun | Weekday::Sat)
    }),
    (2, Job::CustomerAnalytics, "*/20 * * * *", |w| w.minute().is_multiple_of(20)),
    (2, Job::InventorySnapshot, "59 1-2 * * *", |w| matches!(w.hour(), 1 | 2) && w.minute() == 59),
    (2, Job::Prune, "5,35 23,0-3 * * *", |w| matches!(w.hour(), 23 | 0..=3) && matches!(w.minute(), 5 | 35)),
];

/// Days visited before and after the fortnight: for the last and next due times at its ends, for the longest a daemon is
/// down, and for a clock that is wrong.
const MARGIN: i64 = 7;
/// Days that a clock may be wrong by.
const WRONG: i64 = 3;

struct Fortnight {
    zone: Tz,
    start: Instant,
    end: Instant,
    /// In the order of [`JOBS`].
    lists: Vec<BTreeSet<Instant>>,
}

impl Fortnight {
    fn new(zone: Tz, day: &str) -> Fortnight {
        let start: Instant = format!("{day}T12:00:00Z").parse().unwrap();
        let end = start + TimeDelta::days(14);
        let minute = TimeDelta::minutes(1);
        let (mut lists, mut read) = (vec![BTreeSet::new(); JOBS.len()], HashSet::new());
        let mut at = start - TimeDelta::days(MARGIN);
        let mut expected = at.with_timezone(&zone).naive_local();
        while at < end + TimeDelta::days(MARGIN) {
            let wall = at.with_timezone(&zone).naive_local();
            // Usually one reading; none that is new in a repeated hour; many at the end of a gap.
            let mut reading = expected.min(wall);
            while reading <= wall {
                if read.insert(reading) {
                    for ((_, _, _, matches), list) in JOBS.iter().zip(&mut lists) {
                        if matches(reading) {
                            list.insert(at);
                        }
                    }
                }
                reading += minute;
            }
            expected = wall + minute;
            at += minute;
        }
        Fortnight { zone, start, end, lists }
    }

    fn states(&self, runs: &[Due]) -> Vec<JobState> {
        let state = |(tenant, job, cron, _): &(i32, Job, &str, Reading)| {
            let last = runs.iter().filter(|run| run.job == *job && run.tenant.0 == *tenant).map(|run| run.due).max();
            JobState {
                job: *job,
                tenant: TenantId(*tenant),
                timetable: Timetable::new(cron, self.zone).unwrap(),
                first_seen: self.start,
                last_due: last,
                failure: None,
            }
        };
        JOBS.iter().map(state).collect()
    }
}

fn all() -> impl Iterator<Item = Fortnight> {
    FORTNIGHTS.into_iter().map(|(zone, day)| Fortnight::new(zone, day))
}

fn run_of(due: &Due) -> (usize, Instant) {
    let at = JOBS.iter().position(|(tenant, job, ..)| *tenant == due.tenant.0 && *job == due.job).unwrap();
    (at, due.due)
}

/// Records a success as the runner does.
fn succeed(states: &mut [JobState], runs: &mut Vec<Due>, due: Due) {
    let (at, _) = run_of(&due);
    let state = states.get_mut(at).unwrap();
    (state.last_due, state.failure) = (Some(due.due), None);
    runs.push(due);
}

#[test]
fn last_and_next_due_are_those_of_the_list() {
    for fortnight in all() {
        let tables: Vec<Timetable> = fortnight.states(&[]).into_iter().map(|state| state.timetable).collect();
        for (list, table) in fortnight.lists.iter().zip(&tables) {
            let around = list
                .range(fortnight.start..fortnight.end)
                .flat_map(|due| [-1, 0, 1, 1800, 3600].map(|seconds| *due + TimeDelta::seconds(seconds)));
            let steps = (0..14 * 24).map(|hour| fortnight.start + TimeDelta::seconds(hour * 3600 + 7));
            for now in around.chain(steps) {
                let context = || format!("{} {now} {table:?}", fortnight.zone);
                if let Some(latest) = list.range(..=now).next_back() {
                    assert_eq!(table.latest(now), Some(*latest), "{}", context());
                }
                if let Some(next) = list.range(now + TimeDelta::nanoseconds(1)..).next() {
                    assert_eq!(table.next_after(now), Some(*next), "{}", context());
                }
            }
        }
    }
}

#[test]
fn a_daemon_that_sleeps_until_it_is_woken_runs_exactly_the_list_on_time() {
    for fortnight in all() {
        let (mut now, mut runs) = (fortnight.start, Vec::new());
        let mut states = fortnight.states(&[]);
        while now <= fortnight.end {
            for due in plan(now, &states) {
                assert_eq!((due.due, due.oldest, due.attempt), (now, now, 1), "{}", fortnight.zone);
                succeed(&mut states, &mut runs, due);
            }
            let next = next_wakeup(now, &states).unwrap();
            assert!(next > now);
            now = next;
        }
        let ran: Vec<(usize, Instant)> = runs.iter().map(run_of).collect();
        let mut expected: Vec<(usize, Instant)> = Vec::new();
        for (job, list) in fortnight.lists.iter().enumerate() {
            let after_start = fortnight.start + TimeDelta::nanoseconds(1);
            expected.extend(list.range(after_start..=fortnight.end).map(|due| (job, *due)));
        }
        // By time, then by job, then by tenant.
        expected.sort_by_key(|(job, due)| (*due, job % Job::ALL.len(), *job));
        assert_eq!(ran, expected, "{}", fortnight.zone);
    }
}

/// One simulated daemon: polls at random times, is down for a while, its clock is set forward and back.
fn simulate(fortnight: &Fortnight, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let context = format!("seed {seed} {} {}", fortnight.zone, fortnight.start);
    let (mut time, mut error) = (fortnight.start, TimeDelta::zero());
    let (mut runs, mut expected) = (Vec::new(), BTreeSet::new());
    // The latest reading of the daemon's clock so far: what was due up to it has run.
    let mut reached = fortnight.start;
    let mut states = fortnight.states(&runs);
    while time < fortnight.end {
        time += match rng.random_range(0..20) {
            0 => TimeDelta::minutes(rng.random_range(60..60 * 80)),
            1..=6 => TimeDelta::seconds(rng.random_range(1..5)),
            _ => TimeDelta::seconds(rng.random_range(1..3000)),
        };
        match rng.random_range(0..40) {
            0 => error += TimeDelta::seconds(rng.random_range(1..40_000)),
            1 => error -= TimeDelta::seconds(rng.random_range(1..40_000)),
            2 | 3 => error = TimeDelta::zero(),
            _ => {}
        }
        error = error.clamp(TimeDelta::days(-WRONG), TimeDelta::days(WRONG));
        if rng.random_range(0..10) == 0 {
            // A restart: all that is known is what was recorded.
            states = fortnight.states(&runs);
        }
        let now = time + error;
        if now > reached {
            for (job, list) in fortnight.lists.iter().enumerate() {
                let missed = list.range(reached + TimeDelta::nanoseconds(1)..=now);
                expected.extend(missed.clone().next_back().map(|due| (job, *due)));
            }
            reached = now;
        }
        while let Some(due) = plan(now, &states).into_iter().next() {
            assert!(due.due <= now && due.oldest <= due.due, "{context}");
            if due.job.needs_today() {
                // Its store has rolled to the day it stands in, unless it was due before the roll.
                let roll = states.iter().find(|s| s.tenant == due.tenant && s.job == Job::DayRoll).unwrap();
                let rolled = roll.last_due.unwrap_or(fortnight.start);
                let unrolled = roll.timetable.next_after(rolled).filter(|first| *first <= now);
                assert!(unrolled.is_none_or(|first| due.due < first), "{context}");
            }
            succeed(&mut states, &mut runs, due);
        }
    }
    let ran: Vec<(usize, Instant)> = runs.iter().map(run_of).collect();
    assert_eq!(ran.len(), expected.len(), "a run was made twice or not at all, {context}");
    assert_eq!(ran.into_iter().collect::<BTreeSet<_>>(), expected, "{context}");
}

#[test]
fn restarts_and_clock_jumps_run_every_job_once() {
    let first: u64 = std::env::var("TILLSTREAM_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seeds {first}..{}", first + 8);
    for fortnight in all() {
        for seed in first..first + 8 {
            simulate(&fortnight, seed);
        }
    }
}

#[test]
fn failing_jobs_are_tried_again_until_they_succeed_once() {
    let seed: u64 = rand::rng().random_range(0..1 << 32);
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for fortnight in all() {
        let (mut now, mut runs, mut attempts) = (fortnight.start, Vec::new(), 0u32);
        let mut states = fortnight.states(&runs);
        while now <= fortnight.end {
            while let Some(due) = plan(now, &states).into_iter().next() {
                attempts += 1;
                if rng.random_bool(0.5) {
                    succeed(&mut states, &mut runs, due);
                } else {
                    let state = states.get_mut(run_of(&due).0).unwrap();
                    state.failure = Some(Failure { attempts: due.attempt, at: now });
                }
            }
            let next = next_wakeup(now, &states).unwrap();
            assert!(next > now, "seed {seed}");
            now = next;
        }
        let distinct: BTreeSet<_> = runs.iter().map(run_of).collect();
        assert_eq!(distinct.len(), runs.len(), "seed {seed} {}", fortnight.zone);
        assert!(attempts as usize > runs.len());
        // A run may be overtaken only by a due time that soon follows it.
        let patience = TimeDelta::hours(2);
        for (job, list) in fortnight.lists.iter().enumerate() {
            let dues = list.range(fortnight.start + TimeDelta::nanoseconds(1)..fortnight.end - patience);
            for due in
                dues.filter(|due| list.range(**due + TimeDelta::nanoseconds(1)..**due + patience).next().is_none())
            {
                assert!(distinct.contains(&(job, *due)), "seed {seed} {} job {job} {due}", fortnight.zone);
            }
        }
    }
}
