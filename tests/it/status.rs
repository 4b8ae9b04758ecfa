//! `status` at three in the morning: each trouble is said in words, with what to do; the same as JSON. Slots that are
//! missing, lost, moved or of another server are in `slots.rs`, what verify found is in `service.rs`.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use tillstream::config::Config;
use tillstream::demo::postgres::{Postgres, StartOptions, StopMode};
use tillstream::lsn::Lsn;
use tillstream::source::Stream;

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::service::metric;
use crate::traders::{PATIENCE, WARNED, all_live, said, set_up, trade_some};

/// The screen, and the same as JSON. Both hold the same advice.
async fn status(config: &Path) -> (String, Value) {
    let screen = tillstream(config, &["status"]).await;
    let json = tillstream(config, &["status", "--json"]).await;
    assert!(screen.code == json.code && [0, 2].contains(&screen.code), "{screen:?}\n{json:?}");
    let json: Value = serde_json::from_str(&json.stdout).unwrap_or_else(|e| panic!("{e}: {json:?}"));
    (screen.stdout, json)
}

/// Waits until the screen says this, and all of these; then the JSON does, too.
async fn says(config: &Path, words: &[&str]) -> Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let (screen, json) = status(config).await;
        if words.iter().all(|word| screen.contains(word)) {
            let advice = json["advice"].to_string();
            // Figures, such as an age, differ from one look to the next: the first word of each trouble is compared.
            assert!(advice.contains(words[0]) || json["phase"] == words[0], "{words:?}: {json}");
            assert!(screen.lines().count() <= 24, "more than a screen:\n{screen}");
            return json;
        }
        assert!(std::time::Instant::now() < deadline, "{words:?} are not in\n{screen}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trouble_has_its_words() {
    let db = TestDb::new().await;
    let listen = format!("127.0.0.1:{}", free_port());
    let toml = format!("[http]\nlisten = '{listen}'\n[verify]\nevery = 'off'\n");
    let config = db.daemon_toml(&toml);
    says(&config, &["run: tillstream init", "not set up"]).await;

    let config = set_up(&db, 1, &toml).await;
    let client = db.client().await;
    says(&config, &["the daemon does not run", "systemctl start tillstream", "inactive"]).await;

    // Another program reads the slot in the daemon's place.
    let parsed = Config::load(&config).unwrap();
    let stranger = parsed.source.connection.replication(db.slot(), db.slot(), "pg_recvlogical");
    let (mut stranger, _) = Stream::open(stranger, Lsn::ZERO).await.unwrap();
    says(&config, &["is read by process", "\"pg_recvlogical\"", "stop that"]).await;
    let daemon = Daemon::run(&config, &[]);
    says(&config, &["is read by process", "tillstream   connecting"]).await;
    stranger.end().await;

    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    let json = says(&config, &["live", "all is well", "daemon       says: ready"]).await;
    assert!(json["advice"].as_array().unwrap().is_empty(), "{json}");
    assert_eq!(json["sessions"][0]["state"], "writes", "{json}");

    let waiting = db.dir.path().join("standby.toml");
    std::fs::write(&waiting, std::fs::read_to_string(&config).unwrap().replace(&listen, "")).unwrap();
    let standby = Daemon::run(&waiting, &[]);
    said(&standby, "waiting as its standby", 1).await;
    says(&config, &["live", "\nstandby "]).await;
    drop(standby);

    // Somebody holds a lock that the writer needs.
    let mut other = db.client().await;
    other.batch_execute("SET application_name = 'quarterly export'").await.unwrap();
    let lock = other.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE analytics.daily_sales_report IN ACCESS EXCLUSIVE MODE").await.unwrap();
    trade_some(&db, 2, 30).await;
    let json = says(&config, &["waits for a lock", "\"quarterly export\"", "pg_terminate_backend("]).await;
    assert!(json["sessions"][0]["blocked_by"].is_string(), "{json}");
    lock.rollback().await.unwrap();

    // One store cannot be followed any more; a job of another failed.
    let store = "SELECT tenant FROM analytics.tenant ORDER BY tenant LIMIT 1";
    let store: String = client.query_one(store, &[]).await.unwrap().get(0);
    client
        .batch_execute(&format!("ALTER TABLE {store}.sales_sale RENAME COLUMN total_amount TO grand_total"))
        .await
        .unwrap();
    let words =
        [&format!("store {store} is quarantined"), "total_amount", &format!("tillstream resync --tenant {store}")];
    says(&config, &words).await;
    // What happens in it is counted, but not applied.
    let set_aside = "tillstream_changes_total{state=\"set_aside\",table=\"product\"}";
    assert_eq!(metric(&listen, set_aside).await, Some(0.0));
    let touch = format!("UPDATE {store}.products_product SET updated_at = now()");
    assert!(client.execute(&touch, &[]).await.unwrap() > 0);
    wait_until("changes passed over", PATIENCE, async || metric(&listen, set_aside).await > Some(0.0)).await;
    assert_eq!(metric(&listen, "tillstream_transactions_total{state=\"set_aside\"}").await, Some(1.0));
    let fail = "INSERT INTO analytics_state.job_run (tenant, job, due, started, finished, error)
                SELECT max(tenant), 'prune', now(), now(), now(), 'the disk is full' FROM analytics.tenant WHERE state = 'live'";
    client.batch_execute(fail).await.unwrap();
    says(&config, &["job prune of", "the disk is full", "tillstream jobs run prune"]).await;

    // It hangs: the process is there, the slot is held, nothing moves.
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    client.batch_execute("SELECT pg_logical_emit_message(true, 'anything', repeat('x', 1000))").await.unwrap();
    let (_, json) = status(&config).await;
    assert!(json["daemon"].is_null() && json["lag_bytes"].as_u64().unwrap() > 0, "{json}");
    daemon.signal(nix::sys::signal::Signal::SIGCONT);
    drop(daemon);
    says(&config, &["the daemon does not run"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_when_the_database_does_not() {
    let mut server = Postgres::start(StartOptions { tcp: true, ..StartOptions::default() }).unwrap();
    let db = TestDb::on(&server).await;
    let toml = format!("[http]\nlisten = '127.0.0.1:{}'\n", free_port());
    let config = set_up(&db, 5, &toml).await;
    let daemon = Daemon::run(&config, &[]);
    said(&daemon, "following the stream", 1).await;
    server.stop(StopMode::Fast).unwrap();
    said(&daemon, WARNED, 1).await;
    let words =
        ["cannot connect to", "is PostgreSQL running", "the daemon runs", "says: not ready: the stream is not live"];
    let json = says(&config, &words).await;
    assert_eq!(json["phase"], "unreachable", "{json}");
    drop(daemon);
    says(&config, &["cannot connect to", "no daemon answers at 127.0.0.1", "systemctl status tillstream"]).await;
    let refused = tillstream(&config, &["status"]).await.expect(2);
    assert!(refused.stderr.starts_with("tillstream: cannot connect to"), "{refused:?}");
    server.start_again().unwrap();
    drop(db);
}
