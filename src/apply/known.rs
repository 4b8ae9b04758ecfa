//! Which rows of sums and reports are there for certain, because the writer wrote them and nobody else did since. A batch that
//! only adds to such rows is written by `write_whole` or the `grow_*` statements, which look for nothing else: half of what a small batch
//! costs the server is getting ready for what a statement might have to do. They refuse to add to a row that is not there.

use foldhash::{HashMap, HashSet};

use crate::domain::{BusinessDay, TenantId};
use crate::facts::working_set::Key;
use crate::reports::Calendar;
use crate::reports::deltas::{DailyDelta, ProductDelta};
use crate::reports::live::{CustomerDelta, Unsettled};

/// Nothing is learned from a statement with more rows than this: what it takes to get ready is nothing beside them.
const SMALL: usize = 1000;
/// Of each kind so many rows are remembered.
const ROWS: usize = 50_000;

#[derive(Debug, Default)]
pub struct Known {
    product_days: HashSet<(TenantId, i64, BusinessDay)>,
    /// With a day that the first day is not after.
    customers: HashMap<Key, BusinessDay>,
    days: HashSet<(TenantId, BusinessDay)>,
}

impl Known {
    /// Whether all these rows are there and stay when this is added. Takes note of those that are there afterwards.
    pub fn product_days(
        &mut self,
        rows: &[((TenantId, i64, BusinessDay), &ProductDelta)],
        calendar: &Calendar,
    ) -> bool {
        let known = rows.iter().all(|(key, delta)| delta.lines >= 0 && self.product_days.contains(key));
        if !known {
            make_room(rows.len(), self.product_days.len(), || self.product_days.clear());
            for (key @ (tenant, _, day), delta) in rows {
                if delta.lines < 0 {
                    self.product_days.remove(key);
                } else if delta.lines > 0 && rows.len() <= SMALL && is_kept(*tenant, *day, calendar) {
                    self.product_days.insert(*key);
                }
            }
        }
        known
    }

    /// The same of the customers' rows. Where it is so no first day moves.
    pub fn customers<'a>(&mut self, rows: impl ExactSizeIterator<Item = (&'a Key, &'a CustomerDelta)> + Clone) -> bool {
        let (count, grows) = (rows.len(), |delta: &CustomerDelta| delta.sales >= 0 && delta.unsettled == Unsettled::No);
        let known = rows.clone().all(|(key, delta)| {
            let known = self.customers.get(key);
            grows(delta) && known.is_some_and(|known| delta.first_day.is_none_or(|first| first >= *known))
        });
        if !known {
            make_room(count, self.customers.len(), || self.customers.clear());
            for (key, delta) in rows {
                match delta.first_day {
                    // The days of one that lost a sale are counted anew.
                    _ if delta.sales < 0 || delta.unsettled == Unsettled::Days => drop(self.customers.remove(key)),
                    Some(first) if delta.sales > 0 && count <= SMALL => {
                        let known = self.customers.entry(*key).or_insert(first);
                        *known = first.min(*known);
                    }
                    _ => {}
                }
            }
        }
        known
    }

    /// The same of the days' rows.
    pub fn days(&mut self, rows: &[((TenantId, BusinessDay), &DailyDelta)], calendar: &Calendar) -> bool {
        let counts = |delta: &DailyDelta| [delta.sales, delta.refunds, delta.opened, delta.closed];
        let loses = |delta: &DailyDelta| counts(delta).into_iter().any(|count| count < 0);
        let known = rows.iter().all(|(key, delta)| !loses(delta) && self.days.contains(key));
        if !known {
            make_room(rows.len(), self.days.len(), || self.days.clear());
            for (key @ (tenant, day), delta) in rows {
                if loses(delta) {
                    self.days.remove(key);
                } else if counts(delta).into_iter().any(|count| count > 0) && is_kept(*tenant, *day, calendar) {
                    self.days.insert(*key);
                }
            }
        }
        known
    }

    /// Somebody else may have written.
    pub fn clear(&mut self) {
        *self = Known::default();
    }
}

/// Before so many rows more.
fn make_room(more: usize, rows: usize, clear: impl FnOnce()) {
    if more > SMALL || rows + more > ROWS {
        clear();
    }
}

/// Days before the horizon have no rows in the reports.
fn is_kept(tenant: TenantId, day: BusinessDay, calendar: &Calendar) -> bool {
    calendar.get(&tenant).is_some_and(|days| day >= days.horizon)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reports::LocalDays;

    const T: TenantId = TenantId(1);

    fn day(n: u32) -> BusinessDay {
        BusinessDay::from_ymd_opt(2026, 3, n).unwrap()
    }

    fn calendar() -> Calendar {
        Calendar::from_iter([(T, LocalDays { horizon: day(5), today: day(20) })])
    }

    #[test]
    fn a_product_s_day_is_known_while_nothing_is_taken_from_it() {
        let mut known = Known::default();
        let mut lines = |n: u32, lines: i64| {
            known.product_days(&[((T, 7, day(n)), &ProductDelta { lines, ..ProductDelta::default() })], &calendar())
        };
        assert_eq!([lines(10, 1), lines(10, 1), lines(10, 0), lines(11, 1)], [false, true, true, false]);
        assert_eq!([lines(10, -1), lines(10, 1), lines(10, 1)], [false, false, true]);
        // Nothing is known by what may have left no line, or is before the horizon.
        assert_eq!([lines(12, 0), lines(12, 0), lines(4, 1), lines(4, 1)], [false; 4]);
    }

    #[test]
    fn all_rows_of_a_statement_have_to_be_known() {
        let mut known = Known::default();
        let delta = ProductDelta { lines: 1, ..ProductDelta::default() };
        let rows = |ids: &[i64]| ids.iter().map(|id| ((T, *id, day(10)), &delta)).collect::<Vec<_>>();
        assert!(!known.product_days(&rows(&[1, 2]), &calendar()));
        assert!(!known.product_days(&rows(&[1, 2, 3]), &calendar()));
        assert!(known.product_days(&rows(&[1, 2, 3]), &calendar()));
        known.clear();
        assert!(!known.product_days(&rows(&[1, 2, 3]), &calendar()));
        // A large statement teaches nothing, and leaves nothing that it could have made wrong.
        let many: Vec<i64> = (0..=1000).collect();
        assert!(!known.product_days(&rows(&many), &calendar()) && !known.product_days(&rows(&[1]), &calendar()));
    }

    #[test]
    fn a_customer_is_known_from_a_first_day_on() {
        let mut known = Known::default();
        let mut buys = |first: Option<u32>, sales, unsettled| {
            let delta = CustomerDelta { sales, first_day: first.map(day), unsettled, ..CustomerDelta::default() };
            known.customers([(&(T, 7), &delta)].into_iter())
        };
        use Unsettled::{Days, Delay, No};
        assert_eq!([buys(Some(10), 1, No), buys(Some(10), 1, No), buys(Some(12), 1, No)], [false, true, true]);
        // A day before the first one moves it; credit has to be settled; neither is forgotten for it.
        assert_eq!([buys(Some(9), 1, No), buys(Some(9), 1, No), buys(None, 0, No)], [false, true, true]);
        assert_eq!([buys(Some(9), 1, Delay), buys(Some(9), 1, No)], [false, true]);
        // A sale less, and the first day may be a later one.
        assert_eq!([buys(Some(11), 0, Days), buys(Some(11), 1, No), buys(Some(11), 1, No)], [false, false, true]);
        assert_eq!([buys(None, -1, Days), buys(None, 0, No)], [false, false]);
    }

    #[test]
    fn a_day_is_known_while_it_counts_something() {
        let mut known = Known::default();
        let mut counts = |n: u32, sales, opened| {
            known.days(&[((T, day(n)), &DailyDelta { sales, opened, ..DailyDelta::default() })], &calendar())
        };
        assert_eq!([counts(10, 1, 0), counts(10, 0, 0), counts(10, 2, 1)], [false, true, true]);
        assert_eq!([counts(10, 1, -1), counts(10, 1, 0), counts(10, 1, 0)], [false, false, true]);
        assert_eq!([counts(11, 0, 0), counts(11, 0, 0), counts(4, 1, 0), counts(4, 1, 0)], [false; 4]);
    }
}
