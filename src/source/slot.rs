//! The replication slot, over plain SQL. Nothing here moves a slot or makes one anew by itself.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::lsn::Lsn;

/// From here on slots can survive a failover.
const FAILOVER_SINCE: i32 = 170_000;

/// A slot as the server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// `None`: a physical slot.
    pub plugin: Option<String>,
    pub database: Option<String>,
    /// The walsender that serves it.
    pub active_pid: Option<i32>,
    /// WAL is kept from here on.
    pub restart_lsn: Option<Lsn>,
    /// Commits that end at or before this are never sent again.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Where the server's version tells it (16 and later).
    pub invalidation_reason: Option<String>,
    /// WAL the server keeps for it, in bytes; `None` on a standby or where nothing is kept.
    pub retained_bytes: Option<i64>,
    /// Bytes that may still be written before it is lost; `None`: no limit.
    pub safe_wal_size: Option<i64>,
    /// Standbys keep a copy of it, where they are set up for that (17 and later).
    pub failover: bool,
}

impl SlotInfo {
    /// `wal_status`, or `lost` where it was invalidated for another reason.
    pub fn state(&self) -> &str {
        if self.lost() { "lost" } else { self.wal_status.as_deref().unwrap_or("lost") }
    }

    /// Its WAL is gone: following on from it is not possible any more.
    pub fn lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation_reason.is_some()
    }

    /// Why it is lost, and what would have kept it.
    pub fn why_lost(&self) -> String {
        match self.invalidation_reason.as_deref() {
            Some("idle_timeout") => "nobody read it for longer than idle_replication_slot_timeout".to_string(),
            Some(reason @ ("rows_removed" | "wal_level_insufficient" | "conflict with recovery")) => {
                format!("it came into conflict with recovery while its server was a standby ({reason})")
            }
            other => {
                let reason = other.or(self.wal_status.as_deref()).unwrap_or("unknown");
                format!("WAL that it needed was removed ({reason}; see max_slot_wal_keep_size)")
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("slot {name:?} is in use{}; stop the daemon that uses it first", .pid.map(|p| format!(" by process {p}")).unwrap_or_default())]
    InUse { name: String, pid: Option<i32> },
    #[error("slot {0:?} exists already")]
    Exists(String),
    #[error("no replication slot is free; raise max_replication_slots and restart PostgreSQL, or drop an unused slot")]
    NoneFree,
    #[error("the role may not make replication slots; run: ALTER ROLE {0} REPLICATION;")]
    NotAllowed(String),
    #[error("the server does not decode its log; run: ALTER SYSTEM SET wal_level = logical; and restart PostgreSQL")]
    WalLevel,
    #[error("replication slot: {}", message(.0))]
    Server(#[source] tokio_postgres::Error),
}

fn message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), crate::told::server)
}

/// The slot of that name, if there is one.
///
/// # Errors
/// What the server says.
pub async fn info(client: &Client, name: &str) -> Result<Option<SlotInfo>, tokio_postgres::Error> {
    let row = client.query_opt(include_str!("../../sql/catalog/slot.sql"), &[&name]).await?;
    row.map(|row| {
        Ok(SlotInfo {
            plugin: row.try_get("plugin")?,
            database: row.try_get("database")?,
            active_pid: row.try_get("active_pid")?,
            restart_lsn: row.try_get("restart_lsn")?,
            confirmed_flush_lsn: row.try_get("confirmed_flush_lsn")?,
            wal_status: row.try_get("wal_status")?,
            invalidation_reason: row.try_get("invalidation_reason")?,
            retained_bytes: row.try_get("retained_bytes")?,
            safe_wal_size: row.try_get("safe_wal_size")?,
            failover: row.try_get("failover")?,
        })
    })
    .transpose()
}

/// # Errors
/// What the server says.
pub async fn exists(client: &Client, name: &str) -> Result<bool, tokio_postgres::Error> {
    Ok(info(client, name).await?.is_some())
}

/// Makes the slot and returns the position it starts at. Waits until every transaction open now has ended. The
/// publication must exist already: a slot made before it cannot be read. From PostgreSQL 17 on it is one that standbys may
/// keep a copy of.
///
/// # Errors
/// [`SlotError`], with what to do.
pub async fn create(client: &Client, name: &str) -> Result<Lsn, SlotError> {
    let version = "SELECT current_setting('server_version_num')::int";
    let version: i32 =
        client.query_one(version, &[]).await.and_then(|row| row.try_get(0)).map_err(SlotError::Server)?;
    let failover = if version >= FAILOVER_SINCE { ", failover => true" } else { "" };
    let create = format!("SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput'{failover})");
    match client.query_one(&create, &[&name]).await {
        Ok(row) => row.try_get(0).map_err(SlotError::Server),
        Err(e) => Err(match e.code() {
            Some(code) if *code == SqlState::DUPLICATE_OBJECT => SlotError::Exists(name.to_string()),
            Some(code) if *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED => SlotError::NoneFree,
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                SlotError::NotAllowed(super::mapped::role(client).await.unwrap_or_default())
            }
            Some(code) if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => SlotError::WalLevel,
            _ => SlotError::Server(e),
        }),
    }
}

/// How long a walsender may take to notice that its client is gone.
const LET_GO: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(25);

/// Drops the slot; false where there was none. Waits a little for one whose client has just gone.
///
/// # Errors
/// [`SlotError::InUse`] while a walsender serves it.
pub async fn drop(client: &Client, name: &str) -> Result<bool, SlotError> {
    let since = Instant::now();
    loop {
        match drop_now(client, name).await {
            Err(SlotError::InUse { .. }) if since.elapsed() < LET_GO => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}

/// Frees the slot from a walsender whose stream we have closed. In the middle of a large transaction, say of what we wrote
/// ourselves, it would notice only at its end, and until then nobody else could use the slot.
///
/// # Errors
/// The server's; the slot is free all the same once the walsender has noticed.
pub async fn release(client: &Client, name: &str, walsender: i32) -> Result<(), tokio_postgres::Error> {
    let query =
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid = $2";
    client.execute(query, &[&name, &walsender]).await?;
    Ok(())
}

async fn drop_now(client: &Client, name: &str) -> Result<bool, SlotError> {
    let Some(info) = info(client, name).await.map_err(SlotError::Server)? else { return Ok(false) };
    let in_use = |pid| SlotError::InUse { name: name.to_string(), pid };
    if info.active_pid.is_some() {
        return Err(in_use(info.active_pid));
    }
    match client.execute("SELECT pg_drop_replication_slot($1)", &[&name]).await {
        Ok(_) => Ok(true),
        Err(e) => Err(match e.code() {
            Some(code) if *code == SqlState::OBJECT_IN_USE => in_use(None),
            Some(code) if *code == SqlState::UNDEFINED_OBJECT => return Ok(false),
            _ => SlotError::Server(e),
        }),
    }
}
