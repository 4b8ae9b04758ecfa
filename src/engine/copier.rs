//! Copies in the background, one store at a time, while the session follows the stream for the others.
//!
//! ```text
//! publish ── snapshot at X ── facts, sums, report rows ── Ready ── (the session, between two batches: go) ── hand_over
//! ```
//! Nothing of the writer's is used before `go`: own sessions on both sides, one target transaction kept open. While a copy
//! is on its way, no position beyond X may be confirmed to the slot: the stream will be read again from there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::definitions::definitions;
use super::error::EngineError;
use super::prepare::{scope, statements};
use crate::apply::copy::{self, CopyError, NewStore, Snapshot, Verdict};
use crate::config::Config;
use crate::domain::{BusinessDay, TenantId};
use crate::lsn::Lsn;
use crate::source::catalog::{self, StoreTables};
use crate::source::publication::PublicationError;
use crate::source::{ExportedSnapshot, publication};

/// The first and the longest pause before a copy that failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// For the copy's own sessions: as long as it takes, but no longer than we live.
const SESSION: &str = "SELECT set_config(s.name, v.value, false) FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), \
    ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'), ('client_connection_check_interval', '1s')) \
    AS v(name, value) JOIN pg_settings s USING (name)";

/// How far the current copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Publishing,
    /// Published; waits for the transactions that are open at the source.
    Published,
    Copying {
        at: Lsn,
        rows: u64,
        /// 0: unknown.
        expected: u64,
    },
    /// Waits for the session's word.
    Ready {
        at: Lsn,
    },
}

/// A copy that is part of the reports now.
#[derive(Debug)]
pub struct Copied {
    pub id: TenantId,
    pub store: StoreTables,
    /// Where it was made.
    pub position: Lsn,
    /// Where to read the stream on from.
    pub back: Lsn,
}

#[derive(Debug)]
pub enum CopyFault {
    /// The store's own: it is quarantined.
    Unusable(String),
    /// Its tables are others than a moment ago.
    Changed,
    /// Not the store's.
    Failed(EngineError),
}

impl<E: Into<EngineError>> From<E> for CopyFault {
    fn from(error: E) -> Self {
        match error.into() {
            EngineError::Copy(e) => match e.verdict() {
                Verdict::Unusable => CopyFault::Unusable(e.to_string()),
                Verdict::Changed => CopyFault::Changed,
                Verdict::Innocent => CopyFault::Failed(EngineError::Copy(e)),
            },
            EngineError::Publication(e @ PublicationError::NotOwner { .. }) => CopyFault::Unusable(e.to_string()),
            e => CopyFault::Failed(e),
        }
    }
}

/// The copy in hand.
pub struct Current {
    pub store: String,
    /// Its reports are shown already, from an earlier copy.
    pub again: bool,
    pub started: Moment,
    /// As far as it was told.
    pub rows: u64,
    /// The pause before this attempt.
    pub pause: Duration,
    stage: watch::Receiver<Stage>,
    /// The same once more, to be woken by.
    wake: watch::Receiver<Stage>,
    /// Nothing beyond this was confirmed when it began.
    confirmed: Lsn,
    go: Option<oneshot::Sender<Lsn>>,
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

    pub fn is_ready(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Ready { .. })
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Has it handed over, or tells why it failed. `stored`: where the writer stands.
    pub async fn hand_over(mut self, stored: Lsn) -> Result<Copied, CopyFault> {
        if let Some(go) = self.go.take() {
            // Where nobody listens the task's own end tells why.
            let _ = go.send(stored);
        }
        match (&mut self.task).await {
            Ok(result) => result,
            Err(e) => Err(CopyFault::Failed(EngineError::Definite(format!("a defect in a copy: {e}")))),
        }
    }
}

struct Waiting {
    not_before: Moment,
    pause: Duration,
}

/// What is to be copied, and the copy in hand.
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

    /// Begins the next copy, if none is in hand. `stored`: where the writer stands; what is confirmed lies before.
    pub fn begin(&mut self, stored: Lsn, is_copied: impl Fn(&str) -> bool) {
        if self.current.is_some() {
            return;
        }
        let now = Moment::now();
        let due = self.waiting.iter().find(|(_, waiting)| waiting.not_before <= now);
        let Some((store, pause)) = due.map(|(store, waiting)| (store.clone(), waiting.pause)) else { return };
        self.waiting.remove(&store);
        let (tell, stage) = watch::channel(Stage::Publishing);
        let (go, told) = oneshot::channel();
        let order = Order {
            config: Arc::clone(&self.config),
            today: Box::new({
                let (clock, zone) = (self.clock.clone(), self.config.tenants.zone_of(&store));
                move || clock.now().with_timezone(&zone).date_naive()
            }),
            store: store.clone(),
            confirmed: stored,
        };
        let task = tokio::spawn(run(order, tell, told));
        let (again, wake) = (is_copied(&store), stage.clone());
        self.current = Some(Current {
            store,
            again,
            started: now,
            rows: 0,
            pause,
            stage,
            wake,
            confirmed: stored,
            go: Some(go),
            task,
        });
    }

    /// The furthest position that may be confirmed to the slot; `None`: any.
    pub fn limit(&self) -> Option<Lsn> {
        let current = self.current.as_ref()?;
        Some(match *current.stage.borrow() {
            Stage::Publishing | Stage::Published => current.confirmed,
            Stage::Copying { at, .. } | Stage::Ready { at } => at.max(current.confirmed),
        })
    }

    /// Waits until the copy in hand has something to tell.
    pub async fn news(&mut self) {
        match &mut self.current {
            // The task's end closes the channel: that is news, too.
            Some(current) => drop(current.wake.changed().await),
            None => std::future::pending().await,
        }
    }
}

struct Order {
    config: Arc<Config>,
    today: Box<dyn Fn() -> BusinessDay + Send>,
    store: String,
    confirmed: Lsn,
}

async fn run(order: Order, stage: watch::Sender<Stage>, told: oneshot::Receiver<Lsn>) -> Result<Copied, CopyFault> {
    let config = &order.config;
    let mut reader = config.source.connection.connect("tillstream copy").await?;
    reader.query(SESSION, &[]).await?;
    let found = catalog::discover(&reader, config).await?.stores.into_iter().find(|s| s.schema == order.store);
    let store = found.filter(StoreTables::healthy).ok_or(CopyFault::Changed)?;
    // Held to this store alone, every other table would be one to drop: only what is to be added counts.
    let drift = publication::drift(&reader, config, std::slice::from_ref(&store)).await?;
    publication::mend(&reader, config, drift.options_wrong, &[]).await?;
    publication::add(&reader, config, &drift.add).await?;
    let drift = publication::drift(&reader, config, std::slice::from_ref(&store)).await?;
    if !drift.add.is_empty() {
        return Err(CopyFault::Changed);
    }
    stage.send_replace(Stage::Published);

    let settings =
        config.source.connection.replication(&config.source.slot, &config.source.publication, "tillstream copy");
    let snapshot = ExportedSnapshot::create(settings).await?;
    let at = snapshot.position;
    if at < order.confirmed {
        let why = format!("a snapshot at {at}, before {}, which is confirmed already", order.confirmed);
        return Err(CopyFault::Failed(EngineError::Moved(why)));
    }
    let today = (order.today)();
    let mut scope = scope(config, &store);
    scope.today = today;
    let new = NewStore {
        name: store.schema.clone(),
        definitions: definitions(config, &scope, &store, &drift.entries),
        horizon: today - chrono::Days::new(u64::from(config.schedule.retention_days)),
        today,
    };
    stage.send_replace(Stage::Copying { at, rows: 0, expected: 0 });

    let sql = statements(config);
    let mut writer = config.target_connection().connect("tillstream copy").await?;
    writer.query(SESSION, &[]).await?;
    let write = writer.transaction().await?;
    {
        let read = copy::inside(&mut reader, &snapshot.name).await?;
        // The reader keeps the snapshot by itself; the slot behind it need not keep WAL any longer.
        drop(snapshot);
        let tell = |rows, expected| {
            stage.send_replace(Stage::Copying { at, rows, expected });
        };
        let from = Snapshot { client: &read, position: at };
        copy::facts(&from, &write, &sql, config, &mut scope, &new, tell).await?;
    }
    drop(reader);
    copy::finish(&write, &sql, &scope).await?;
    stage.send_replace(Stage::Ready { at });

    let Ok(stored) = told.await else { return Err(CopyFault::Changed) };
    // From here on any failure leaves open whether it was committed: a new session finds out.
    let back = copy::hand_over(&write, &sql, &scope, at, stored).await.map_err(|e| CopyFault::Failed(e.into()))?;
    let committed = |source| CopyError::Target { store: store.schema.clone(), what: "the hand-over", source };
    write.commit().await.map_err(committed).map_err(|e| CopyFault::Failed(e.into()))?;
    Ok(Copied { id: scope.tenant_id, store, position: at, back })
}
