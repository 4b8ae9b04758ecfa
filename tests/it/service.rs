//! The daemon as a service: what it tells the service manager, Prometheus and the operator, and what SIGHUP does.

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::sync::mpsc;

use crate::harness::{Daemon, TestDb, tillstream, tillstream_with, wait_until};
use crate::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where the daemon answers, from its log.
pub fn address(daemon: &Daemon) -> Option<String> {
    let log = daemon.log();
    let line = log.lines().rfind(|line| line.contains("answering /healthz"))?;
    let address = line.split("address=").nth(1)?.split_whitespace().next()?;
    Some(address.to_string())
}

/// Status line and body.
async fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_string(), body.to_string())
}

/// The value of a series; `None`: it is not shown.
pub async fn metric(address: &str, series: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn above_zero(daemon: &Daemon, address: &str, series: &str) {
    let above = async {
        while metric(address, series).await.is_none_or(|value| value <= 0.0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, above).await;
    assert!(waited.is_ok(), "{series} is not above 0\n{}", daemon.log());
}

async fn ready(address: &str, daemon: &Daemon) {
    let is_ready = wait_until("ready", PATIENCE, async || get(address, "/readyz").await.0 == "HTTP/1.1 200 OK");
    if tokio::time::timeout(PATIENCE - Duration::from_secs(1), is_ready).await.is_err() {
        panic!("{}\n{}", get(address, "/readyz").await.1, daemon.log());
    }
}

/// The service manager's part: reads all the time.
struct Manager(mpsc::UnboundedReceiver<String>);

impl Manager {
    fn listen(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(n) = socket.recv(&mut buffer).await {
                for line in String::from_utf8_lossy(&buffer[..n]).lines() {
                    let _ = tell.send(line.to_string());
                }
            }
        });
        Manager(told)
    }

    /// Waits for a line that begins so; those before it are gone.
    async fn hears(&mut self, wanted: &str) {
        let mut heard = Vec::new();
        let until = async {
            while let Some(line) = self.0.recv().await {
                heard.push(line);
                if heard.last().is_some_and(|line| line.starts_with(wanted)) {
                    return;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, until).await.is_ok(), "no {wanted} among {heard:?}");
    }
}

fn rewrite(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(config, text.replace(from, to)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_measured_watched_reloaded_and_proves_itself() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config =
        db.daemon_toml("[http]\nlisten = '127.0.0.1:0'\n[verify]\nevery = '1s'\n[schedule]\nprune = '0 3 1 * *'\n");
    let mut client = db.client().await;
    let mut workload = Workload::new(1, Utc::now(), chrono_tz::Asia::Tashkent);
    workload.populate(&mut client, "tenant_a").await.unwrap();
    tillstream(&config, &["init"]).await.expect(0);

    let path = db.dir.path().join("notify");
    let mut manager = Manager::listen(&path);
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1500000")];
    let daemon = Daemon::run_with(&config, &[], &env);
    manager.hears("STATUS=live: following the stream").await;
    manager.hears("READY=1").await;
    manager.hears("STATUS=live: 1 of 1 stores, up to date").await;
    manager.hears("WATCHDOG=1").await;
    let address = address(&daemon).unwrap();
    assert_eq!(get(&address, "/healthz").await.0, "HTTP/1.1 200 OK");
    ready(&address, &daemon).await;

    for _ in 0..60 {
        workload.step(&mut client, "tenant_a").await.unwrap();
    }
    for series in [
        "tillstream_transactions_total{state=\"live\"}",
        "tillstream_changes_total{state=\"live\",table=\"sale\"}",
        "tillstream_slot_state{state=\"reserved\"}",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "tillstream_batch_changes_count",
        "tillstream_batch_seconds_sum",
        "tillstream_commit_to_visible_seconds_count",
        "tillstream_last_commit_timestamp_seconds",
        "tillstream_stores{state=\"live\"}",
        "tillstream_slot_active",
        "tillstream_retained_wal_bytes",
        "tillstream_verify_last_success_timestamp_seconds",
    ] {
        above_zero(&daemon, &address, series).await;
    }
    assert!(metric(&address, "tillstream_lag_seconds").await.unwrap() < 30.0);
    // Readers of the reports see it, too.
    let verified = "SELECT verified_through BETWEEN now() - interval '5 min' AND now() FROM analytics.freshness";
    assert_eq!(client.query_one(verified, &[]).await.unwrap().get::<_, Option<bool>>(0), Some(true));
    let behind = "tillstream_lag_bytes";
    wait_until("an idle source is not behind", PATIENCE, async || metric(&address, behind).await == Some(0.0)).await;

    // A row is falsified by hand, with nothing on its way that would write it anew: the daemon finds it by itself.
    tillstream(&config, &["verify"]).await.expect(0);
    let falsify = "UPDATE analytics.daily_sales_report SET total_sales = 987654321 WHERE date = (SELECT max(date) FROM analytics.daily_sales_report)";
    assert_eq!(client.execute(falsify, &[]).await.unwrap(), 1);
    above_zero(&daemon, &address, "tillstream_verify_differences").await;
    let status = tillstream(&config, &["status"]).await.expect(0).stdout;
    assert!(status.contains("tillstream verify --tenant tenant_a"), "{status}");
    tillstream(&config, &["verify", "--repair"]).await.expect(1);
    wait_until("right again", PATIENCE, async || metric(&address, "tillstream_verify_differences").await == Some(0.0))
        .await;
    assert!(!daemon.log().contains("987654321"), "a row's value is in the log");

    // The connection is cut: counted, and live again.
    let cut = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1";
    client.execute(cut, &[&db.slot()]).await.unwrap();
    above_zero(&daemon, &address, "tillstream_reconnects_total{cause=\"server\"}").await;
    ready(&address, &daemon).await;

    // SIGHUP: a mistake changes nothing, a change is taken, what cannot be is said.
    rewrite(&config, "0 3 1 * *", "0 3 1 *");
    daemon.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1").await;
    manager.hears("READY=1").await;
    assert!(daemon.log().contains("[schedule] prune"), "{}", daemon.log());
    rewrite(&config, "0 3 1 *", "0 4 1 * *");
    rewrite(&config, "[verify]\nevery = \"1s\"", "[verify]\nevery = \"off\"");
    rewrite(&config, &format!("slot = \"{}\"", db.slot()), "slot = \"elsewhere\"");
    daemon.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1").await;
    let log = "a new session";
    wait_until(log, PATIENCE, async || daemon.log().contains("sections=\"[schedule], [verify]\"")).await;
    assert!(daemon.log().contains("need a restart"), "{}", daemon.log());
    ready(&address, &daemon).await;

    let ended = daemon.terminate(Duration::from_secs(5)).await;
    assert!(ended.success());
    manager.hears("STOPPING=1").await;
}

#[tokio::test]
async fn doctor_tells_everything_but_secrets() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let mut url: String = db.url.clone();
    url = url.replacen("postgres@", "postgres:sesame-in-url@", 1);
    let file = db.dir.path().join("password");
    std::fs::write(&file, "sesame-in-file\n").unwrap();
    let config = db.daemon_toml(&format!("[source]\nurl = '{url}'\npassword_file = '{}'\n", file.display()));
    let before = tillstream(&config, &["doctor"]).await.expect(0).stdout;
    assert!(before.contains("== check") && before.contains("does not exist"), "{before}");
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let env = [("PGPASSWORD", "sesame-in-environment")];
    let text = tillstream_with(&config, &["doctor"], &env).await.expect(0);
    for part in ["tillstream 0.", "[tenants]", "0 problems", "tenant_a", db.slot(), "wal_level", "migrations", "phase"]
    {
        assert!(text.stdout.contains(part), "{part} is not in\n{}", text.stdout);
    }
    assert!(!text.stdout.contains("sesame") && !text.stderr.contains("sesame"), "{}", text.stdout);
    // What was noted down by somebody else's program may hold it, too.
    let client = db.client().await;
    for secret in ["sesame-in-url", "sesame-in-environment"] {
        let fail = "INSERT INTO analytics_state.job_run (tenant, job, due, started, finished, error)
                    VALUES ('tenant_a', 'prune', now(), now(), now(), 'cannot log in with ' || $1::text)";
        client.execute(fail, &[&secret]).await.unwrap();
    }
    let text = tillstream_with(&config, &["doctor"], &env).await.expect(0).stdout;
    assert!(text.contains("cannot log in with (hidden)") && !text.contains("sesame"), "{text}");
    std::fs::write(&config, "[source]\nurl = 'postgresql://u:sesame@[x'\npassword = 'sesame'\n").unwrap();
    let broken = tillstream(&config, &["doctor"]).await.expect(0);
    assert!(!broken.stdout.contains("sesame") && broken.stdout.contains("unknown key"), "{}", broken.stdout);
}
