//! A thread and a runtime for what the transport does with its sockets: the server must not wait while the engine folds.
//!
//! # A backlog, a rush
//! The server sends every change by itself, and on a Unix socket no more than some 280 of them before it waits for us to
//! read. Woken for each, we would take the processor from it; so while many come in, what arrives in a fraction of a
//! millisecond is read together.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// A fraction of the millisecond and a half in which the fastest server fills a Unix socket.
const TOGETHER: Duration = Duration::from_micros(400);

static RUSHED: AtomicBool = AtomicBool::new(false);

static READER: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("stream")
        .enable_all()
        .on_thread_park(|| {
            if RUSHED.load(Ordering::Relaxed) {
                std::thread::sleep(TOGETHER);
            }
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

/// Whether how soon it is read matters less than what reading takes.
pub(super) fn set_rushed(rushed: bool) {
    RUSHED.store(rushed, Ordering::Relaxed);
}
