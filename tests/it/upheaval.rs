//! The main promise once more, with everything else that may happen: stores come and go, tables are altered and emptied,
//! the publication is tampered with, the slot is dropped and made anew, the daemon is killed. In the end every row is right,
//! or the daemon has stopped with the reason and does what it says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, tillstream};
use crate::live::{STORES, ZONES, compare, kept_costs, open_stores, seeds, trade};
use crate::stores::own_server;

const TASHKENT: chrono_tz::Tz = chrono_tz::Asia::Tashkent;
/// Stores that are created while all goes on.
const NEW_STORES: [&str; 3] = ["tenant_new_1", "tenant_new_2", "tenant_new_3"];
/// Why it may stop: each with what to do.
const REASONS: [&str; 2] = ["is gone, the reports stand at", "it was made anew or moved by someone"];
/// What [`drop_slot`] makes the server say to whoever has the slot.
const ENDED: &str = "terminating connection due to administrator command";

/// What happened, for the log of the test.
#[derive(Debug, Default)]
struct Told {
    kills: u32,
    /// The daemon stopped by itself, and somebody ran `resync`.
    stops: Vec<String>,
}

/// Kills the daemon now and then, and does what it says where it has stopped. Gives back a running one.
async fn operate(config: &Path, seed: u64, done: Arc<AtomicBool>) -> (Daemon, Told) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut daemon, mut told) = (Daemon::run(config, &[]), Told::default());
    loop {
        for _ in 0..rng.random_range(1..60) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !daemon.is_running() || done.load(Ordering::Relaxed) {
                break;
            }
        }
        if !daemon.is_running() {
            let log = daemon.log();
            let last = log.lines().last().unwrap_or_default().to_string();
            let right = REASONS.iter().any(|reason| last.contains(reason)) && last.contains("tillstream resync");
            assert!(last.starts_with("tillstream: ") && right, "seed {seed}: it stopped with\n{log}");
            told.stops.push(last);
            let ran = tillstream(config, &["resync"]).await;
            // The slot may be dropped under it once more, its connection being ended first.
            let right = REASONS.iter().chain(&[ENDED]).any(|reason| ran.stderr.contains(reason));
            assert!(ran.code == 0 || right, "seed {seed}: {ran:?}");
        } else if done.load(Ordering::Relaxed) {
            return (daemon, told);
        } else {
            told.kills += 1;
            daemon.kill().await;
        }
        daemon = Daemon::run(config, &[]);
    }
}

/// Does its worst. Gives the stores created.
async fn upset(db: &TestDb, seed: u64) -> Vec<&'static str> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let client = db.client().await;
    let mut created: Vec<&'static str> = Vec::new();
    for round in 0..16_u64 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..700))).await;
        let stores: Vec<&str> = STORES.iter().map(|(schema, _)| *schema).chain(created.iter().copied()).collect();
        let schema = stores[rng.random_range(0..stores.len())];
        let tables = ["sales_payment", "sales_sale_item", "customers_transaction", "products_stock_movement"];
        let table = tables[rng.random_range(0..tables.len())];
        let slot = db.slot();
        let sql = match rng.random_range(0..11) {
            0 | 1 if created.len() < NEW_STORES.len() => {
                let schema = NEW_STORES[created.len()];
                create(db, schema, seed * 1000 + 500 + round).await;
                created.push(schema);
                continue;
            }
            2 if !created.is_empty() => {
                let schema = created[rng.random_range(0..created.len())];
                let drop =
                    format!("DROP SCHEMA {schema} CASCADE; DELETE FROM users_store WHERE schema_name = '{schema}'");
                client.batch_execute(&drop).await.unwrap();
                create(db, schema, seed * 1000 + 700 + round).await;
                continue;
            }
            0..=3 => format!("TRUNCATE {schema}.{table}, {schema}.sales_payment CASCADE"),
            4 => format!("ALTER PUBLICATION {slot} DROP TABLE {schema}.{table}"),
            5 => format!("ALTER PUBLICATION {slot} SET (publish = 'insert, delete')"),
            6 => format!("ALTER TABLE {schema}.sales_sale ALTER total_amount TYPE numeric({},2)", 12 + round),
            7 => format!("ALTER TABLE {schema}.{table} ADD COLUMN note_{round} text NOT NULL DEFAULT 'x'"),
            8 => format!("CLUSTER {schema}.{table} USING {table}_pkey"),
            _ => {
                drop_slot(&client, slot, rng.random_bool(0.5)).await;
                continue;
            }
        };
        // A deadlock with the writers, or it is so already: then it did not happen.
        if let Err(e) = client.batch_execute(&sql).await {
            println!("seed {seed}: {sql}: {e}");
        }
    }
    created
}

async fn create(db: &TestDb, schema: &'static str, seed: u64) {
    db.create_store(schema).await;
    trade(db, schema, TASHKENT, seed, 60).await;
}

/// Takes the slot away from whoever has it; `anew`: there is one of that name again, somewhere else.
async fn drop_slot(client: &Client, slot: &str, anew: bool) {
    for _ in 0..20 {
        let terminate = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name::text = $1";
        let _ = client.query(terminate, &[&slot]).await;
        if client.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&slot]).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if anew {
        // The daemon may be faster.
        let _ = client.execute("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&slot]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_rows_are_right_or_the_reason_is_told() {
    for seed in seeds(2) {
        println!("seed {seed}");
        let server = own_server();
        let db = TestDb::on(&server).await;
        let client = open_stores(&db).await;
        let lost = if seed % 2 == 0 { "resync" } else { "stop" };
        // In turn also batches so small that a store is set aside in the middle of a transaction that is partly written.
        let batches = if seed % 2 == 1 { "[apply]\nmax_batch_rows = 8\n" } else { "" };
        let config = db.daemon_toml(&format!(
            "[source]\non_slot_lost = '{lost}'\n[tenants]\ndiscover_every = '300ms'\n{ZONES}{batches}"
        ));
        for (n, (schema, zone)) in STORES.into_iter().enumerate() {
            trade(&db, schema, zone, seed * 1000 + n as u64, 40).await;
        }
        tillstream(&config, &["init"]).await.expect(0);
        let done = Arc::new(AtomicBool::new(false));
        let daemon = tokio::spawn({
            let (config, done) = (config.clone(), Arc::clone(&done));
            async move { operate(&config, seed, done).await }
        });
        let writers = STORES.into_iter().enumerate().map(|(n, (schema, zone))| {
            let db = &db;
            trade(db, schema, zone, seed * 1000 + 100 + n as u64, 250)
        });
        let (_, created) = tokio::join!(futures_util::future::join_all(writers), upset(&db, seed));
        done.store(true, Ordering::Relaxed);
        let (daemon, told) = daemon.await.unwrap();
        println!("seed {seed}: {told:?}, created {created:?}");
        daemon.kill().await;
        let mut ran = tillstream(&config, &["run", "--once"]).await;
        if ran.code != 0 {
            assert!(REASONS.iter().any(|r| ran.stderr.contains(r)), "seed {seed}: {ran:?}");
            ran = tillstream(&config, &["resync"]).await;
        }
        assert_eq!(ran.code, 0, "seed {seed}: {ran:?}");
        let ran = tillstream(&config, &["verify", "-vv"]).await;
        assert!(ran.code == 0 && !ran.stdout.contains("not compared"), "seed {seed}: {}\n{}", ran.stdout, ran.stderr);
        let more = created.into_iter().map(|schema| (schema, TASHKENT));
        for (schema, zone) in STORES.into_iter().chain(more) {
            let kept = kept_costs(&client, schema).await;
            compare(&client, schema, zone, Utc::now(), &kept, &format!("seed {seed}")).await;
        }
        drop((client, db));
    }
}
