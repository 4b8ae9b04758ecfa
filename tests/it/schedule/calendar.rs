//! What must have run, made without the daemon's calendar: every minute is visited, the wall clock is read, and readings
//! that the clock skipped since the minute before count as read now.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Datelike, Duration, NaiveDateTime, Timelike, Utc, Weekday};
use chrono_tz::Tz;

type Reading = fn(NaiveDateTime) -> bool;

/// The jobs in the order in which they run at one instant, and the readings of the clock at which each is due.
const JOBS: [(&str, Reading); 6] = [
    ("day_roll", |w| (w.hour(), w.minute()) == (0, 0)),
    ("daily_sales", |w| (w.hour(), w.minute()) == (0, 30)),
    ("product_performance", |w| (w.hour(), w.minute()) == (1, 0)),
    ("customer_analytics", |w| (w.hour(), w.minute()) == (2, 0) && w.weekday() == Weekday::Sun),
    ("inventory_snapshot", |w| (w.hour(), w.minute()) == (23, 50)),
    ("prune", |w| (w.day(), w.hour(), w.minute()) == (1, 3, 0)),
];

/// Store, job, due time.
pub type Due = (String, String, DateTime<Utc>);

/// The due times of every job of every store after `start`, up to `end`.
pub struct Calendar(BTreeMap<(String, String), BTreeSet<DateTime<Utc>>>);

impl Calendar {
    pub fn new(stores: &[(&str, Tz)], start: DateTime<Utc>, end: DateTime<Utc>) -> Calendar {
        let mut dues: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let minute = Duration::minutes(1);
        for (store, zone) in stores {
            let mut read = HashSet::new();
            // Readings of the hours before belong to what was due before.
            let mut at = start - Duration::hours(3);
            let mut next = at.with_timezone(zone).naive_local();
            while at <= end {
                let wall = at.with_timezone(zone).naive_local();
                let mut reading = next.min(wall);
                while reading <= wall {
                    let new = read.insert(reading) && at > start;
                    for (job, _) in JOBS.iter().filter(|(_, due)| new && due(reading)) {
                        dues.entry((store.to_string(), job.to_string())).or_default().insert(at);
                    }
                    reading += minute;
                }
                next = wall + minute;
                at += minute;
            }
        }
        Calendar(dues)
    }

    /// What a daemon runs that looks at `now`, after it has done `done`: of each job only the last that was due.
    pub fn due(&self, now: DateTime<Utc>, done: &BTreeSet<Due>) -> Vec<Due> {
        let last = self.0.iter().filter_map(|((store, job), dues)| {
            dues.range(..=now).next_back().map(|due| (store.clone(), job.clone(), *due))
        });
        let newer = |due: &Due| !done.iter().any(|d| (&d.0, &d.1) == (&due.0, &due.1) && d.2 >= due.2);
        last.filter(newer).collect()
    }

    /// The next due time of any job after `now`.
    pub fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.values().filter_map(|dues| dues.range(now + Duration::seconds(1)..).next()).min().copied()
    }
}
