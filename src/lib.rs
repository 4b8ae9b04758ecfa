//! tillstream: live, exactly-once reports beside a PostgreSQL point-of-sale database.
//!
//! The way of a change:
//! ```text
//! slot ─ stream ─> pgoutput decode ─> transaction ─> typed facts ─> deltas ─> one write: facts + reports + position ─> confirm
//! source/          pgoutput/          source/        facts/         reports/  apply/                               source/
//! ```
//! Invariants, stated as absences:
//! - `pgoutput`, `facts` and `reports` are pure: no tokio, no database client, no clock.
//! - Nothing but `source` touches the replication connection; nothing but `apply` writes to the target.
//! - No position is confirmed to the slot before the target transaction that stores it is durable.

pub mod apply;
pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod facts;
pub mod lsn;
pub mod ops;
pub mod pgoutput;
pub mod reports;
pub mod schedule;
pub mod source;
pub mod sql;
pub mod told;
pub mod verify;
pub mod version;
