//! `resync`: throws away what is kept of a store, or of all, and copies it again; `--purge`: removes one that is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::request::{Daemon, ask};
use super::{Outcome, tell};
use crate::apply::Writer;
use crate::cli::ResyncArgs;
use crate::config::Config;
use crate::engine::{Clock, Mode, Progress};
use crate::source::slot;
use crate::sql::ident;

/// How often it is looked how far the copies are.
const LOOK: Duration = Duration::from_millis(100);
/// The daemon may be between two connections for so long.
const NOBODY: Duration = Duration::from_secs(10);

/// # Errors
/// Where it could not be done.
pub async fn run(config: Config, args: &ResyncArgs) -> anyhow::Result<Outcome> {
    let config = Arc::new(config);
    if args.purge {
        ask(&config, "purge", json!({ "tenant": args.tenant }), false).await?;
        tell("removed");
        return Ok(Outcome::Done);
    }
    if Daemon::find(&config).await?.is_some() {
        let answer = ask(&config, "resync", json!({ "tenant": args.tenant }), false).await?;
        let stores = answer.get("stores").and_then(Value::as_array).into_iter().flatten();
        let stores: Vec<String> = stores.filter_map(|name| name.as_str().map(str::to_string)).collect();
        return follow(&config, &stores).await;
    }
    let target = config.target_connection().connect("tillstream resync").await?;
    crate::apply::migrate::require_latest(&target, &config.target.schema).await?;
    let source = config.source.connection.connect("tillstream resync").await?;
    if args.tenant.is_none() {
        begin_anew(&config, &source, &target).await?;
    }
    let stores = mark(&config, &target, args.tenant.as_deref()).await?;
    if let (true, Some(tenant)) = (stores.is_empty(), &args.tenant) {
        anyhow::bail!("there is no store {tenant:?} to copy; tillstream status lists them");
    }
    let (_keep, stop) = tokio::sync::watch::channel(false);
    crate::engine::run(Arc::clone(&config), Mode::Once, Clock::system(), Progress::default(), stop).await?;
    Ok(outcome(&states(&config, &target, &stores).await?))
}

/// What is kept of these stores does not count any more.
async fn mark(config: &Config, target: &Client, tenant: Option<&str>) -> Result<Vec<String>, tokio_postgres::Error> {
    let query = format!(
        "WITH r AS (UPDATE {}.tenant SET state = 'copying', message = NULL, updated_at = now() \
                    WHERE state <> 'gone' AND ($1::text IS NULL OR tenant = $1) RETURNING tenant), \
              t AS (UPDATE {}.tenant t SET definitions = '' FROM r WHERE t.tenant = r.tenant) \
         SELECT tenant FROM r",
        ident(&config.target.schema),
        ident(&config.state_schema())
    );
    target.query(&query, &[&tenant]).await?.iter().map(|row| row.try_get(0)).collect()
}

type States = BTreeMap<String, (String, Option<String>)>;

async fn states(config: &Config, target: &Client, stores: &[String]) -> Result<States, tokio_postgres::Error> {
    let query =
        format!("SELECT tenant, state, message FROM {}.tenant WHERE tenant = ANY ($1)", ident(&config.target.schema));
    let rows = target.query(&query, &[&stores]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)))).collect()
}

/// Shows how far the daemon is with these stores, until it has done with them. To end this ends nothing else.
async fn follow(config: &Config, stores: &[String]) -> anyhow::Result<Outcome> {
    let target = config.target_connection().connect("tillstream resync").await?;
    let (mut told, mut held) = (States::new(), Instant::now());
    loop {
        let now = states(config, &target, stores).await?;
        for (name, (state, message)) in now.iter().filter(|(name, state)| told.get(*name) != Some(state)) {
            if !matches!(state.as_str(), "live" | "quarantined" | "gone") {
                tell(format!("{name:<24} {state:<12} {}", message.as_deref().unwrap_or_default()).trim_end());
            }
        }
        let is_done = |state: &str| matches!(state, "live" | "quarantined" | "gone");
        if now.values().all(|(state, _)| is_done(state)) {
            return Ok(outcome(&now));
        }
        told = now;
        if Writer::is_locked(&target, &config.state_schema()).await? {
            held = Instant::now();
        } else if held.elapsed() > NOBODY {
            anyhow::bail!("the daemon has ended; it copies the rest when it is started again");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn outcome(states: &States) -> Outcome {
    let left: Vec<_> = states.iter().filter(|(_, (state, _))| state != "live").collect();
    for (name, (state, message)) in &left {
        tell(format!("{name} is {state}: {}", message.as_deref().unwrap_or("see tillstream status")));
    }
    if !left.is_empty() {
        return Outcome::DoesNotHold;
    }
    tell("copied again and caught up");
    Outcome::Done
}

/// With all stores copied again the old slot is worth nothing, and may be one that cannot be read on, or of another source:
/// it is given up together with the position.
async fn begin_anew(config: &Config, source: &Client, target: &Client) -> anyhow::Result<()> {
    slot::drop(source, &config.source.slot).await?;
    target.execute(&format!("DELETE FROM {}.position", ident(&config.state_schema())), &[]).await?;
    Ok(())
}
