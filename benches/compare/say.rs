//! Progress on stderr.

use std::sync::OnceLock;
use std::time::Instant;

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// One line with the time since the start.
pub fn say(text: impl std::fmt::Display) {
    let seconds = BEGUN.get_or_init(Instant::now).elapsed().as_secs();
    eprintln!("[{:3}:{:02}] {text}", seconds / 60, seconds % 60);
}
