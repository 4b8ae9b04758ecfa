//! `wait_for` and `freshness` with the real daemon: read your writes, also where nothing was written for the reports.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, connect, tillstream, wait_until};
use crate::reports_db::{rows, try_rows};

const PATIENCE: Duration = Duration::from_secs(60);
const SALE: &str = "WITH till AS (INSERT INTO tenant_a.sales_cashier_session DEFAULT VALUES RETURNING id)
    INSERT INTO tenant_a.sales_sale (session_id, receipt_number, status, completed_at, total_amount)
    SELECT id, 'R-' || id, 'completed', now(), 10 FROM till";
/// WAL that no report depends on.
const OTHER: &str = "INSERT INTO public.other VALUES (1)";

async fn daemon() -> (TestDb, Client, Daemon) {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("");
    let client = db.client().await;
    client.batch_execute("CREATE TABLE public.other (n int)").await.expect("create");
    tillstream(&config, &["init"]).await.expect(0);
    let daemon = Daemon::run(&config, &[]);
    let live = "SELECT 1 FROM analytics.tenant WHERE state = 'live'";
    wait_until("the store is live", PATIENCE, async || !rows(&client, live).await.is_empty()).await;
    (db, client, daemon)
}

async fn commit(client: &Client, sql: &str) -> String {
    client.batch_execute(sql).await.expect("commit");
    rows(client, "SELECT pg_current_wal_flush_lsn()").await.concat().remove(0)
}

#[tokio::test]
async fn what_is_committed_is_there_when_wait_for_says_so() {
    let (_db, client, _daemon) = daemon().await;
    for n in 1..=20 {
        let lsn = commit(&client, SALE).await;
        assert_eq!(rows(&client, &format!("SELECT analytics.wait_for('{lsn}', '60 s')")).await, [["t"]]);
        let today = rows(&client, "SELECT total_sales_count, total_sales FROM analytics.daily_sales_today").await;
        assert_eq!(today, [[n.to_string(), (n * 10).to_string()]]);
        let query = format!(
            "SELECT tenant_name, state, exact_lsn >= '{lsn}', exact_at <= clock_timestamp(), lag_bytes >= 0, lag >= '0', \
                    today = (now() AT TIME ZONE 'Asia/Tashkent')::date FROM analytics.freshness"
        );
        assert_eq!(rows(&client, &query).await, [["Store tenant_a", "live", "t", "t", "t", "t", "t"]]);
    }
}

/// Without being asked the daemon stores such a position only every 5 s.
#[tokio::test]
async fn nobody_waits_long_for_wal_without_anything_for_the_reports() {
    let (_db, client, _daemon) = daemon().await;
    let since = Instant::now();
    for _ in 0..10 {
        let lsn = commit(&client, OTHER).await;
        assert_eq!(rows(&client, &format!("SELECT analytics.wait_for('{lsn}', '60 s')")).await, [["t"]]);
    }
    // Nor where the daemon's own last write is all there is.
    for _ in 0..10 {
        assert_eq!(rows(&client, "SELECT analytics.wait_for(pg_current_wal_flush_lsn(), '60 s')").await, [["t"]]);
    }
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
}

#[tokio::test]
async fn an_idle_source_is_not_written_to_without_end() {
    let (db, client, _daemon) = daemon().await;
    let reader = connect(&db.url).await;
    // Who has waited leaves nothing behind that would keep the daemon writing, not even inside a transaction ...
    let lsn = commit(&client, OTHER).await;
    reader.batch_execute("BEGIN").await.expect("begin");
    assert_eq!(rows(&reader, &format!("SELECT analytics.wait_for('{lsn}', '60 s')")).await, [["t"]]);
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                 WHERE l.locktype = 'advisory' AND d.datname = current_database() AND l.mode = 'ShareLock'";
    assert_eq!(rows(&client, locks).await, [["0"]]);
    // ... nor where the wait was cut off.
    let canceller = connect(&db.url).await;
    canceller.batch_execute("SET statement_timeout = '50ms'").await.expect("set");
    assert!(try_rows(&canceller, "SELECT analytics.wait_for('FFFFFFFF/0', '60 s')").await.is_err());
    assert_eq!(rows(&client, locks).await, [["0"]]);

    let stored = async || rows(&client, "SELECT lsn, updated_at FROM analytics_state.position").await;
    let mut moves = Vec::new();
    for _ in 0..2 {
        let before = stored().await;
        wait_until("the position moves on by itself", PATIENCE, async || stored().await != before).await;
        moves.push(Instant::now());
    }
    let apart = moves[1] - moves[0];
    assert!(apart > Duration::from_secs(3), "{apart:?} between two positions of an idle source");
}

/// A hold that nobody releases would last 20 s.
#[tokio::test]
async fn nothing_is_held_up_for_a_verify_that_was_killed() {
    let (db, client, daemon) = daemon().await;
    let ask = "INSERT INTO analytics_state.request (kind, arguments) VALUES ('hold', '{}') RETURNING id";
    let shown = async |n: i32| {
        let today = rows(&client, "SELECT total_sales_count FROM analytics.daily_sales_today").await;
        today == [[n.to_string()]]
    };
    // Killed while it holds.
    let verify = connect(&db.url).await;
    let id = rows(&verify, ask).await.concat().remove(0);
    let answered = format!("SELECT 1 FROM analytics_state.request WHERE id = {id} AND state = 'done'");
    wait_until("the hold is answered", PATIENCE, async || !rows(&client, &answered).await.is_empty()).await;
    client.batch_execute(SALE).await.expect("sell");
    let since = Instant::now();
    drop(verify);
    wait_until("the sale shows", PATIENCE, async || shown(1).await).await;
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());

    // Killed before its hold was taken up: nobody ran.
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    let verify = connect(&db.url).await;
    let process = rows(&verify, "SELECT pg_backend_pid()").await.concat().remove(0);
    rows(&verify, ask).await;
    drop(verify);
    let gone = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {process}");
    wait_until("its connection is gone", PATIENCE, async || rows(&client, &gone).await.is_empty()).await;
    client.batch_execute(SALE).await.expect("sell");
    let since = Instant::now();
    tillstream(&db.daemon_toml(""), &["run", "--once"]).await.expect(0);
    assert!(shown(2).await && since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!(
        rows(&client, "SELECT state FROM analytics_state.request WHERE kind = 'hold' AND state <> 'done'").await.len(),
        0
    );
}
