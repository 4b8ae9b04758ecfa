//! A transaction far larger than a batch: bounded memory, all at once or not at all, exact after a kill in its middle.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, wait_until};
use crate::live::verify;
use crate::stores::{PATIENCE, following, in_state, number, own_server, state};
use crate::traders::WARNED;

/// Row changes in the transaction; `TILLSTREAM_TEST_ROWS` sets another number.
fn rows() -> i64 {
    std::env::var("TILLSTREAM_TEST_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(90_000)
}

/// What the parts of a transaction take that are in hand, and what the transport buffers.
const BOUND_KB: i64 = 64 * 1024;

fn resident_kb(daemon: &Daemon) -> i64 {
    let pid = daemon.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

/// Table by table, completed sales of one item and one payment each; at its end the product's cost changes to `cost`.
async fn one_huge_transaction(client: &Client, first: i64, third: i64, cost: i64) {
    client
        .batch_execute(&format!(
            "BEGIN; SET LOCAL search_path TO tenant_a;
             INSERT INTO sales_sale (id, session_id, receipt_number, status, total_amount, completed_at)
               SELECT {first} + n, (SELECT min(id) FROM sales_cashier_session), 'huge ' || {first} + n, 'completed', 1,
                      now() - n % 30 * interval '1 day'
               FROM generate_series(1, {third}) n;
             INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
               SELECT {first} + n, (SELECT min(id) FROM products_product), 1, 1, 1 FROM generate_series(1, {third}) n;
             INSERT INTO sales_payment (sale_id, session_id, payment_method, amount)
               SELECT {first} + n, (SELECT min(id) FROM sales_cashier_session), 'cash', 1 FROM generate_series(1, {third}) n;
             INSERT INTO products_product_pricing (product_id, cost_price, sale_price)
               SELECT min(id), {cost}, 1 FROM products_product
               ON CONFLICT (product_id) DO UPDATE SET cost_price = excluded.cost_price;
             COMMIT"
        ))
        .await
        .unwrap();
}

/// What the first product's items cost, in all.
const COST: &str = "SELECT coalesce(sum(total_cost), 0)::bigint FROM analytics.product_performance \
                    WHERE tenant = 'tenant_a' AND product_id = (SELECT min(id) FROM tenant_a.products_product)";
const SOLD: &str = "SELECT coalesce(sum(total_sales_count), 0)::bigint FROM analytics.daily_sales_report";

/// The writer is inside a transaction, with a statement that has this in it.
async fn writer_is_at(client: &Client, part: &str) -> bool {
    let query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL \
                                AND application_name = 'tillstream writer' AND strpos(query, $1) > 0)";
    client.query_one(query, &[&part]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_transaction_shows_all_at_once_in_bounded_memory() {
    // Its own server: everybody's snapshots would wait for the huge transaction.
    let server = own_server();
    let db = TestDb::on(&server).await;
    // The server gives a client up that says nothing for so long.
    let url = format!("{}&options=-c%20wal_sender_timeout%3D1500ms", db.url);
    let (config, client, mut daemon) = following(&db, &["tenant_a"], &format!("[source]\nurl = '{url}'\n")).await;
    let (before, cost) = (number(&client, SOLD).await, number(&client, COST).await);
    let third = rows() / 3;
    one_huge_transaction(&client, 1_000_000, third, 7).await;
    // A part of it is set aside, and nothing of it can be seen.
    let staged = "INSERT INTO \"analytics_state\".staged";
    wait_until("a part of it is set aside", PATIENCE, async || writer_is_at(&client, staged).await).await;
    assert_eq!(number(&client, SOLD).await, before);
    daemon.kill().await;
    let size = "SELECT pg_relation_size('analytics_state.sale')";
    let small = number(&client, size).await;
    daemon = Daemon::run(&config, &[]);
    let began = Instant::now();
    // Somebody holds the writer up in the middle, for longer than the server waits for a sign of life.
    wait_until("a part of it is written", PATIENCE, async || number(&client, size).await > small + 2_000_000).await;
    let writer = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tillstream writer'";
    let writer = Pid::from_raw(client.query_one(writer, &[]).await.unwrap().get(0));
    kill(writer, Signal::SIGSTOP).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    kill(writer, Signal::SIGCONT).unwrap();
    let mut seen = Vec::new();
    let deadline = Instant::now() + 3 * PATIENCE + Duration::from_millis(u64::try_from(rows() / 5).unwrap());
    loop {
        let now = number(&client, SOLD).await;
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
    assert_eq!(number(&client, COST).await - cost, third * 7, "a unit costs what it costs at the transaction's end");
    let resident = resident_kb(&daemon);
    println!("{} rows in one transaction: {:?}, {resident} kB at most", rows(), began.elapsed());
    assert!(resident > 0 && resident < BOUND_KB, "{resident} kB");
    assert!(!daemon.log().contains(WARNED), "{}", daemon.log());
    verify(&config, &client, &daemon, "a huge transaction").await;
    // One that fits into a batch and is written in parts.
    one_huge_transaction(&client, 2_000_000, 1500, 1000).await;
    wait_until("it is there", PATIENCE, async || number(&client, SOLD).await == before + third + 1500).await;
    assert_eq!(number(&client, COST).await - cost, third * 7 + 1_500_000);
    verify(&config, &client, &daemon, "a transaction in parts").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    drop((client, db));
}

/// Of two stores, in any order, and with changes that take away what the same transaction brought.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_takes_away_what_it_brought() {
    let db = TestDb::new().await;
    let (config, client, daemon) = following(&db, &["tenant_a", "tenant_b"], "[apply]\nmax_batch_rows = 15\n").await;
    let product = async |schema: &str| -> i64 {
        let query =
            format!("INSERT INTO {schema}.products_product (name, slug, sku) VALUES ('P', 'p', 'p') RETURNING id");
        client.query_one(&query, &[]).await.unwrap().get(0)
    };
    let (a, b) = (product("tenant_a").await, product("tenant_b").await);
    // Sale n of the new ones has n items, of 1 to n units.
    let sales = |schema: &str, product: i64, from: i64, to: i64| {
        format!(
            "INSERT INTO {schema}.sales_sale (id, session_id, receipt_number)
               SELECT 5000 + n, (SELECT min(id) FROM {schema}.sales_cashier_session), 'L' || n FROM generate_series({from}, {to}) n;
             INSERT INTO {schema}.sales_sale_item (id, sale_id, product_id, quantity, unit_price, line_total)
               SELECT 50000 + n * 100 + k, 5000 + n, {product}, k, 10, 10 * k FROM generate_series({from}, {to}) n, generate_series(1, n) k;
             UPDATE {schema}.sales_sale SET status = 'completed', completed_at = now() WHERE id BETWEEN 5000 + {from} AND 5000 + {to};"
        )
    };
    let both = |from, to| sales("tenant_a", a, from, to) + &sales("tenant_b", b, from, to);
    let gone = "DELETE FROM tenant_a.sales_sale_item WHERE id = 50505;
                UPDATE tenant_b.sales_sale_item SET sale_id = 5004, quantity = 100 WHERE id = 50303;
                DELETE FROM tenant_b.sales_sale_item WHERE sale_id = 5006; DELETE FROM tenant_b.sales_sale WHERE id = 5006;";
    client.batch_execute(&format!("BEGIN; {}{gone}{} COMMIT", both(1, 6), both(7, 8))).await.unwrap();
    let sums = "SELECT quantity_sold::bigint, sales_count::bigint FROM analytics.product_performance \
                WHERE tenant = $1 AND product_id = $2";
    let shown = async |schema: &str, product: i64| -> Option<(i64, i64)> {
        client.query_opt(sums, &[&schema, &product]).await.unwrap().map(|row| (row.get(0), row.get(1)))
    };
    // 1 + 3 + 6 + 10 + 15 + 21 + 28 + 36 = 120, without 5; and without 21, 3 of them now 100.
    wait_until("both are there", PATIENCE, async || {
        shown("tenant_a", a).await == Some((115, 8)) && shown("tenant_b", b).await == Some((196, 7))
    })
    .await;
    verify(&config, &client, &daemon, "brought and taken away").await;
    assert!(!daemon.log().contains(WARNED), "{}", daemon.log());
}

/// It is found out whose part is refused, and the other store's is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_refused_within_a_large_transaction() {
    let db = TestDb::new().await;
    let (_, client, daemon) = following(&db, &["tenant_a", "tenant_b"], "[apply]\nmax_batch_rows = 15\n").await;
    client.batch_execute("ALTER TABLE tenant_b.sales_sale ALTER COLUMN total_amount TYPE numeric").await.unwrap();
    let sold = "SELECT coalesce(sum(total_sales_count), 0)::bigint FROM analytics.daily_sales_report WHERE tenant = 'tenant_a'";
    let before = number(&client, sold).await;
    let sales = |schema: &str, from: i64, to: i64, total: &str| {
        format!(
            "INSERT INTO {schema}.sales_sale (id, session_id, receipt_number, status, total_amount, completed_at)
             SELECT 5000 + n, (SELECT min(id) FROM {schema}.sales_cashier_session), 'R' || n, 'completed', {total}, now()
             FROM generate_series({from}, {to}) n;"
        )
    };
    // Each fits, their sum does not.
    let refused = sales("tenant_b", 1, 2, "9e15") + &sales("tenant_b", 3, 40, "1");
    client.batch_execute(&format!("BEGIN; {refused}{} COMMIT", sales("tenant_a", 1, 40, "1"))).await.unwrap();
    let why = in_state(&client, &daemon, "tenant_b", "quarantined").await;
    assert!(why.contains("does not fit"), "{why}");
    wait_until("the other's are there", PATIENCE, async || number(&client, sold).await == before + 40).await;
    assert_eq!(state(&client, "tenant_a").await.unwrap().0, "live");
}
