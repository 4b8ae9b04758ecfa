//! The source server: version, settings, what our role may do there, slots and senders left.

use tokio_postgres::Client;

use super::Findings;
use crate::commands::init::MIN_SERVER_VERSION;
use crate::config::Config;
use crate::source::slot;
use crate::sql::ident;

/// Ours, and a temporary one while a copy or a verification takes a snapshot.
const NEEDED: i32 = 2;

pub(super) async fn check(source: &Client, config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let row = source.query_one(include_str!("../../../sql/check/server.sql"), &[&config.source.slot]).await?;
    let version: String = row.try_get("version")?;
    if row.try_get::<_, i32>("version_num")? < MIN_SERVER_VERSION {
        findings.problem("server", format!("PostgreSQL {version} is too old"), "-- upgrade to PostgreSQL 14 or newer");
    } else {
        findings.ok("server", format!("PostgreSQL {version}"));
    }
    let wal_level: String = row.try_get("wal_level")?;
    if wal_level == "logical" {
        findings.ok("wal_level", "logical");
    } else {
        let fix = "ALTER SYSTEM SET wal_level = logical;  -- then restart PostgreSQL";
        findings.problem("wal_level", format!("{wal_level}, but logical is needed"), fix);
    }
    if row.try_get("standby")? {
        findings.problem("server", "it is a standby", "-- set [source] url to the primary");
    }
    let role: String = row.try_get("role")?;
    if row.try_get("may_replicate")? {
        findings.ok("role", format!("{role} may replicate"));
    } else {
        findings.problem(
            "role",
            format!("{role} may not replicate"),
            format!("ALTER ROLE {} REPLICATION;", ident(&role)),
        );
    }
    let left = |findings: &mut Findings, what: &str, setting: &str, max: i32, used: i32, ours: bool| {
        let (free, needed) = (max - used, NEEDED - i32::from(ours));
        if free >= needed {
            findings.ok(what, format!("{free} of {max} free"));
        } else {
            findings.problem(
                what,
                format!("{free} of {max} free, {needed} needed"),
                format!("ALTER SYSTEM SET {setting} = {};  -- then restart PostgreSQL", used + needed),
            );
        }
    };
    let int = |name: &str| row.try_get::<_, i32>(name);
    let (has_slot, active) = (row.try_get("has_slot")?, row.try_get("slot_active")?);
    left(findings, "replication slots", "max_replication_slots", int("max_slots")?, int("slots")?, has_slot);
    left(findings, "wal senders", "max_wal_senders", int("max_senders")?, int("senders")?, active);
    let keep_size: String = row.try_get("keep_size")?;
    if keep_size == "-1" {
        findings.warning(
            "max_slot_wal_keep_size",
            "not set; a slot that nobody reads would keep log until the disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf();",
        );
    } else {
        findings.ok("max_slot_wal_keep_size", keep_size);
    }
    let idle_timeout: Option<String> = row.try_get("idle_timeout")?;
    if let Some(timeout) = idle_timeout.filter(|t| t != "0") {
        findings.warning(
            "idle_replication_slot_timeout",
            format!("a daemon that is down for {timeout} loses its slot, and copies everything again"),
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();",
        );
    }
    check_slot(source, config, findings).await
}

async fn check_slot(source: &Client, config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let name = &config.source.slot;
    let Some(info) = slot::info(source, name).await? else {
        findings.ok("slot", format!("{name} is not there yet; init makes it"));
        return Ok(());
    };
    let database = config.source.connection.database();
    if info.plugin.as_deref() != Some("pgoutput") || info.database.as_deref() != Some(database) {
        let what = format!("{name} is another program's (its plugin or database differ)");
        findings.problem("slot", what, "-- set [source] slot to another name");
    } else if info.lost() {
        let what = format!("{name} is lost: {}; what it missed cannot be read any more", info.why_lost());
        findings.problem("slot", what, "-- run: tillstream resync");
    } else {
        let kept =
            info.retained_bytes.map_or(String::new(), |bytes| format!(", {} MiB of log kept for it", bytes >> 20));
        let active = if info.active_pid.is_some() { "in use" } else { "not in use" };
        let copies =
            if info.failover { "; standbys keep a copy of it, where sync_replication_slots is on" } else { "" };
        findings.ok("slot", format!("{name} {active}{kept}{copies}"));
    }
    Ok(())
}
