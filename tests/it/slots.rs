//! Trouble with the slot, the stored position, and a second daemon: each told apart, each with its own message and exit.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use tillstream::config::Config;
use tillstream::demo::postgres::{Postgres, StartOptions};
use tillstream::lsn::Lsn;
use tillstream::source::Stream;
use tokio_postgres::Client;

use crate::harness::{Daemon, Ran, TestDb, tillstream, wait_until};
use crate::traders::{PATIENCE, Traders, WARNED, all_live, said, set_up, trade_some, verify};

const RESYNC: &str = "[source]\non_slot_lost = 'resync'\n";

/// One line that says what is wrong and what to do, and exit status 2: of the daemon, and of `run --once`.
pub async fn refuses(config: &Path, why: &str) {
    for args in [&["run"][..], &["run", "--once"]] {
        let Ran { stderr, .. } = tillstream(config, args).await.expect(2);
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("tillstream: ") && last.contains(why), "{args:?}: {stderr}");
        assert!(last.contains("tillstream resync"), "{args:?}: {stderr}");
    }
    let status = tillstream(config, &["status"]).await.expect(0);
    assert!(status.stdout.contains(why) && status.stdout.contains("tillstream resync"), "{}", status.stdout);
}

/// Caught up, and no daemon runs.
async fn caught_up(db: &TestDb, seed: u64, overrides: &str) -> std::path::PathBuf {
    let config = set_up(db, seed, overrides).await;
    tillstream(&config, &["run", "--once"]).await.expect(0);
    config
}

/// Once the walsender of the last run has let go of it.
async fn drop_slot(client: &Client, slot: &str) {
    let drop = "SELECT pg_drop_replication_slot($1::text::name)";
    wait_until("the slot is dropped", PATIENCE, || async { client.execute(drop, &[&slot]).await.is_ok() }).await;
}

pub async fn resync(config: &Path, context: &str) {
    tillstream(config, &["resync"]).await.expect(0);
    verify(config, context).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_gone_or_made_anew_is_never_followed() {
    let db = TestDb::new().await;
    let config = caught_up(&db, 11, "").await;
    let client = db.client().await;
    let slot = db.slot();

    drop_slot(&client, slot).await;
    trade_some(&db, 11, 30).await;
    refuses(&config, "is gone").await;
    resync(&config, "slot gone").await;

    drop_slot(&client, slot).await;
    trade_some(&db, 12, 30).await;
    client.execute("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&slot]).await.unwrap();
    refuses(&config, "made anew or moved by someone").await;
    resync(&config, "slot made anew").await;

    trade_some(&db, 13, 30).await;
    let advance = "SELECT pg_replication_slot_advance($1::text::name, pg_current_wal_lsn())";
    wait_until("the slot is moved", PATIENCE, || async { client.execute(advance, &[&slot]).await.is_ok() }).await;
    refuses(&config, "made anew or moved by someone").await;
    // What drop and init leave behind is a slot without a position: the stores are copied again.
    tillstream(&config, &["drop", "--yes"]).await.expect(0);
    trade_some(&db, 14, 30).await;
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    verify(&config, "dropped and set up again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_slot_is_made_again_where_the_config_says_so() {
    let db = TestDb::new().await;
    let config = set_up(&db, 21, RESYNC).await;
    let client = db.client().await;
    let mut daemon = Daemon::run(&config, &[]);
    said(&daemon, "following the stream", 1).await;
    let traders = Traders::start(&db, 21);
    for (again, with_new) in [(1, false), (2, true), (3, true)] {
        // Somebody takes it away from the running daemon.
        let gone = || async {
            let terminate =
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name::text = $1";
            let _ = client.query(terminate, &[&db.slot()]).await;
            client.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&db.slot()]).await.is_ok()
        };
        wait_until("the slot is dropped", PATIENCE, gone).await;
        if with_new {
            // The daemon may be faster.
            let create = "SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')";
            let _ = client.execute(create, &[&db.slot()]).await;
        }
        said(&daemon, "everything is copied again", again).await;
        said(&daemon, "following the stream", again + 1).await;
        wait_until("all stores live", PATIENCE, || all_live(&client)).await;
        verify(&config, "beside the daemon").await;
    }
    assert!(traders.stop().await > 0);
    assert!(daemon.is_running());
    verify(&config, "after all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidated_slot_is_called_that() {
    let settings = [("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let server = Postgres::start(StartOptions { settings, ..StartOptions::default() }).unwrap();
    let db = TestDb::on(&server).await;
    let config = caught_up(&db, 31, "").await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE filler (t text)").await.unwrap();
    let lose = || async {
        client
            .batch_execute("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 40000); CHECKPOINT")
            .await
            .unwrap();
        let status = "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name::text = $1";
        client.query_one(status, &[&db.slot()]).await.unwrap().get::<_, bool>(0)
    };
    trade_some(&db, 31, 30).await;
    wait_until("the slot is lost", PATIENCE, lose).await;
    refuses(&config, "has invalidated slot").await;
    resync(&config, "slot invalidated").await;

    trade_some(&db, 32, 30).await;
    wait_until("the slot is lost again", PATIENCE, lose).await;
    let config = db.daemon_toml(RESYNC);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    verify(&config, "copied by itself").await;
    drop(client);
    drop(db);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_in_use_is_waited_for() {
    let db = TestDb::new().await;
    let file = caught_up(&db, 41, "").await;
    trade_some(&db, 41, 30).await;
    let config = Config::load(&file).unwrap();
    let other = config.source.connection.replication(db.slot(), db.slot(), "another");
    let (other, _) = Stream::open(other, Lsn::ZERO).await.unwrap();
    let mut daemon = Daemon::run(&file, &[]);
    said(&daemon, "is active for PID", 1).await;
    let once = tillstream(&file, &["run", "--once"]).await.expect(2);
    let told: Vec<&str> = once.stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert!(told.len() == 1 && told[0].contains("stop that process"), "{once:?}");
    assert!(daemon.is_running());
    drop(other);
    said(&daemon, "well again", 1).await;
    assert_eq!(daemon.log().matches(WARNED).count(), 1, "{}", daemon.log());
    verify(&file, "taken over").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());

    // One that takes what is ours: what it was given is confirmed.
    trade_some(&db, 42, 30).await;
    let take = "SELECT FROM pg_logical_slot_get_binary_changes($1::text::name, NULL, NULL, 'proto_version', '1', \
                'publication_names', $1::text)";
    assert!(!db.client().await.query(take, &[&db.slot()]).await.unwrap().is_empty());
    refuses(&file, "moved by someone").await;
    resync(&file, "taken away").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_something_else_is_refused() {
    let db = TestDb::new().await;
    let config = caught_up(&db, 51, "").await;
    let client = db.client().await;
    for (set, why) in [
        ("system_identifier = '1'", "another database cluster"),
        ("timeline = timeline + 1", "the source is on timeline"),
        ("source_database = 'elsewhere'", "from database \"elsewhere\""),
        ("lsn = lsn + 1000000000", "ahead of the source's WAL"),
    ] {
        client.batch_execute(&format!("UPDATE analytics_state.position SET {set}")).await.unwrap();
        trade_some(&db, 51, 10).await;
        refuses(&config, why).await;
        resync(&config, why).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_another_process_moves_stops_the_daemon() {
    let db = TestDb::new().await;
    let config = set_up(&db, 61, "").await;
    let client = db.client().await;
    let mut daemon = Daemon::run(&config, &[]);
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    said(&daemon, "following the stream", 1).await;
    let traders = Traders::start(&db, 61);
    client.batch_execute("UPDATE analytics_state.position SET lsn = lsn - 1").await.unwrap();
    let status = daemon.ended(Duration::from_secs(20)).await;
    let log = daemon.log();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("another process wrote it; only one daemon may write these reports"), "{log}");
    assert!(traders.stop().await > 0);
    // The reports were not touched again: put back, all is as if nothing had been.
    client.batch_execute("UPDATE analytics_state.position SET lsn = lsn + 1").await.unwrap();
    verify(&config, "put back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standby_takes_over_from_a_killed_daemon() {
    let seed = 71;
    println!("seed {seed}");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let db = TestDb::new().await;
    let config = set_up(&db, seed, "").await;
    let client = db.client().await;
    let mut active = Daemon::run(&config, &[]);
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    said(&active, "following the stream", 1).await;
    let traders = Traders::start(&db, seed);
    let position =
        async || -> Lsn { client.query_one("SELECT lsn FROM analytics_state.position", &[]).await.unwrap().get(0) };
    for round in 1..=8 {
        let standby = Daemon::run(&config, &[]);
        said(&standby, "waiting as its standby", round).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        // What comes again after a takeover is skipped: the position never goes back.
        let mut stood = position().await;
        active.kill().await;
        let taken = said(&standby, "taking over", round);
        assert!(tokio::time::timeout(Duration::from_secs(5), taken).await.is_ok(), "{}", standby.log());
        said(&standby, "following the stream", round + 1).await;
        for _ in 0..100 {
            let stands = position().await;
            assert!(stands >= stood, "round {round}: {stood}, then {stands}");
            stood = stands;
        }
        active = standby;
    }
    assert!(traders.stop().await > 0);
    verify(&config, "after eight takeovers").await;
    assert!(!active.log().contains(WARNED), "{}", active.log());
    assert!(active.terminate(Duration::from_secs(5)).await.success());
}

/// Until PostgreSQL 17 the stream cannot be read through a time without the publication.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_is_made_anew_begins_a_new_slot() {
    for overrides in ["", RESYNC] {
        let db = TestDb::new().await;
        let config = set_up(&db, 91, overrides).await;
        let client = db.client().await;
        let mut daemon = Daemon::run(&config, &[]);
        wait_until("all stores live", PATIENCE, || all_live(&client)).await;
        let copied = async || -> Lsn {
            client.query_one("SELECT min(synchronized_at) FROM analytics.tenant", &[]).await.unwrap().get(0)
        };
        let before = copied().await;
        client.batch_execute(&format!("DROP PUBLICATION {}", db.slot())).await.unwrap();
        trade_some(&db, 91, 30).await;
        let version: i32 =
            client.query_one("SELECT current_setting('server_version_num')::int", &[]).await.unwrap().get(0);
        if version < 180_000 && overrides.is_empty() {
            let status = daemon.ended(PATIENCE).await;
            let log = daemon.log();
            let last = log.lines().last().unwrap();
            assert_eq!(status.code(), Some(2), "{log}");
            assert!(last.contains("does not exist") && last.contains("tillstream resync"), "{last}");
            tillstream(&config, &["resync"]).await.expect(0);
        } else {
            wait_until("copied again", PATIENCE, || async { copied().await > before && all_live(&client).await }).await;
            assert!(daemon.is_running());
        }
        verify(&config, "made anew").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_of_everything_is_refused() {
    let db = TestDb::new().await;
    let config = set_up(&db, 92, "[tenants]\ndiscover_every = '100ms'\n").await;
    let client = db.client().await;
    let mut daemon = Daemon::run(&config, &[]);
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    let all = format!("BEGIN; DROP PUBLICATION {0}; CREATE PUBLICATION {0} FOR ALL TABLES; COMMIT", db.slot());
    client.batch_execute(&all).await.unwrap();
    let status = daemon.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(2), "{}", daemon.log());
    let told = format!("DROP PUBLICATION \"{}\";", db.slot());
    assert!(daemon.log().lines().last().unwrap().contains(&told), "{}", daemon.log());
    client.batch_execute(&told).await.unwrap();
    tillstream(&config, &["resync"]).await.expect(0);
    verify(&config, "its own publication again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_slot_keeps_is_shown_and_warned_of() {
    let db = TestDb::new().await;
    let config = caught_up(&db, 93, "[source]\nretained_wal_warning = '1MB'\n").await;
    let client = db.client().await;
    client
        .batch_execute("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 4000)")
        .await
        .unwrap();
    let status = tillstream(&config, &["status"]).await.expect(0).stdout;
    assert!(status.contains("of WAL for the stopped daemon: start it, or run tillstream drop"), "{status}");
    let json: serde_json::Value =
        serde_json::from_str(&tillstream(&config, &["status", "--json"]).await.expect(0).stdout).unwrap();
    assert!(json["retained_wal_bytes"].as_i64().unwrap() > 4_000_000, "{json}");
    let daemon = Daemon::run(&config, &[]);
    said(&daemon, "the source keeps much wal for the slot", 1).await;
}

/// One that was suspended finds its reports written by another, and writes nothing itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_suspended_becomes_the_standby() {
    let db = TestDb::new().await;
    let config = set_up(&db, 94, "").await;
    let client = db.client().await;
    let first = Daemon::run(&config, &[]);
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    let traders = Traders::start(&db, 94);
    let second = Daemon::run(&config, &[]);
    said(&second, "waiting as its standby", 1).await;
    first.signal(Signal::SIGSTOP);
    // The server gives it up after a while; not to wait for that, it is told so.
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name IN ('tillstream writer', 'tillstream stream') AND backend_start < $1";
    let since: std::time::SystemTime = client
        .query_one(
            "SELECT backend_start + interval '1 microsecond' FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'tillstream stream'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(client.query(terminate, &[&since]).await.unwrap().len(), 2);
    said(&second, "taking over", 1).await;
    said(&second, "following the stream", 2).await;
    first.signal(Signal::SIGCONT);
    // Both write to one log: the first has waited once, now the other way round.
    said(&first, "waiting as its standby", 2).await;
    second.kill().await;
    said(&first, "taking over", 2).await;
    assert!(traders.stop().await > 0);
    verify(&config, "taken over and back").await;
    assert!(first.terminate(Duration::from_secs(5)).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_shop_keeps_no_wal_back() {
    let db = TestDb::new().await;
    let config = set_up(&db, 81, "").await;
    let client = db.client().await;
    let daemon = Daemon::run(&config, &[]);
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    said(&daemon, "following the stream", 1).await;
    client.batch_execute("CREATE TABLE unpublished (t text)").await.unwrap();
    client
        .batch_execute("INSERT INTO unpublished SELECT repeat('x', 1000) FROM generate_series(1, 50000)")
        .await
        .unwrap();
    let end: Lsn = client.query_one("SELECT pg_current_wal_lsn()", &[]).await.unwrap().get(0);
    let confirmed = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name::text = $1";
    wait_until("it is confirmed", Duration::from_secs(20), || async {
        client.query_one(confirmed, &[&db.slot()]).await.unwrap().get::<_, Lsn>(0) >= end
    })
    .await;
    let lag = "SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'tillstream stream' \
               AND pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name::text = $1)";
    let flushed: Lsn = client.query_one(lag, &[&db.slot()]).await.unwrap().get(0);
    assert!(flushed >= end);
    let status = tillstream(&config, &["status", "--json"]).await.expect(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert!(status["retained_wal_bytes"].is_i64() && status["phase"] == "live", "{status}");
    verify(&config, "idle").await;
}
