//! The only writer of the target database.

pub mod migrate;
