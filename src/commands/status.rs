//! `status`: one screen that says in words what is wrong and what to do; also when the daemon is down.

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::Outcome;
use crate::apply::{Writer, migrate};
use crate::cli::ReadArgs;
use crate::config::Config;
use crate::engine::EngineError;
use crate::engine::position::{Decision, StoredPosition, decide};
use crate::engine::prepare::{identity, is_standby, statements, stored_position};
use crate::lsn::Lsn;
use crate::source::slot;
use crate::sql::ident;

/// What the operator has to know.
#[derive(Debug, Default)]
pub(super) struct Status {
    phase: &'static str,
    position: Option<Lsn>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    retained_bytes: Option<i64>,
    /// What may be written until the server gives up WAL that the slot needs; `None`: no limit.
    safe_bytes: Option<i64>,
    slot: Option<String>,
    stores: Vec<Value>,
    jobs: Vec<Value>,
    /// The daemon's own verification, of each live store.
    verification: Vec<Value>,
    /// What is wrong and what to do, most urgent first.
    advice: Vec<String>,
}

/// # Errors
/// Where neither database can be asked.
pub async fn run(config: Config, args: &ReadArgs) -> anyhow::Result<Outcome> {
    let status = look(&config).await?;
    if args.json {
        println!("{}", document(&status));
    } else {
        print!("{}", screen(&status));
    }
    Ok(Outcome::Done)
}

/// For programs.
pub(super) fn document(status: &Status) -> Value {
    json!({
        "phase": status.phase, "position": status.position.map(|p| p.to_string()), "lag_bytes": status.lag_bytes,
        "lag_seconds": status.lag_seconds, "retained_wal_bytes": status.retained_bytes,
        "safe_wal_bytes": status.safe_bytes, "slot": status.slot,
        "tenants": status.stores, "jobs": status.jobs, "verification": status.verification, "advice": status.advice,
    })
}

/// # Errors
/// Where the target cannot be asked.
pub(super) async fn look(config: &Config) -> anyhow::Result<Status> {
    let target = config.target_connection().connect("tillstream status").await?;
    let mut status = Status { phase: "not set up", ..Status::default() };
    if migrate::version(&target, &config.target.schema).await? < migrate::latest() {
        status.advice.push("the report schema is not there or not up to date: run tillstream init".to_string());
        return Ok(status);
    }
    let sql = statements(config);
    let stored = stored_position(&target, &sql).await?;
    status.position = stored.as_ref().map(|p| p.lsn);
    let running = Writer::is_locked(&target, &config.state_schema()).await?;
    stores(config, &target, &mut status).await?;
    status.jobs = super::jobs::list(config, &target).await?;
    verification(config, &target, &mut status).await?;
    status.phase = match (running, stored.is_some()) {
        (true, false) => "starting",
        (true, true) if status.stores.iter().any(|s| s["state"] == "copying") => "copying",
        (true, true) => "live",
        (false, _) => "down",
    };
    if !running {
        status.advice.push("the daemon does not run: systemctl start tillstream (or tillstream run)".to_string());
    }
    match config.source.connection.connect("tillstream status").await {
        Ok(source) => at_source(config, &source, &target, stored.as_ref(), &mut status).await?,
        Err(e) => status.advice.insert(0, e.to_string()),
    }
    for job in status.jobs.iter().filter(|job| job["state"] == "failed") {
        let text = |key: &str| job[key].as_str().unwrap_or_default();
        status.advice.push(format!(
            "job {} of {} failed: {}; it is tried again",
            text("job"),
            text("tenant"),
            text("error")
        ));
    }
    for store in &status.stores {
        if store["state"] == "quarantined" {
            let text = |key: &str| store[key].as_str().unwrap_or_default();
            let (tenant, message) = (text("tenant"), text("message"));
            status.advice.push(match store["synchronized_at"].is_string() {
                true => format!(
                    "store {tenant} is quarantined, its reports stand still: {message}; mend it, then run: \
                     tillstream resync --tenant {tenant}"
                ),
                // What the catalogue shows is seen by itself once it is mended; rows are not looked at again.
                false => format!(
                    "store {tenant} cannot be copied: {message}; mend it, and if it is not copied a moment later run: \
                     tillstream resync --tenant {tenant}"
                ),
            });
        }
    }
    Ok(status)
}

async fn stores(config: &Config, target: &Client, status: &mut Status) -> anyhow::Result<()> {
    let query = format!(
        "SELECT tenant, name, time_zone, state, message, synchronized_at::text FROM {}.tenant ORDER BY tenant",
        ident(&config.target.schema)
    );
    for row in target.query(&query, &[]).await? {
        status.stores.push(json!({
            "tenant": row.try_get::<_, String>(0)?, "name": row.try_get::<_, String>(1)?,
            "time_zone": row.try_get::<_, String>(2)?, "state": row.try_get::<_, String>(3)?,
            "message": row.try_get::<_, Option<String>>(4)?, "synchronized_at": row.try_get::<_, Option<String>>(5)?,
        }));
    }
    Ok(())
}

/// What the daemon found when it last verified each live store.
async fn verification(config: &Config, target: &Client, status: &mut Status) -> anyhow::Result<()> {
    let Some(every) = config.verify.every else { return Ok(()) };
    let query = format!(
        "SELECT t.tenant, to_char(v.finished AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), v.lsn::text, v.rows_compared, \
                v.differences, v.error, \
                to_char(v.right_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
                extract(epoch FROM now() - v.right_at)::float8 \
         FROM {}.tenant t LEFT JOIN {}.verification v ON v.tenant = t.tenant WHERE t.state = 'live' ORDER BY t.tenant",
        ident(&config.target.schema),
        ident(&config.state_schema())
    );
    for row in target.query(&query, &[]).await? {
        let (tenant, error): (String, Option<String>) = (row.try_get(0)?, row.try_get(5)?);
        let (differences, age): (Option<i64>, Option<f64>) = (row.try_get(4)?, row.try_get(7)?);
        if differences.is_some_and(|n| n > 0) {
            status.advice.push(format!(
                "{} report values of store {tenant} differ from the POS tables: tillstream verify --tenant {tenant} shows \
                 them, --repair puts them right; please report it with the output of tillstream doctor",
                differences.unwrap_or_default()
            ));
        } else if let Some(error) = &error {
            status.advice.push(format!("store {tenant} could not be verified: {error}; it is tried again"));
        } else if age.is_some_and(|age| age > 2.0 * every.as_secs_f64()) {
            status.advice.push(format!("store {tenant} was not verified for long: is the daemon running?"));
        }
        status.verification.push(json!({
            "tenant": tenant, "finished": row.try_get::<_, Option<String>>(1)?, "position": row.try_get::<_, Option<String>>(2)?,
            "rows": row.try_get::<_, Option<i64>>(3)?, "differences": differences, "error": error,
            "right_at": row.try_get::<_, Option<String>>(6)?,
        }));
    }
    Ok(())
}

async fn at_source(
    config: &Config,
    source: &Client,
    target: &Client,
    stored: Option<&StoredPosition>,
    status: &mut Status,
) -> anyhow::Result<()> {
    if is_standby(source).await? {
        status.advice.insert(0, EngineError::Standby.to_string());
        return Ok(());
    }
    let source_identity = identity(config, source, stored).await?;
    let info = slot::info(source, &config.source.slot).await?;
    if let Some(stored) = stored {
        status.lag_bytes = Some(source_identity.flushed.bytes_since(stored.lsn));
        let query = format!(
            "SELECT extract(epoch FROM clock_timestamp() - updated_at)::float8 FROM {}.position",
            ident(&config.state_schema())
        );
        let idle: Option<f64> = target.query_one(&query, &[]).await?.try_get(0)?;
        // Caught up but for what an idle source writes by itself.
        let caught_up = status.lag_bytes.is_some_and(|bytes| bytes < 64 * 1024);
        status.lag_seconds = if caught_up && status.phase != "down" { Some(0.0) } else { idle };
        match decide(Some(stored), info.as_ref(), &source_identity, &config.source.slot) {
            Decision::Lost(why) => status.advice.insert(0, format!("{why}; run: tillstream resync")),
            Decision::Refuse(why) => status.advice.insert(0, why),
            _ => {}
        }
    }
    status.retained_bytes = info.as_ref().and_then(|i| i.retained_bytes);
    status.slot = Some(match &info {
        None => "missing".to_string(),
        Some(i) if i.lost() => "lost".to_string(),
        Some(i) => match i.active_pid {
            Some(pid) => format!("active (process {pid})"),
            None => "inactive".to_string(),
        },
    });
    if info.as_ref().is_some_and(|i| i.wal_status.as_deref() == Some("unreserved")) {
        status.advice.push(
            "the slot is about to lose WAL that it still needs: let the daemon catch up now, and raise max_slot_wal_keep_size"
                .to_string(),
        );
    }
    status.safe_bytes = info.as_ref().and_then(|i| i.safe_wal_size);
    if let Some(kept) = status.retained_bytes.filter(|kept| *kept > config.source.retained_wal_warning) {
        let kept = bytes(u64::try_from(kept).unwrap_or_default());
        status.advice.push(match status.phase {
            "down" => format!(
                "the source keeps {kept} of WAL for the stopped daemon: start it, or run tillstream drop before its disk is full"
            ),
            _ => format!(
                "the source keeps {kept} of WAL for the slot: look for a transaction that is open for long \
                 (SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start), for a copy that takes long, or for \
                 a daemon that cannot keep up"
            ),
        });
    }
    Ok(())
}

fn bytes(n: u64) -> String {
    match n {
        0..=9_999 => format!("{n} B"),
        10_000..=9_999_999 => format!("{} kB", n / 1000),
        _ => format!("{} MB", n / 1_000_000),
    }
}

pub(super) fn screen(status: &Status) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let position = status.position.map_or("-".to_string(), |p| p.to_string());
    let lag = match (status.lag_bytes, status.lag_seconds) {
        (Some(b), Some(s)) => format!("{}, {s:.1} s", bytes(b)),
        _ => "-".to_string(),
    };
    let retained = status.retained_bytes.and_then(|b| u64::try_from(b).ok()).map_or("-".to_string(), bytes);
    let slot = status.slot.as_deref().unwrap_or("-");
    let _ = writeln!(out, "tillstream   {}\nposition     {position}\nbehind       {lag}", status.phase);
    let safe = status.safe_bytes.and_then(|b| u64::try_from(b).ok());
    let safe = safe.map_or(String::new(), |b| format!(", lost after {} more", bytes(b)));
    let _ = writeln!(out, "slot         {slot}, keeps {retained} of WAL{safe}");
    for store in &status.stores {
        let text = |key: &str| store[key].as_str().unwrap_or("").to_string();
        let _ = writeln!(
            out,
            "store        {:<24} {:<12} {:<20} {}",
            text("tenant"),
            text("state"),
            text("time_zone"),
            text("name")
        );
        // What is wrong with a quarantined one stands below, with what to do.
        if store["state"] != "quarantined" && !text("message").is_empty() {
            let _ = writeln!(out, "             {}", text("message"));
        }
    }
    let failed = status.jobs.iter().filter(|job| job["state"] == "failed").count();
    if !status.jobs.is_empty() {
        let next = status.jobs.iter().filter_map(|job| job["next"].as_str()).min().unwrap_or("-");
        let _ = writeln!(out, "jobs         {} scheduled, {failed} failed, next {next}", status.jobs.len());
    }
    if !status.verification.is_empty() {
        let right: Vec<&str> = status.verification.iter().filter_map(|v| v["right_at"].as_str()).collect();
        let (all, oldest) = (status.verification.len(), right.iter().min().unwrap_or(&"-"));
        let _ = writeln!(out, "verified     {} of {all} stores, the oldest at {oldest}", right.len());
    }
    if status.advice.is_empty() {
        let _ = writeln!(out, "\nall is well");
    }
    for advice in &status.advice {
        let _ = writeln!(out, "\n! {advice}");
    }
    out
}
