//! All integration tests, in one binary: they share one PostgreSQL server, with a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;
mod server;
