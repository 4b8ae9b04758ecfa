//! One connected session: follows the stream, writes batches, does what is due beside them.
//!
//! The loop's priorities, in this order: stop, the write in hand, the heartbeat, the next event. While a batch is being
//! written the next one is received. Whatever else writes to the target runs between two batches, on the same session.

mod between;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::assembler::Assembler;
use super::clock::Clock;
use super::confirm::Confirmations;
use super::copier::Copier;
use super::error::EngineError;
use super::hold::Hold;
use super::jobs::Jobs;
use super::lag::Lag;
use super::position::{Decision, decide};
use super::prepare::Prepared;
use super::press::Press;
use super::probe::Probe;
use super::scout::{Found, Scout};
use super::slot_use::{end_stream, open_stream};
use super::{Mode, Progress};
use crate::apply::writer::Applied;
use crate::apply::{ApplyError, Writer};
use crate::config::Config;
use crate::lsn::Lsn;
use crate::source::{Stream, StreamEvent, slot};

/// How often the session looks at what is not an event: requests, durable positions, the calendar.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// How often while one batch follows the other: for it all of them have to be answered, and meanwhile the stream waits, a
/// third of a second in a backlog.
const LOADED_HEARTBEAT: Duration = Duration::from_secs(5);
/// On an idle source the position is moved on at most this often.
const IDLE_MOVE: Duration = Duration::from_secs(5);
/// How often the operators' view of the stores' states is brought up to date.
const STATES: Duration = Duration::from_secs(15);
/// When a session breaks: how long the batch in hand may take to tell how it ended.
const LAST_BATCH: Duration = Duration::from_secs(5);
/// Events taken in a row before the loop looks around.
const BURST: usize = 1024;

/// How a session ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Told to stop, or caught up with what `--once` asked for.
    Stopped,
    /// The set of stores has changed: prepare again.
    Again,
}

pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) assembler: Assembler,
    pub(super) stream: Stream,
    /// At home while it has no batch in hand.
    pub(super) writer: Option<Writer>,
    /// Where it is otherwise.
    pub(super) press: Option<Press>,
    pub(super) confirmations: Confirmations,
    pub(super) source: Arc<tokio_postgres::Client>,
    pub(super) probe: Probe,
    pub(super) lag: Lag,
    scout: Option<Scout>,
    /// What the scout has found and nobody has looked at.
    found: Option<Result<Found, EngineError>>,
    /// How many of its finds were looked at.
    pub(super) looks: u64,
    /// Stores that the last look found something wrong with, and what.
    pub(super) suspected: BTreeMap<String, String>,
    pub(super) copier: Copier,
    /// The assembler stops where a copy and the session meet.
    pub(super) meeting: bool,
    /// Stores of which this stream may leave out changes: it is read anew before they are live again.
    pub(super) stale: BTreeSet<String>,
    /// Stores that could not be copied for what is in their rows: not again before somebody says so.
    pub(super) unfit: BTreeSet<String>,
    /// A store's part of some batch was refused: the stores are written one after the other until the stored position is
    /// here, to find out whose.
    apart: Option<Lsn>,
    refused: Option<ApplyError>,
    pub(super) hold: Option<Hold>,
    pub(super) jobs: Jobs,
    pub(super) progress: Progress,
    pub(super) until: Option<Lsn>,
    /// The configuration has changed.
    again: bool,
    /// Requests wait, or the day has changed: something to do between two batches.
    chores: bool,
    /// When the chores were last done.
    beaten: Moment,
    moved: Moment,
    /// When the stores were last counted; `None`: they have to be.
    pub(super) counted: Option<Moment>,
    pub(super) said: Option<Moment>,
}

impl Session {
    /// Opens the stream where the stored position stands.
    pub async fn open(
        config: Arc<Config>,
        clock: Clock,
        prepared: Prepared,
        mode: Mode,
        progress: Progress,
    ) -> Result<Session, EngineError> {
        let Prepared { mut writer, stored, source, stores } = prepared;
        let until = match mode {
            Mode::Forever => None,
            // Our own commit in the source's WAL: when the stream has passed it, everything before it is in.
            Mode::Once => Some(super::hold::mark(&source).await?),
            Mode::UpTo(position) => Some(position),
        };
        let position = writer.position();
        progress.stands_at(position);
        let moving = progress.clone();
        writer.moves_on = Arc::new(move || moving.moves_on());
        // Opening the stream confirms the position: it has to be on disk, also where a predecessor left it a moment ago.
        writer.flush().await?;
        let (stream, identity) = open_stream(&config, position).await?;
        // Only now nobody else can move the slot any more; from one that was moved on the server would silently skip.
        let info = slot::info(&source, &config.source.slot).await?;
        match decide(Some(&stored), info.as_ref(), &identity, &config.source.slot) {
            Decision::Continue(_) => {}
            Decision::Refuse(why) => return Err(EngineError::Definite(why)),
            Decision::Lost(why) => return Err(EngineError::Moved(why)),
            Decision::Begin(_) | Decision::CreateSlot => {
                return Err(EngineError::Moved("the stored position is gone".to_string()));
            }
        }
        let jobs = Jobs::load(&config, &writer, &stores, &clock, progress.clone(), mode != Mode::Forever).await?;
        let now = Moment::now();
        let mut assembler = Assembler::new(Arc::clone(&config), stores, position);
        if let Mode::UpTo(limit) = mode {
            assembler.set_limit(Some(limit), now)?;
        }
        let source = Arc::new(source);
        let probe = Probe::start(Arc::clone(&source), Arc::clone(&config), progress.clone());
        Ok(Session {
            // A copy made now would hold what lies beyond the position that everything is to stand at.
            scout: (!matches!(mode, Mode::UpTo(_))).then(|| Scout::start(Arc::clone(&config))),
            copier: Copier::new(Arc::clone(&config), clock.clone()),
            assembler,
            config,
            clock,
            stream,
            writer: Some(writer),
            press: None,
            confirmations: Confirmations::default(),
            source,
            probe,
            lag: Lag::default(),
            found: None,
            looks: 0,
            suspected: BTreeMap::new(),
            meeting: false,
            stale: BTreeSet::new(),
            unfit: BTreeSet::new(),
            apart: None,
            refused: None,
            hold: None,
            jobs,
            progress,
            until,
            again: false,
            chores: true,
            beaten: now,
            moved: now,
            counted: None,
            said: None,
        })
    }

    /// Runs until told to stop, until the stores change, or until something breaks.
    pub async fn run(
        mut self,
        mut stop: watch::Receiver<bool>,
        mut reload: watch::Receiver<Arc<Config>>,
    ) -> Result<Ended, EngineError> {
        let result = self.follow(&mut stop, &mut reload).await;
        // What is in hand is finished whatever happens: its commit may be on its way. Where the connection is dead nobody
        // can tell; the position at the next start does.
        let finish = async {
            while self.press.is_some() {
                let written = next(&mut self.press).await?;
                self.written(written)?;
            }
            Ok::<(), EngineError>(())
        };
        let _ = tokio::time::timeout(LAST_BATCH, finish).await;
        let ended = result?;
        self.confirm_all().await?;
        end_stream(&self.config, &self.source, &mut self.stream).await;
        Ok(ended)
    }

    async fn follow(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        reload: &mut watch::Receiver<Arc<Config>>,
    ) -> Result<Ended, EngineError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.progress.live();
        loop {
            if *stop.borrow() && self.press.is_none() {
                return Ok(Ended::Stopped);
            }
            if self.writer.is_some() {
                self.between().await?;
                if self.is_done() {
                    if self.again {
                        return Ok(Ended::Again);
                    }
                    // Nothing is left behind that the slot would keep WAL for.
                    if self.scout.is_some() {
                        self.move_to_idle().await?;
                    }
                    return Ok(Ended::Stopped);
                }
            }
            let deadline = self.assembler.deadline().filter(|_| self.writer.is_some());
            tokio::select! {
                biased;
                changed = stop.changed(), if !*stop.borrow() => {
                    if changed.is_err() { return Ok(Ended::Stopped); }
                }
                written = next(&mut self.press), if self.press.is_some() => self.written(written?)?,
                _ = heartbeat.tick() => {
                    // Under load the writer is called home for its chores less often.
                    self.chores |= self.is_between() || self.beaten.elapsed() >= LOADED_HEARTBEAT;
                    self.measure();
                }
                () = reloaded(reload), if !self.again => self.again = true,
                found = look(&mut self.scout), if self.found.is_none() => self.found = Some(found),
                () = self.copier.news(), if self.is_between() => {}
                event = self.stream.next(), if self.assembler.wants_more() && !*stop.borrow() => self.take(event?)?,
                () = until(deadline), if deadline.is_some() => {}
                () = std::future::ready(()), if self.writer.is_some() && self.jobs.has_step() && self.may_run_jobs() => {}
            }
        }
    }

    /// Takes an event and those that have arrived with it.
    fn take(&mut self, event: StreamEvent) -> Result<(), EngineError> {
        let now = Moment::now();
        self.assembler.push(event, now)?;
        for _ in 0..BURST {
            if !self.assembler.wants_more() {
                break;
            }
            match self.stream.try_next()? {
                Some(event) => self.assembler.push(event, now)?,
                None => {
                    self.stream.set_pause(self.assembler.reading_pause());
                    self.start_if_ready(false);
                    return Ok(());
                }
            }
        }
        self.stream.set_pause(self.assembler.reading_pause());
        self.start_if_ready(true);
        Ok(())
    }

    /// Hands a batch to the writer, if there is one to hand and the writer has a hand free.
    ///
    /// A store in trouble is set aside first, on record: what a batch leaves out of it must never be committed before.
    fn start_if_ready(&mut self, more: bool) {
        let ready = match &self.press {
            // Ahead of the answer to the one before only what is worth it, and nothing where the writer is wanted.
            Some(press) => press.has_room() && self.assembler.is_full() && !self.is_wanted(),
            None if self.writer.is_none() => false,
            None => self.assembler.is_ready(more, Moment::now()) || self.assembler.is_holding() && self.is_urgent(),
        };
        if !ready || self.assembler.has_faults() {
            return;
        }
        let Some(batch) = self.assembler.take(!self.is_urgent(), Moment::now()) else { return };
        let Some(mut press) = self.press.take().or_else(|| self.writer.take().map(Press::new)) else { return };
        self.progress.work_begins();
        press.start(batch, self.apart.is_some());
        self.press = Some(press);
    }

    /// There is something for the writer to do between two batches. Chores wait for what was handed out to have an end, and
    /// what the scout has found waits for the chores.
    fn is_wanted(&self) -> bool {
        self.is_urgent() || self.chores && !self.assembler.is_inside()
    }

    /// Somebody waits for the writer.
    fn is_urgent(&self) -> bool {
        self.hold.is_some() || self.jobs.has_step() || !self.copier.is_idle() || self.apart.is_some()
    }

    /// A batch was written, or there is room for another one.
    fn written(&mut self, written: Option<Applied>) -> Result<(), EngineError> {
        self.progress.heard();
        if let Some(applied) = written {
            self.apart = self.apart.filter(|until| !applied.committed || applied.position < *until);
            self.applied(applied);
        }
        if let Some(press) = self.press.take_if(|press| press.is_done()) {
            self.progress.work_ends();
            let (writer, failed) = press.end();
            self.writer = writer;
            match failed {
                Some(e) if e.is_of_a_store() => self.refused = Some(e),
                Some(e) => return Err(e.into()),
                None => {}
            }
        }
        // Else between the two, at the next turn.
        if !self.is_wanted() {
            self.start_if_ready(true);
        }
        Ok(())
    }

    fn applied(&mut self, applied: Applied) {
        if applied.committed {
            self.confirmations.stored(applied.position);
            self.moved = Moment::now();
        }
        self.progress.applied(&applied, self.clock.now());
        self.progress.seen(&mut self.assembler.counts);
    }
}

/// Only called where there is one.
async fn next(press: &mut Option<Press>) -> Result<Option<Applied>, EngineError> {
    match press {
        Some(press) => press.next().await,
        None => std::future::pending().await,
    }
}

/// What the next look finds.
async fn look(scout: &mut Option<Scout>) -> Result<Found, EngineError> {
    match scout {
        Some(scout) => scout.next().await,
        None => std::future::pending().await,
    }
}

/// The configuration was changed.
async fn reloaded(reload: &mut watch::Receiver<Arc<Config>>) {
    if reload.changed().await.is_err() {
        std::future::pending().await
    }
}

pub(super) async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
