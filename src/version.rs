//! What is running.

/// As in Cargo.toml.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// Abbreviated commit; "unknown" where it was built without git.
pub const COMMIT: &str = env!("TILLSTREAM_COMMIT");
/// Both, as `--version` shows them.
pub const FULL: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TILLSTREAM_COMMIT"), ")");
