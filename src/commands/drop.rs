//! `drop`: nothing of ours stays in the POS's server that would keep its log; with `--reports` nothing at all.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Outcome, tell};
use crate::apply::migrate;
use crate::cli::DropArgs;
use crate::config::Config;
use crate::source::{admin, publication, slot};
use crate::sql::ident;

const APPLICATION: &str = "tillstream drop";

/// # Errors
/// What could not be dropped, and what to do about it.
pub async fn run(config: &Config, args: &DropArgs) -> anyhow::Result<Outcome> {
    if !args.yes && !confirmed(config, args.reports)? {
        tell("nothing dropped");
        return Ok(Outcome::Done);
    }
    let source = config.source.connection.connect(APPLICATION).await?;
    let target = config.target_connection().connect(APPLICATION).await?;
    let admin = match &args.admin_url {
        Some(url) => Some(super::admin(url)?.connect(APPLICATION).await?),
        None => None,
    };
    // First what may be refused: a running daemon holds the slot, and must not lose its position under it.
    if let Some(pid) = slot::info(&source, &config.source.slot).await?.and_then(|info| info.active_pid) {
        bail!(slot::SlotError::InUse { name: config.source.slot.clone(), pid: Some(pid) });
    }
    forget_position(config, &target, args.reports).await?;
    tell_of("slot", &config.source.slot, slot::drop(&source, &config.source.slot).await?);
    tell_of(
        "publication",
        &config.source.publication,
        publication::drop(admin.as_ref().unwrap_or(&source), config).await?,
    );
    drop_functions(config, admin.as_ref().unwrap_or(&source)).await?;
    if args.reports {
        for schema in [config.state_schema(), config.target.schema.clone()] {
            let statement = format!("DROP SCHEMA {} CASCADE", ident(&schema));
            let exists = "SELECT FROM pg_namespace WHERE nspname = $1";
            let there = target.query_opt(exists, &[&schema]).await?.is_some();
            if there {
                target.batch_execute(&statement).await.with_context(|| format!("cannot run {statement}"))?;
            }
            tell_of("schema", &schema, there);
        }
    }
    Ok(Outcome::Done)
}

/// What an administrator left behind is an administrator's to remove.
async fn drop_functions(config: &Config, source: &Client) -> anyhow::Result<()> {
    let schema = admin::schema(config);
    if source.query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&schema]).await?.is_none() {
        return Ok(());
    }
    let statement = format!("DROP SCHEMA {} CASCADE", ident(&schema));
    match source.batch_execute(&statement).await {
        Ok(()) => tell_of("functions", &schema, true),
        Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            tell(format!("functions    {schema} stays: an administrator drops it with {statement};"));
        }
        Err(e) => return Err(e).with_context(|| format!("cannot run {statement}")),
    }
    Ok(())
}

fn tell_of(what: &str, name: &str, dropped: bool) {
    tell(format!("{what:<12} {name} {}", if dropped { "dropped" } else { "was not there" }));
}

/// Without the slot the stored position is worth nothing; the next first copy starts from none. Schemas that are not
/// ours are never dropped.
async fn forget_position(config: &Config, target: &Client, reports: bool) -> anyhow::Result<()> {
    if migrate::version(target, &config.target.schema).await? == 0 {
        let schemas = [config.target.schema.clone(), config.state_schema()];
        let query = "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY ($1) \
                     AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = pg_namespace.oid) LIMIT 1";
        if let Some(row) = target.query_opt(query, &[&schemas.as_slice()]).await?.filter(|_| reports) {
            let found: String = row.try_get(0)?;
            bail!("schema {found:?} was not made by tillstream; set [target] schema, or drop it by hand");
        }
        return Ok(());
    }
    let there = "SELECT to_regclass($1) IS NOT NULL";
    let table = format!("{}.position", ident(&config.state_schema()));
    if target.query_one(there, &[&table]).await?.try_get(0)? {
        target.execute(&format!("DELETE FROM {table}"), &[]).await.context("cannot forget the position")?;
    }
    Ok(())
}

fn confirmed(config: &Config, reports: bool) -> anyhow::Result<bool> {
    let mut what = format!("slot {} and publication {}", config.source.slot, config.source.publication);
    if reports {
        what += &format!(", and the schemas {} and {} with every report", config.target.schema, config.state_schema());
    }
    if !std::io::stdin().is_terminal() {
        bail!("this drops {what}; say so with --yes, since there is no terminal to ask on");
    }
    print!("drop {what} at {}? [y/N] ", config.source.connection.place());
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
