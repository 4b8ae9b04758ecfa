//! Writers that trade in the background while a test does its worst, and what such tests ask again and again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::workload::Workload;

pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the daemon says of an outage when it begins.
pub const WARNED: &str = "trying again until it is well";
pub const STORES: [&str; 2] = ["tenant_east", "tenant_west"];
const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tashkent;
/// Between two transactions of a writer: the daemon of a debug build is to keep up.
const PACE: Duration = Duration::from_millis(4);

/// Background writers; they connect again where the server goes away.
pub struct Traders {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<u64>>,
}

impl Traders {
    /// Two writers in each of the two stores.
    pub fn start(db: &TestDb, seed: u64) -> Traders {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = STORES.into_iter().flat_map(|schema| [schema, schema]);
        let tasks = writers.zip(1..).map(|(schema, n)| {
            let (url, stop) = (db.url.clone(), Arc::clone(&stop));
            tokio::spawn(async move { trade(&url, schema, seed * 1_000_000 + n * 10_000, &stop).await })
        });
        let tasks = tasks.collect();
        Traders { stop, tasks }
    }

    /// Ends them; the number of transactions they have committed.
    #[must_use]
    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut committed = 0;
        for task in self.tasks {
            committed += task.await.expect("a trader");
        }
        committed
    }
}

async fn trade(url: &str, schema: &str, seed: u64, stop: &AtomicBool) -> u64 {
    let mut committed = 0;
    for life in 0.. {
        let Ok((mut client, connection)) = tokio_postgres::connect(url, NoTls).await else {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::spawn(connection);
        let mut workload = Workload::new(seed + life, Utc::now(), ZONE);
        while !stop.load(Ordering::Relaxed) {
            match workload.step(&mut client, schema).await {
                Ok(_) => tokio::time::sleep(PACE).await,
                // The server was stopped; anything else is a defect of the test.
                Err(e) if e.code().is_none_or(|code| code.code().starts_with("57")) => break,
                Err(e) => panic!("seed {seed} {schema}: {e:?}"),
            }
        }
        committed += workload.stats.committed;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    committed
}

/// Two stores with something in them, `init` run; the configuration. `overrides` as in [`TestDb::daemon_toml`].
pub async fn set_up(db: &TestDb, seed: u64, overrides: &str) -> std::path::PathBuf {
    let mut client = db.client().await;
    for (schema, n) in STORES.into_iter().zip(0..) {
        db.create_store(schema).await;
        let mut workload = Workload::new(seed + n, Utc::now(), ZONE);
        workload.populate(&mut client, schema).await.expect("populate");
        for _ in 0..40 {
            workload.step(&mut client, schema).await.expect("trade");
        }
    }
    let config = db.daemon_toml(overrides);
    tillstream(&config, &["init"]).await.expect(0);
    config
}

/// Some transactions, one after the other.
pub async fn trade_some(db: &TestDb, seed: u64, steps: usize) {
    let mut client = db.client().await;
    let mut workload = Workload::new(seed, Utc::now(), ZONE);
    for step in 0..steps {
        workload.step(&mut client, STORES[step % 2]).await.expect("trade");
    }
}

/// Both stores are live.
pub async fn all_live(client: &Client) -> bool {
    let count = client.query_one("SELECT count(*) FROM analytics.tenant WHERE state = 'live'", &[]).await;
    count.is_ok_and(|row| row.get::<_, i64>(0) == STORES.len() as i64)
}

/// Waits until the daemon's log has the text so many times.
pub async fn said(daemon: &Daemon, text: &str, times: usize) {
    let enough = || async { daemon.log().matches(text).count() >= times };
    let waited = tokio::time::timeout(PATIENCE, wait_until(text, 2 * PATIENCE, enough)).await;
    assert!(waited.is_ok(), "the daemon did not say {text:?} {times} times:\n{}", daemon.log());
}

/// Every row is right.
pub async fn verify(config: &Path, context: &str) {
    let ran = tillstream(config, &["verify", "-v"]).await;
    let log = std::fs::read_to_string(config.with_extension("log")).unwrap_or_default();
    assert_eq!(ran.code, 0, "{context}\n{}\n{}\n{log}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("every row of 2 stores is right"), "{context}\n{}", ran.stdout);
}
