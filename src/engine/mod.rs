//! The loop.
pub mod assembler;
pub mod stores;
