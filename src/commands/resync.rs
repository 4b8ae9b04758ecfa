//! `resync`: throws away what is kept of a store, or of all, and copies it again; `--purge`: removes one that is gone.

use std::sync::Arc;

use serde_json::json;

use super::request::{Daemon, ask};
use super::{Outcome, tell};
use crate::cli::ResyncArgs;
use crate::config::Config;
use crate::engine::prepare::{identity, statements, stored_position};
use crate::engine::{Clock, Mode, Progress};
use crate::source::slot;
use crate::sql::{ident, literal};

/// # Errors
/// Where it could not be done.
pub async fn run(config: Config, args: &ResyncArgs) -> anyhow::Result<Outcome> {
    let config = Arc::new(config);
    if args.purge {
        ask(&config, "purge", json!({ "tenant": args.tenant })).await?;
        tell("removed");
        return Ok(Outcome::Done);
    }
    if Daemon::find(&config).await?.is_some() {
        ask(&config, "resync", json!({ "tenant": args.tenant })).await?;
        tell("copying again; tillstream status shows how far it is");
        return Ok(Outcome::Done);
    }
    let target = config.target_connection().connect("tillstream resync").await?;
    let sql = statements(&config);
    crate::apply::migrate::require_latest(&target, &config.target.schema).await?;
    let source = config.source.connection.connect("tillstream resync").await?;
    if args.tenant.is_none() {
        begin_anew_where_needed(&config, &source, &target, &sql).await?;
    }
    let only = args.tenant.as_deref().map_or(String::new(), |t| format!(" WHERE tenant = {}", literal(t)));
    let changed = target
        .execute(
            &format!("UPDATE {}.tenant SET state = 'copying', message = NULL{only}", ident(&config.target.schema)),
            &[],
        )
        .await?;
    if let (0, Some(tenant)) = (changed, &args.tenant) {
        anyhow::bail!("there is no store {tenant:?}; tillstream status lists them");
    }
    let (_keep, stop) = tokio::sync::watch::channel(false);
    crate::engine::run(Arc::clone(&config), Mode::Once, Clock::system(), Progress::default(), stop).await?;
    let query = format!(
        "SELECT tenant || ' is ' || state || coalesce(': ' || message, '') FROM {}.tenant WHERE state <> 'live'{}",
        ident(&config.target.schema),
        args.tenant.as_deref().map_or(String::new(), |t| format!(" AND tenant = {}", literal(t)))
    );
    let left = target.query(&query, &[]).await?;
    for row in &left {
        tell(row.try_get::<_, String>(0)?);
    }
    if let (false, Some(_)) = (left.is_empty(), &args.tenant) {
        return Ok(Outcome::DoesNotHold);
    }
    tell("copied again and caught up");
    Ok(Outcome::Done)
}

/// A position that belongs to another source, or a slot that cannot serve it, is given up together with its slot: a new
/// slot over an old position would miss changes.
async fn begin_anew_where_needed(
    config: &Config,
    source: &tokio_postgres::Client,
    target: &tokio_postgres::Client,
    sql: &crate::apply::Statements,
) -> anyhow::Result<()> {
    use crate::engine::position::{Decision, decide};
    let name = &config.source.slot;
    let stored = stored_position(target, sql).await?;
    let info = slot::info(source, name).await?;
    if let Decision::Lost(why) | Decision::Refuse(why) =
        decide(stored.as_ref(), info.as_ref(), &identity(source).await?, name)
    {
        tracing::warn!(%why, "beginning anew with a new slot");
        slot::drop(source, name).await?;
        target.execute(&format!("DELETE FROM {}.position", ident(&config.state_schema())), &[]).await?;
    }
    Ok(())
}
