//! How far the reports are behind the source, from where its WAL ended when we asked. Pure.
//!
//! The source is asked every few seconds. As long as everything before its answer is in the reports (or holds nothing
//! for them) there is no lag; else the lag is the age of the oldest answer that is not reached. So it is right on an idle
//! source, which has no commits to measure by, and grows while one large transaction is being received.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::lsn::Lsn;

/// Answers remembered. With more than these not reached, the oldest still tell the lag.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
pub struct Lag {
    /// Ends of the source's WAL that are not reached yet, with when they were asked for, oldest first.
    ahead: VecDeque<(Lsn, Instant)>,
    /// The furthest end known.
    end: Lsn,
}

impl Lag {
    /// The source's WAL ended at `end` when it was asked at `at`.
    pub fn probed(&mut self, end: Lsn, at: Instant) {
        if end <= self.end {
            return;
        }
        self.end = end;
        if self.ahead.len() < REMEMBERED {
            self.ahead.push_back((end, at));
        }
    }

    /// Bytes and time from what the reports hold, everything before `covered`, to the source. `None` before the first
    /// answer.
    pub fn behind(&mut self, covered: Lsn, now: Instant) -> Option<(u64, Duration)> {
        if self.end == Lsn::ZERO {
            return None;
        }
        while self.ahead.front().is_some_and(|(end, _)| *end <= covered) {
            self.ahead.pop_front();
        }
        let age = self.ahead.front().map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at));
        Some((self.end.bytes_since(covered), age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_idle_source_is_not_behind() {
        let (mut lag, now) = (Lag::default(), Instant::now());
        assert_eq!(lag.behind(Lsn(5), now), None);
        lag.probed(Lsn(5), now);
        assert_eq!(lag.behind(Lsn(5), now + SECOND * 1000), Some((0, Duration::ZERO)));
        lag.probed(Lsn(5), now + SECOND * 1000);
        assert_eq!(lag.behind(Lsn(5), now + SECOND * 2000), Some((0, Duration::ZERO)));
    }

    #[test]
    fn the_oldest_end_not_reached_tells_the_time() {
        let (mut lag, now) = (Lag::default(), Instant::now());
        for n in 1..=10 {
            lag.probed(Lsn(u64::from(n) * 100), now + SECOND * n);
        }
        let at = now + SECOND * 10;
        assert_eq!(lag.behind(Lsn(0), at), Some((1000, SECOND * 9)));
        assert_eq!(lag.behind(Lsn(450), at), Some((550, SECOND * 5)));
        assert_eq!(lag.behind(Lsn(999), at), Some((1, Duration::ZERO)));
        assert_eq!(lag.behind(Lsn(1200), at), Some((0, Duration::ZERO)));
    }

    #[test]
    fn a_night_of_answers_is_bounded_and_still_true() {
        let (mut lag, now) = (Lag::default(), Instant::now());
        for n in 1..=100_000_u32 {
            lag.probed(Lsn(u64::from(n)), now + SECOND * n);
        }
        assert!(lag.ahead.len() <= REMEMBERED);
        assert_eq!(lag.behind(Lsn(0), now + SECOND * 100_000), Some((100_000, SECOND * 99_999)));
    }
}
