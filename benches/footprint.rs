//! What the daemon costs beside a shop that sells nothing, and how soon it is live: `cargo bench --bench footprint`.
//!
//! A throwaway server with empty stores, the daemon as its own process, its use of the processor and of memory taken from
//! /proc, as top would. Ends with status 1 where a figure is over its limit.

use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tillstream::demo::pos;
use tillstream::demo::postgres::{Postgres, StartOptions};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const IDLE_STORES: usize = 50;
/// Of one core.
const IDLE_LIMIT_PERCENT: f64 = 1.0;
const MEMORY_LIMIT_MIB: f64 = 32.0;
/// Long enough to hold several searches for new stores at their usual interval.
const IDLE_FOR: Duration = Duration::from_secs(60);
const START_STORES: usize = 200;
const START_LIMIT: Duration = Duration::from_secs(2);
const STARTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("footprint: {e}");
            ExitCode::from(2)
        }
    }
}

fn measure() -> Result<bool> {
    let idle = Scene::new(IDLE_STORES)?;
    let daemon = idle.start()?;
    idle.verified()?;
    let (used, begun) = (daemon.cpu()?, Instant::now());
    std::thread::sleep(IDLE_FOR);
    let percent = 100.0 * (daemon.cpu()? - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    let (resident, peak) = (daemon.memory("VmRSS:")?, daemon.memory("VmHWM:")?);
    println!("idle with {IDLE_STORES} stores: {percent:.2} % of a core over {} s", IDLE_FOR.as_secs());
    println!("memory with {IDLE_STORES} stores: {resident:.1} MiB, at most {peak:.1} MiB");
    drop(daemon);
    drop(idle);

    let many = Scene::new(START_STORES)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let daemon = many.start()?;
        let took = begun.elapsed();
        println!("start to live with {START_STORES} stores: {:.2} s", took.as_secs_f64());
        slowest = slowest.max(took);
        println!("memory with {START_STORES} stores: {:.1} MiB", daemon.memory("VmRSS:")?);
    }
    let well = percent < IDLE_LIMIT_PERCENT && resident < MEMORY_LIMIT_MIB && slowest < START_LIMIT;
    println!("{}", if well { "within the limits" } else { "over a limit" });
    Ok(well)
}

/// A server whose stores are copied already.
struct Scene {
    url: String,
    config: PathBuf,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    _postgres: Postgres,
}

impl Scene {
    fn new(stores: usize) -> Result<Scene> {
        let postgres = Postgres::start(StartOptions::default())?;
        let url = postgres.url("postgres");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = connect(&url).await?;
            for n in 0..stores {
                pos::create_store(&client, &format!("tenant_{n:03}"), &format!("Store {n}")).await?;
            }
            Ok::<(), tokio_postgres::Error>(())
        })?;
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("daemon.toml");
        let registry = "[tenants]\nregistry = 'public.users_store'\n[http]\nlisten = '127.0.0.1:0'\n";
        std::fs::write(&config, format!("[source]\nurl = '{url}'\n{registry}"))?;
        let scene = Scene { url, config, runtime, dir, _postgres: postgres };
        scene.command("init").status()?;
        scene.command("run").arg("--once").status()?;
        Ok(scene)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tillstream"));
        command.arg("--config").arg(&self.config).arg("-q").arg(name).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Waits until the daemon has verified each store; the next time is a day away.
    fn verified(&self) -> Result<()> {
        let begun = Instant::now();
        let query = "SELECT (SELECT count(*) FROM analytics_state.verification WHERE right_at IS NOT NULL) \
                     = (SELECT count(*) FROM analytics.tenant WHERE state = 'live')";
        self.runtime.block_on(async {
            let client = connect(&self.url).await?;
            while !client.query_one(query, &[]).await?.try_get::<_, bool>(0)? {
                if begun.elapsed() > PATIENCE {
                    return Err("the stores are not verified".into());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        })
    }

    /// Comes back when the daemon says that it is live, as systemd is told.
    fn start(&self) -> Result<Daemon> {
        let path = self.dir.path().join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let daemon = Daemon(self.command("run").env("NOTIFY_SOCKET", &path).spawn()?);
        let mut buffer = [0; 4096];
        loop {
            let n = socket.recv(&mut buffer)?;
            if buffer.get(..n).is_some_and(|text| text.starts_with(b"READY=1")) {
                return Ok(daemon);
            }
        }
    }
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Killed when dropped.
struct Daemon(Child);

impl Daemon {
    /// Time on a processor since its start, all threads together.
    fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // After the name, which may hold anything: state is field 3, user and system time are 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).ok_or("no stat")?.parse::<f64>().map_err(|e| e.to_string());
        let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.ok_or("no clock ticks")?;
        #[allow(clippy::cast_precision_loss)] // it is 100
        let seconds = (ticks(11)? + ticks(12)?) / a_second as f64;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// A line of /proc/PID/status, in MiB.
    fn memory(&self, line: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let found = status.lines().find_map(|l| l.strip_prefix(line)?.trim().strip_suffix(" kB"));
        Ok(found.ok_or("no such line")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
