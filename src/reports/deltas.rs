//! Sums of differences by report key.

use foldhash::{HashMap, HashSet};

use super::{customer_analytics, daily_sales, inventory, product_performance};
use crate::domain::{BusinessDay, Money, Quantity, TenantId};
use crate::facts::WorkingSet;
use crate::facts::entity::Sale;
use crate::facts::exact::{Inexact, add, multiply};

/// Where a tenant stands among its local days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalDays {
    /// The first kept date: nothing is dated before it.
    pub horizon: BusinessDay,
    /// The day that its live rows carry.
    pub today: BusinessDay,
}

impl Default for LocalDays {
    fn default() -> LocalDays {
        LocalDays { horizon: BusinessDay::MIN, today: BusinessDay::MIN }
    }
}

pub type Calendar = HashMap<TenantId, LocalDays>;

/// Whether a contribution is put in or taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

impl Side {
    pub fn count(self) -> i64 {
        match self {
            Side::Before => -1,
            Side::After => 1,
        }
    }

    pub fn amount(self, amount: Money) -> Money {
        match self {
            Side::Before => -amount,
            Side::After => amount,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DailyDelta {
    pub sales: i64,
    pub total: Money,
    pub discount: Money,
    pub tax: Money,
    pub cash: Money,
    pub card: Money,
    pub credit: Money,
    pub other: Money,
    pub quantity: Quantity,
    pub refunds: i64,
    pub refund_total: Money,
    pub opened: i64,
    pub closed: i64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProductDelta {
    pub lines: i64,
    pub sales: i64,
    pub quantity: Quantity,
    pub revenue: Money,
    pub price_sum: Money,
    pub cost: Money,
}

/// What is new of a customer's credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreditNews {
    /// Only sales on credit, of this day or later, that count now and did not before.
    Since(BusinessDay),
    /// Something else or besides.
    Any,
}

impl CreditNews {
    pub fn and(self, other: CreditNews) -> CreditNews {
        match (self, other) {
            (CreditNews::Since(one), CreditNews::Since(another)) => CreditNews::Since(one.min(another)),
            _ => CreditNews::Any,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomerDayDelta {
    pub sales: i64,
    pub spent: Money,
    pub credit_sales: i64,
    pub credit: Money,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomerTotalDelta {
    pub sales: i64,
    pub spent: Money,
    pub credit: Money,
    pub payments: i64,
    pub paid: Money,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct StockDelta {
    pub on_hand: Quantity,
    pub reserved: Quantity,
}

/// The effect of a batch on the sums.
#[derive(Debug, Default, PartialEq)]
pub struct Deltas {
    pub daily: HashMap<(TenantId, BusinessDay), DailyDelta>,
    pub product_day: HashMap<(TenantId, i64, BusinessDay), ProductDelta>,
    pub customer_day: HashMap<(TenantId, i64, BusinessDay), CustomerDayDelta>,
    pub customer_total: HashMap<(TenantId, i64), CustomerTotalDelta>,
    pub stock: HashMap<(TenantId, i64), StockDelta>,
    /// Customers whose credit or payments were touched, and products with a price, a limit or an attribute that was, though
    /// none of their sums may have moved.
    pub customers: HashMap<(TenantId, i64), CreditNews>,
    pub products: HashSet<(TenantId, i64)>,
}

impl Deltas {
    /// The differences that a folded working set makes.
    ///
    /// # Errors
    /// The tenant whose figures cannot be held exactly.
    pub fn of(set: &WorkingSet, calendar: &Calendar) -> Result<Deltas, (TenantId, Inexact)> {
        let mut deltas = Deltas::default();
        deltas.take_in(set, calendar)?;
        deltas.consolidate();
        Ok(deltas)
    }

    /// Adds the differences of the next working set.
    ///
    /// # Errors
    /// The tenant whose figures cannot be held exactly.
    pub fn take_in(&mut self, set: &WorkingSet, calendar: &Calendar) -> Result<(), (TenantId, Inexact)> {
        for ((tenant, _), entry) in set.sales.iter().filter(|(_, entry)| entry.changed()) {
            let horizon = calendar.get(tenant).copied().unwrap_or_default().horizon;
            for (side, sale) in [(Side::Before, &entry.before), (Side::After, &entry.after)] {
                if let Some(sale) = sale {
                    self.sale(*tenant, horizon, side, sale).map_err(|e| (*tenant, e))?;
                }
            }
        }
        inventory::stock(self, set)?;
        customer_analytics::payments(self, set)?;
        daily_sales::sessions(self, set, calendar);
        Ok(())
    }

    /// Adds a sale that was not there before.
    ///
    /// # Errors
    /// Figures that cannot be held exactly.
    pub fn add(&mut self, tenant: TenantId, horizon: BusinessDay, sale: &Sale) -> Result<(), Inexact> {
        self.sale(tenant, horizon, Side::After, sale)
    }

    /// Keys with a difference.
    pub fn len(&self) -> usize {
        let sums = self.daily.len() + self.product_day.len() + self.customer_day.len() + self.customer_total.len();
        sums + self.stock.len() + self.customers.len() + self.products.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sale(&mut self, tenant: TenantId, horizon: BusinessDay, side: Side, sale: &Sale) -> Result<(), Inexact> {
        daily_sales::sale(self, tenant, horizon, side, sale)?;
        product_performance::sale(self, tenant, horizon, side, sale)?;
        customer_analytics::sale(self, tenant, side, sale)
    }

    /// Drops what came to nothing.
    pub fn consolidate(&mut self) {
        self.daily.retain(|_, delta| *delta != DailyDelta::default());
        self.product_day.retain(|_, delta| *delta != ProductDelta::default());
        self.customer_day.retain(|_, delta| *delta != CustomerDayDelta::default());
        self.customer_total.retain(|_, delta| *delta != CustomerTotalDelta::default());
        self.stock.retain(|_, delta| *delta != StockDelta::default());
    }
}

/// Σ quantity × unit cost of one line; an item that was never counted has no cost yet.
pub(super) fn line_cost(quantity: Quantity, cost: Option<Money>) -> Result<Money, Inexact> {
    cost.map_or(Ok(Money::ZERO), |cost| multiply(quantity, cost))
}

/// Adds a signed amount to a sum.
pub(super) fn put(sum: &mut Money, side: Side, amount: Money) -> Result<(), Inexact> {
    add(sum, side.amount(amount))
}
