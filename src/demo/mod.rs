//! What `tillstream demo` and the integration tests are made of: a throwaway PostgreSQL, the POS tables, and what
//! writes them: a simulated shop, or a log of real sales.
//!
//! Nothing here is used by `run`, and nothing here writes reports: a demo goes the whole way through the daemon.

mod bulk;
pub mod daemon;
mod local;
pub mod meter;
pub mod pos;
pub mod postgres;
pub mod replay;
pub mod scene;
pub mod shop;
pub mod show;
pub mod store;
pub mod view;
