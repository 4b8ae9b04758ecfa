//! One connected session: follows the stream, writes batches, does what is due beside them.
//!
//! The loop's priorities, in this order: stop, the write in hand, the heartbeat, the next event. While a batch is being
//! written the next one is received. Whatever else writes to the target runs between two batches, on the same session.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use pgwire_replication::ReplicationConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::assembler::{Assembler, FaultReason};
use super::clock::Clock;
use super::confirm::Confirmations;
use super::error::EngineError;
use super::hold::Hold;
use super::jobs::{Jobs, Reply};
use super::lag::Lag;
use super::position::{Decision, decide};
use super::prepare::Prepared;
use super::probe::Probe;
use super::{Mode, PREDECESSOR, PREDECESSOR_LOOK, Progress};
use crate::apply::writer::Applied;
use crate::apply::{ApplyError, Batch, Writer};
use crate::config::Config;
use crate::domain::TenantId;
use crate::lsn::Lsn;
use crate::source::catalog::{self, StoreTables};
use crate::source::{Identity, SourceError, SourceErrorKind, Stream, StreamEvent, slot};

/// How often the session looks at what is not an event: requests, durable positions, the calendar.
const HEARTBEAT: Duration = Duration::from_millis(200);
/// On an idle source the position is moved on at most this often.
const IDLE_MOVE: Duration = Duration::from_secs(5);
/// How often the operators' view of the stores' states is brought up to date.
const STATES: Duration = Duration::from_secs(15);
/// How often the service manager is told how it goes.
const SAY: Duration = Duration::from_secs(5);
/// How long the databases may take to answer a question of the heartbeat.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// A batch this long under way, and somebody should look whether the database is still there.
const LONG_BATCH: Duration = Duration::from_secs(15);
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

type Writing = JoinHandle<(Writer, Result<Applied, ApplyError>)>;

pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) assembler: Assembler,
    pub(super) stream: Stream,
    /// At home between two batches.
    pub(super) writer: Option<Writer>,
    writing: Option<Writing>,
    /// When the batch in hand was begun, or the database last gave a sign of life since.
    written_since: Moment,
    confirmations: Confirmations,
    pub(super) source: Arc<tokio_postgres::Client>,
    probe: Probe,
    lag: Lag,
    discovered: Vec<StoreTables>,
    pub(super) hold: Option<Hold>,
    pub(super) jobs: Jobs,
    progress: Progress,
    until: Option<Lsn>,
    pub(super) again: bool,
    /// Requests wait, or the day has changed: something to do between two batches.
    chores: bool,
    moved: Moment,
    looked: Moment,
    /// When the stores were last counted; `None`: they have to be.
    counted: Option<Moment>,
    said: Option<Moment>,
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
        let Prepared { mut writer, stored, source, stores, discovered } = prepared;
        let until = match mode {
            Mode::Forever => None,
            // Our own commit in the source's WAL: when the stream has passed it, everything before it is in.
            Mode::Once => Some(super::hold::mark(&source).await?),
            Mode::UpTo(position) => Some(position),
        };
        let settings = config.source.connection.replication(
            &config.source.slot,
            &config.source.publication,
            crate::source::STREAM_APPLICATION,
        );
        let position = writer.position();
        progress.stands_at(position);
        // Opening the stream confirms the position: it has to be on disk, also where a predecessor left it a moment ago.
        writer.flush().await?;
        let (stream, identity) = open_stream(settings, position).await?;
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
        let probe = Probe::start(Arc::clone(&source), config.source.slot.clone(), progress.clone());
        Ok(Session {
            assembler,
            config,
            clock,
            stream,
            writer: Some(writer),
            writing: None,
            written_since: now,
            confirmations: Confirmations::default(),
            source,
            probe,
            lag: Lag::default(),
            discovered,
            hold: None,
            jobs,
            progress,
            until,
            again: false,
            chores: true,
            moved: now,
            looked: now,
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

    async fn follow(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        reload: &mut watch::Receiver<Arc<Config>>,
    ) -> Result<Ended, EngineError> {
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
                    return Ok(if self.again { Ended::Again } else { Ended::Stopped });
                }
            }
            let deadline = self.assembler.deadline().filter(|_| self.writer.is_some());
            tokio::select! {
                biased;
                changed = stop.changed(), if !*stop.borrow() => {
                    if changed.is_err() { return Ok(Ended::Stopped); }
                }
                done = join(&mut self.writing), if self.writing.is_some() => self.written(done?)?,
                _ = heartbeat.tick() => {
                    self.chores = true;
                    self.measure();
                    self.look_for_target().await?;
                }
                () = reloaded(reload), if !self.again => self.again = true,
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
        self.progress.work_begins();
        self.written_since = Moment::now();
        self.writing = Some(tokio::spawn(async move {
            let applied = writer.apply(batch).await;
            (writer, applied)
        }));
    }

    fn written(&mut self, done: (Writer, Result<Applied, ApplyError>)) -> Result<(), EngineError> {
        self.writing = None;
        self.progress.work_ends();
        self.writer = Some(done.0);
        self.applied(done.1?);
        Ok(())
    }

    fn applied(&mut self, applied: Applied) {
        if let Some(committed) = applied.committed {
            self.confirmations.committed(committed, applied.position);
            self.moved = Moment::now();
        }
        self.progress.applied(&applied, self.clock.now());
        self.progress.seen(&mut self.assembler.seen_changes, &mut self.assembler.passed_over);
    }

    /// How far behind the reports are, and a word on it. Also while a write takes long.
    fn measure(&mut self) {
        let now = Moment::now();
        if let Some((end, at)) = self.probe.end() {
            self.lag.probed(end, at);
        }
        let unwritten = self.writing.is_some() || self.writer.as_ref().is_none_or(Writer::is_open);
        let idle = self.assembler.idle_position().filter(|_| !unwritten);
        let covered = idle.unwrap_or_default().max(self.progress.position());
        let Some((bytes, time)) = self.lag.behind(covered, now) else { return };
        self.progress.behind(bytes, time);
        if self.said.is_none_or(|said| said.elapsed() >= SAY) {
            self.said = Some(now);
            let (live, all) = self.assembler.stores.iter().fold((0, 0), |n, s| (n.0 + usize::from(s.live), n.1 + 1));
            let behind = if time < SAY { "up to date".to_string() } else { format!("{} s behind", time.as_secs()) };
            self.progress.says(&format!("live: {live} of {all} stores, {behind}"));
        }
    }

    /// For operators: how many stores are in which state.
    async fn count_stores(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        self.counted = Some(Moment::now());
        let rows = answer("target", writer.client.query(writer.sql.text("count_stores"), &[])).await?;
        let count =
            |row: &tokio_postgres::Row| Ok((row.try_get(0)?, usize::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0)));
        let counts = rows.iter().map(count).collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
        self.progress.stores(&counts);
        Ok(())
    }

    /// Between two batches, the writer at home.
    async fn between(&mut self) -> Result<(), EngineError> {
        self.progress.work_begins();
        self.chores().await?;
        self.progress.work_ends();
        self.start_if_ready(false);
        Ok(())
    }

    async fn chores(&mut self) -> Result<(), EngineError> {
        for fault in self.assembler.take_faults() {
            self.set_aside(fault.tenant, fault.reason).await?;
        }
        if std::mem::take(&mut self.chores) {
            self.beat().await?;
        }
        if self.jobs.has_step() {
            self.run_jobs().await?;
        }
        self.advance_hold().await
    }

    /// Never in the middle of a source transaction larger than a batch: what was said of a store is committed with it.
    fn is_done(&self) -> bool {
        let between = self.writer.as_ref().is_some_and(|writer| !writer.is_open());
        if !between || self.jobs.is_busy() {
            return false;
        }
        let caught_up = self.until.is_some_and(|until| self.assembler.has_reached(until));
        self.again || caught_up && !self.jobs.has_due_roll(self.clock.now())
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
        let (flushed, asked, awaited): (Lsn, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if let Some(position) = self.confirmations.flushed(flushed) {
            self.stream.confirm(position);
        }
        if self.counted.is_none_or(|counted| counted.elapsed() >= STATES) {
            self.count_stores().await?;
        }
        if asked {
            self.serve().await?;
        }
        self.move_idle(awaited).await?;
        if !self.jobs.is_running() {
            self.run_jobs().await?;
        }
        if self.looked.elapsed() >= self.config.tenants.discover_every && self.until.is_none() {
            self.looked = Moment::now();
            self.look_for_stores().await?;
        }
        Ok(())
    }

    /// With nothing for us in what the source has written, the position moves on all the same: an idle shop must not
    /// keep WAL for the whole server, and a reader who waits for a position is not to wait for [`IDLE_MOVE`].
    async fn move_idle(&mut self, awaited: bool) -> Result<(), EngineError> {
        if self.hold.is_some() {
            return Ok(());
        }
        let Some(position) = self.assembler.idle_position() else { return Ok(()) };
        let caught_up = self.until.is_some_and(|until| position >= until);
        if self.moved.elapsed() < IDLE_MOVE && !caught_up && !awaited {
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
        match self.jobs.step(&self.config, writer, &mut self.assembler.stores, &self.clock).await? {
            Some((request, Reply::Progress(told))) => self.tell(request, &told).await,
            Some((request, Reply::End(answer))) => self.answer(request, answer).await,
            None => Ok(()),
        }
    }

    /// A batch may wait for a lock, or for an answer that will never come: another connection tells which.
    async fn look_for_target(&mut self) -> Result<(), EngineError> {
        if self.writing.is_some() && self.written_since.elapsed() > LONG_BATCH {
            let looked = answer("target", self.config.target_connection().connect("tillstream look")).await;
            if let Err(e) = looked
                && !matches!(&e, EngineError::Connect(e) if !e.is_unreachable())
            {
                return Err(e);
            }
            self.written_since = Moment::now();
        }
        Ok(())
    }

    async fn look_for_stores(&mut self) -> Result<(), EngineError> {
        let found = answer("source", catalog::discover(&self.source, &self.config)).await?.stores;
        let drift = answer("source", crate::source::publication::drift(&self.source, &self.config, &found)).await?;
        if found != self.discovered || !drift.none() {
            tracing::info!("the stores or their tables have changed");
            self.again = true;
        }
        Ok(())
    }

    /// One store is in trouble: the others go on without it.
    async fn set_aside(&mut self, tenant: TenantId, reason: FaultReason) -> Result<(), EngineError> {
        let Some(name) = self.assembler.stores.get(tenant).map(|s| s.name.clone()) else { return Ok(()) };
        let (state, message) = match reason {
            FaultReason::Unusable(message) => {
                tracing::error!(store = %name, problem = %message, "store is quarantined; mend it, then run: tillstream resync --tenant {name}");
                ("quarantined", Some(message))
            }
            FaultReason::Truncated(message) => {
                tracing::warn!(store = %name, reason = %message, "store is copied again");
                self.again = true;
                ("copying", None)
            }
        };
        let Some(writer) = &self.writer else { return Ok(()) };
        writer.client.execute(writer.sql.text("set_tenant_state"), &[&name, &state, &message]).await?;
        self.counted = None;
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
        if let Some(position) = self.confirmations.flushed(flushed) {
            self.stream.confirm(position);
        }
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
async fn open_stream(settings: ReplicationConfig, start: Lsn) -> Result<(Stream, Identity), SourceError> {
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
async fn answer<T, E: Into<EngineError>>(
    whom: &'static str,
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_LIMIT, question).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(EngineError::Silent { whom, limit: ANSWER_LIMIT }),
    }
}

/// The configuration was changed.
async fn reloaded(reload: &mut watch::Receiver<Arc<Config>>) {
    if reload.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
