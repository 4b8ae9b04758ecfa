//! All integration tests, in one binary: they share one PostgreSQL server, with a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compat;
mod demo;
mod grafana;
mod harness;
mod live;
mod oracle;
mod outages;
mod proxy;
mod readers;
mod replay;
mod report_views;
mod reports_db;
mod server;
mod service;
mod setup;
mod shop;
mod slots;
mod stream;
mod tls;
mod traders;
mod verify_sql;
mod view;
mod workload;
