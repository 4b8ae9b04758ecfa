//! Wall-clock times of a store.

use chrono::{LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::domain::Instant;

/// The instant at which the store's clocks showed this. Of two, when they are set back, the first; of none, when they
/// are set forward, the one an hour later.
pub fn instant(local: NaiveDateTime, zone: Tz) -> Instant {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time.with_timezone(&Utc),
        LocalResult::None => match zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest() {
            Some(time) => time.with_timezone(&Utc),
            // A day that a zone skipped altogether.
            None => local.and_utc(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_days_on_which_clocks_are_set() {
        for (local, utc) in [
            ("2011-01-05 12:00:00", "2011-01-05T12:00:00Z"),
            ("2011-07-05 12:00:00", "2011-07-05T11:00:00Z"),
            ("2011-03-27 01:30:00", "2011-03-27T01:30:00Z"),
            ("2011-10-30 01:30:00", "2011-10-30T00:30:00Z"),
        ] {
            let parsed = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M:%S").ok();
            assert_eq!(parsed.map(|l| instant(l, Tz::Europe__London)), utc.parse().ok(), "{local}");
        }
    }
}
