//! When a cron expression is due in a time zone: the wall clock's occurrences, each mapped to one instant.
//!
//! Cron speaks of the wall clock, which is not a function of time: where the clocks go forward some of its readings never
//! come, where they go back some come twice. Every reading is due exactly once all the same: a skipped one right after
//! the gap, a repeated one the first time. So due instants rise with the readings, and several readings in one gap are
//! one due instant.

use chrono::{MappedLocalTime, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::domain::Instant;

/// The expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("not a cron expression of five fields (minute hour day month weekday), {expression:?}: {reason}")]
    Invalid { expression: String, reason: String },
    #[error("the cron expression {0:?} is never due")]
    Never(String),
}

/// The due instants of one expression in one time zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: Tz,
}

impl Timetable {
    /// # Errors
    /// An expression that is not five fields of cron, or that no date ever matches (30 February).
    pub fn new(expression: &str, zone: Tz) -> Result<Timetable, CronError> {
        let invalid = |reason: String| CronError::Invalid { expression: expression.to_string(), reason };
        let fields = expression.split_whitespace().count();
        if fields != 5 {
            return Err(invalid(format!("it has {fields}")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| invalid(error.to_string()))?;
        // Any 29 February on any weekday comes within 40 years of here.
        let start = Instant::UNIX_EPOCH.naive_utc();
        match cron.find_next_occurrence(&start, true) {
            Ok(_) => Ok(Timetable { cron, zone }),
            Err(_) => Err(CronError::Never(expression.to_string())),
        }
    }

    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The last due instant at or before `now`. `None`: there was none since the calendar began.
    pub fn latest(&self, now: Instant) -> Option<Instant> {
        let local = now.with_timezone(&self.zone).naive_local();
        let mut wall = match self.zone.from_local_datetime(&local) {
            // The second time round: whatever the repeated readings had due came the first time.
            MappedLocalTime::Ambiguous(first, second) if now >= second => {
                local.checked_add_signed(second.signed_duration_since(first))?
            }
            _ => local,
        };
        loop {
            wall = self.cron.find_previous_occurrence(&wall, true).ok()?;
            match self.due_at(wall) {
                Some(due) if due <= now => return Some(due),
                _ => wall = wall.checked_sub_signed(TimeDelta::seconds(1))?,
            }
        }
    }

    /// The first due instant after `after`. `None`: there is none before the calendar ends.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        let mut wall = after.with_timezone(&self.zone).naive_local();
        loop {
            wall = self.cron.find_next_occurrence(&wall, false).ok()?;
            // Not after it: read for the second time, or skipped in a gap that ends at `after`.
            if let Some(due) = self.due_at(wall).filter(|due| *due > after) {
                return Some(due);
            }
        }
    }

    /// The instant at which a reading of the wall clock is due.
    fn due_at(&self, wall: NaiveDateTime) -> Option<Instant> {
        let due = match self.zone.from_local_datetime(&wall) {
            MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => at,
            MappedLocalTime::None => GapInfo::new(&wall, &self.zone)?.end?,
        };
        Some(due.to_utc())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn table(expression: &str, zone: Tz) -> Timetable {
        Timetable::new(expression, zone).unwrap()
    }

    #[test]
    fn a_skipped_reading_is_due_right_after_the_gap() {
        for (zone, cron, before, due) in [
            (Tz::Europe__Berlin, "0 2 * * 0", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"),
            (Tz::America__New_York, "30 2 * * *", "2026-03-08T06:59:59Z", "2026-03-08T07:00:00Z"),
            (Tz::Australia__Lord_Howe, "15 2 * * *", "2026-10-03T15:29:59Z", "2026-10-03T15:30:00Z"),
            // Midnight itself is skipped: the day begins at 01:00.
            (Tz::America__Santiago, "0 0 * * *", "2026-09-06T03:59:59Z", "2026-09-06T04:00:00Z"),
            // A whole day is skipped: 30 December 2011.
            (Tz::Pacific__Apia, "30 12 * * *", "2011-12-30T09:59:59Z", "2011-12-30T10:00:00Z"),
        ] {
            let table = table(cron, zone);
            assert_eq!(table.next_after(at(before)), Some(at(due)), "{zone}");
            assert!(table.latest(at(before)) < Some(at(due)), "{zone}");
            assert_eq!(table.latest(at(due)), Some(at(due)), "{zone}");
            assert!(table.next_after(at(due)) > Some(at(due)), "{zone}");
        }
    }

    #[test]
    fn a_repeated_reading_is_due_the_first_time_only() {
        for (zone, cron, first, second) in [
            (Tz::Europe__Berlin, "30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            (Tz::America__New_York, "0 1 * * *", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"),
            (Tz::Australia__Lord_Howe, "45 1 * * *", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"),
        ] {
            let table = table(cron, zone);
            assert_eq!(table.latest(at(first)), Some(at(first)), "{zone}");
            assert_eq!(table.latest(at(second)), Some(at(first)), "{zone}");
            let just_before = at(second) - TimeDelta::seconds(1);
            assert_eq!(table.latest(just_before), Some(at(first)), "{zone}");
            assert!(table.next_after(just_before) > Some(at(second)), "{zone}");
        }
    }

    #[test]
    fn fractions_of_a_second_are_after_the_second() {
        let table = table("0 * * * *", Tz::UTC);
        assert_eq!(table.latest(at("2026-05-01T10:00:00.001Z")), Some(at("2026-05-01T10:00:00Z")));
        assert_eq!(table.latest(at("2026-05-01T09:59:59.999Z")), Some(at("2026-05-01T09:00:00Z")));
        assert_eq!(table.next_after(at("2026-05-01T09:59:59.999Z")), Some(at("2026-05-01T10:00:00Z")));
    }

    #[test]
    fn an_expression_that_cannot_be_used_is_refused() {
        for bad in [
            "",
            "* * * *",
            "0 0 * * * *",
            "0 0 * * * * *",
            "60 * * * *",
            "0 24 * * *",
            "x * * * *",
            "@daily",
            "0 0 * 13 *",
        ] {
            assert!(matches!(Timetable::new(bad, Tz::UTC), Err(CronError::Invalid { .. })), "{bad:?}");
        }
        assert_eq!(Timetable::new("0 0 30 2 *", Tz::UTC).err(), Some(CronError::Never("0 0 30 2 *".to_string())));
        assert!(Timetable::new("0 0 29 2 *", Tz::UTC).is_ok());
    }
}
