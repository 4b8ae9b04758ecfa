//! How fast changes arrive, and how long a batch is gathered for it.
//!
//! A batch costs the server some milliseconds of processor time, whatever is in it. Written one after the other without a
//! pause, batches of a busy shop would take as much of the server as the shop leaves, and slow its sales. So the faster
//! changes arrive, the longer they are gathered.

use std::time::{Duration, Instant as Moment};

/// Up to so many changes a second (some 400 sales) what has arrived is written at once.
const AT_ONCE: f64 = 4_000.;
/// From so many on (some 1,200 sales) a batch is gathered as long as it may be.
const LONGEST: f64 = 12_000.;
/// They are counted over this long.
const WINDOW: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Pace {
    since: Moment,
    count: usize,
    per_second: f64,
}

impl Pace {
    pub fn new(now: Moment) -> Pace {
        Pace { since: now, count: 0, per_second: 0. }
    }

    /// So many changes of one transaction have arrived.
    pub fn arrived(&mut self, changes: usize, now: Moment) {
        let window = now.saturating_duration_since(self.since);
        if window >= WINDOW {
            #[allow(clippy::cast_precision_loss)] // a count of some milliseconds
            let count = self.count as f64;
            (self.per_second, self.since, self.count) = (count / window.as_secs_f64(), now, 0);
        }
        self.count += changes;
    }

    /// How long a batch is gathered where it may be `longest`. `None`: it is written at once.
    pub fn gather(&self, longest: Duration) -> Option<Duration> {
        let share = (self.per_second - AT_ONCE) / (LONGEST - AT_ONCE);
        (share > 0.).then(|| longest.mul_f64(share.min(1.)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_changes_arrive_the_longer_they_are_gathered() {
        let longest = Duration::from_millis(50);
        let gathered = |sales_a_second: u32| {
            let start = Moment::now();
            let mut pace = Pace::new(start);
            for sale in 0..sales_a_second {
                pace.arrived(10, start + Duration::from_secs(1) / sales_a_second * sale);
            }
            (pace.gather(longest).map(|gather| gather.as_millis()), pace, start)
        };
        assert_eq!([gathered(1).0, gathered(50).0, gathered(390).0], [None; 3]);
        assert_eq!(gathered(800).0, Some(25));
        let (all, mut pace, start) = gathered(5_000);
        assert_eq!(all, Some(50));
        // After a pause the rush is over.
        pace.arrived(10, start + Duration::from_secs(5));
        assert_eq!(pace.gather(longest), None);
    }
}
