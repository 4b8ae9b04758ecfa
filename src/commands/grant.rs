//! `grant` and `revoke`: who may read the reports, of all stores or of single ones.
//!
//! All stores: membership in the role `analytics_reader`, which belongs to the whole cluster. Single stores: lines in
//! `{state}.reader`, by which row-level security and the views filter; that needs no right beyond owning the reports.

use anyhow::{Context, bail};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::sql::ident;

/// Members of this role read every store.
pub const READER_ROLE: &str = "analytics_reader";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Grant,
    Revoke,
}

/// What a login may read after the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    pub login: String,
    /// Reads every store, new ones too.
    pub all_stores: bool,
    /// The single stores it reads besides.
    pub stores: Vec<String>,
}

/// Lets `login` read all stores (no `tenants`) or these, or takes that back; without `tenants`, revoking takes back
/// everything. Asking twice does no harm.
///
/// # Errors
/// The login or a store does not exist, or the role of `client` may not do it: the message holds the statement that an
/// administrator runs.
pub async fn run(
    client: &Client,
    config: &Config,
    login: &str,
    tenants: &[String],
    change: Change,
) -> anyhow::Result<Access> {
    let state = ident(&config.state_schema());
    let exists = client.query_opt("SELECT FROM pg_roles WHERE rolname::text = $1", &[&login]).await?.is_some();
    must_be_known(client, config, tenants).await?;
    match change {
        Change::Grant if !exists => {
            bail!("role {login:?} does not exist; create it first: CREATE ROLE {} LOGIN;", ident(login))
        }
        Change::Grant if tenants.is_empty() => grant_all(client, &state, login).await?,
        Change::Grant => grant_stores(client, &state, login, tenants).await?,
        // A role that is gone may have left lines behind; a mistyped one has none, and nobody is to believe it shut out.
        Change::Revoke if !exists && access(client, &state, login).await?.stores.is_empty() => {
            bail!("role {login:?} does not exist, nor is anything granted to it")
        }
        Change::Revoke => {
            revoke_stores(client, &state, login, tenants, exists).await?;
            if tenants.is_empty() && exists {
                revoke_all(client, login).await?;
            }
        }
    }
    access(client, &state, login).await
}

async fn grant_all(client: &Client, state: &str, login: &str) -> anyhow::Result<()> {
    let role = ident(READER_ROLE);
    let there = client.query_opt("SELECT FROM pg_roles WHERE rolname::text = $1", &[&READER_ROLE]).await?.is_some();
    if !there {
        let create = format!("CREATE ROLE {role} NOLOGIN");
        let may = format!("{create}; GRANT {role} TO {} WITH ADMIN OPTION;", current_user(client).await?);
        as_administrator(client, &create, &may).await?;
    }
    client.execute(&format!("SELECT {state}.share_with($1)"), &[&READER_ROLE]).await.context("sharing the reports")?;
    let grant = format!("GRANT {role} TO {}", ident(login));
    as_administrator(client, &grant, &format!("{grant};")).await
}

async fn must_be_known(client: &Client, config: &Config, tenants: &[String]) -> anyhow::Result<()> {
    let known =
        client.query(&format!("SELECT tenant FROM {}.tenant ORDER BY 1", ident(&config.target.schema)), &[]).await?;
    let known = known.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    let unknown: Vec<&str> = tenants.iter().map(String::as_str).filter(|t| !known.iter().any(|k| k == t)).collect();
    if !unknown.is_empty() {
        bail!("no such store: {}; known are: {}", unknown.join(", "), known.join(", "));
    }
    Ok(())
}

async fn grant_stores(client: &Client, state: &str, login: &str, tenants: &[String]) -> anyhow::Result<()> {
    // One statement: rights without lines, or lines without rights, would be half a grant.
    let grant = format!(
        "WITH lines AS (INSERT INTO {state}.reader (login, tenant) SELECT $1, t FROM unnest($2::text[]) AS t \
         ON CONFLICT DO NOTHING) SELECT {state}.share_with($1)"
    );
    client.execute(&grant, &[&login, &tenants]).await.context("granting")?;
    Ok(())
}

async fn revoke_stores(
    client: &Client,
    state: &str,
    login: &str,
    tenants: &[String],
    exists: bool,
) -> anyhow::Result<()> {
    let all = tenants.is_empty();
    // What the role holds on the schema goes with its last store; a member of analytics_reader has it from there.
    let revoke = format!(
        "WITH gone AS (DELETE FROM {state}.reader WHERE login = $1 AND ($2 OR tenant = ANY ($3)) RETURNING tenant) \
         SELECT {state}.unshare_with($1) WHERE $4 AND NOT EXISTS (SELECT FROM {state}.reader r WHERE r.login = $1 \
         AND r.tenant NOT IN (SELECT tenant FROM gone))"
    );
    client.execute(&revoke, &[&login, &all, &tenants, &exists]).await.context("revoking")?;
    Ok(())
}

async fn revoke_all(client: &Client, login: &str) -> anyhow::Result<()> {
    let member = "SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles l ON l.oid = m.member \
                  WHERE r.rolname::text = $1 AND l.rolname::text = $2";
    if client.query_opt(member, &[&READER_ROLE, &login]).await?.is_none() {
        return Ok(());
    }
    let revoke = format!("REVOKE {} FROM {}", ident(READER_ROLE), ident(login));
    as_administrator(client, &revoke, &format!("{revoke};")).await
}

/// Runs a statement that needs rights over roles; where ours has none, says what somebody else has to run.
async fn as_administrator(client: &Client, sql: &str, for_the_dba: &str) -> anyhow::Result<()> {
    match client.batch_execute(sql).await {
        Ok(()) => Ok(()),
        Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            bail!("role {} may not do that; let an administrator run: {for_the_dba}", current_user(client).await?)
        }
        // Another session was quicker: roles belong to the cluster.
        Err(e) if e.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("running {sql}")),
    }
}

async fn current_user(client: &Client) -> anyhow::Result<String> {
    let name: String = client.query_one("SELECT current_user::text", &[]).await?.try_get(0)?;
    Ok(ident(&name))
}

async fn access(client: &Client, state: &str, login: &str) -> anyhow::Result<Access> {
    let query = format!(
        "SELECT coalesce((SELECT bool_or(pg_has_role(l.oid, r.oid, 'USAGE')) FROM pg_roles l, pg_roles r \
                          WHERE l.rolname::text = $1 AND r.rolname::text = $2), false), \
                ARRAY(SELECT r.tenant FROM {state}.reader r WHERE r.login = $1 ORDER BY 1)"
    );
    let row = client.query_one(&query, &[&login, &READER_ROLE]).await?;
    Ok(Access { login: login.to_string(), all_stores: row.try_get(0)?, stores: row.try_get(1)? })
}
