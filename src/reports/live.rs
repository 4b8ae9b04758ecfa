//! What a batch adds to the sums behind the live rows: those of a customer, with the window that ends today, and those of a
//! product, with its sales of 30 days.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Days;

use super::deltas::{Calendar, CreditNews, CustomerDayDelta, Deltas};
use crate::domain::{BusinessDay, Money, Quantity, TenantId};
use crate::facts::exact::{Inexact, add};

/// `sold` looks back this many days from today.
const SOLD_DAYS: u64 = 30;

type Key = (TenantId, i64);

/// The difference to one customer's sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomerDelta {
    pub sales: i64,
    pub spent: Money,
    pub credit: Money,
    pub payments: i64,
    pub paid: Money,
    /// First and last day that now has a sale for certain.
    pub first_day: Option<BusinessDay>,
    pub last_day: Option<BusinessDay>,
    pub window: CustomerDayDelta,
    pub unsettled: Unsettled,
    /// Where nothing else touched what is owed and paid: the first day with new credit.
    pub credit_from: Option<BusinessDay>,
}

/// What has to be looked up beside the sums, as `{state}.customer_total` has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsettled {
    #[default]
    No = 0,
    /// How late credit is paid: credit or payments were touched.
    Delay = 1,
    /// Also the days: one lost a sale, perhaps its last.
    Days = 2,
}

/// The difference to one product's sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InventoryDelta {
    pub on_hand: Quantity,
    pub reserved: Quantity,
    pub sold: Quantity,
    /// A price, a limit or the product itself changed: they have to be looked up.
    pub settle: bool,
}

/// By customer, in key order.
///
/// # Errors
/// The tenant whose figures cannot be held exactly.
pub fn customers(
    deltas: &Deltas,
    calendar: &Calendar,
    window_days: u64,
) -> Result<BTreeMap<Key, CustomerDelta>, (TenantId, Inexact)> {
    let mut customers: BTreeMap<Key, CustomerDelta> = BTreeMap::new();
    for (key, total) in &deltas.customer_total {
        let customer = customers.entry(*key).or_default();
        (customer.sales, customer.spent, customer.credit) = (total.sales, total.spent, total.credit);
        (customer.payments, customer.paid) = (total.payments, total.paid);
    }
    for ((tenant, id, day), delta) in &deltas.customer_day {
        let customer = customers.entry((*tenant, *id)).or_default();
        if delta.sales > 0 {
            customer.first_day = Some(customer.first_day.map_or(*day, |first| first.min(*day)));
            customer.last_day = Some(customer.last_day.map_or(*day, |last| last.max(*day)));
        }
        if delta.sales < 0 {
            customer.unsettled = Unsettled::Days;
        }
        if within(*day, calendar, *tenant, window_days) {
            let window = &mut customer.window;
            window.sales += delta.sales;
            window.credit_sales += delta.credit_sales;
            add(&mut window.spent, delta.spent).map_err(|e| (*tenant, e))?;
            add(&mut window.credit, delta.credit).map_err(|e| (*tenant, e))?;
        }
    }
    for (key, news) in &deltas.customers {
        let customer = customers.entry(*key).or_default();
        customer.unsettled = customer.unsettled.max(Unsettled::Delay);
        customer.credit_from = match news {
            CreditNews::Since(day) => Some(*day),
            CreditNews::Any => None,
        };
    }
    Ok(customers)
}

/// By product, in key order.
///
/// # Errors
/// The tenant whose figures cannot be held exactly.
pub fn inventory(deltas: &Deltas, calendar: &Calendar) -> Result<BTreeMap<Key, InventoryDelta>, (TenantId, Inexact)> {
    let mut products: BTreeMap<Key, InventoryDelta> = BTreeMap::new();
    for (key, stock) in &deltas.stock {
        let product = products.entry(*key).or_default();
        (product.on_hand, product.reserved) = (stock.on_hand, stock.reserved);
    }
    for ((tenant, id, day), delta) in &deltas.product_day {
        if within(*day, calendar, *tenant, SOLD_DAYS) {
            let product = products.entry((*tenant, *id)).or_default();
            add(&mut product.sold, delta.quantity).map_err(|e| (*tenant, e))?;
        }
    }
    for key in &deltas.products {
        products.entry(*key).or_default().settle = true;
    }
    Ok(products)
}

/// The days whose report row a batch touches: those of its sums, and those whose distinct counts may have changed.
pub fn days(deltas: &Deltas, calendar: &Calendar) -> BTreeSet<(TenantId, BusinessDay)> {
    let kept =
        |(tenant, day): &(TenantId, BusinessDay)| *day >= calendar.get(tenant).copied().unwrap_or_default().horizon;
    let counted = deltas.product_day.keys().chain(deltas.customer_day.keys()).map(|(tenant, _, day)| (*tenant, *day));
    deltas.daily.keys().copied().chain(counted).filter(kept).collect()
}

fn within(day: BusinessDay, calendar: &Calendar, tenant: TenantId, back: u64) -> bool {
    let today = calendar.get(&tenant).copied().unwrap_or_default().today;
    day <= today && today.checked_sub_days(Days::new(back)).is_none_or(|first| day >= first)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reports::LocalDays;
    use crate::reports::deltas::{CustomerTotalDelta, ProductDelta, StockDelta};

    const T: TenantId = TenantId(1);

    fn day(n: u32) -> BusinessDay {
        BusinessDay::from_ymd_opt(2026, 3, n).unwrap()
    }

    fn calendar(today: u32) -> Calendar {
        Calendar::from_iter([(T, LocalDays { horizon: day(1), today: day(today) })])
    }

    fn sold(sales: i64, spent: i64) -> CustomerDayDelta {
        CustomerDayDelta { sales, spent: spent.into(), ..CustomerDayDelta::default() }
    }

    #[test]
    fn the_window_has_both_its_ends_and_nothing_beyond() {
        let mut deltas = Deltas::default();
        for (n, spent) in [(9, 1), (10, 10), (20, 100), (21, 1000)] {
            deltas.customer_day.insert((T, 7, day(n)), sold(1, spent));
        }
        deltas.customer_total.insert((T, 7), CustomerTotalDelta { sales: 4, ..CustomerTotalDelta::default() });
        let found = customers(&deltas, &calendar(20), 10).unwrap();
        let customer = found.get(&(T, 7)).unwrap();
        assert_eq!(customer.window, sold(2, 110));
        assert_eq!((customer.first_day, customer.last_day), (Some(day(9)), Some(day(21))));
        assert_eq!((customer.sales, customer.unsettled), (4, Unsettled::No));
    }

    #[test]
    fn a_lost_sale_and_touched_credit_need_more_than_sums() {
        let mut deltas = Deltas::default();
        deltas.customer_day.insert((T, 7, day(2)), sold(-1, -5));
        deltas.customer_day.insert((T, 8, day(2)), sold(0, -5));
        deltas.customers.insert((T, 9), CreditNews::Any);
        deltas.customers.insert((T, 10), CreditNews::Since(day(3)));
        let found = customers(&deltas, &calendar(20), 90).unwrap();
        let flags: Vec<_> = found.iter().map(|((_, id), c)| (*id, c.unsettled, c.credit_from)).collect();
        use Unsettled::{Days, Delay, No};
        assert_eq!(flags, [(7, Days, None), (8, No, None), (9, Delay, None), (10, Delay, Some(day(3)))]);
        assert_eq!(found.get(&(T, 7)).unwrap().first_day, None);
    }

    #[test]
    fn products_sum_up_stock_and_thirty_days_of_sales() {
        let mut deltas = Deltas::default();
        deltas.stock.insert((T, 7), StockDelta { on_hand: (-2).into(), reserved: 1.into() });
        for (n, quantity) in [(1, 1), (31, 10)] {
            deltas
                .product_day
                .insert((T, 7, day(n)), ProductDelta { quantity: quantity.into(), ..ProductDelta::default() });
        }
        deltas.products.insert((T, 8));
        let both = inventory(&deltas, &calendar(31)).unwrap();
        let expected = InventoryDelta { on_hand: (-2).into(), reserved: 1.into(), sold: 11.into(), settle: false };
        assert_eq!(both.get(&(T, 7)), Some(&expected));
        assert!(both.get(&(T, 8)).unwrap().settle);
        let later = Calendar::from_iter([(
            T,
            LocalDays { horizon: day(1), today: BusinessDay::from_ymd_opt(2026, 4, 1).unwrap() },
        )]);
        assert_eq!(inventory(&deltas, &later).unwrap().get(&(T, 7)).unwrap().sold, 10.into());
        assert_eq!(days(&deltas, &later).len(), 2);
    }
}
