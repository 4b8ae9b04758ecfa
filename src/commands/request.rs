//! Asking the running daemon for something, through its state schema; or doing it here where none runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio_postgres::Client;

use crate::apply::{Statements, Writer};
use crate::config::Config;
use crate::engine::prepare::statements;
use crate::engine::{Clock, Mode, Progress};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is asked whether there is anybody to answer, in looks.
const LOOKS_FOR_DAEMON: u32 = 50;
/// So long nobody may hold the writer's lock, such as between two daemons, before nobody will answer.
const NOBODY: Duration = Duration::from_secs(5);

/// The running daemon, seen from a command.
pub struct Daemon {
    target: Client,
    sql: Statements,
    pub source: Client,
    config: Arc<Config>,
}

impl Daemon {
    /// `None`: no process holds the writer's lock.
    ///
    /// # Errors
    /// Where a database cannot be reached.
    pub async fn find(config: &Arc<Config>) -> anyhow::Result<Option<Daemon>> {
        let target = config.target_connection().connect("tillstream command").await?;
        if !Writer::is_locked(&target, &config.state_schema()).await? {
            return Ok(None);
        }
        let source = config.source.connection.connect("tillstream command").await?;
        Ok(Some(Daemon { target, sql: statements(config), source, config: Arc::clone(config) }))
    }

    /// Waits until no other command holds the daemon's reports at a position: two holds would undo each other. The turn
    /// ends with this value.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn take_turn(&self) -> Result<(), tokio_postgres::Error> {
        const TURN: &str = "SELECT pg_try_advisory_lock(1953066093, hashtext($1))";
        while !self.target.query_one(TURN, &[&self.config.state_schema()]).await?.try_get::<_, bool>(0)? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Asks, and waits for the answer as long as somebody holds the writer's lock.
    ///
    /// # Errors
    /// What the daemon says against it, or that it is gone.
    pub async fn ask(&mut self, kind: &str, arguments: Value) -> anyhow::Result<Value> {
        let id: i64 = self.target.query_one(self.sql.text("ask"), &[&kind, &arguments]).await?.try_get(0)?;
        self.sql.prepare(&self.target, &["read_answer"]).await?;
        let (mut looks, mut held) = (0_u32, Instant::now());
        loop {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_FOR_DAEMON) {
                if Writer::is_locked(&self.target, &self.config.state_schema()).await? {
                    held = Instant::now();
                } else if held.elapsed() > NOBODY {
                    self.target.execute(self.sql.text("forget_request"), &[&id]).await?;
                    bail!("the daemon ended before it answered; run the command again");
                }
            }
            let rows = self.sql.query(&self.target, "read_answer", &[&id]).await?;
            let row = rows.first().context("the request is gone")?;
            let (state, answer): (String, Option<Value>) = (row.try_get(0)?, row.try_get(1)?);
            match state.as_str() {
                "new" | "taken" => tokio::time::sleep(LOOK).await,
                _ => {
                    self.target.execute(self.sql.text("forget_request"), &[&id]).await?;
                    let answer = answer.unwrap_or_default();
                    if state == "failed" {
                        let error = answer.get("error").and_then(Value::as_str).unwrap_or("no reason given");
                        bail!("the daemon refuses: {error}");
                    }
                    return Ok(answer);
                }
            }
        }
    }
}

/// Has it done by the running daemon; where none runs, by one that runs here just for it.
///
/// # Errors
/// As [`Daemon::ask`].
pub async fn ask(config: &Arc<Config>, kind: &str, arguments: Value) -> anyhow::Result<Value> {
    if let Some(mut daemon) = Daemon::find(config).await? {
        return daemon.ask(kind, arguments).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let progress = Progress::default();
    let running =
        tokio::spawn(crate::engine::run(Arc::clone(config), Mode::Forever, Clock::system(), progress.clone(), stopped));
    // A daemon that starts at this moment may be quicker: whoever holds the lock answers.
    let mut daemon = None;
    while daemon.is_none() && !running.is_finished() {
        tokio::time::sleep(LOOK).await;
        daemon = Daemon::find(config).await?;
    }
    let answer = match &mut daemon {
        Some(daemon) => daemon.ask(kind, arguments).await,
        None => Err(anyhow::anyhow!("the reports could not be written")),
    };
    stop.send_replace(true);
    running.await??;
    answer
}
