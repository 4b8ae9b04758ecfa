//! The daemon verifies its own reports in the background, one store at a time.
//!
//! It asks the engine to hold as `tillstream verify` does, so nothing interleaves. It has a thread of its own, and rests
//! after each store for several times as long as that one took: that is its share of the databases' time.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::commands::verify::{Found, compare_store};
use crate::config::Config;
use crate::engine::Ops;
use crate::engine::prepare::statements;
use crate::lsn::Lsn;
use crate::ops::log_throttle::{Say, Throttle};
use crate::told::chain;

/// Rest after a store, as a multiple of the time it took: a fifth of the time at most is spent verifying.
const REST: u32 = 4;
/// The shortest rest.
const BREATH: Duration = Duration::from_millis(200);
/// How often it is looked whether a store is due.
const LOOK: Duration = Duration::from_secs(60);
/// A store that could not be compared is tried again after this.
const AGAIN: Duration = Duration::from_secs(600);
/// One store may take this long.
const LIMIT: Duration = Duration::from_secs(6 * 3600);

/// The thread that verifies. It is left behind when the process ends: it writes nothing that could be half done.
pub(super) fn start(
    configs: watch::Receiver<Arc<Config>>,
    ops: Ops,
    stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("verify".to_owned()).spawn(move || runtime.block_on(prove(configs, ops, stop)))
}

async fn prove(configs: watch::Receiver<Arc<Config>>, ops: Ops, mut stop: watch::Receiver<bool>) {
    let mut trouble = Throttle::new(Duration::from_secs(300));
    loop {
        let config = Arc::clone(&configs.borrow());
        let rest = tokio::select! {
            rest = once(&config, &ops) => rest,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let rest = match rest {
            Ok(rest) => {
                trouble.well();
                rest
            }
            Err(error) => {
                match trouble.failed("verify") {
                    Say::First => tracing::warn!("the reports cannot be verified now: {}", chain(&error)),
                    Say::Again(repeats) => {
                        tracing::warn!("the reports cannot be verified: {}; {repeats}", chain(&error))
                    }
                    Say::Nothing => {}
                }
                look(config.verify.every.unwrap_or(LOOK))
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn look(every: Duration) -> Duration {
    (every / 10).clamp(Duration::from_millis(100), LOOK)
}

/// Verifies the store that is due, if one is. Comes back: how long to rest.
async fn once(config: &Arc<Config>, ops: &Ops) -> anyhow::Result<Duration> {
    let Some(every) = config.verify.every else { return Ok(LOOK) };
    if !ops.health.stream_live() {
        return Ok(look(every).min(Duration::from_secs(1)));
    }
    let target = config.target_connection().connect("tillstream verify").await?;
    let sql = statements(config);
    let again = AGAIN.min(every);
    let due = target.query_opt(sql.text("next_to_verify"), &[&every.as_secs_f64(), &again.as_secs_f64()]).await?;
    let Some(row) = due else {
        show(&target, &sql, ops).await?;
        return Ok(look(every));
    };
    let tenant: String = row.try_get(0)?;
    let started = Instant::now();
    let found = tokio::time::timeout(LIMIT, compare_store(config, &tenant)).await;
    let found = found.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {} h", LIMIT.as_secs() / 3600)));
    let took = started.elapsed();
    let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    match found {
        // The daemon was in between two sessions, or the store was not live any more.
        Ok(None) => {}
        Ok(Some(found)) if found.tenants == 0 => {}
        Ok(Some(found)) => {
            tell(&tenant, &found, took_ms);
            let lsn: Lsn = found.position.parse().context("reading the position")?;
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&tenant, &took_ms, &lsn, &count(found.rows()), &count(found.differences)];
            target.execute(sql.text("verified"), &values).await?;
        }
        Err(error) => {
            let message = chain(&error);
            tracing::warn!(store = %tenant, "the store could not be verified: {message}");
            target.execute(sql.text("not_verified"), &[&tenant, &took_ms, &message]).await?;
        }
    }
    show(&target, &sql, ops).await?;
    Ok((took * REST).max(BREATH))
}

/// Counts only: the rows' values are the shop's.
fn tell(tenant: &str, found: &Found, took_ms: i64) {
    let (rows, position) = (found.rows(), &found.position);
    if found.differences == 0 {
        tracing::info!(store = %tenant, rows, %position, ms = took_ms, "verified: every row is right");
    } else {
        tracing::error!(store = %tenant, rows, differences = found.differences, %position, ms = took_ms,
            "report rows differ from the pos tables; see tillstream verify --tenant {tenant}");
    }
}

async fn show(
    target: &tokio_postgres::Client,
    sql: &crate::apply::Statements,
    ops: &Ops,
) -> Result<(), tokio_postgres::Error> {
    let row = target.query_one(sql.text("read_verified"), &[]).await?;
    let (right_at, differences): (Option<DateTime<Utc>>, i64) = (row.try_get(0)?, row.try_get(1)?);
    ops.metrics.set_verify(right_at.map(SystemTime::from), u64::try_from(differences).unwrap_or_default());
    Ok(())
}
