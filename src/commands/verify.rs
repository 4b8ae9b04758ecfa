//! `verify`: every report row against the POS tables, at one exact position of the WAL.
//!
//! ```text
//! daemon runs:     ask it to hold ─ snapshot of the source at X ─ it goes on to exactly X ─ snapshot of the target ─ release
//! it does not run: catch up, as `run --once` does, up to exactly X; this process is the writer meanwhile
//! then:            both snapshots are compared while the daemon goes on
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio_postgres::{IsolationLevel, Transaction};

use super::Outcome;
use super::request::{Daemon, ask};
use crate::apply::copy;
use crate::cli::VerifyArgs;
use crate::config::Config;
use crate::engine::prepare::{self, Registered, registered, statements};
use crate::engine::{Clock, EngineError, Mode, Progress};
use crate::source::catalog::{self, StoreTables};
use crate::source::{ExportedSnapshot, giving_way};
use crate::verify::{Difference, ReportTable, TableCount, TenantScope, compare_tenant};

/// The engine holds this long before the source's snapshot must be there; else it goes on and we try again, with more
/// patience each time: where every transaction of the POS takes longer, verify must end all the same.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
const TRIES: u32 = 20;

/// Both sides at one position.
struct Standing {
    snapshot: ExportedSnapshot,
    /// The target's snapshot and the daemon that holds it open until it is released.
    held: Option<(String, Daemon)>,
}

/// # Errors
/// Where the comparison cannot be made.
pub async fn run(config: Config, args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let config = Arc::new(config);
    let (mut found, mut repaired) = (compare(&config, args, true).await?, false);
    let differed = found.differences > 0;
    if differed && args.repair {
        ask(&config, "rebuild", json!({ "tenant": args.tenant }), false).await.context("repairing")?;
        let quiet = VerifyArgs { json: true, ..args.clone() };
        let after = compare(&config, &quiet, false).await?;
        repaired = after.differences == 0;
        found.left = Some(after.differences);
    }
    found.tell(args, repaired)?;
    Ok(if differed { Outcome::DoesNotHold } else { Outcome::Done })
}

/// What a comparison came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) position: String,
    tables: BTreeMap<String, (u64, u64)>,
    pub(super) differences: u64,
    listed: Vec<Difference>,
    /// Stores that could not be compared, and why.
    pub(super) skipped: Vec<String>,
    pub(super) tenants: usize,
    /// Differences left after a repair.
    left: Option<u64>,
}

impl Found {
    /// Rows compared.
    pub(super) fn rows(&self) -> u64 {
        self.tables.values().map(|(rows, _)| rows).sum()
    }

    /// A line per table, and one per store that was not compared.
    pub(super) fn tell_tables(&self, out: &mut impl Write) -> std::io::Result<()> {
        for (table, (rows, differences)) in &self.tables {
            writeln!(out, "{table:<22} {rows:>10} rows compared  {differences:>6} differ")?;
        }
        for store in &self.skipped {
            writeln!(out, "not compared: {store}")?;
        }
        Ok(())
    }

    fn tell(&self, args: &VerifyArgs, repaired: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if args.json {
            let tables: BTreeMap<_, _> = self
                .tables
                .iter()
                .map(|(table, (rows, differences))| (table, json!({ "rows": rows, "differences": differences })))
                .collect();
            let document = json!({
                "position": self.position, "tenants": self.tenants, "tables": tables, "differences": self.listed,
                "difference_count": self.differences, "skipped": self.skipped, "ok": self.differences == 0,
                "repaired": args.repair.then_some(repaired), "differences_left": self.left,
            });
            writeln!(out, "{document}")?;
            return Ok(());
        }
        self.tell_tables(&mut out)?;
        let stores = self.tenants;
        match (self.differences, self.left) {
            (0, _) => writeln!(out, "every row of {stores} stores is right at {}", self.position)?,
            (n, None) => {
                writeln!(out, "{n} differences at {}; tillstream verify --repair puts the rows right", self.position)?
            }
            (n, Some(0)) => writeln!(out, "{n} differences at {}; all repaired", self.position)?,
            (n, Some(left)) => writeln!(
                out,
                "{n} differences at {}; {left} are left after the repair: the base facts are wrong, run: tillstream resync",
                self.position
            )?,
        }
        Ok(())
    }
}

/// Compares every row of the stores that `args` names, beside a running daemon or as its stand-in. `list`: tell each
/// difference as it is found.
///
/// # Errors
/// Where the comparison cannot be made.
pub(super) async fn compare(config: &Arc<Config>, args: &VerifyArgs, list: bool) -> anyhow::Result<Found> {
    let standing = stand(config).await?;
    compare_at(config, args, list, false, standing).await
}

/// The same for one store beside the running daemon. `None`: there is none, or it was busy otherwise.
///
/// # Errors
/// As for [`compare`].
pub(super) async fn compare_store(config: &Arc<Config>, tenant: &str) -> anyhow::Result<Option<Found>> {
    let mut wait = FIRST_WAIT;
    let standing = loop {
        let Some(daemon) = Daemon::find(config).await? else { return Ok(None) };
        match beside(config, daemon, wait).await? {
            Some(standing) => break standing,
            None if wait >= LONGEST_WAIT => return Ok(None),
            None => wait *= 2,
        }
    };
    let args = VerifyArgs { tenant: Some(tenant.to_string()), repair: false, json: true };
    compare_at(config, &args, false, true, standing).await.map(Some)
}

/// `gently`: nobody waits for it, and the shop has the processors; for either side one is enough.
async fn compare_at(
    config: &Arc<Config>,
    args: &VerifyArgs,
    list: bool,
    gently: bool,
    standing: Standing,
) -> anyhow::Result<Found> {
    let mut reader = config.source.connection.connect("tillstream verify").await?;
    let mut target = config.target_connection().connect("tillstream verify").await?;
    let sql = statements(config);
    let source = copy::inside(&mut reader, &standing.snapshot.name).await?;
    let target = match standing.held {
        Some((name, mut daemon)) => {
            let transaction = copy::inside(&mut target, &name).await?;
            daemon.ask("release", json!({})).await?;
            transaction
        }
        None => target.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?,
    };
    if gently {
        for side in [&source, &target] {
            side.batch_execute("SET LOCAL max_parallel_workers_per_gather = 0").await?;
        }
    }
    let discovery = {
        let client = config.source.connection.connect("tillstream verify").await?;
        catalog::discover(&client, config).await?
    };
    let known = registered(target.client(), &sql).await?;
    let comparing = compare_stores(config, args, list, &discovery.stores, &known, (&source, &target));
    let mut found = giving_way(config, &source, comparing).await.context("run it again")??;
    found.position = standing.snapshot.position.to_string();
    if let Some(tenant) = args.tenant.as_deref()
        && found.tenants == 0
        && found.skipped.is_empty()
    {
        bail!("there is no store {tenant:?}; tillstream status lists them");
    }
    Ok(found)
}

/// Both sides inside their snapshots.
async fn compare_stores(
    config: &Config,
    args: &VerifyArgs,
    list: bool,
    stores: &[StoreTables],
    known: &BTreeMap<String, Registered>,
    (source, target): (&Transaction<'_>, &Transaction<'_>),
) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for store in stores {
        if args.tenant.as_deref().is_some_and(|t| t != store.schema) {
            continue;
        }
        let Some(r) = known.get(&store.schema).filter(|r| r.state == "live") else {
            let state = known.get(&store.schema).map_or("not copied yet", |r| r.state.as_str());
            found.skipped.push(format!("{} ({state})", store.schema));
            continue;
        };
        let scope =
            TenantScope { tenant_id: r.id, today: r.today, horizon: r.horizon, ..prepare::scope(config, store) };
        let mut listed = Vec::new();
        let mut sink = |difference: Difference| {
            if list && !args.json {
                let mut out = std::io::stdout().lock();
                let _ = writeln!(out, "{difference}");
            }
            if listed.len() < 10_000 {
                listed.push(difference);
            }
        };
        let result = compare_tenant(source, target, config, &scope, &mut sink).await?;
        for (table, TableCount { rows, differences, .. }) in &result.tables {
            let count = found.tables.entry(table_name(*table)).or_default();
            count.0 += rows;
            count.1 += differences;
            found.differences += differences;
        }
        found.listed.extend(listed);
        found.tenants += 1;
    }
    Ok(found)
}

fn table_name(table: ReportTable) -> String {
    table.to_string()
}

/// Gets source and target to stand at one position, with the daemon's help where it runs.
async fn stand(config: &Arc<Config>) -> anyhow::Result<Standing> {
    let mut wait = FIRST_WAIT;
    for _ in 0..TRIES {
        let stands = match Daemon::find(config).await? {
            Some(daemon) => beside(config, daemon, wait).await?,
            None => alone(config).await?,
        };
        if let Some(standing) = stands {
            return Ok(standing);
        }
        wait = LONGEST_WAIT.min(wait * 2);
    }
    bail!(
        "the daemon and the source could not be brought to one position: transactions stay open too long, or the daemon \
         restarts again and again; see its log, or try again later"
    )
}

/// The running daemon holds while the snapshots are taken. `None`: it could not be held at the right moment.
async fn beside(config: &Arc<Config>, mut daemon: Daemon, wait: Duration) -> anyhow::Result<Option<Standing>> {
    // Long transactions at the source would make it wait: let them end before anything is held.
    drop(snapshot(config).await?);
    daemon.take_turn().await?;
    if let Err(e) = daemon.ask("hold", json!({})).await {
        tracing::info!("{}; trying again", crate::told::chain(&e));
        return Ok(None);
    }
    let Ok(snapshot) = tokio::time::timeout(wait, snapshot(config)).await else {
        daemon.ask("release", json!({})).await?;
        tracing::info!("a long transaction at the source keeps verify waiting; trying again");
        return Ok(None);
    };
    let snapshot = snapshot?;
    crate::engine::mark(&daemon.source).await?;
    // The daemon may have been restarted, or have lost its connection, since it was told to hold.
    let answer = match daemon.ask("advance", json!({ "lsn": snapshot.position.to_string() })).await {
        Ok(answer) => answer,
        Err(e) => {
            tracing::info!("{}; trying again", crate::told::chain(&e));
            return Ok(None);
        }
    };
    let Some(name) = answer.get("snapshot").and_then(Value::as_str) else {
        // It began a new session meanwhile and went on beyond the position.
        daemon.ask("release", json!({})).await?;
        return Ok(None);
    };
    Ok(Some(Standing { snapshot, held: Some((name.to_string(), daemon)) }))
}

async fn snapshot(config: &Config) -> Result<ExportedSnapshot, crate::source::SourceError> {
    let settings =
        config.source.connection.replication(&config.source.slot, &config.source.publication, "tillstream verify");
    ExportedSnapshot::create(settings).await
}

/// No daemon runs: this process writes what is missing up to the snapshot's position, and nothing beyond. `None`: a
/// daemon was quicker.
async fn alone(config: &Arc<Config>) -> anyhow::Result<Option<Standing>> {
    // Stores that wait for a copy are copied now: one made after the snapshot would not stand at its position.
    let (_keep, stop) = tokio::sync::watch::channel(false);
    crate::engine::run(Arc::clone(config), Mode::Once, Clock::system(), Progress::default(), stop).await?;
    let snapshot = snapshot(config).await?;
    crate::engine::mark(&config.source.connection.connect("tillstream verify").await?).await?;
    let (_keep, stop) = tokio::sync::watch::channel(false);
    let mode = Mode::UpTo(snapshot.position);
    match crate::engine::run(Arc::clone(config), mode, Clock::system(), Progress::default(), stop).await {
        Ok(()) => Ok(Some(Standing { snapshot, held: None })),
        Err(EngineError::Busy) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
