//! The throwaway server itself, and the POS tables in it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tillstream::demo::postgres::{Postgres, StartOptions, StopMode};

use crate::harness::{TestDb, connect, server, wait_until};

#[tokio::test]
async fn a_test_database_is_ready_for_logical_decoding_and_holds_stores() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let level: String = client.query_one("SHOW wal_level", &[]).await.unwrap().get(0);
    assert_eq!(level, "logical");

    db.create_store("tenant_central").await;
    db.create_store("tenant_north").await;
    let tables: i64 = client
        .query_one(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'tenant_north'::regnamespace AND relkind = 'r'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(tables, 12);
    let stores = client.query("SELECT schema_name FROM public.users_store ORDER BY id", &[]).await.unwrap();
    let stores: Vec<String> = stores.iter().map(|r| r.get(0)).collect();
    assert_eq!(stores, ["tenant_central", "tenant_north"]);
}

#[tokio::test]
async fn a_dropped_test_database_leaves_no_slot() {
    let db = TestDb::new().await;
    let name = db.name.clone();
    db.client()
        .await
        .execute("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&db.slot()])
        .await
        .unwrap();
    drop(db);
    let client = connect(&server().url("postgres")).await;
    for query in [
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name::text = $1",
        "SELECT count(*) FROM pg_database WHERE datname::text = $1",
    ] {
        let left: i64 = client.query_one(query, &[&name]).await.unwrap().get(0);
        assert_eq!(left, 0, "{query}");
    }
}

#[tokio::test]
async fn a_server_comes_back_after_a_stop_and_a_crash_and_leaves_nothing_behind() {
    let mut server = Postgres::start(StartOptions { tcp: true, ..StartOptions::default() }).unwrap();
    let url = server.url("postgres");
    connect(&url).await.batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)").await.unwrap();
    let stops: [fn(&mut Postgres); 3] =
        [|s| s.stop(StopMode::Fast).unwrap(), |s| s.stop(StopMode::Immediate).unwrap(), |s| s.crash().unwrap()];
    for stop in stops {
        stop(&mut server);
        assert_eq!(server.pid(), None);
        server.start_again().unwrap_or_else(|e| panic!("{e}\n{}", server.log_tail()));
        for url in [&url, &server.tcp_url("postgres")] {
            let kept: i64 = connect(url).await.query_one("SELECT count(*) FROM kept", &[]).await.unwrap().get(0);
            assert_eq!(kept, 1);
        }
    }
    let (dir, pid) = (server.socket_dir().to_path_buf(), server.pid().unwrap());
    drop(server);
    assert!(!dir.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn settings_count_above_our_own() {
    let settings = vec![("max_slot_wal_keep_size".into(), "64MB".into()), ("wal_level".into(), "replica".into())];
    let server = Postgres::start(StartOptions { settings, ..StartOptions::default() }).unwrap();
    let client = connect(&server.url("postgres")).await;
    for (name, expected) in [("max_slot_wal_keep_size", "64MB"), ("wal_level", "replica"), ("fsync", "off")] {
        let value: String = client.query_one("SELECT current_setting($1)", &[&name]).await.unwrap().get(0);
        assert_eq!(value, expected, "{name}");
    }
}

/// Not a test: the process that the next one kills.
#[test]
#[ignore = "run by killed_with_its_owner"]
fn holds_a_server() {
    let server = Postgres::start(StartOptions::default()).unwrap();
    println!("\nserver {} {}", server.pid().unwrap(), server.socket_dir().display());
    std::thread::park_timeout(Duration::from_secs(60));
}

#[tokio::test]
async fn killed_with_its_owner() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "server::holds_a_server", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.into_iter().find(|l| l.starts_with("server ")).unwrap();
    let (pid, dir) = line.strip_prefix("server ").unwrap().split_once(' ').unwrap();
    assert!(Path::new(dir).is_dir());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let proc_entry = format!("/proc/{pid}");
    wait_until("server and folder are gone", Duration::from_secs(20), || async {
        !Path::new(dir).exists() && !Path::new(&proc_entry).exists()
    })
    .await;
}
