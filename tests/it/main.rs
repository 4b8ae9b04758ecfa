//! All integration tests, in one binary: they share one PostgreSQL server, with a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compat;
mod demo;
mod expected;
mod grafana;
mod harness;
mod live;
mod oracle;
mod reader_commands;
mod readers;
mod replay;
mod report_views;
mod reports_db;
mod server;
mod setup;
mod shop;
mod stream;
mod verify_sql;
mod view;
mod views_oracle;
mod waiting;
mod workload;
