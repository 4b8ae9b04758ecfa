//! What happens by the clock instead of by a change: six jobs, each due by a cron expression in its store's time zone.
//!
//! ```text
//! cron, zone ─> timetable ─ due instants ─┐
//!               calendar.rs               ├─> plan ─ what to run now, in which order ─> engine ─> apply
//! last runs, failures, now ───────────────┘   plan.rs
//! ```
//! Invariant: nothing here knows the time or the database. The caller says what time it is and what has run.

pub mod calendar;
pub mod plan;

#[cfg(test)]
mod fortnight;

use std::fmt;
use std::str::FromStr;

pub use calendar::{CronError, Timetable};
pub use plan::{Due, Failure, JobState, next_wakeup, plan};

/// A scheduled job. The order is the one in which jobs due at the same instant run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// Live customer rows move on to the new day.
    DayRoll,
    /// Yesterday's `daily_sales_report` again from the facts.
    DailySales,
    /// Yesterday's `product_performance` again from the facts.
    ProductPerformance,
    /// Every live customer row from scratch, kept as history.
    CustomerAnalytics,
    /// Today's `inventory_snapshot` row of every active tracked product.
    InventorySnapshot,
    /// Rows older than the retention go.
    Prune,
}

impl Job {
    pub const ALL: [Job; 6] = [
        Job::DayRoll,
        Job::DailySales,
        Job::ProductPerformance,
        Job::CustomerAnalytics,
        Job::InventorySnapshot,
        Job::Prune,
    ];

    /// The key in `[schedule]`, and what the records of runs say.
    pub fn name(self) -> &'static str {
        match self {
            Job::DayRoll => "day_roll",
            Job::DailySales => "daily_sales",
            Job::ProductPerformance => "product_performance",
            Job::CustomerAnalytics => "customer_analytics",
            Job::InventorySnapshot => "inventory_snapshot",
            Job::Prune => "prune",
        }
    }

    /// It writes rows dated the tenant's today, so it must not run while the roll to its day is still to come.
    pub fn needs_today(self) -> bool {
        matches!(self, Job::CustomerAnalytics | Job::InventorySnapshot)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No job has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no job is named {0:?}: it is one of day_roll, daily_sales, product_performance, customer_analytics, \
     inventory_snapshot, prune"
)]
pub struct UnknownJob(pub String);

impl FromStr for Job {
    type Err = UnknownJob;

    /// Accepts `day-roll` for `day_roll`.
    fn from_str(text: &str) -> Result<Job, UnknownJob> {
        let name = text.replace('-', "_");
        Job::ALL.into_iter().find(|job| job.name() == name).ok_or_else(|| UnknownJob(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_with_either_separator() {
        for job in Job::ALL {
            assert_eq!(job.name().parse(), Ok(job));
            assert_eq!(job.name().replace('_', "-").parse(), Ok(job));
        }
        assert_eq!("roll".parse::<Job>(), Err(UnknownJob("roll".to_string())));
    }
}
