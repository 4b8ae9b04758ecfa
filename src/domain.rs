//! The vocabulary shared by every module: newtypes for ids, amounts and days.

use std::fmt;

/// A store's number in `<schema>_state.tenant`. Stable for the life of the store; report rows carry its name instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub i32);

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Exact decimal in the store's currency.
pub type Money = rust_decimal::Decimal;
/// Exact decimal in the product's unit; fractions are weighed goods, negatives are returns.
pub type Quantity = rust_decimal::Decimal;
/// A local calendar date of the tenant.
pub type BusinessDay = chrono::NaiveDate;
/// A point in time.
pub type Instant = chrono::DateTime<chrono::Utc>;
