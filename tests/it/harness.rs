//! What integration tests stand on: the shared server, a database per test, the daemon as a program.
// Each test uses its own part of this.
#![allow(dead_code)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tillstream::demo::pos;
use tillstream::demo::postgres::{Postgres, StartOptions};
use tokio_postgres::{Client, NoTls};

/// How long a program may run to its end.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(120);

/// Runs the tests on another major than the one found first, such as 18; fetched where it is not installed.
const VERSION_VARIABLE: &str = "TILLSTREAM_TEST_PG_VERSION";

static SERVER: OnceLock<Postgres> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The server of this test process, started by the first test that asks. It is never dropped; it and its folder go
/// with the process.
pub fn server() -> &'static Postgres {
    SERVER.get_or_init(|| {
        let settings = [("max_replication_slots", "60"), ("max_wal_senders", "60"), ("max_connections", "200")];
        let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let version = std::env::var(VERSION_VARIABLE).ok().map(|v| v.parse().expect("a major version"));
        Postgres::start(StartOptions { settings, version, ..StartOptions::default() })
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A connection with its driver running in the background.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    tokio::spawn(async move {
        // It ends with an error when the test stops the server: that test's own statement fails then, too.
        let _ = connection.await;
    });
    client
}

/// A database of its own on the shared server. Dropping it drops its slots and the database.
pub struct TestDb {
    pub name: String,
    /// As superuser `postgres`.
    pub url: String,
    /// For files of the test, such as its daemon.toml.
    pub dir: tempfile::TempDir,
    admin_url: String,
}

impl TestDb {
    pub async fn new() -> Self {
        Self::on(server()).await
    }

    /// On another server than the shared one, for tests that stop or crash theirs. Drop this before the server.
    pub async fn on(server: &Postgres) -> Self {
        let name = format!("till_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin_url = server.url("postgres");
        connect(&admin_url).await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("create database");
        let dir = tempfile::tempdir().expect("make a folder");
        TestDb { url: server.url(&name), name, dir, admin_url }
    }

    pub async fn client(&self) -> Client {
        connect(&self.url).await
    }

    /// Creates a store's schema, tables and line in the registry.
    pub async fn create_store(&self, schema: &str) {
        pos::create_store(&self.client().await, schema, &format!("Store {schema}")).await.expect("create store");
    }

    /// The name of the daemon's slot and publication: slots are shared by all databases of a server.
    pub fn slot(&self) -> &str {
        &self.name
    }

    /// Writes a daemon.toml for this database and gives its path. `overrides` is toml too and wins, key by key.
    pub fn daemon_toml(&self, overrides: &str) -> PathBuf {
        let base = format!(
            "[source]\nurl = '{}'\nslot = '{slot}'\npublication = '{slot}'\n\
             [tenants]\nschemas = ['tenant_%']\ntime_zone = 'Asia/Tashkent'\ndiscover_every = '1s'\n\
             registry = 'public.users_store'\nregistry_schema_column = 'schema_name'\nregistry_name_column = 'name'\n\
             [http]\nlisten = ''\n",
            self.url,
            slot = self.slot(),
        );
        let mut table: toml::Table = base.parse().expect("base toml");
        merge(&mut table, overrides.parse().expect("overrides are toml"));
        let path = self.dir.path().join("daemon.toml");
        std::fs::write(&path, table.to_string()).expect("write daemon.toml");
        path
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (url, name) = (self.admin_url.clone(), self.name.clone());
        // Drop is not async and may run inside a runtime: a thread of its own can wait.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { drop_database(&url, &name).await })
        });
        if let Ok(Err(error)) = cleaned.join() {
            // The server may be down by intent of the test.
            eprintln!("could not drop {}: {error}", self.name);
        }
    }
}

async fn drop_database(url: &str, name: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client
        .execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = $1 AND active",
            &[&name],
        )
        .await?;
    for row in client.query("SELECT slot_name FROM pg_replication_slots WHERE database = $1", &[&name]).await? {
        let slot: String = row.try_get(0)?;
        // The walsender may take a moment to let go.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = client.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&slot]).await {
            if Instant::now() > deadline {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    Ok(())
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// What a program that ran to its end left behind.
#[derive(Debug)]
pub struct Ran {
    /// -1: killed by a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Asserts the exit status, showing what the program said where it differs.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs `tillstream --config CONFIG ARGS` to its end.
pub async fn tillstream(config: &Path, args: &[&str]) -> Ran {
    tillstream_with(config, args, &[]).await
}

/// The same with these environment variables.
pub async fn tillstream_with(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let command = program(config, args).envs(env.iter().copied()).output();
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, command).await;
    let output = output.unwrap_or_else(|_| panic!("tillstream {args:?} did not end")).expect("run tillstream");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn program(config: &Path, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tillstream"));
    command.arg("--config").arg(config).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The daemon in the background; killed when dropped.
pub struct Daemon {
    child: tokio::process::Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `tillstream --config CONFIG run ARGS`; its log is a file beside the configuration.
    pub fn run(config: &Path, args: &[&str]) -> Self {
        Self::run_with(config, args, &[])
    }

    /// The same with these environment variables.
    pub fn run_with(config: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = config.with_extension("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("open log");
        let mut command = program(config, &[&["run"], args].concat());
        command.stdout(file.try_clone().expect("share log")).stderr(file).envs(env.iter().copied());
        Daemon { child: command.spawn().expect("run tillstream"), log }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("kill tillstream");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("the daemon has ended");
        kill(Pid::from_raw(pid.try_into().expect("pid")), signal).expect("signal tillstream");
    }

    /// SIGTERM, and waits for the end; the test fails where it takes longer than `limit`.
    pub async fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let ended = self.ended(limit).await;
        if !ended.success() {
            eprintln!("tillstream ended with {ended}; its log:\n{}", self.log());
        }
        ended
    }

    /// Waits for the daemon to end by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("wait for tillstream"),
            Err(_) => panic!("tillstream still runs after {limit:?}; its log:\n{}", self.log()),
        }
    }

    /// What it and its predecessors with this configuration have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Waits until the condition holds, asking again every 10 ms; the test fails with `what` after `limit`.
pub async fn wait_until<F, Fut>(what: &str, limit: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
