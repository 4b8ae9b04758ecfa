//! The daemon's engine inside the test, with a clock that the test sets.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tillstream::config::Config;
use tillstream::engine::{self, Clock, EngineError, Mode, Progress};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::wait_until;

/// The time of day as the test says.
#[derive(Clone, Default)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    pub fn set(&self, now: DateTime<Utc>) {
        self.0.store(now.timestamp_millis(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let hands = Arc::clone(&self.0);
        Clock::new(move || DateTime::from_timestamp_millis(hands.load(Ordering::SeqCst)).expect("a time"))
    }
}

pub struct Engine {
    pub progress: Progress,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), EngineError>>,
}

impl Engine {
    pub fn start(config: &Path, hands: &Hands, mode: Mode) -> Engine {
        let config = Arc::new(Config::load(config).expect("a configuration"));
        let (stop, stopped) = watch::channel(false);
        let progress = Progress::default();
        let task = tokio::spawn(engine::run(config, mode, hands.clock(), progress.clone(), stopped));
        Engine { progress, stop, task }
    }

    /// Until the stream is followed.
    pub async fn live(self) -> Engine {
        wait_until("the engine is live", Duration::from_secs(30), async || {
            assert!(!self.task.is_finished(), "the engine has ended");
            self.progress.is_live()
        })
        .await;
        self
    }

    pub async fn ended(self) {
        self.task.await.expect("no panic").expect("it ends well");
    }

    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.ended().await;
    }

    /// As it stands, in the middle of whatever it does.
    pub async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()), "it ran until then");
    }
}
