//! `status`: one screen that says in words what is wrong and what to do; also when the daemon is down, or the database.
//!
//! What is asked of whom is here; `advice.rs` says what it means, `screen.rs` how it is shown.

mod advice;
mod answer;
mod screen;

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::Outcome;
use crate::apply::{Writer, migrate};
use crate::cli::ReadArgs;
use crate::config::Config;
use crate::engine::position::{Decision, StoredPosition, decide};
use crate::engine::prepare::{identity, is_standby, statements, stored_position};
use crate::lsn::Lsn;
use crate::source::connect::ConnectError;
use crate::source::slot::{self, SlotInfo};
use crate::sql::ident;

pub(super) use answer::metrics;
pub(super) use screen::screen;

/// What an idle source writes by itself and nobody waits for, in bytes.
const IDLE_WAL: u64 = 64 * 1024;

/// What the operator has to know.
#[derive(Debug, Default)]
pub(super) struct Status {
    phase: Phase,
    /// What the daemon itself answers at [http] listen; `None`: nothing is heard there.
    daemon: Option<answer::Answer>,
    writers: Vec<DaemonSession>,
    position: Option<Lsn>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    retained_bytes: Option<i64>,
    safe_bytes: Option<i64>,
    slot: Option<String>,
    stores: Vec<Value>,
    jobs: Vec<Value>,
    /// The daemon's own verification, of each live store.
    verification: Vec<Value>,
    /// What is wrong and what to do, most urgent first.
    advice: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The target cannot be asked.
    #[default]
    Unreachable,
    NotSetUp,
    Starting,
    Copying,
    /// A daemon holds the writer's lock, and nobody reads the slot.
    Connecting,
    Live,
    Down,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Phase::Unreachable => "unreachable",
            Phase::NotSetUp => "not set up",
            Phase::Starting => "starting",
            Phase::Copying => "copying",
            Phase::Connecting => "connecting",
            Phase::Live => "live",
            Phase::Down => "down",
        }
    }
}

/// A daemon's session at the target.
#[derive(Debug, Default)]
struct DaemonSession {
    pid: i32,
    place: String,
    /// It holds the writer's lock; else it waits as a standby.
    writes: bool,
    /// Who keeps it waiting for a lock.
    blocked_by: Option<String>,
    blocker: i32,
}

/// # Errors
/// Where the target cannot be asked; what can be said all the same is on the screen.
pub async fn run(config: Config, args: &ReadArgs) -> anyhow::Result<Outcome> {
    let (status, failed) = match look(&config).await {
        Ok(status) => (status, None),
        Err(error) => {
            let daemon = answer::ask(config.http.listen).await;
            let mut status = Status { daemon, ..Status::default() };
            status.advice = advice::unreachable(&status, &crate::told::chain(&error), config.http.listen);
            (status, Some(error))
        }
    };
    if args.json {
        super::say(document(&status))?;
    } else {
        super::say(screen(&status).trim_end())?;
    }
    failed.map_or(Ok(Outcome::Done), Err)
}

/// For programs.
pub(super) fn document(status: &Status) -> Value {
    let writers = status.writers.iter().map(|w| {
        json!({ "pid": w.pid, "place": w.place, "state": if w.writes { "writes" } else { "standby" },
                "blocked_by": w.blocked_by })
    });
    json!({
        "phase": status.phase.name(), "daemon": status.daemon.as_ref().map(|a| &a.ready),
        "sessions": writers.collect::<Vec<_>>(), "position": status.position.map(|p| p.to_string()),
        "lag_bytes": status.lag_bytes, "lag_seconds": status.lag_seconds, "retained_wal_bytes": status.retained_bytes,
        "safe_wal_bytes": status.safe_bytes, "slot": status.slot, "tenants": status.stores, "jobs": status.jobs, "verification": status.verification,
        "advice": status.advice,
    })
}

/// # Errors
/// Where the target cannot be asked.
pub(super) async fn look(config: &Config) -> anyhow::Result<Status> {
    let target = config.target_connection().connect("tillstream status").await?;
    let mut status = Status { phase: Phase::NotSetUp, ..Status::default() };
    if let Err(e) = migrate::require_latest(&target, &config.target.schema).await {
        if matches!(e, migrate::MigrateError::Server { .. }) {
            return Err(e.into());
        }
        status.advice.push(e.to_string());
        return Ok(status);
    }
    let sql = statements(config);
    let stored = stored_position(&target, &sql).await?;
    status.position = stored.as_ref().map(|p| p.lsn);
    stores(config, &target, &mut status).await?;
    sessions(config, &target, &mut status).await?;
    status.jobs = super::jobs::list(config, &target).await?;
    verification(config, &target, &mut status).await?;
    let source = match config.source.connection.connect("tillstream status").await {
        Ok(source) => Ok(Source::ask(config, &source, &target, stored.as_ref(), &mut status).await?),
        Err(e) => Err(e),
    };
    let running = status.writers.iter().any(|w| w.writes);
    let streams = matches!(&source, Ok(source) if source.stranger.is_none() && source.is_read());
    status.phase = match (running, stored.is_some()) {
        (true, false) => Phase::Starting,
        (true, true) if status.stores.iter().any(|s| s["state"] == "copying") => Phase::Copying,
        (true, true) if streams => Phase::Live,
        (true, true) => Phase::Connecting,
        (false, _) => Phase::Down,
    };
    // With nobody that writes, whoever answers there is another daemon, or waits for a database.
    status.daemon = if running { answer::ask(config.http.listen).await } else { None };
    if status.phase == Phase::Live && status.lag_bytes.is_some_and(|bytes| bytes < IDLE_WAL) {
        status.lag_seconds = Some(0.0);
    }
    status.advice = advice::advice(config, &status, &source);
    Ok(status)
}

async fn stores(config: &Config, target: &Client, status: &mut Status) -> anyhow::Result<()> {
    let query = filled(config, include_str!("../../../sql/status/stores.sql"));
    for row in target.query(&query, &[]).await? {
        status.stores.push(json!({
            "tenant": row.try_get::<_, String>(0)?, "name": row.try_get::<_, String>(1)?,
            "time_zone": row.try_get::<_, String>(2)?, "state": row.try_get::<_, String>(3)?,
            "message": row.try_get::<_, Option<String>>(4)?, "synchronized_at": row.try_get::<_, Option<String>>(5)?,
        }));
    }
    Ok(())
}

async fn sessions(config: &Config, target: &Client, status: &mut Status) -> anyhow::Result<()> {
    let query = include_str!("../../../sql/status/writers.sql");
    for row in target.query(query, &[&config.state_schema(), &Writer::APPLICATION]).await? {
        let text = |column: &str| row.try_get::<_, Option<String>>(column);
        let waits: Option<bool> = row.try_get("waits")?;
        let blocker = row.try_get::<_, Option<i32>>("blocker")?.filter(|_| waits == Some(true));
        let blocked_by = match blocker {
            None => None,
            Some(pid) => {
                let age: Option<f64> = row.try_get("blocker_seconds")?;
                Some(format!(
                    "process {pid} (role {}, application {:?}, {}{})",
                    text("blocker_role")?.unwrap_or_default(),
                    text("blocker_application")?.unwrap_or_default(),
                    text("blocker_state")?.unwrap_or_default(),
                    age.map(|s| format!(", its transaction is {s:.0} s old")).unwrap_or_default(),
                ))
            }
        };
        let place = text("place")?.unwrap_or_default();
        let blocker = blocker.unwrap_or_default();
        status.writers.push(DaemonSession {
            pid: row.try_get("pid")?,
            place,
            writes: row.try_get("writes")?,
            blocked_by,
            blocker,
        });
    }
    Ok(())
}

/// What the daemon found when it last verified each live store.
async fn verification(config: &Config, target: &Client, status: &mut Status) -> anyhow::Result<()> {
    if config.verify.every.is_none() {
        return Ok(());
    }
    let query = filled(config, include_str!("../../../sql/status/verification.sql"));
    for row in target.query(&query, &[]).await? {
        let text = |column: &str| row.try_get::<_, Option<String>>(column);
        status.verification.push(json!({
            "tenant": text("tenant")?, "finished": text("finished")?, "position": text("lsn")?,
            "rows": row.try_get::<_, Option<i64>>("rows_compared")?,
            "differences": row.try_get::<_, Option<i64>>("differences")?,
            "error": text("error")?, "right_at": text("right_at")?, "right_age_seconds": row.try_get::<_, Option<f64>>("age")?,
        }));
    }
    Ok(())
}

fn filled(config: &Config, sql: &str) -> String {
    sql.replace("{reports}", &ident(&config.target.schema)).replace("{state}", &ident(&config.state_schema()))
}

/// What the source says.
struct Source {
    info: Option<SlotInfo>,
    /// Whether position and slot fit together; `None`: nothing is stored yet.
    decision: Option<Decision>,
    /// Another program than the daemon reads the slot: who.
    stranger: Option<String>,
    /// It is a standby: nothing is asked of it.
    standby: bool,
}

impl Source {
    fn is_read(&self) -> bool {
        self.info.as_ref().is_some_and(|info| info.active_pid.is_some())
    }

    async fn ask(
        config: &Config,
        source: &Client,
        target: &Client,
        stored: Option<&StoredPosition>,
        status: &mut Status,
    ) -> anyhow::Result<Source> {
        let mut found = Source { info: None, decision: None, stranger: None, standby: is_standby(source).await? };
        if found.standby {
            return Ok(found);
        }
        let source_identity = identity(config, source, stored).await?;
        found.info = slot::info(source, &config.source.slot).await?;
        if let Some(stored) = stored {
            status.lag_bytes = Some(source_identity.flushed.bytes_since(stored.lsn));
            let query = filled(
                config,
                "SELECT extract(epoch FROM clock_timestamp() - updated_at)::float8 FROM {state}.position",
            );
            status.lag_seconds = target.query_one(&query, &[]).await?.try_get(0)?;
            found.decision = Some(decide(Some(stored), found.info.as_ref(), &source_identity, &config.source.slot));
        }
        if let Some(pid) = found.info.as_ref().and_then(|i| i.active_pid)
            && let Some(row) = source.query_opt(include_str!("../../../sql/status/reader.sql"), &[&pid]).await?
        {
            let text = |column: &str| row.try_get::<_, Option<String>>(column).map(Option::unwrap_or_default);
            let (role, application, place) = (text("role")?, text("application")?, text("place")?);
            if application != crate::source::STREAM_APPLICATION {
                found.stranger =
                    Some(format!("process {pid} (role {role}, application {application:?}, from {place})"));
            }
        }
        status.retained_bytes = found.info.as_ref().and_then(|i| i.retained_bytes);
        status.safe_bytes = found.info.as_ref().and_then(|i| i.safe_wal_size);
        status.slot = Some(match &found.info {
            None => "missing".to_string(),
            Some(i) if i.lost() => "lost".to_string(),
            Some(i) => match i.active_pid {
                Some(pid) => format!("active (process {pid})"),
                None => "inactive".to_string(),
            },
        });
        Ok(found)
    }
}

type Asked = Result<Source, ConnectError>;
