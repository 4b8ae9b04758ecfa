//! What breaks around the daemon: it comes back by itself, says so once, and no row is off.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tillstream::demo::postgres::{Postgres, StartOptions, StopMode};
use tillstream::lsn::Lsn;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, connect, tillstream, wait_until};
use crate::proxy::{Network, Proxy};
use crate::traders::{PATIENCE, Traders, WARNED, all_live, said, set_up, trade_some, verify};

const WELL: &str = "well again";
const STOP_LIMIT: Duration = Duration::from_secs(5);

fn server(settings: &[(&str, &str)]) -> Postgres {
    let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Postgres::start(StartOptions { settings, tcp: true, ..StartOptions::default() }).unwrap()
}

/// Beside the log of its normal work, an error is told in one line.
#[track_caller]
fn one_line(stderr: &str) {
    let told: Vec<&str> = stderr.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert!(told.len() == 1 && told[0].starts_with("tillstream: "), "{stderr}");
}

async fn live(client: &Client, daemon: &Daemon) {
    said(daemon, "following the stream", 1).await;
    wait_until("all stores live", PATIENCE, || all_live(client)).await;
}

/// What was said of an outage: so many warnings, and as many times that all is well again.
#[track_caller]
fn told(daemon: &Daemon, outages: usize, what: &str) {
    let log = daemon.log();
    assert_eq!((log.matches(WARNED).count(), log.matches(WELL).count()), (outages, outages), "{what}:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_stops_and_crashes_and_drops_connections() {
    let mut server = server(&[]);
    let db = TestDb::on(&server).await;
    let config = set_up(&db, 1, "").await;
    let mut daemon = Daemon::run(&config, &[]);
    live(&db.client().await, &daemon).await;
    let traders = Traders::start(&db, 1);
    let mut outages = 0;
    #[allow(clippy::type_complexity)]
    let stops: [(&str, fn(&mut Postgres)); 3] = [
        ("fast stop", |s| s.stop(StopMode::Fast).unwrap()),
        ("immediate stop", |s| s.stop(StopMode::Immediate).unwrap()),
        ("crash", |s| s.crash().unwrap()),
    ];
    for (what, stop) in stops {
        let began = Instant::now();
        stop(&mut server);
        assert!(began.elapsed() < STOP_LIMIT, "{what}: the daemon kept the server from stopping");
        outages += 1;
        said(&daemon, WARNED, outages).await;
        server.start_again().unwrap();
        said(&daemon, WELL, outages).await;
        told(&daemon, outages, what);
    }
    for backend in ["tillstream stream", "tillstream writer"] {
        let client = db.client().await;
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        assert_eq!(client.query(terminate, &[&backend]).await.unwrap().len(), 1, "{backend}");
        outages += 1;
        said(&daemon, WELL, outages).await;
        told(&daemon, outages, backend);
        verify(&config, backend).await;
    }
    assert!(daemon.is_running());
    assert!(traders.stop().await > 0);
    verify(&config, "after all outages").await;
    told(&daemon, outages, "verify");
    assert!(daemon.terminate(STOP_LIMIT).await.success());
    drop(db);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_cut() {
    let server = server(&[]);
    let db = TestDb::on(&server).await;
    let proxy = Proxy::to(server.port()).await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", proxy.address.port(), db.name);
    let config = set_up(&db, 2, &format!("[source]\nurl = '{url}'\n")).await;
    let daemon = Daemon::run(&config, &[]);
    let client = db.client().await;
    live(&client, &daemon).await;
    let traders = Traders::start(&db, 2);
    for (outages, network) in [(1, Network::Cut), (2, Network::Silent), (3, Network::Cut)] {
        proxy.set(network);
        said(&daemon, WARNED, outages).await;
        proxy.set(Network::Up);
        said(&daemon, WELL, outages).await;
        told(&daemon, outages, &format!("{network:?}"));
        verify(&config, &format!("{network:?}")).await;
    }
    assert!(traders.stop().await > 0);
    verify(&config, "after all cuts").await;
    // Nobody answers, and it has to end all the same.
    proxy.set(Network::Silent);
    assert!(daemon.terminate(STOP_LIMIT).await.success());
    proxy.set(Network::Up);
    verify(&config, "stopped without an answer").await;
    drop(db);
}

/// Also where an answer is waited for that takes long for a good reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_falls_silent_in_the_middle_of_something() {
    let server = server(&[]);
    let db = TestDb::on(&server).await;
    let proxy = Proxy::to(server.port()).await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", proxy.address.port(), db.name);
    let config = set_up(&db, 4, &format!("[source]\nurl = '{url}'\n")).await;
    let daemon = Daemon::run(&config, &[]);
    let client = db.client().await;
    live(&client, &daemon).await;
    for (outages, middle) in [(1, "a batch"), (2, "a job")] {
        let mut locker = db.client().await;
        let lock = locker.transaction().await.unwrap();
        lock.batch_execute("LOCK analytics.inventory_snapshot IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut job = None;
        match middle {
            "a batch" => trade_some(&db, 4, 20).await,
            _ => {
                let config = config.clone();
                let run = async move { tillstream(&config, &["jobs", "run", "inventory-snapshot"]).await };
                job = Some(tokio::spawn(run));
            }
        }
        let waits = "SELECT count(*) FROM pg_stat_activity \
                     WHERE application_name = 'tillstream writer' AND wait_event_type = 'Lock'";
        wait_until("the writer waits", PATIENCE, || async {
            client.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        proxy.set(Network::Silent);
        said(&daemon, WARNED, outages).await;
        lock.rollback().await.unwrap();
        proxy.set(Network::Up);
        said(&daemon, WELL, outages).await;
        told(&daemon, outages, middle);
        assert_eq!(daemon.log().matches("cause=\"silent\"").count(), outages, "{}", daemon.log());
        if let Some(job) = job {
            job.abort();
        }
        verify(&config, middle).await;
    }
    drop(db);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_takes_nothing_back_that_was_confirmed() {
    // Our commits do not wait for the disk, and now nothing else hurries them there.
    let mut server = server(&[("wal_writer_delay", "10s")]);
    let db = TestDb::on(&server).await;
    let config = set_up(&db, 3, "").await;
    let mut daemon = Daemon::run(&config, &[]);
    live(&db.client().await, &daemon).await;
    let mut committed = 0;
    for round in 1..=20 {
        let mut followed = daemon.log().matches("following the stream").count();
        let traders = Traders::start(&db, 100 + round);
        let position = "SELECT lsn::text FROM analytics_state.position";
        let client = db.client().await;
        let before: String = client.query_one(position, &[]).await.unwrap().get(0);
        wait_until("the reports move on", PATIENCE, || async {
            client.query_one(position, &[]).await.is_ok_and(|row| row.get::<_, String>(0) != before)
        })
        .await;
        if round % 2 == 0 {
            // A successor finds a position that is not on disk yet.
            daemon.kill().await;
            daemon = Daemon::run(&config, &[]);
            followed += 1;
            said(&daemon, "following the stream", followed).await;
        }
        server.stop(StopMode::Immediate).unwrap();
        server.start_again().unwrap();
        committed += traders.stop().await;
        said(&daemon, "following the stream", followed + 1).await;
        assert!(daemon.is_running(), "round {round}:\n{}", daemon.log());
    }
    assert!(committed > 0);
    verify(&config, "after all crashes").await;
    assert!(!daemon.log().contains("ahead of the reports"), "{}", daemon.log());
    drop(db);
}

/// The reports on a server of their own, which crashes: the slot, elsewhere, remembers what was confirmed to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_target_takes_nothing_back_that_was_confirmed() {
    let mut target = server(&[("wal_writer_delay", "2s")]);
    let db = TestDb::new().await;
    let reports = target.url("postgres");
    let config = set_up(&db, 7, &format!("[target]\nurl = '{reports}'\n")).await;
    let mut daemon = Daemon::run(&config, &[]);
    said(&daemon, "following the stream", 1).await;
    wait_until("all stores live", PATIENCE, || async { all_live(&connect(&reports).await).await }).await;
    for round in 1..=10 {
        trade_some(&db, 200 + round, 10).await;
        let end: Lsn = db.client().await.query_one("SELECT pg_current_wal_lsn()", &[]).await.unwrap().get(0);
        let client = connect(&reports).await;
        wait_until("the reports are up to date", PATIENCE, || async {
            let stored: Lsn = client.query_one("SELECT lsn FROM analytics_state.position", &[]).await.unwrap().get(0);
            stored >= end
        })
        .await;
        // Time for a confirmation to go out, were there one: it is sent within half a second.
        tokio::time::sleep(Duration::from_millis(800)).await;
        let followed = daemon.log().matches("following the stream").count();
        target.stop(StopMode::Immediate).unwrap();
        target.start_again().unwrap();
        said(&daemon, "following the stream", followed + 1).await;
        assert!(daemon.is_running(), "round {round}:\n{}", daemon.log());
    }
    verify(&config, "after all crashes").await;
    assert!(!daemon.log().contains("ahead of the reports"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_is_obeyed_whatever_it_does() {
    let mut server = server(&[]);
    let db = TestDb::on(&server).await;
    let config = set_up(&db, 4, "").await;
    let client = db.client().await;

    // It waits for running transactions, to make the first copy.
    client
        .batch_execute("BEGIN; LOCK TABLE tenant_east.sales_sale; UPDATE tenant_west.sales_sale SET notes = 'x'")
        .await
        .unwrap();
    let daemon = Daemon::run(&config, &[]);
    said(&daemon, "waiting for the transactions", 1).await;
    assert!(daemon.terminate(STOP_LIMIT).await.success(), "while copying");
    client.batch_execute("COMMIT").await.unwrap();

    let first = Daemon::run(&config, &[]);
    live(&client, &first).await;
    let standby = Daemon::run(&config, &[]);
    said(&standby, "waiting as its standby", 1).await;
    assert!(standby.terminate(STOP_LIMIT).await.success(), "as standby");

    let traders = Traders::start(&db, 4);
    let mut daemon = first;
    for _ in 0..5 {
        let followed = daemon.log().matches("following the stream").count();
        assert!(daemon.terminate(STOP_LIMIT).await.success(), "under load");
        daemon = Daemon::run(&config, &[]);
        said(&daemon, "following the stream", followed + 1).await;
    }
    assert!(traders.stop().await > 0);

    server.stop(StopMode::Fast).unwrap();
    said(&daemon, WARNED, 1).await;
    assert!(daemon.terminate(STOP_LIMIT).await.success(), "while waiting for the database");
    server.start_again().unwrap();
    verify(&config, "after every SIGTERM").await;
    drop(db);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_at_the_start() {
    let mut server = server(&[]);
    let db = TestDb::on(&server).await;
    let config = set_up(&db, 5, "").await;
    server.stop(StopMode::Fast).unwrap();
    let daemon = Daemon::run(&config, &[]);
    said(&daemon, WARNED, 1).await;
    for command in [&["run", "--once"][..], &["verify"], &["status"], &["resync"], &["init"]] {
        let ran = tillstream(&config, command).await.expect(2);
        assert!(ran.stderr.contains("is PostgreSQL running"), "{command:?} {ran:?}");
        one_line(&ran.stderr);
    }
    server.start_again().unwrap();
    said(&daemon, WELL, 1).await;
    told(&daemon, 1, "start");
    // It was never there before: its first copy comes now.
    live(&db.client().await, &daemon).await;
    trade_some(&db, 5, 50).await;
    verify(&config, "after the start").await;
    drop(daemon);
    drop(db);
}

/// Parts of a transaction larger than a batch are written before it ends; none of it may stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_cut_in_the_middle() {
    let db = TestDb::new().await;
    let config = set_up(&db, 6, "[apply]\nmax_batch_rows = 100\n").await;
    let client = db.client().await;
    let mut daemon = Daemon::run(&config, &[]);
    live(&client, &daemon).await;
    let halfway = "SELECT FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'tillstream writer' AND clock_timestamp() - xact_start > interval '50 ms'";
    let small = db.client().await;
    let kept = async || -> Option<i64> {
        let count = "SELECT sum(cardinality(ids)) FROM analytics_state.stock_movement";
        client.query_one(count, &[]).await.unwrap().get(0)
    };
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM, Signal::SIGTERM] {
        let before = kept().await;
        // Right before it a small one, of which the position is written and not yet confirmed when the signal comes.
        client
            .batch_execute(
                "BEGIN; INSERT INTO tenant_east.products_stock_movement (product_id, movement_type, quantity)
                 SELECT (SELECT min(id) FROM tenant_east.products_product), 'purchase', 1 FROM generate_series(1, 20000)",
            )
            .await
            .unwrap();
        small.batch_execute("UPDATE tenant_west.products_product SET name = name || '!'").await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        wait_until("half-way", PATIENCE, || async { !client.query(halfway, &[]).await.unwrap().is_empty() }).await;
        daemon.signal(signal);
        daemon.ended(STOP_LIMIT).await;
        assert_eq!(kept().await, before, "{signal}: a part of the transaction was kept");
        verify(&config, &format!("{signal} in the middle")).await;
        let followed = daemon.log().matches("following the stream").count();
        daemon = Daemon::run(&config, &[]);
        said(&daemon, "following the stream", followed + 1).await;
    }
    // A truncation in the middle of one, too: the store is copied again, once.
    client
        .batch_execute(
            "BEGIN; INSERT INTO tenant_east.products_stock_movement (product_id, movement_type, quantity)
             SELECT (SELECT min(id) FROM tenant_east.products_product), 'purchase', 1 FROM generate_series(1, 500);
             INSERT INTO tenant_west.sales_sale (session_id, receipt_number)
             SELECT (SELECT min(id) FROM tenant_west.sales_cashier_session), 'cut ' || n FROM generate_series(1, 500) n;
             TRUNCATE tenant_east.customers_transaction;
             INSERT INTO tenant_west.products_stock_movement (product_id, movement_type, quantity)
             SELECT (SELECT min(id) FROM tenant_west.products_product), 'purchase', 1 FROM generate_series(1, 500);
             COMMIT",
        )
        .await
        .unwrap();
    said(&daemon, "store is copied again", 1).await;
    let followed = daemon.log().matches("following the stream").count();
    said(&daemon, "following the stream", followed).await;
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    verify(&config, "truncated").await;
    assert_eq!(daemon.log().matches("store is copied again").count(), 1, "{}", daemon.log());
}
