//! Local times as points in time, the way PostgreSQL's `AT TIME ZONE` takes them.

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::domain::Instant;

/// A time that the clock shows twice is the later one; one that it leaves out is counted from the offset before the gap.
/// `None`: beyond what can be held.
pub fn instant(zone: Tz, local: NaiveDateTime) -> Option<Instant> {
    if let Some(at) = zone.from_local_datetime(&local).latest() {
        return Some(at.to_utc());
    }
    // No offset is as long as a day, so the day before lies before the gap in any case.
    let before = zone.offset_from_utc_datetime(&local.checked_sub_days(Days::new(1))?).fix();
    local.checked_sub_offset(before).map(|utc| utc.and_utc())
}

/// The beginning of a day.
pub fn midnight(zone: Tz, day: NaiveDate) -> Option<Instant> {
    instant(zone, day.and_time(NaiveTime::MIN))
}
