//! Typed facts: what the reports need of the POS rows, and nothing else. Pure: no I/O, no clock.
//!
//! ```text
//! tuple ─ plan (relation x mapping) ─> change (typed row) ─ fold ─> entities before/after
//!         plan.rs                      change.rs            fold.rs   entity.rs, working_set.rs
//! ```

pub mod change;
pub mod entity;
pub mod exact;
pub mod fold;
pub mod plan;
pub mod working_set;

pub use change::{Change, RowOp};
pub use entity::{Header, Item, MovementBlock, Payment, PaymentKind, Sale, SaleStatus};
pub use plan::{Plan, Vocabulary};
pub use working_set::{Entry, WorkingSet};
