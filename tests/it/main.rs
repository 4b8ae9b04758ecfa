//! All integration tests, in one binary: they share one PostgreSQL server, with a database per test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compat;
mod demo;
mod expected;
mod grafana;
mod harness;
mod jobs;
mod live;
mod oracle;
mod outages;
mod proxy;
mod reader_commands;
mod readers;
mod replay;
mod report_views;
mod reports_db;
mod schedule;
mod secrecy;
mod server;
mod service;
mod setup;
mod shop;
mod slots;
mod status;
mod stream;
mod tls;
mod traders;
mod upgrade;
mod verify_sql;
mod view;
mod views_oracle;
mod waiting;
mod workload;
