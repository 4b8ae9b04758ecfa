//! One connected session: follows the stream, writes batches, does what is due beside them.
//!
//! The loop's priorities, in this order: stop, the write in hand, the heartbeat, the next event. While a batch is being
//! written the next one is received. Whatever else writes to the target runs between two batches, on the same session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::assembler::{Assembler, FaultReason};
use super::clock::Clock;
use super::confirm::Confirmations;
use super::copier::Copier;
use super::error::{EngineError, lost_connection};
use super::hold::Hold;
use super::jobs::Jobs;
use super::position::{Decision, decide};
use super::prepare::Prepared;
use super::{Mode, PREDECESSOR, PREDECESSOR_LOOK, Progress};
use crate::apply::writer::Applied;
use crate::apply::{ApplyError, Batch, Writer};
use crate::config::Config;
use crate::lsn::Lsn;
use crate::source::{Identity, SourceError, SourceErrorKind, Stream, StreamEvent, slot};

/// How often the session looks at what is not an event: requests, durable positions, the calendar.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// On an idle source the position is moved on at most this often.
const IDLE_MOVE: Duration = Duration::from_secs(5);
/// How long the databases may take to answer a question of the heartbeat.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// When a session breaks: how long the batch in hand may take to tell how it ended.
const LAST_BATCH: Duration = Duration::from_secs(5);
/// Events taken in a row before the loop looks around.
const BURST: usize = 1024;

/// How a session ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Told to stop, or caught up with what `--once` asked for.
    Stopped,
}

type Writing = JoinHandle<(Writer, Result<Applied, ApplyError>)>;

pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) assembler: Assembler,
    pub(super) stream: Stream,
    /// At home between two batches.
    pub(super) writer: Option<Writer>,
    writing: Option<Writing>,
    pub(super) confirmations: Confirmations,
    /// The stored position that is on disk. What may be confirmed of it a copy in hand decides.
    pub(super) durable: Option<Lsn>,
    pub(super) source: tokio_postgres::Client,
    pub(super) copier: Copier,
    /// The publication is being put right.
    pub(super) mending: Option<JoinHandle<Result<(), EngineError>>>,
    /// How often the catalogue was looked at.
    pub(super) looks: u64,
    /// Stores that the last look found something wrong with, and what.
    pub(super) suspected: BTreeMap<String, String>,
    /// A store's part of some batch was refused: the stores are written one after the other until the stored position is
    /// here, to find out whose.
    apart: Option<Lsn>,
    refused: Option<ApplyError>,
    pub(super) hold: Option<Hold>,
    pub(super) jobs: Jobs,
    progress: Progress,
    mode: Mode,
    pub(super) until: Option<Lsn>,
    /// Requests wait, or the day has changed: something to do between two batches.
    pub(super) chores: bool,
    moved: Moment,
    pub(super) looked: Moment,
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
        let jobs = Jobs::load(&config, &writer, &stores, &clock, mode != Mode::Forever).await?;
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
        let now = Moment::now();
        let mut assembler = Assembler::new(Arc::clone(&config), stores, position);
        if let Mode::UpTo(limit) = mode {
            assembler.set_limit(Some(limit), now)?;
        }
        let every = config.tenants.discover_every;
        Ok(Session {
            copier: Copier::new(Arc::clone(&config), clock.clone()),
            assembler,
            config,
            clock,
            stream,
            writer: Some(writer),
            writing: None,
            confirmations: Confirmations::default(),
            durable: None,
            source,
            mending: None,
            looks: 0,
            suspected: BTreeMap::new(),
            apart: None,
            refused: None,
            hold: None,
            jobs,
            progress,
            mode,
            until,
            chores: true,
            moved: now,
            looked: now.checked_sub(every).unwrap_or(now),
        })
    }

    /// Runs until told to stop, until the stores change, or until something breaks.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Ended, EngineError> {
        let result = self.follow(&mut stop).await;
        if let Some(mut writing) = self.writing.take() {
            // The batch in hand is finished whatever happens: its commit may be on its way. Where the connection is dead
            // nobody can tell; the position at the next start does.
            match tokio::time::timeout(LAST_BATCH, &mut writing).await {
                Ok(Ok((writer, Ok(applied)))) => {
                    self.writer = Some(writer);
                    self.applied(applied);
                }
                Ok(_) => {}
                Err(_) => writing.abort(),
            }
        }
        let ended = result?;
        self.confirm_all().await?;
        self.stream.close().await;
        Ok(ended)
    }

    async fn follow(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Ended, EngineError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.progress.live();
        loop {
            if *stop.borrow() && self.writing.is_none() {
                return Ok(Ended::Stopped);
            }
            if self.writer.is_some() {
                self.between().await?;
                if self.is_done() {
                    return Ok(Ended::Stopped);
                }
            }
            let deadline = self.assembler.deadline().filter(|_| self.writer.is_some());
            tokio::select! {
                biased;
                changed = stop.changed(), if !*stop.borrow() => {
                    if changed.is_err() { return Ok(Ended::Stopped); }
                }
                done = join(&mut self.writing), if self.writing.is_some() => self.written(done?)?,
                _ = heartbeat.tick() => self.chores = true,
                event = self.stream.next(), if self.assembler.wants_more() && !*stop.borrow() => self.take(event?)?,
                () = self.copier.news(), if self.is_between_transactions() => {}
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
                    self.start_if_ready(false);
                    return Ok(());
                }
            }
        }
        self.start_if_ready(true);
        Ok(())
    }

    /// Hands a batch to the writer, if there is one to hand and the writer is at home.
    ///
    /// A store in trouble is set aside first, on record: what a batch leaves out of it must never be committed before.
    fn start_if_ready(&mut self, more: bool) {
        if self.writer.is_none() || self.assembler.has_faults() || !self.assembler.is_ready(more, Moment::now()) {
            return;
        }
        if let Some(batch) = self.assembler.take() {
            self.start(batch);
        }
    }

    fn start(&mut self, batch: Batch) {
        let Some(mut writer) = self.writer.take() else { return };
        let apart = self.apart.is_some();
        self.writing = Some(tokio::spawn(async move {
            let applied = if apart { writer.apply_apart(batch).await } else { writer.apply(batch).await };
            (writer, applied)
        }));
    }

    fn written(&mut self, done: (Writer, Result<Applied, ApplyError>)) -> Result<(), EngineError> {
        self.writing = None;
        self.writer = Some(done.0);
        match done.1 {
            Ok(applied) => {
                self.apart = self.apart.filter(|until| applied.committed.is_none() || applied.position < *until);
                self.applied(applied);
                Ok(())
            }
            Err(e) if e.is_of_a_store() => {
                self.refused = Some(e);
                Ok(())
            }
            Err(e) => Err(e.into()),
        }
    }

    /// A batch was refused for what some store's rows say. It is rolled back; the stream is read again from the stored
    /// position, without that store once it is known.
    async fn refused(&mut self, error: ApplyError) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let position = writer.position();
        match error {
            ApplyError::Refused(tenant, why) => {
                self.set_aside(tenant, FaultReason::Unusable(why.to_string())).await?;
            }
            ApplyError::Overflow(tenant, why) => self.set_aside(tenant, FaultReason::Unusable(why)).await?,
            e if self.apart.is_some() => return Err(e.into()),
            e => {
                tracing::warn!("a batch was refused, looking for the store: {e}");
                // At the latest with the next commit after what is in hand.
                self.apart = Some(self.assembler.handed_out().max(Lsn(position.0 + 1)));
            }
        }
        self.read_again().await
    }

    /// Gives up what was received and not committed, and reads the stream again from the stored position.
    pub(super) async fn read_again(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.roll_back().await?;
        // Opening the stream confirms the position: it has to be on disk.
        writer.flush().await?;
        let position = writer.position();
        self.reopen(position).await
    }

    /// Goes on from `position`, which is stored, and on disk. The stream begins further back where a copy in hand wants it
    /// so: what is stored already is skipped.
    pub(super) async fn reopen(&mut self, position: Lsn) -> Result<(), EngineError> {
        self.stream.end().await;
        let start = self.copier.limit().map_or(position, |limit| limit.min(position));
        self.stream = open_stream(&self.config, start).await?.0;
        self.assembler.restart(position);
        Ok(())
    }

    fn applied(&mut self, applied: Applied) {
        if let Some(committed) = applied.committed {
            self.confirmations.committed(committed, applied.position);
            self.moved = Moment::now();
        }
        self.progress.applied(&applied);
    }

    /// Between two batches, the writer at home.
    async fn between(&mut self) -> Result<(), EngineError> {
        if let Some(error) = self.refused.take() {
            self.refused(error).await?;
        }
        for fault in self.assembler.take_faults() {
            self.set_aside(fault.tenant, fault.reason).await?;
        }
        if std::mem::take(&mut self.chores) {
            self.beat().await?;
        }
        if self.jobs.has_step() {
            self.run_jobs().await?;
        }
        self.advance_hold().await?;
        self.advance_copy().await?;
        self.start_if_ready(false);
        Ok(())
    }

    /// Never in the middle of a source transaction larger than a batch: what was said of a store is committed with it.
    fn is_done(&self) -> bool {
        if self.jobs.is_running() || self.writer.as_ref().is_none_or(Writer::is_open) {
            return false;
        }
        let caught_up = self.until.is_some_and(|until| self.assembler.has_reached(until));
        let settled = self.roster_is_settled() || !self.looks_for_stores();
        caught_up && settled && !self.jobs.has_due_roll(self.clock.now())
    }

    /// Durable positions, requests, idle positions, the calendar, new stores.
    async fn beat(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if writer.is_open() {
            return Ok(());
        }
        let question = async {
            writer.sql.prepare(&writer.client, &["heartbeat"]).await?;
            writer.sql.query(&writer.client, "heartbeat", &[]).await
        };
        let rows = answer("target", question).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (flushed, asked): (Lsn, bool) = (row.try_get(0)?, row.try_get(1)?);
        self.durable = self.confirmations.flushed(flushed).or(self.durable);
        self.confirm();
        self.progress.beat();
        if asked {
            self.serve().await?;
        }
        self.move_idle().await?;
        if !self.jobs.is_running() {
            self.run_jobs().await?;
        }
        if self.looked.elapsed() >= self.config.tenants.discover_every && self.looks_for_stores() {
            self.looked = Moment::now();
            match self.look_for_stores().await {
                // The catalogue may change under a question about it; the next look asks again.
                Err(EngineError::Database(e)) if self.until.is_none() && !lost_connection(&e) => {
                    tracing::warn!("looking for stores: {}", crate::apply::describe(&e));
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// A copy made now would hold what lies beyond the position that everything is to stand at.
    fn looks_for_stores(&self) -> bool {
        !matches!(self.mode, Mode::UpTo(_))
    }

    /// What is on disk, but nothing that a copy in hand will have read again.
    fn confirm(&self) {
        if let Some(durable) = self.durable {
            self.stream.confirm(self.copier.limit().map_or(durable, |limit| limit.min(durable)));
        }
    }

    /// With nothing for us in what the source has written, the position moves on all the same: an idle shop must not
    /// keep WAL for the whole server.
    async fn move_idle(&mut self) -> Result<(), EngineError> {
        let Some(position) = self.assembler.idle_position() else { return Ok(()) };
        let caught_up = self.until.is_some_and(|until| position >= until);
        if self.moved.elapsed() < IDLE_MOVE && !caught_up {
            return Ok(());
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let applied = writer.move_to(position).await?;
        self.assembler.moved_to(position);
        self.applied(applied);
        Ok(())
    }

    /// No job begins or goes on while the reports are held at a position, or inside a transaction larger than a batch.
    pub(super) fn may_run_jobs(&self) -> bool {
        let held = self.hold.is_some() && !self.jobs.is_running();
        !held && self.writer.as_ref().is_some_and(|writer| !writer.is_open())
    }

    /// One step of a job, if one is running or due.
    async fn run_jobs(&mut self) -> Result<(), EngineError> {
        if !self.may_run_jobs() {
            return Ok(());
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let answers = self.jobs.step(&self.config, writer, &mut self.assembler.stores, &self.clock).await?;
        for (request, answer) in answers {
            self.answer(request, answer).await?;
        }
        Ok(())
    }

    /// At the end: everything committed is forced to disk and confirmed.
    async fn confirm_all(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // Half a transaction in hand ends with the connection; to commit anything now would commit that half.
        if self.confirmations.is_empty() || writer.is_open() {
            return Ok(());
        }
        let flushed = writer.flush().await?;
        self.durable = self.confirmations.flushed(flushed).or(self.durable);
        self.confirm();
        Ok(())
    }
}

async fn join(writing: &mut Option<Writing>) -> Result<(Writer, Result<Applied, ApplyError>), EngineError> {
    match writing {
        // It is not aborted while it is waited for, so it panicked.
        Some(task) => task.await.map_err(|e| EngineError::Definite(format!("a defect in writing a batch: {e}"))),
        None => std::future::pending().await,
    }
}

/// Waits a little for whoever held the slot last and is gone already.
async fn open_stream(config: &Config, start: Lsn) -> Result<(Stream, Identity), SourceError> {
    let source = &config.source;
    let settings = source.connection.replication(&source.slot, &source.publication, "tillstream stream");
    let since = Moment::now();
    loop {
        match Stream::open(settings.clone(), start).await {
            Err(e) if e.kind() == SourceErrorKind::SlotInUse && since.elapsed() < PREDECESSOR => {
                tokio::time::sleep(PREDECESSOR_LOOK).await;
            }
            other => return other,
        }
    }
}

/// A question that a living server answers at once. Nothing else ends the wait where the network is cut without a word.
pub(super) async fn answer<T, E: Into<EngineError>>(
    whom: &'static str,
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_LIMIT, question).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(EngineError::Silent { whom, limit: ANSWER_LIMIT }),
    }
}

async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
