//! What each fact contributes to the reports, as an additive difference. Pure: no I/O, no clock.
//!
//! A batch's effect is `contributions(after) - contributions(before)` over the entities it touched, summed by key
//! ([`Deltas`]). What is not additive (distinct counts, first days, sliding windows) follows in SQL from the sums.

pub mod customer_analytics;
pub mod daily_sales;
pub mod deltas;
pub mod inventory;
pub mod product_performance;

pub use deltas::{Deltas, Horizons};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod pure_tests;
