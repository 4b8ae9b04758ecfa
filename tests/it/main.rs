//! The integration tests: everything against a real PostgreSQL server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod oracle;
mod settings;
mod verify_sql;
mod workload;
