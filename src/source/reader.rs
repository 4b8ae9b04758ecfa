//! A thread and a runtime for what the transport does with its sockets: the server must not wait while the engine folds.
//!
//! # A backlog, a rush
//! The server sends every change by itself, and on a Unix socket no more than some 280 of them before it waits for us to
//! read. Woken for each, we would take the processor from it; so while many come in, what arrives within a
//! moment is read together: how long that is the assembler says.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

static PAUSE_MICROS: AtomicU64 = AtomicU64::new(0);

static READER: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stream")
        .enable_all()
        .on_thread_park(|| match PAUSE_MICROS.load(Ordering::Relaxed) {
            0 => {}
            micros => std::thread::sleep(Duration::from_micros(micros)),
        })
        .build()
});

/// Where the transport's tasks run.
///
/// # Errors
/// The thread could not be started.
pub(super) fn reader() -> io::Result<&'static Handle> {
    match &*READER {
        Ok(runtime) => Ok(runtime.handle()),
        Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
    }
}

/// How long to leave what arrives, to be read with what comes after it.
pub(super) fn set_pause(pause: Duration) {
    PAUSE_MICROS.store(u64::try_from(pause.as_micros()).unwrap_or_default(), Ordering::Relaxed);
}
