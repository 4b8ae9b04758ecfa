//! What each fact contributes to the reports, as an additive difference. Pure: no I/O, no clock.
//!
//! A batch's effect is `contributions(after) - contributions(before)` over the entities it touched, summed by key
//! ([`Deltas`]). Sliding windows are additive while today stays ([`live`]); what is not (distinct counts, days that may have
//! lost their last sale, the order in which credit is paid) follows in SQL from the sums.

pub mod customer_analytics;
pub mod daily_sales;
pub mod deltas;
pub mod inventory;
pub mod live;
pub mod product_performance;

pub use deltas::{Calendar, Deltas, LocalDays};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod pure_tests;
