//! Nothing but use of a processor: what any work beside the POS would cost it on this machine.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// As often as there is a sale at the pace of 300 a second.
const PERIOD: Duration = Duration::from_micros(3333);

/// A thread that counts to nothing, until it is dropped.
pub struct Spin {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Spin {
    /// Busy for this share of one processor, 0 to 1, in one piece each [`PERIOD`]; for so long at most.
    pub fn start(share: f64, limit: Duration) -> Spin {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let busy = PERIOD.mul_f64(share.clamp(0.0, 1.0));
        let started = Instant::now();
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) && started.elapsed() < limit {
                let begun = Instant::now();
                while begun.elapsed() < busy {
                    hint::spin_loop();
                }
                thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
            }
        });
        Spin { over, thread: Some(thread) }
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
