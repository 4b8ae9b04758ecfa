//! A transaction far larger than a batch: bounded memory, all at once or not at all, exact after a kill in its middle.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, wait_until};
use crate::live::verify;
use crate::stores::{PATIENCE, following, number, own_server};
use crate::traders::WARNED;

/// Row changes in the transaction; `TILLSTREAM_TEST_ROWS` sets another number.
fn rows() -> i64 {
    std::env::var("TILLSTREAM_TEST_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(90_000)
}

/// Two parts of 5,000 changes, what is loaded for them, and what the transport buffers.
const BOUND_KB: i64 = 64 * 1024;

fn resident_kb(daemon: &Daemon) -> i64 {
    let pid = daemon.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

async fn one_huge_transaction(client: &Client, third: i64) {
    client
        .batch_execute(&format!(
            "BEGIN; SET LOCAL search_path TO tenant_a;
             INSERT INTO sales_sale (id, session_id, receipt_number, status, total_amount, completed_at)
               SELECT 1000000 + n, (SELECT min(id) FROM sales_cashier_session), 'huge ' || n, 'completed', 1, now() - n % 30 * interval '1 day'
               FROM generate_series(1, {third}) n;
             INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
               SELECT 1000000 + n, (SELECT min(id) FROM products_product), 1, 1, 1 FROM generate_series(1, {third}) n;
             INSERT INTO sales_payment (sale_id, session_id, payment_method, amount)
               SELECT 1000000 + n, (SELECT min(id) FROM sales_cashier_session), 'cash', 1 FROM generate_series(1, {third}) n;
             COMMIT"
        ))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_transaction_shows_all_at_once_in_bounded_memory() {
    // Its own server: everybody's snapshots would wait for the huge transaction.
    let server = own_server();
    let db = TestDb::on(&server).await;
    // The server gives a client up that says nothing for so long.
    let url = format!("{}&options=-c%20wal_sender_timeout%3D1500ms", db.url);
    let (config, client, mut daemon) = following(&db, &["tenant_a"], &format!("[source]\nurl = '{url}'\n")).await;
    let sold = "SELECT coalesce(sum(total_sales_count), 0)::bigint FROM analytics.daily_sales_report";
    let before = number(&client, sold).await;
    let third = rows() / 3;
    one_huge_transaction(&client, third).await;
    // Half written: the facts' table has grown, and nothing of it can be seen.
    let size = "SELECT pg_relation_size('analytics_state.sale')";
    let small = number(&client, size).await;
    wait_until("half of it is written", PATIENCE, async || number(&client, size).await > small + 2_000_000).await;
    assert_eq!(number(&client, sold).await, before);
    daemon.kill().await;
    let small = number(&client, size).await;
    daemon = Daemon::run(&config, &[]);
    let began = Instant::now();
    // Somebody holds the writer up in the middle, for longer than the server waits for a sign of life.
    wait_until("half of it is written again", PATIENCE, async || number(&client, size).await > small + 2_000_000).await;
    let writer = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tillstream writer'";
    let writer = Pid::from_raw(client.query_one(writer, &[]).await.unwrap().get(0));
    kill(writer, Signal::SIGSTOP).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    kill(writer, Signal::SIGCONT).unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + 3 * PATIENCE + Duration::from_millis(u64::try_from(rows() / 5).unwrap());
    loop {
        let now = number(&client, sold).await;
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        if now == before + third {
            break;
        }
        assert!(Instant::now() < deadline, "{seen:?}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(seen, [before, before + third], "all at once or not at all");
    let resident = resident_kb(&daemon);
    println!("{} rows in one transaction: {:?}, {resident} kB at most", rows(), began.elapsed());
    assert!(resident > 0 && resident < BOUND_KB, "{resident} kB");
    assert!(!daemon.log().contains(WARNED), "{}", daemon.log());
    verify(&config, &client, &daemon, "a huge transaction").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    drop((client, db));
}
