//! How a store is copied, beside the stream: its own sessions on both sides, one target transaction.
//!
//! ```text
//! publish ── snapshot at X ── facts ── sums, report rows ── follow ── Near
//!                               └── a stream of its own from X ─┘       │ the session: stops at S
//!    Copied <── COMMIT, floor M <── follow to exactly M <── Meeting at M >= S, C (where it is itself)
//! ```
//! # Why it is exact
//! The snapshot and the stream are those of one temporary slot, so together they hold every change once, whatever else
//! happens meanwhile. M lies beyond everything the session has received so far, and the session takes nothing that
//! commits at or beyond M until it has made the store live: what commits before M the copy has, the rest the session
//! takes, by commit position alone.
//!
//! # What a crash leaves
//! Before the COMMIT nothing. Between it and the session's own "live": rows as of M of a store that is still to be
//! copied; it is copied again. Only the session, which holds the writer's lock, makes a store live: a copy whose daemon
//! is gone changes nothing that its successor relies on, and holds the store's entry locked until it has ended.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::{oneshot, watch};
use tokio_postgres::Client;

use super::assembler::{Assembler, FaultReason};
use super::clock::Clock;
use super::definitions::definitions;
use super::error::EngineError;
use super::hold::mark;
use super::prepare::{load_store, registered, scope, statements};
use super::session::until;
use super::stores::Stores;
use crate::apply::copy::{self, NewStore, Snapshot, Verdict};
use crate::apply::{ApplyError, Batch, Statements, Writer, compat};
use crate::config::Config;
use crate::domain::TenantId;
use crate::lsn::Lsn;
use crate::source::catalog::{self, StoreTables};
use crate::source::publication::PublicationError;
use crate::source::{CourtesyError, ExportedSnapshot, Stream, StreamEvent, giving_way, publication};
use crate::verify::TenantScope;

/// Caught up: what happened at the source in this time is still to be read.
const NEAR: Duration = Duration::from_millis(500);
/// Events taken in a row.
const BURST: usize = 1024;

/// For the copy's own sessions: as long as it takes, but no longer than we live. A commit is on disk when it is answered,
/// which [`mark`] needs, and waits for no standby.
const SESSION: &str = "SELECT set_config(s.name, v.value, false) FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), \
    ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'), ('client_connection_check_interval', '1s'), \
    ('synchronous_commit', 'local')) AS v(name, value) JOIN pg_settings s USING (name)";

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Publishing,
    /// Published; waits for the transactions that are open at the source.
    Published,
    /// `expected` is 0 where it is not known.
    Copying {
        rows: u64,
        expected: u64,
        since: Moment,
    },
    Building,
    CatchingUp,
    /// It has caught up, and follows on until it hears where the session stops.
    Near,
    /// It stops there, and so has the session to.
    Meeting(Lsn),
}

/// A copy that is committed, and exact at its position.
#[derive(Debug)]
pub struct Copied {
    pub id: TenantId,
    pub store: StoreTables,
    pub position: Lsn,
}

#[derive(Debug)]
pub enum CopyFault {
    /// Rows of the store: it is quarantined until somebody says that they are mended.
    Unusable(String),
    /// Our role may not publish or read it: it is quarantined until it may.
    Forbidden(String),
    /// Its tables are others than a moment ago, or about to be.
    Changed(String),
    /// Not the store's.
    Failed(EngineError),
}

impl<E: Into<EngineError>> From<E> for CopyFault {
    fn from(error: E) -> Self {
        match error.into() {
            EngineError::Copy(e) => match e.verdict() {
                Verdict::Unusable => CopyFault::Unusable(e.to_string()),
                Verdict::Forbidden => CopyFault::Forbidden(e.to_string()),
                Verdict::Changed => CopyFault::Changed(e.to_string()),
                Verdict::Innocent => CopyFault::Failed(EngineError::Copy(e)),
            },
            EngineError::Publication(e @ PublicationError::NotOwner { .. }) => CopyFault::Forbidden(e.to_string()),
            e => CopyFault::Failed(e),
        }
    }
}

pub struct Order {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub store: String,
}

/// Copies the store of the order. `told`: where the session stops.
pub async fn run(order: Order, stage: watch::Sender<Stage>, told: oneshot::Receiver<Lsn>) -> Result<Copied, CopyFault> {
    let config = &order.config;
    let mut source = config.source.connection.connect("tillstream copy").await?;
    source.query(SESSION, &[]).await?;
    let (store, published) = publish(config, &source, &order.store).await?;
    stage.send_replace(Stage::Published);

    tracing::info!(store = %store.schema, "waiting for the transactions that are running at the source, for an exact snapshot");
    let settings =
        config.source.connection.replication(&config.source.slot, &config.source.publication, "tillstream copy");
    let snapshot = ExportedSnapshot::create(settings).await?;
    let mut scope = scope(config, &store);
    scope.today = order.clock.now().with_timezone(&scope.zone).date_naive();
    let new = NewStore {
        name: store.schema.clone(),
        definitions: definitions(config, &scope, &store, &published),
        horizon: scope.today - chrono::Days::new(u64::from(config.schedule.retention_days)),
        today: scope.today,
    };
    let since = Moment::now();
    stage.send_replace(Stage::Copying { rows: 0, expected: 0, since });

    let sql = statements(config);
    let target = config.target_connection().connect("tillstream copy").await?;
    target.query(SESSION, &[]).await?;
    target.batch_execute("BEGIN").await?;
    {
        let read = copy::inside(&mut source, &snapshot.name).await?;
        let tell = |rows, expected| {
            stage.send_replace(Stage::Copying { rows, expected, since });
        };
        let from = Snapshot { client: &read, position: snapshot.position };
        let reading = copy::facts(&from, &target, &sql, config, &mut scope, &new, tell);
        giving_way(config, &read, reading).await.map_err(gave_way)??;
        read.commit().await?;
    }
    stage.send_replace(Stage::Building);
    let mut ahead = Ahead::open(config, &store, &scope, snapshot, &target, &sql).await?;
    tokio::select! {
        built = copy::build(&target, &sql, config, &scope) => built?,
        fault = ahead.read() => return Err(fault),
    }
    views(config, &store.schema).await;

    stage.send_replace(Stage::CatchingUp);
    let mut follower = Follower::start(config, ahead, target, sql).await?;
    let position = follower.meet(&source, &stage, told).await?;
    follower.writer.show().await.map_err(refused)?;
    let Writer { client: target, sql, .. } = follower.writer;
    target.execute(sql.text("set_floor"), &[&scope.tenant_id.0, &position]).await?;
    target.batch_execute("COMMIT").await?;
    Ok(Copied { id: scope.tenant_id, store, position })
}

/// The store as it is now, all its tables published, and the publication as it is then.
async fn publish(config: &Config, source: &Client, name: &str) -> Result<(StoreTables, publication::Drift), CopyFault> {
    let gone = || CopyFault::Changed("it is not there any more".to_string());
    let store = catalog::discover_one(source, config, name).await?.ok_or_else(gone)?;
    if let Some(problem) = store.problems.first() {
        return Err(CopyFault::Changed(problem.what.clone()));
    }
    // Held to this store alone, every other table would be one to drop: only what is to be added counts.
    let only = std::slice::from_ref(&store);
    let mut drift = publication::drift(source, config, only).await?;
    if !drift.add.is_empty() {
        publication::add(source, config, &drift.add).await?;
        drift = publication::drift(source, config, only).await?;
    }
    match drift.add.first() {
        _ if drift.options_wrong => Err(CopyFault::Changed("the publication has other options".to_string())),
        Some(table) => Err(CopyFault::Changed(format!("{table} is not published"))),
        None => Ok((store, drift)),
    }
}

/// Of one store alone, what is refused is its own.
fn refused(error: ApplyError) -> CopyFault {
    match error {
        e if e.is_of_a_store() => CopyFault::Unusable(e.to_string()),
        e => e.into(),
    }
}

fn gave_way(error: CourtesyError) -> CopyFault {
    match error {
        CourtesyError::GaveWay => CopyFault::Changed(error.to_string()),
        CourtesyError::Connect(e) => e.into(),
        CourtesyError::Database(e) => e.into(),
    }
}

/// The reports do not depend on it.
async fn views(config: &Config, store: &str) {
    let installed = async {
        let client = config.target_connection().connect("tillstream compat").await?;
        compat::install_for_new_store(&client, config, store).await
    };
    if let Err(e) = installed.await {
        tracing::warn!(store = %store, "no compat views: {e:#}");
    }
}

/// What has happened to one store since its snapshot, as far as it is read and not written.
///
/// It is read while the reports are built: the server goes through our own writes meanwhile, of which it sends nothing.
struct Ahead {
    stream: Stream,
    assembler: Assembler,
}

impl Ahead {
    async fn open(
        config: &Arc<Config>,
        store: &StoreTables,
        scope: &TenantScope,
        snapshot: ExportedSnapshot,
        target: &Client,
        sql: &Statements,
    ) -> Result<Ahead, CopyFault> {
        let mut stores = Stores::default();
        if let Some(entry) = registered(target, sql).await?.get(&scope.name) {
            stores.put(load_store(config, store, entry, true));
        }
        let assembler = Assembler::new(Arc::clone(config), stores, snapshot.position);
        Ok(Ahead { stream: snapshot.into_stream().await?, assembler })
    }

    /// Reads until there is as much as one batch may hold, then no more. Ends only with a fault.
    async fn read(&mut self) -> CopyFault {
        while self.assembler.wants_more() {
            let event = match self.stream.next().await {
                Ok(event) => event,
                Err(e) => return e.into(),
            };
            if let Err(e) = self.assembler.push(event, Moment::now()) {
                return EngineError::from(e).into();
            }
        }
        std::future::pending().await
    }
}

/// Follows the stream for one store, into the transaction of its copy.
struct Follower {
    stream: Stream,
    assembler: Assembler,
    writer: Writer,
}

impl Follower {
    async fn start(config: &Arc<Config>, ahead: Ahead, target: Client, sql: Statements) -> Result<Follower, CopyFault> {
        let Ahead { stream, assembler } = ahead;
        let mut writer = Writer::within(target, sql, assembler.stores.calendar(), config.rfm.window_days).await?;
        writer.totals_from_items = config.mapping.totals_from_items();
        Ok(Follower { stream, assembler, writer })
    }

    /// Catches up, agrees with the session where to stop, and stops there. Comes back: everything before that position
    /// is in, nothing else.
    async fn meet(
        &mut self,
        source: &Client,
        stage: &watch::Sender<Stage>,
        mut told: oneshot::Receiver<Lsn>,
    ) -> Result<Lsn, CopyFault> {
        loop {
            let began = Moment::now();
            // Of a commit: what the server has flushed may end within a record, as commits that do not wait leave it, and
            // nothing can be read up to there before it flushes again.
            let end = mark(source).await?;
            while self.assembler.received() < end {
                let event = self.next().await?;
                self.take(event).await?;
            }
            if began.elapsed() < NEAR {
                break;
            }
        }
        stage.send_replace(Stage::Near);
        let session = loop {
            let event = tokio::select! {
                at = &mut told => break at.map_err(|_| CopyFault::Changed("nobody waits for it".to_string()))?,
                event = self.next() => event?,
            };
            self.take(event).await?;
        };
        let at = session.max(self.assembler.begun());
        stage.send_replace(Stage::Meeting(at));
        self.assembler.set_limit(Some(at), Moment::now()).map_err(EngineError::from)?;
        while !self.assembler.has_reached(at) {
            let event = self.next().await?;
            self.take(event).await?;
        }
        Ok(at)
    }

    /// The next event; `None`: what has arrived is due to be written before there is one. May be dropped while it waits.
    async fn next(&mut self) -> Result<Option<StreamEvent>, CopyFault> {
        let deadline = self.assembler.deadline();
        tokio::select! {
            event = self.stream.next() => Ok(Some(event?)),
            () = until(deadline) => Ok(None),
        }
    }

    /// Takes an event and those that have arrived with it, and writes what is due.
    async fn take(&mut self, event: Option<StreamEvent>) -> Result<(), CopyFault> {
        let now = Moment::now();
        let (mut next, mut taken) = (event, 0);
        while let Some(event) = next {
            self.assembler.push(event, now).map_err(EngineError::from)?;
            taken += 1;
            next = if taken < BURST && self.assembler.wants_more() { self.stream.try_next()? } else { None };
        }
        if let Some(fault) = self.assembler.take_faults().pop() {
            return Err(match fault.reason {
                FaultReason::Unusable(why) => CopyFault::Unusable(why),
                FaultReason::Changed(why) => CopyFault::Changed(why),
            });
        }
        if !self.assembler.is_ready(false, now) {
            return Ok(());
        }
        let Some(batch) = self.assembler.take(false, Moment::now()) else { return Ok(()) };
        self.writer.apply(Batch { end: None, ..batch }).await.map(drop).map_err(refused)
    }
}
