//! What is to be copied, and the copy in hand: one store at a time, in the background, while the session follows the stream
//! for the others. How a copy is made and becomes exact: copying.rs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::copying::{self, Copied, CopyFault, Order, Stage};
use super::error::EngineError;
use crate::config::Config;
use crate::lsn::Lsn;

/// The first and the longest pause before a copy that failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The copy in hand.
pub struct Current {
    pub store: String,
    pub started: Moment,
    /// As far as it was told.
    pub rows: u64,
    /// The pause before this attempt.
    pause: Duration,
    stage: watch::Receiver<Stage>,
    /// The same once more, to be woken by.
    wake: watch::Receiver<Stage>,
    end_told: bool,
    meet: Option<oneshot::Sender<Lsn>>,
    task: JoinHandle<Result<Copied, CopyFault>>,
}

impl Drop for Current {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Current {
    /// The stage, where it is another than last time.
    pub fn news(&mut self) -> Option<Stage> {
        let stage = self.stage.has_changed().unwrap_or(false).then(|| *self.stage.borrow_and_update());
        if let Some(Stage::Copying { rows, .. }) = stage {
            self.rows = rows;
        }
        stage
    }

    /// It has caught up, and waits to hear where to meet.
    pub fn is_near(&self) -> bool {
        self.meet.is_some() && *self.stage.borrow() == Stage::Near
    }

    /// Tells it that the session stops at `at`, or wherever beyond it the copy stands.
    pub fn meet(&mut self, at: Lsn) {
        if let Some(meet) = self.meet.take() {
            // Where nobody listens the task's own end tells why.
            let _ = meet.send(at);
        }
    }

    /// The session is to take nothing beyond where they meet until the copy is part of the reports.
    pub fn is_meeting(&self) -> bool {
        self.meet.is_none()
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The outcome, with the pause before it.
    pub async fn outcome(mut self) -> (Result<Copied, CopyFault>, Duration) {
        let outcome = match (&mut self.task).await {
            Ok(result) => result,
            Err(e) => Err(CopyFault::Failed(EngineError::Definite(format!("a defect in a copy: {e}")))),
        };
        (outcome, self.pause)
    }
}

struct Waiting {
    not_before: Moment,
    pause: Duration,
}

pub struct Copier {
    config: Arc<Config>,
    clock: Clock,
    waiting: BTreeMap<String, Waiting>,
    pub current: Option<Current>,
}

impl Copier {
    pub fn new(config: Arc<Config>, clock: Clock) -> Copier {
        Copier { config, clock, waiting: BTreeMap::new(), current: None }
    }

    /// It is to be copied; where that is so already nothing changes.
    pub fn want(&mut self, store: &str) {
        if !self.has(store) {
            let waiting = Waiting { not_before: Moment::now(), pause: Duration::ZERO };
            self.waiting.insert(store.to_string(), waiting);
        }
    }

    /// From the beginning, whatever is done of it.
    pub fn want_anew(&mut self, store: &str) {
        self.abandon(store);
        self.want(store);
    }

    /// It is not to be copied any more.
    pub fn abandon(&mut self, store: &str) {
        self.waiting.remove(store);
        self.current.take_if(|current| current.store == store);
    }

    /// After a failure, which the store is not to blame for. Comes back: in how long.
    pub fn try_again(&mut self, store: &str, pause: Duration) -> Duration {
        let pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.waiting.insert(store.to_string(), Waiting { not_before: Moment::now() + pause, pause });
        pause
    }

    pub fn has(&self, store: &str) -> bool {
        self.waiting.contains_key(store) || self.current.as_ref().is_some_and(|current| current.store == store)
    }

    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Begins the next copy, if none is in hand.
    pub fn begin(&mut self) {
        if self.current.is_some() {
            return;
        }
        let now = Moment::now();
        let due = self.waiting.iter().find(|(_, waiting)| waiting.not_before <= now);
        let Some((store, pause)) = due.map(|(store, waiting)| (store.clone(), waiting.pause)) else { return };
        self.waiting.remove(&store);
        let (tell, stage) = watch::channel(Stage::Publishing);
        let (meet, told) = oneshot::channel();
        let order = Order { config: Arc::clone(&self.config), clock: self.clock.clone(), store: store.clone() };
        let task = tokio::spawn(copying::run(order, tell, told));
        let wake = stage.clone();
        self.current =
            Some(Current { store, started: now, rows: 0, pause, stage, wake, end_told: false, meet: Some(meet), task });
    }

    /// Waits until the copy in hand has something to tell, or a copy that waits is due. May be dropped while it waits.
    pub async fn news(&mut self) {
        match &mut self.current {
            Some(current) if current.end_told => std::future::pending().await,
            Some(current) => {
                // The task's end closes the channel: that is news, too, but only once.
                if current.wake.changed().await.is_err() {
                    while !current.task.is_finished() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    current.end_told = true;
                }
            }
            None => match self.waiting.values().map(|waiting| waiting.not_before).min() {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            },
        }
    }
}
