//! The loop: supervises sessions, each of which follows the stream and writes batches until something ends it.
//!
//! ```text
//! run ── lock (or wait as a standby) ── prepare ── Session::run ──> stopped
//!  └── backoff <── connection lost ─────────────────────┘
//! ```
//! One writer: the stream, day rolls and the requests of commands all go through the session's writer, between two
//! batches, so nothing interleaves. Copies of stores run beside it (copier.rs) and become visible between two batches.

pub mod assembler;
pub mod clock;
mod confirm;
mod copier;
mod definitions;
pub mod error;
mod hold;
pub mod jobs;
pub mod position;
pub mod prepare;
mod roster;
pub mod session;
pub mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant as Moment};

use rand::RngExt;
use tokio::sync::watch;

pub use clock::Clock;
pub use error::EngineError;
pub use hold::mark;

use crate::apply::Writer;
use crate::apply::writer::Applied;
use crate::config::Config;
use session::{Ended, Session};

/// How long to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Forever,
    /// Until everything that was committed at the source by now is written.
    Once,
    /// Until everything before this position is written, and nothing at or beyond it.
    UpTo(crate::lsn::Lsn),
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A session that was live this long resets the backoff.
const STEADY: Duration = Duration::from_secs(30);
/// How long the server may take to notice that a predecessor, perhaps ourselves, is gone: until then its lock and its
/// hold on the slot mean nothing.
const PREDECESSOR: Duration = Duration::from_secs(3);
/// How often to look for that.
const PREDECESSOR_LOOK: Duration = Duration::from_millis(25);
/// How often a standby looks whether the writer's lock is free.
const STANDBY_LOOK: Duration = Duration::from_millis(500);
/// How long a live session may take to end in good order.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// What can be seen of a running engine from outside its loop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    is_live: AtomicBool,
    position: AtomicU64,
    changes: AtomicU64,
    batches: AtomicU64,
    beats: AtomicU64,
}

impl Progress {
    fn live(&self) {
        self.0.is_live.store(true, Ordering::Relaxed);
    }

    fn down(&self) {
        self.0.is_live.store(false, Ordering::Relaxed);
    }

    fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    fn applied(&self, applied: &Applied) {
        self.0.changes.fetch_add(applied.changes as u64, Ordering::Relaxed);
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        self.0.position.store(applied.position.0, Ordering::Relaxed);
    }

    /// The stream is open and followed.
    pub fn is_live(&self) -> bool {
        self.0.is_live.load(Ordering::Relaxed)
    }

    /// Row changes written since the start.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Relaxed)
    }

    pub fn batches(&self) -> u64 {
        self.0.batches.load(Ordering::Relaxed)
    }

    /// The last position written; 0 before the first.
    pub fn position(&self) -> crate::lsn::Lsn {
        crate::lsn::Lsn(self.0.position.load(Ordering::Relaxed))
    }
}

/// Runs the daemon until `stop` turns true, reconnecting by itself.
///
/// # Errors
/// Only what a person has to put right; the message says how. With [`Mode::Once`] also a lost connection.
pub async fn run(
    config: Arc<Config>,
    mode: Mode,
    clock: Clock,
    progress: Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0_u32;
    loop {
        let started = Moment::now();
        let result = tokio::select! {
            result = one_session(&config, mode, &clock, &progress, stop.clone(), &mut failures) => result,
            () = stopped_early(&mut stop, &progress) => Ok(Ended::Stopped),
        };
        let was_live = progress.is_live();
        progress.down();
        match result {
            Ok(Ended::Stopped) => return Ok(()),
            Err(e) if mode == Mode::Forever && e.is_transient() => {
                if failures == 0 || was_live {
                    tracing::warn!(cause = e.cause(), "{e}; trying again until it is well");
                    failures = 0;
                } else {
                    tracing::debug!(failures, "{e}");
                }
                failures += 1;
            }
            Err(e) => return Err(e),
        }
        if was_live && started.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A live session ends by itself in good order, unless a database lets it wait; anything before that can be dropped
/// where it stands.
async fn stopped_early(stop: &mut watch::Receiver<bool>, progress: &Progress) {
    let _ = stop.wait_for(|stop| *stop).await;
    if progress.is_live() {
        tokio::time::sleep(STOP_GRACE).await;
        tracing::warn!("the database does not answer; stopping without it, the next start goes on from what is stored");
    }
}

async fn one_session(
    config: &Arc<Config>,
    mode: Mode,
    clock: &Clock,
    progress: &Progress,
    stop: watch::Receiver<bool>,
    failures: &mut u32,
) -> Result<Ended, EngineError> {
    let Some(target) = lock(config, mode, failures).await? else { return Ok(Ended::Stopped) };
    let prepared = prepare::prepare(config, target).await?;
    let session = Session::open(Arc::clone(config), clock.clone(), prepared, mode, progress.clone()).await?;
    if *failures > 0 {
        tracing::info!(failures = *failures, "well again: following the stream");
        *failures = 0;
    } else {
        tracing::info!("following the stream");
    }
    session.run(stop).await
}

/// A session on the target that holds the writer's lock; the daemon waits for it as a standby. `None`: with
/// [`Mode::Once`], when the one that holds it has caught up in our place.
async fn lock(config: &Config, mode: Mode, failures: &mut u32) -> Result<Option<tokio_postgres::Client>, EngineError> {
    let client = config.target_connection().connect("tillstream writer").await?;
    let since = Moment::now();
    let mut told = false;
    let mut caught_up = None;
    while !Writer::lock(&client, &config.state_schema()).await? {
        if since.elapsed() < PREDECESSOR {
            tokio::time::sleep(PREDECESSOR_LOOK).await;
            continue;
        }
        if matches!(mode, Mode::UpTo(_)) {
            return Err(EngineError::Busy);
        }
        if !std::mem::replace(&mut told, true) {
            let again = if std::mem::take(failures) > 0 { "well again: " } else { "" };
            tracing::info!("{again}another tillstream writes these reports; waiting as its standby");
        }
        if mode == Mode::Once {
            let mark = match caught_up {
                Some(mark) => mark,
                None => *caught_up.insert(mark(&config.source.connection.connect("tillstream").await?).await?),
            };
            let stored = prepare::stored_position(&client, &prepare::statements(config)).await;
            if stored.is_ok_and(|stored| stored.is_some_and(|stored| stored.lsn >= mark)) {
                return Ok(None);
            }
        }
        tokio::time::sleep(STANDBY_LOOK).await;
    }
    if told {
        tracing::info!("the other one is gone: taking over");
    }
    Ok(Some(client))
}
