//! The loop: supervises sessions, each of which follows the stream and writes batches until something ends it.
//!
//! ```text
//! run ── lock (or wait as a standby) ── prepare ── Session::run ──> stopped
//!  ^                                        ^           │ configuration changed
//!  └── backoff <── connection lost ─────────┼───────────┘
//! ```
//! One writer: the stream, jobs and the requests of commands all go through the session's writer, between two batches,
//! so nothing interleaves. Copies of stores are written beside it (copying.rs) and become part of the reports between two
//! batches.

pub mod assembler;
#[cfg(test)]
mod assembler_tests;
pub mod clock;
mod confirm;
mod copier;
mod copying;
mod definitions;
pub mod error;
mod handover;
mod hold;
pub mod jobs;
mod lag;
pub mod position;
pub mod prepare;
mod press;
mod probe;
pub mod progress;
mod roster;
mod scout;
pub mod session;
mod slot_use;
mod steps;
pub mod stores;
mod vitals;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use rand::RngExt;
use tokio::sync::watch;

pub use clock::Clock;
pub use error::EngineError;
pub use hold::mark;
pub use progress::{Ops, Progress};

use crate::apply::Writer;
use crate::config::{Config, OnSlotLost};
use crate::ops::log_throttle::{Say, Throttle};
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
/// How often the loop shows that it turns over.
const TURN: Duration = Duration::from_secs(1);
/// After how long an error that goes on is told of again, at first.
const REMIND: Duration = Duration::from_secs(300);

/// Runs the daemon until `stop` turns true, reconnecting by itself.
///
/// # Errors
/// Only what a person has to put right; the message says how. With [`Mode::Once`] also a lost connection.
pub async fn run(
    config: Arc<Config>,
    mode: Mode,
    clock: Clock,
    progress: Progress,
    stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let (_keep, configs) = watch::channel(config);
    run_reloading(configs, mode, clock, progress, stop).await
}

/// The same under a configuration that may change while it runs: then a new session begins with the new one. Which
/// databases, slot and schema it is about must not change.
///
/// # Errors
/// As for [`run`].
pub async fn run_reloading(
    mut configs: watch::Receiver<Arc<Config>>,
    mode: Mode,
    clock: Clock,
    progress: Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EngineError> {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0_u32;
    let mut trouble = Throttle::new(REMIND);
    // Why the slot cannot be read on, where that was found out by reading.
    let mut unreadable = None;
    loop {
        let started = Moment::now();
        let config = Arc::clone(&configs.borrow_and_update());
        progress.heard();
        let result = tokio::select! {
            result = one_session(
                &config, configs.clone(), mode, &clock, &progress, stop.clone(), &mut failures, &mut unreadable
            ) => result,
            () = stopped_early(&mut stop, &progress) => Ok(Ended::Stopped),
            silent = vitals::silence(&config, &progress) => Err(silent),
            never = turning(&progress) => match never {},
        };
        let was_live = progress.is_live();
        progress.down();
        // A standby was never live, but its first failure after a calm begins a new outage all the same.
        if was_live || failures == 0 {
            trouble.well();
        }
        match result {
            Ok(Ended::Stopped) => return Ok(()),
            Ok(Ended::Again) => continue,
            Err(e) if mode == Mode::Forever && (e.is_transient() || e.is_unreadable() && resyncs(&config)) => {
                if e.is_unreadable() {
                    unreadable = Some(e.to_string());
                }
                if was_live {
                    failures = 0;
                }
                // One outage is one thing that happened, whatever each attempt meets.
                let cause = e.reconnect_cause().name();
                match trouble.failed("outage") {
                    Say::First => tracing::warn!(cause, "{e}; trying again until it is well"),
                    Say::Again(repeats) => tracing::warn!(cause, "{e}; {repeats}"),
                    Say::Nothing => tracing::debug!(failures, "{e}"),
                }
                failures += 1;
                progress.reconnects(e.reconnect_cause());
                progress.says(&format!("waiting for the database: {e}"));
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
            never = turning(&progress) => match never {},
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Shows that whoever polls this still does. In the same task as the session, so that one that blocks the task is seen.
async fn turning(progress: &Progress) -> Infallible {
    loop {
        progress.turned();
        tokio::time::sleep(TURN).await;
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

fn resyncs(config: &Config) -> bool {
    config.source.on_slot_lost == OnSlotLost::Resync
}

#[allow(clippy::too_many_arguments)] // one caller, which owns all of it
async fn one_session(
    config: &Arc<Config>,
    reload: watch::Receiver<Arc<Config>>,
    mode: Mode,
    clock: &Clock,
    progress: &Progress,
    stop: watch::Receiver<bool>,
    failures: &mut u32,
    unreadable: &mut Option<String>,
) -> Result<Ended, EngineError> {
    let Some(target) = lock(config, mode, progress, failures).await? else { return Ok(Ended::Stopped) };
    progress.says("starting: looking at slot, position and stores");
    let prepared = prepare::prepare(config, target, unreadable).await?;
    let session = Session::open(Arc::clone(config), clock.clone(), prepared, mode, progress.clone()).await?;
    if *failures > 0 {
        tracing::info!(failures = *failures, "well again: following the stream");
        *failures = 0;
    } else {
        tracing::info!("following the stream");
    }
    session.run(stop, reload).await
}

/// A session on the target that holds the writer's lock; the daemon waits for it as a standby. `None`: with
/// [`Mode::Once`], when the one that holds it has caught up in our place.
async fn lock(
    config: &Config,
    mode: Mode,
    progress: &Progress,
    failures: &mut u32,
) -> Result<Option<tokio_postgres::Client>, EngineError> {
    let client = config.target_connection().connect(Writer::APPLICATION).await?;
    let since = Moment::now();
    let mut told = false;
    let mut caught_up = None;
    while !Writer::lock(&client, &config.state_schema()).await? {
        progress.heard();
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
            progress.says("standby: another tillstream writes these reports");
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
