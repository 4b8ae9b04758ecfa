//! Typed facts: what the reports need of the POS rows, and nothing else. Pure: no I/O, no clock.
//!
//! ```text
//! tuple ─ plan (relation x mapping) ─> change (typed row) ─ fold ─> entities before/after
//!         plan.rs, fields.rs           change.rs            fold.rs   entity.rs, working_set.rs
//! ```

pub mod change;
pub mod entity;
pub mod exact;
mod fields;
mod find;
pub mod fold;
pub mod form;
pub mod local;
pub mod plan;
mod prices;
pub mod vocabulary;
pub mod working_set;

pub use change::{Change, RowOp, TextKey};
pub use entity::{Header, Item, MovementBlock, Payment, PaymentKind, Sale, SaleStatus};
pub use form::{Form, Forms};
pub use plan::Plan;
pub use prices::Prices;
pub use vocabulary::Vocabulary;
pub use working_set::{Entry, WorkingSet};
