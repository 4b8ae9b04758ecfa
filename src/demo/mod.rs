//! What `tillstream demo` and the integration tests are made of: a throwaway PostgreSQL, the POS tables, a simulated
//! shop that writes them.
//!
//! Nothing here is used by `run`, and nothing here writes reports: a demo goes the whole way through the daemon.

pub mod pos;
pub mod postgres;
