//! Which jobs to run now, and in which order.
//!
//! The runner takes the first of the plan, runs it, records it, and plans again; so a long job, a clock set meanwhile
//! or a failure needs no case of its own.

use std::cmp::max;
use std::time::Duration;

use chrono::TimeDelta;

use super::{Job, Timetable};
use crate::domain::{Instant, TenantId};

/// First and longest wait before a failed job runs again.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// One job of one tenant: when it is due, and what has become of it so far.
#[derive(Debug, Clone)]
pub struct JobState {
    pub job: Job,
    pub tenant: TenantId,
    pub timetable: Timetable,
    /// When the tenant came under the schedule: what was due before is none of ours.
    pub first_seen: Instant,
    /// Due time of the last run that succeeded.
    pub last_due: Option<Instant>,
    /// The run after it, where it has failed so far.
    pub failure: Option<Failure>,
}

/// A run that failed, once or several times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub attempts: u32,
    /// When the last attempt failed.
    pub at: Instant,
}

/// A run to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub job: Job,
    pub tenant: TenantId,
    /// The last due time that has passed: what the run is recorded under.
    pub due: Instant,
    /// The first due time that this run makes up. Equal to `due` where no run was missed.
    pub oldest: Instant,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl Failure {
    /// How long to wait before the next attempt: doubling from 1 s to 5 min.
    pub fn backoff(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
    }

    /// The next attempt's time, `None` where it has come. A failure that lies in the future shows that the clock was set
    /// back: its wait is not to be trusted either.
    fn wait_until(&self, now: Instant) -> Option<Instant> {
        let wait = TimeDelta::from_std(self.backoff()).unwrap_or_default();
        self.at.checked_add_signed(wait).filter(|until| self.at <= now && *until > now)
    }
}

impl JobState {
    /// Nothing due at or before this runs (again).
    fn settled(&self) -> Instant {
        self.last_due.map_or(self.first_seen, |last| max(last, self.first_seen))
    }

    /// The run that is due, whether or not it has to wait after a failure. Several missed runs are one: the last.
    fn pending(&self, now: Instant) -> Option<Due> {
        let due = self.timetable.latest(now).filter(|due| *due > self.settled())?;
        let oldest = self.timetable.next_after(self.settled()).unwrap_or(due);
        let attempt = self.failure.map_or(0, |failure| failure.attempts).saturating_add(1);
        Some(Due { job: self.job, tenant: self.tenant, due, oldest, attempt })
    }

    /// The next due time that has not passed yet.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        self.timetable.next_after(max(now, self.settled()))
    }

    fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.failure.and_then(|failure| failure.wait_until(now))
    }
}

impl Due {
    /// The place in the order of runs. A roll that makes up several nights stands at the first of them: whatever was due
    /// after it writes rows dated today, and today is the day it rolls to.
    fn place(&self) -> Instant {
        match self.job {
            Job::DayRoll => self.oldest,
            _ => self.due,
        }
    }

    /// Must come after `roll`, the pending roll of the same tenant.
    fn follows(&self, roll: &Due) -> bool {
        self.job.needs_today() && self.tenant == roll.tenant && self.place() >= roll.place()
    }
}

/// The runs due at `now`, oldest first, ties in the order of [`Job`]. Failed ones that have to wait are left out, and so
/// are those that must come after a waiting roll.
pub fn plan(now: Instant, jobs: &[JobState]) -> Vec<Due> {
    let (mut ready, mut waiting_rolls) = (Vec::new(), Vec::new());
    for job in jobs {
        let Some(due) = job.pending(now) else { continue };
        if job.waits_until(now).is_none() {
            ready.push(due);
        } else if job.job == Job::DayRoll {
            waiting_rolls.push(due);
        }
    }
    ready.retain(|due| !waiting_rolls.iter().any(|roll| due.follows(roll)));
    ready.sort_unstable_by_key(|due| (due.place(), due.job, due.tenant.0));
    ready
}

/// When there may be something to run: `now` where there is already. `None`: never, nothing is scheduled.
///
/// The wall clock may be set at any time, so look again every few seconds, however far this lies ahead.
pub fn next_wakeup(now: Instant, jobs: &[JobState]) -> Option<Instant> {
    if !plan(now, jobs).is_empty() {
        return Some(now);
    }
    let retries = jobs.iter().filter(|job| job.pending(now).is_some()).filter_map(|job| job.waits_until(now));
    let dues = jobs.iter().filter_map(|job| job.next_due(now));
    retries.chain(dues).min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn state(job: Job, cron: &str, last_due: &str) -> JobState {
        let timetable = Timetable::new(cron, Tz::UTC).unwrap();
        let last_due = Some(at(last_due));
        JobState {
            job,
            tenant: TenantId(1),
            timetable,
            first_seen: at("2026-01-01T00:00:00Z"),
            last_due,
            failure: None,
        }
    }

    fn all_of_a_store(last: &str) -> Vec<JobState> {
        [
            (Job::Prune, "0 3 1 * *"),
            (Job::InventorySnapshot, "50 23 * * *"),
            (Job::CustomerAnalytics, "0 2 * * 0"),
            (Job::ProductPerformance, "0 1 * * *"),
            (Job::DailySales, "30 0 * * *"),
            (Job::DayRoll, "0 0 * * *"),
        ]
        .map(|(job, cron)| state(job, cron, last))
        .to_vec()
    }

    fn names(plan: &[Due]) -> Vec<&'static str> {
        plan.iter().map(|due| due.job.name()).collect()
    }

    #[test]
    fn a_night_missed_is_made_up_oldest_first() {
        // Saturday evening to Sunday noon, over the first of the month.
        let jobs = all_of_a_store("2026-02-28T23:00:00Z");
        let plan = plan(at("2026-03-01T12:00:00Z"), &jobs);
        let order =
            ["inventory_snapshot", "day_roll", "daily_sales", "product_performance", "customer_analytics", "prune"];
        assert_eq!(names(&plan), order);
        assert!(plan.iter().all(|due| due.due == due.oldest && due.attempt == 1));
    }

    #[test]
    fn several_missed_nights_are_one_run_and_the_roll_comes_before_what_needs_its_day() {
        // Saturday noon to Tuesday noon: the weekly run was due on Sunday, the last roll on Tuesday.
        let jobs = all_of_a_store("2026-06-06T12:00:00Z");
        let plan = plan(at("2026-06-09T12:00:00Z"), &jobs);
        let order = ["day_roll", "customer_analytics", "inventory_snapshot", "daily_sales", "product_performance"];
        assert_eq!(names(&plan), order);
        let roll = plan.first().unwrap();
        assert_eq!((roll.oldest, roll.due), (at("2026-06-07T00:00:00Z"), at("2026-06-09T00:00:00Z")));
    }

    #[test]
    fn jobs_due_at_the_same_instant_keep_their_order() {
        let mut jobs: Vec<JobState> = Job::ALL.map(|job| state(job, "0 0 * * *", "2026-06-06T00:00:00Z")).to_vec();
        jobs.reverse();
        let plan = plan(at("2026-06-07T00:00:00Z"), &jobs);
        assert_eq!(plan.iter().map(|due| due.job).collect::<Vec<_>>(), Job::ALL);
    }

    #[test]
    fn what_was_due_before_the_tenant_came_is_not_made_up() {
        let mut job = state(Job::DailySales, "30 0 * * *", "2026-01-01T00:30:00Z");
        (job.last_due, job.first_seen) = (None, at("2026-06-07T00:30:00Z"));
        assert_eq!(plan(at("2026-06-08T00:29:59Z"), std::slice::from_ref(&job)), []);
        assert_eq!(plan(at("2026-06-08T00:30:00Z"), std::slice::from_ref(&job)).len(), 1);
    }

    #[test]
    fn a_clock_set_back_runs_nothing_again() {
        let job = state(Job::DayRoll, "0 0 * * *", "2026-06-07T00:00:00Z");
        let now = at("2026-06-06T12:00:00Z");
        assert_eq!(plan(now, std::slice::from_ref(&job)), []);
        assert_eq!(next_wakeup(now, &[job]), Some(at("2026-06-08T00:00:00Z")));
    }

    #[test]
    fn a_failed_job_waits_and_so_does_what_must_follow_it() {
        let mut jobs = all_of_a_store("2026-06-06T12:00:00Z");
        let now = at("2026-06-07T12:00:00Z");
        let failure = Failure { attempts: 3, at: at("2026-06-07T11:59:58Z") };
        jobs.last_mut().unwrap().failure = Some(failure);
        assert_eq!(names(&plan(now, &jobs)), ["inventory_snapshot", "daily_sales", "product_performance"]);
        for job in &mut jobs {
            if !matches!(job.job, Job::DayRoll | Job::CustomerAnalytics) {
                job.last_due = Some(now);
            }
        }
        assert_eq!(plan(now, &jobs), []);
        let retry = at("2026-06-07T12:00:02Z");
        assert_eq!(next_wakeup(now, &jobs), Some(retry));
        let again = plan(retry, &jobs);
        assert_eq!(names(&again), ["day_roll", "customer_analytics"]);
        assert_eq!(again.first().map(|due| due.attempt), Some(4));
        // Set back before the failure: it is tried at once.
        assert_eq!(names(&plan(at("2026-06-07T11:00:00Z"), &jobs)), ["day_roll", "customer_analytics"]);
    }

    #[test]
    fn backoff_doubles_to_five_minutes() {
        let waits = [1, 2, 3, 8, 9, 10, u32::MAX]
            .map(|attempts| Failure { attempts, at: Instant::UNIX_EPOCH }.backoff().as_secs());
        assert_eq!(waits, [1, 2, 4, 128, 256, 300, 300]);
    }
}
