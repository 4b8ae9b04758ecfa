//! tillstream as its user runs it, and other consumers of its publication.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::lab::{DATABASE, Lab, Running};
use crate::procs::Usage;

/// The name of slot and publication.
pub const SLOT: &str = "tillstream";
/// Configuration of a daemon that may gather for longer than the shipped 50 ms what it writes together.
pub const GATHERING: &str = "[apply]\nmax_delay = '1s'\n";
const PATIENCE: Duration = Duration::from_secs(300);

impl Lab {
    /// The shipped settings and `more`, but that nothing starts by the clock: it would fall into one measurement and not
    /// another.
    fn config(&self, more: &str) -> Result<PathBuf> {
        let path = self.dir().join("daemon.toml");
        let text = format!(
            "[source]\nurl = '{}'\n[tenants]\nschemas = ['tenant_%']\ntime_zone = '{}'\n[schedule]\nday_roll = 'off'\n\
             daily_sales = 'off'\nproduct_performance = 'off'\ncustomer_analytics = 'off'\ninventory_snapshot = 'off'\n\
             prune = 'off'\n[verify]\nevery = 'off'\n[http]\nlisten = ''\n{more}",
            self.server.url_as("tillstream", DATABASE),
            self.zone
        );
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    pub fn tillstream(&self, arguments: &[&str]) -> Result<Command> {
        self.tillstream_with("", arguments)
    }

    fn tillstream_with(&self, more: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tillstream"));
        command.arg("--config").arg(self.config(more)?).args(arguments).env_remove("RUST_LOG");
        Ok(command)
    }

    /// Report schema, publication and slot; then the first copy.
    pub fn install(&self) -> Result<()> {
        self.run("init", self.tillstream(&["init"])?)?;
        self.copy()?;
        self.settle()
    }

    /// The first copy, from the program's start to its end.
    pub fn copy(&self) -> Result<(Duration, Usage)> {
        self.run_measured("first-copy", self.tillstream(&["run", "--once"])?)
    }

    /// The daemon, following the stream.
    pub fn daemon(&self) -> Result<Running> {
        self.daemon_with("")
    }

    /// The same with these lines at the end of its configuration.
    pub fn daemon_with(&self, more: &str) -> Result<Running> {
        let mut running = self.spawn("daemon", self.tillstream_with(more, &["run"])?)?;
        let mut client = self.connect("postgres")?;
        let query = "SELECT EXISTS (SELECT FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
                                    WHERE s.slot_name = $1::text::name AND r.state = 'streaming')";
        let deadline = Instant::now() + PATIENCE;
        while !client.query_one(query, &[&SLOT])?.try_get::<_, bool>(0)? {
            if !running.is_running()? {
                running.finish()?;
                bail!("the daemon ended before it followed the stream");
            }
            if Instant::now() > deadline {
                bail!("the daemon does not follow the stream");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(running)
    }

    /// Lets the daemon idle until its slot is past everything written so far. Before that every reader of the slot would
    /// first decode the first copy's own WAL.
    pub fn settle(&self) -> Result<()> {
        let mut client = self.connect("postgres")?;
        let copied: String = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[])?.try_get(0)?;
        let daemon = self.daemon()?;
        let query = "SELECT restart_lsn >= $2::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $1::text::name";
        let deadline = Instant::now() + PATIENCE;
        while !client.query_one(query, &[&SLOT, &copied])?.try_get::<_, bool>(0)? {
            if Instant::now() > deadline {
                bail!("the slot's restart position does not move on");
            }
            // Each checkpoint writes down which transactions are running: a place from which decoding can start.
            client.batch_execute("CHECKPOINT")?;
            thread::sleep(Duration::from_millis(700));
        }
        daemon.stop(Signal::SIGTERM)
    }

    /// Another slot that stands exactly where tillstream's stands.
    pub fn copy_slot(&self, name: &str) -> Result<()> {
        let query = "SELECT pg_copy_logical_replication_slot($1::text::name, $2::text::name)";
        self.connect("postgres")?.execute(query, &[&SLOT, &name])?;
        Ok(())
    }

    /// Reads a slot and throws away what comes, decoded and sent as tillstream asks for it; up to a position, or for ever.
    pub fn pg_recvlogical(&self, slot: &str, until: Option<&str>) -> Command {
        let mut command = self.tool("pg_recvlogical");
        command.args(["-d", DATABASE, "--slot", slot, "--start", "--no-loop", "-f", "/dev/null"]);
        command.args(["-o", "proto_version=1", "-o", &format!("publication_names={SLOT}"), "-o", "binary=true"]);
        if let Some(until) = until {
            command.args(["--endpos", until]);
        }
        command
    }

    /// Every report row must be right.
    pub fn verify(&self) -> Result<()> {
        self.run("verify", self.tillstream(&["verify"])?).map(|_| ())
    }
}
