//! A PostgreSQL of our own with realistic settings, whose data folder can be put aside and brought back, so that every
//! contender of every round meets exactly the same state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use postgres::{Client, NoTls};
use tillstream::demo::postgres::{Postgres, StartOptions, StopMode};

use crate::Bench;
use crate::procs::{Usage, Watch};

/// The POS's database.
pub const DATABASE: &str = "pos";
pub const SETTINGS: [(&str, &str); 6] = [
    ("shared_buffers", "1GB"),
    // What [`recycle`](crate::world) leaves stays.
    ("min_wal_size", "1GB"),
    ("max_wal_size", "8GB"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    // Many stores' tables are published in one transaction.
    ("max_locks_per_transaction", "256"),
];
/// The server's own programs that take part.
const TOOLS: [&str; 2] = ["pgbench", "pg_recvlogical"];
/// How long a program may take to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server and its folder are gone with this value, and when this process dies.
pub struct Lab {
    pub server: Postgres,
    tools: PathBuf,
    /// Where the stores are.
    pub zone: String,
    /// Wait until the disk has nothing left to write before something is measured.
    careful: bool,
}

impl Lab {
    pub fn start(bench: &Bench) -> Result<Lab> {
        Lab::with(bench, &[])
    }

    /// With settings besides.
    pub fn with(bench: &Bench, settings: &[(&str, &str)]) -> Result<Lab> {
        let settings =
            SETTINGS.iter().chain(settings).map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let server = Postgres::start(StartOptions { settings, fsync: true, ..StartOptions::default() })?;
        let tools = tools(&server.binaries().bin);
        let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !tools.join(tool).is_file()).collect();
        if !missing.is_empty() {
            bail!(
                "{} has no {}: both come with PostgreSQL itself; Debian has pg_recvlogical in postgresql-client-{major} and \
                 pgbench in postgresql-{major}, other distributions have pgbench in postgresql-contrib; or set \
                 TILLSTREAM_PG_BIN to a folder that has all programs",
                tools.display(),
                missing.join(" and no "),
                major = server.binaries().major
            );
        }
        Ok(Lab { server, tools, zone: bench.zone.clone(), careful: !bench.quick })
    }

    /// The folder of the server's own programs.
    pub fn programs(&self) -> &Path {
        &self.tools
    }

    pub fn dir(&self) -> &Path {
        self.server.socket_dir()
    }

    /// A connection to the POS's database.
    pub fn connect(&self, role: &str) -> Result<Client> {
        self.connect_to(DATABASE, role)
    }

    pub fn connect_to(&self, database: &str, role: &str) -> Result<Client> {
        Ok(Client::connect(&self.server.url_as(role, database), NoTls)?)
    }

    fn shut_down(&mut self) -> Result<()> {
        // What a checkpoint has written the end of the server need not write within its minute.
        self.connect("postgres")?.batch_execute("CHECKPOINT")?;
        Ok(self.server.stop(StopMode::Fast)?)
    }

    /// Stops the server and starts it on what it has.
    pub fn restart(&mut self) -> Result<()> {
        self.shut_down()?;
        Ok(self.server.start_again()?)
    }

    /// Stops the server and keeps its data under this name.
    pub fn save(&mut self, name: &str) -> Result<()> {
        self.shut_down()?;
        let saved = self.saved(name);
        if saved.exists() {
            fs::remove_dir_all(&saved).with_context(|| format!("remove {}", saved.display()))?;
        }
        fs::rename(self.server.data_dir(), &saved).with_context(|| format!("keep {}", saved.display()))
    }

    /// Starts the server on a copy of the data kept under this name; what it had is thrown away.
    pub fn restore(&mut self, name: &str) -> Result<()> {
        self.stop()?;
        let data = self.server.data_dir();
        let copied = Command::new("cp").arg("-a").arg(self.saved(name)).arg(&data).status().context("run cp")?;
        if !copied.success() {
            bail!("cp of {} failed ({copied}); is the disk full?", self.saved(name).display());
        }
        if self.careful {
            // Else the first to call fsync pays for all of it.
            nix::unistd::sync();
        }
        Ok(self.server.start_again()?)
    }

    /// Starts the server on the data kept under this name, which are not kept any longer.
    pub fn take_back(&mut self, name: &str) -> Result<()> {
        self.stop()?;
        let saved = self.saved(name);
        fs::rename(&saved, self.server.data_dir()).with_context(|| format!("take back {}", saved.display()))?;
        Ok(self.server.start_again()?)
    }

    /// Stops the server and throws away what it had, until the next [`restore`](Lab::restore).
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop(StopMode::Immediate)?;
        let data = self.server.data_dir();
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        }
        Ok(())
    }

    fn saved(&self, name: &str) -> PathBuf {
        self.dir().join(format!("saved-{name}"))
    }

    /// One of the server's own programs, to be run against it as the POS's user.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        command.arg("-h").arg(self.dir()).args(["-p", &self.server.port().to_string(), "-U", "postgres"]);
        command
    }

    /// Starts a program; it is killed when what comes back is dropped.
    pub fn spawn(&self, name: &str, mut command: Command) -> Result<Running> {
        let log = self.dir().join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Running { child: self.server.spawn_client(command)?, name: name.to_string(), log })
    }

    /// Runs a program to its good end; what it said comes back.
    pub fn run(&self, name: &str, command: Command) -> Result<String> {
        self.spawn(name, command)?.finish()
    }

    /// The same, measured. The time is from before its start to its end.
    pub fn run_measured(&self, name: &str, command: Command) -> Result<(Duration, Usage)> {
        let begun = Instant::now();
        let running = self.spawn(name, command)?;
        let watch = Watch::start(self.server.pid(), Some(running.pid()));
        let ended = running.wait_for_end();
        let took = begun.elapsed();
        let usage = watch.finish();
        ended?;
        running.finish()?;
        Ok((took, usage))
    }
}

/// The folder of the server's programs; where that holds links to some of them, the folder that they lead to.
fn tools(bin: &Path) -> PathBuf {
    let real = bin.join("postgres").canonicalize().ok();
    real.and_then(|program| program.parent().map(Path::to_path_buf)).unwrap_or_else(|| bin.to_path_buf())
}

/// A program under way.
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end but leaves it to be collected, with what /proc says of it.
    fn wait_for_end(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).context("wait for a program")?;
        Ok(())
    }

    /// Waits for the end, which has to be a good one.
    pub fn finish(mut self) -> Result<String> {
        let status = self.child.wait().context("wait for a program")?;
        self.said(status)
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        if let Some(status) = self.child.try_wait()? {
            self.said(status)?;
            bail!("{} ended before it was to", self.name);
        }
        kill(pid, signal).with_context(|| format!("stop {}", self.name))?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{} does not end", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it said; an error where it failed.
    fn said(&self, status: ExitStatus) -> Result<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        if !status.success() {
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
            bail!("{} failed ({status}):\n{tail}", self.name);
        }
        Ok(text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
