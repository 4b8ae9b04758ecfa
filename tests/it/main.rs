//! All integration tests, in one binary: they share one PostgreSQL server, with a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod demo;
mod harness;
mod large;
mod live;
mod oracle;
mod replay;
mod schema_changes;
mod server;
mod settings;
mod setup;
mod shop;
mod stores;
mod verify_sql;
mod view;
mod workload;
