//! The main promise: whatever a POS does, wherever the daemon is killed, every row is right afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::oracle::{Reports, Rows, Setting, Store};
use crate::workload::{CostLedger, Workload};

const PATIENCE: Duration = Duration::from_secs(60);
pub const STORES: [(&str, Tz); 3] = [
    ("tenant_berlin", chrono_tz::Europe::Berlin),
    ("tenant_tashkent", chrono_tz::Asia::Tashkent),
    ("tenant_santiago", chrono_tz::America::Santiago),
];
pub const ZONES: &str = "[tenants.time_zones]\ntenant_berlin = 'Europe/Berlin'\ntenant_santiago = 'America/Santiago'\n";

/// The seeds to run: `TILLSTREAM_TEST_SEEDS` of them from `TILLSTREAM_TEST_SEED`.
pub fn seeds(default: u64) -> impl Iterator<Item = u64> {
    let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = read("TILLSTREAM_TEST_SEED").unwrap_or(1);
    first..first + read("TILLSTREAM_TEST_SEEDS").unwrap_or(default)
}

/// Three stores in three zones.
pub async fn open_stores(db: &TestDb) -> Client {
    for (schema, _) in STORES {
        db.create_store(schema).await;
    }
    db.client().await
}

pub async fn trade(db: &TestDb, schema: &'static str, zone: Tz, seed: u64, steps: usize) -> u64 {
    let mut client = db.client().await;
    let mut workload = Workload::new(seed, Utc::now(), zone);
    workload.populate(&mut client, schema).await.unwrap();
    for _ in 0..steps {
        workload.step(&mut client, schema).await.unwrap_or_else(|e| panic!("seed {seed} {schema}: {e:?}"));
    }
    workload.stats.committed
}

/// Kills the daemon again and again, at random, until told to stop; gives back a running one.
pub async fn harass(config: &Path, seed: u64, done: Arc<AtomicBool>) -> (Daemon, u32) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let (mut daemon, mut log) = (Daemon::run(config, &[]), 0);
    let mut kills = 0;
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..700))).await;
        if rng.random_bool(0.8) {
            daemon.kill().await;
        } else {
            // Before its first line it has no handler yet, and the signal ends it as any other program.
            wait_until("the daemon's first line", PATIENCE, async || daemon.log().len() > log).await;
            let ended = daemon.terminate(Duration::from_secs(5)).await;
            assert!(ended.success(), "seed {seed}: SIGTERM ends it with {ended}");
        }
        kills += 1;
        log = std::fs::read(config.with_extension("log")).map_or(0, |text| text.len());
        daemon = Daemon::run(config, &[]);
    }
    (daemon, kills)
}

/// Beside the running daemon: nothing differs.
pub async fn verify(config: &Path, client: &Client, daemon: &Daemon, context: &str) {
    let Ok(ran) = tokio::time::timeout(PATIENCE / 2, tillstream(config, &["verify", "-vv"])).await else {
        let activity = "SELECT string_agg(concat_ws(' ', application_name, state, wait_event, left(query, 80)), E'\\n') \
                        FROM pg_stat_activity WHERE datname = current_database()";
        let requests = "SELECT string_agg(r::text, E'\\n') FROM analytics_state.request r";
        let activity: Option<String> = client.query_one(activity, &[]).await.unwrap().get(0);
        let requests: Option<String> = client.query_one(requests, &[]).await.unwrap().get(0);
        panic!("{context}: verify hangs\n{activity:?}\n{requests:?}\n{}", daemon.log());
    };
    assert_eq!(ran.code, 0, "{context}\n{}\n{}\n{}", ran.stdout, ran.stderr, daemon.log());
}

pub async fn states(client: &Client) -> Vec<(String, String, Option<String>)> {
    let rows = client.query("SELECT tenant, state, message FROM analytics.tenant", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

pub async fn live(client: &Client, stores: usize) -> bool {
    let count = client.query_one("SELECT count(*) FROM analytics.tenant WHERE state = 'live'", &[]).await;
    count.is_ok_and(|row| row.get::<_, i64>(0) == stores as i64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_trade_and_random_kills_leave_every_row_right() {
    for seed in seeds(2) {
        println!("seed {seed}");
        let db = TestDb::new().await;
        let client = open_stores(&db).await;
        // Stock from the ledger and from the batches in turn.
        let stock = if seed % 2 == 0 { "[inventory]\nstock_source = 'batches'\n" } else { "" };
        // In turn also batches so small that one is sent before the one before is answered, and transactions are cut.
        let batches = if seed % 3 == 1 { "[apply]\nmax_batch_rows = 12\n" } else { "" };
        let config = db.daemon_toml(&format!("{ZONES}{stock}{batches}"));
        for (n, (schema, zone)) in STORES.into_iter().enumerate() {
            trade(&db, schema, zone, seed * 1000 + n as u64, 40).await;
        }
        tillstream(&config, &["init"]).await.expect(0);
        let done = Arc::new(AtomicBool::new(false));
        let daemon = tokio::spawn({
            let (config, done) = (config.clone(), Arc::clone(&done));
            async move { harass(&config, seed, done).await }
        });
        let writers = STORES.into_iter().enumerate().flat_map(|(n, (schema, zone))| {
            let db = &db;
            (0..2).map(move |w| trade(db, schema, zone, seed * 1000 + 100 + 10 * n as u64 + w, 250))
        });
        let committed: u64 = futures_util::future::join_all(writers).await.iter().sum();
        done.store(true, Ordering::Relaxed);
        let (daemon, kills) = daemon.await.unwrap();
        println!("seed {seed}: {committed} transactions, {kills} kills");
        let outcome = tokio::time::timeout(
            PATIENCE,
            wait_until("all stores live", 2 * PATIENCE, async || live(&client, STORES.len()).await),
        )
        .await;
        assert!(outcome.is_ok(), "seed {seed}: stores are not live: {:?}\n{}", states(&client).await, daemon.log());
        verify(&config, &client, &daemon, &format!("seed {seed}")).await;
        assert!(daemon.terminate(Duration::from_secs(5)).await.success());
        // And once more without a daemon, held to the oracle, which shares nothing with the program.
        tillstream(&config, &["run", "--once"]).await.expect(0);
        for (schema, zone) in STORES {
            let kept = kept_costs(&client, schema).await;
            compare(&client, schema, zone, Utc::now(), &kept, &format!("seed {seed}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unit_costs_are_those_of_the_commit_that_first_counted_them() {
    for seed in seeds(1) {
        let db = TestDb::new().await;
        let (schema, zone) = STORES[0];
        db.create_store(schema).await;
        let config = db.daemon_toml(ZONES);
        let mut client = db.client().await;
        let mut workload = Workload::new(seed, Utc::now(), zone);
        workload.populate(&mut client, schema).await.unwrap();
        tillstream(&config, &["init"]).await.expect(0);
        tillstream(&config, &["run", "--once"]).await.expect(0);
        let mut ledger = CostLedger::default();
        ledger.look(&client, schema).await.unwrap();
        let mut daemon = Some(Daemon::run(&config, &[]));
        for step in 0..300 {
            let taken = workload.step(&mut client, schema).await.unwrap();
            ledger.follow(&taken, &client, schema).await.unwrap();
            // Batches of many transactions as well as of one: every so often the daemon has to catch up.
            match (step % 60, daemon.take()) {
                (30, Some(running)) => running.kill().await,
                (59, None) => daemon = Some(Daemon::run(&config, &[])),
                (_, other) => daemon = other,
            }
        }
        drop(daemon);
        tillstream(&config, &["run", "--once"]).await.expect(0);
        let expected: BTreeMap<i64, Decimal> = ledger.costs().collect();
        let kept = kept_costs(&client, schema).await;
        let wrong: Vec<_> = expected.iter().filter(|(item, cost)| kept.get(item) != Some(cost)).collect();
        assert!(wrong.is_empty() && expected.len() > 50, "seed {seed}: {} items, wrong: {wrong:?}", expected.len());
        compare(&client, schema, zone, Utc::now(), &expected, &format!("seed {seed}")).await;
    }
}

/// One sale as a till makes it, in one transaction: `n` says of what, to whom and how it is paid.
async fn sell(client: &Client, n: i64, at: DateTime<Utc>) {
    let customer = if n % 3 == 0 { "NULL".to_string() } else { (1 + n % 7).to_string() };
    let method = ["cash", "card", "credit", "transfer"][n as usize % 4];
    let (one, other) = (1 + n % 4, 1 + n % 3);
    let sql = format!(
        "BEGIN;
         INSERT INTO sales_sale (id, session_id, receipt_number, customer_id) VALUES ({n}, 1, '{n}', {customer});
         INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
           VALUES ({n}, {one}, 2, 10.5, 21), ({n}, {other}, 1, {n}, {n});
         INSERT INTO sales_payment (sale_id, session_id, payment_method, amount) VALUES ({n}, 1, '{method}', {n} + 21);
         INSERT INTO products_stock_movement (product_id, movement_type, quantity)
           VALUES ({one}, 'sale', 2), ({other}, 'sale', 1);
         UPDATE sales_sale SET status = 'completed', completed_at = '{at}', subtotal = {n} + 21, total_amount = {n} + 21
           WHERE id = {n};
         COMMIT"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// Each sale is a batch of its own, and the rows that it adds to are known to be there from the second or third on; some
/// customers come for the first time, some pay on credit, and one has paid before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_one_sale_after_the_other_leaves_every_row_right() {
    let db = TestDb::new().await;
    let (schema, zone) = STORES[1];
    db.create_store(schema).await;
    let client = db.client().await;
    client
        .batch_execute(&format!(
            "SET search_path = {schema};
             INSERT INTO sales_cashier_session (id, status) VALUES (1, 'open');
             INSERT INTO products_product (name, slug, sku) SELECT 'P' || g, 'p' || g, 's' || g FROM generate_series(1, 4) g;
             INSERT INTO products_product_pricing (product_id, cost_price, sale_price)
               SELECT id, id + 0.25, 20 FROM products_product;
             INSERT INTO customers_customer (first_name, phone) SELECT 'C' || g, g FROM generate_series(1, 7) g;
             INSERT INTO sales_sale (id, session_id, receipt_number, status, customer_id, subtotal, total_amount, completed_at)
               VALUES (0, 1, 'R', 'completed', 3, 40, 40, now() - interval '10 days');
             INSERT INTO sales_payment (sale_id, session_id, payment_method, amount) VALUES (0, 1, 'credit', 40);
             INSERT INTO customers_transaction (customer_id, transaction_type, amount, balance_before, balance_after)
               VALUES (3, 'payment', 500, 0, 500);"
        ))
        .await
        .unwrap();
    let config = db.daemon_toml("");
    tillstream(&config, &["init"]).await.expect(0);
    let daemon = Daemon::run(&config, &[]);
    wait_until("the store live", PATIENCE, async || live(&client, 1).await).await;
    let sold = "SELECT coalesce(sum(total_sales_count), 0)::bigint FROM analytics.daily_sales_report";
    // All of one day, whenever the test runs.
    let at = Utc::now();
    for n in 1..=80 {
        sell(&client, n, at).await;
        wait_until("the sale in the reports", PATIENCE, async || {
            client.query_one(sold, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) == n + 1)
        })
        .await;
    }
    // What is removed is found by its own id.
    let removed = "DELETE FROM sales_sale_item WHERE sale_id IN (8, 9)";
    assert_eq!(client.execute(removed, &[]).await.unwrap(), 4);
    assert_eq!(client.execute("DELETE FROM sales_payment WHERE sale_id IN (6, 8)", &[]).await.unwrap(), 2);
    verify(&config, &client, &daemon, "after the last").await;
    let kept = kept_costs(&client, schema).await;
    compare(&client, schema, zone, Utc::now(), &kept, "after the last").await;
    let day = "SELECT unique_customers, new_customers FROM analytics.daily_sales_report ORDER BY date DESC LIMIT 1";
    let delay = "SELECT avg_payment_delay_days FROM analytics.customer_analytics WHERE customer_id = 3";
    let row = client.query_one(day, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (7i64, 6i64));
    // Of ten days and twice none.
    assert_eq!(client.query_one(delay, &[]).await.unwrap().get::<_, i32>(0), 3);
}

/// What somebody might do to the reports by hand, each with what `verify` must say of it.
const FALSIFIED: [(&str, &str); 9] = [
    (
        "UPDATE analytics.daily_sales_report SET total_sales = total_sales + 0.01 WHERE ctid = (SELECT min(ctid) FROM analytics.daily_sales_report)",
        "total_sales",
    ),
    (
        "UPDATE analytics.daily_sales_report SET new_customers = new_customers + 1 WHERE ctid = (SELECT max(ctid) FROM analytics.daily_sales_report)",
        "new_customers",
    ),
    (
        "DELETE FROM analytics.product_performance WHERE ctid = (SELECT min(ctid) FROM analytics.product_performance)",
        "product_performance",
    ),
    (
        "UPDATE analytics.product_performance SET avg_discount = avg_discount + 1 WHERE ctid = (SELECT max(ctid) FROM analytics.product_performance)",
        "avg_discount",
    ),
    (
        "UPDATE analytics.customer_analytics SET segment = 'Nobody' WHERE ctid = (SELECT min(ctid) FROM analytics.customer_analytics)",
        "segment",
    ),
    (
        "INSERT INTO analytics.customer_analytics SELECT tenant, 987654321, period_end, period_start, recency_days, frequency, monetary, purchases_count, total_spent, avg_purchase_amount, r_score, f_score, m_score, rfm_score, segment, credit_purchases, total_credit_amount, avg_payment_delay_days, credit_outstanding, first_purchase_date, last_purchase_date, lifetime_purchases, lifetime_spent FROM analytics.customer_analytics LIMIT 1",
        "987654321",
    ),
    (
        "UPDATE analytics.inventory_snapshot SET is_low_stock = NOT is_low_stock WHERE ctid = (SELECT min(i.ctid) FROM analytics.inventory_snapshot i JOIN analytics_state.tenant t USING (tenant) WHERE i.date = t.today)",
        "is_low_stock",
    ),
    (
        "UPDATE analytics.product SET name = name || '!' WHERE ctid = (SELECT min(ctid) FROM analytics.product WHERE deleted_at IS NULL)",
        "name",
    ),
    ("UPDATE analytics_state.inventory SET on_hand = on_hand + 1", ""),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_falsified_by_hand_is_found_and_repaired_beside_the_daemon() {
    let db = TestDb::new().await;
    let (schema, zone) = STORES[0];
    db.create_store(schema).await;
    let config = db.daemon_toml(ZONES);
    let client = db.client().await;
    trade(&db, schema, zone, 4, 200).await;
    tillstream(&config, &["init"]).await.expect(0);
    let daemon = Daemon::run(&config, &[]);
    wait_until("the store live", PATIENCE, async || live(&client, 1).await).await;
    verify(&config, &client, &daemon, "before").await;
    for (falsify, _) in FALSIFIED {
        let changed = client.execute(falsify, &[]).await.unwrap_or_else(|e| panic!("{falsify}: {e:?}"));
        assert!(changed > 0, "{falsify}");
    }
    let found = tillstream(&config, &["verify"]).await.expect(1);
    for (falsify, said) in FALSIFIED {
        assert!(found.stdout.contains(said), "{falsify}\n{}", found.stdout);
    }
    assert!(found.stdout.contains("8 differences"), "{}", found.stdout);
    let repaired = tillstream(&config, &["verify", "--repair"]).await.expect(1);
    assert!(
        repaired.stdout.contains("8 differences") && repaired.stdout.contains("all repaired"),
        "{}",
        repaired.stdout
    );
    verify(&config, &client, &daemon, "after the repair").await;
    // Also what could not be seen in the reports yet: the sums behind them.
    client
        .batch_execute(&format!("UPDATE {schema}.products_product_inventory SET min_quantity = min_quantity + 1"))
        .await
        .unwrap();
    verify(&config, &client, &daemon, "after another change").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}

/// The unit costs the daemon keeps, by item.
pub async fn kept_costs(client: &Client, schema: &str) -> BTreeMap<i64, Decimal> {
    let query = "SELECT i.id, i.cost FROM analytics_state.sale s JOIN analytics_state.tenant t ON t.id = s.tenant_id, \
                 unnest(s.item_ids, s.item_costs) i(id, cost) WHERE t.tenant = $1 AND i.cost IS NOT NULL";
    let rows = client.query(query, &[&schema]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Every report row of a store against the oracle.
pub async fn compare(
    client: &Client,
    schema: &str,
    zone: Tz,
    now: DateTime<Utc>,
    costs: &BTreeMap<i64, Decimal>,
    context: &str,
) {
    let setting = setting(client, schema, zone, now, context).await;
    let expected = Store::load(client, schema).await.unwrap().reports(setting, costs);
    compare_with(client, schema, setting, &expected, context).await;
}

/// What a store's rows depend on beside its tables.
pub async fn setting(client: &Client, schema: &str, zone: Tz, now: DateTime<Utc>, context: &str) -> Setting {
    let query = "SELECT today, horizon, stock_source = 'movements' FROM analytics_state.tenant WHERE tenant = $1";
    let row = client.query_one(query, &[&schema]).await.unwrap();
    let setting = Setting { zone, today: row.get(0), horizon: row.get(1), by_movements: row.get(2) };
    assert_eq!(setting.today, now.with_timezone(&zone).date_naive(), "{context}: live rows carry today");
    setting
}

/// Every report row of a store against what it should be.
pub async fn compare_with(client: &Client, schema: &str, setting: Setting, expected: &Reports, context: &str) {
    let today = format!("period_end = '{}'", setting.today);
    let inventory = format!("date = '{}'", setting.today);
    for (table, rows, condition) in [
        ("daily_sales_report", &expected.daily_sales_report, "true"),
        ("product_performance", &expected.product_performance, "true"),
        ("customer_analytics", &expected.customer_analytics, today.as_str()),
        ("product", &expected.product, "deleted_at IS NULL"),
        ("customer", &expected.customer, "deleted_at IS NULL"),
    ] {
        let found = rows_of(client, schema, table, condition).await;
        same(rows, &found, &format!("{context} {schema} {table}"));
    }
    let found = rows_of(client, schema, "inventory_snapshot", &inventory).await;
    let (required, optional) = (&expected.inventory_snapshot, &expected.inventory_snapshot_optional);
    let found: Rows = found.into_iter().filter(|row| !optional.contains(row)).collect();
    same(required, &found, &format!("{context} {schema} inventory_snapshot"));
}

pub fn same(expected: &Rows, found: &Rows, context: &str) {
    let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).take(5).collect();
    let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty() && expected.len() == found.len(),
        "{context}: {} rows expected, {} found\nmissing {missing:#?}\nextra {extra:#?}",
        expected.len(),
        found.len()
    );
}

/// Every column after the tenant that the oracle has, as PostgreSQL prints it.
pub async fn rows_of(client: &Client, schema: &str, table: &str, condition: &str) -> Rows {
    let names = client
        .query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 1 AND NOT attisdropped \
             AND attname <> ALL ('{created_at,updated_at,deleted_at,source_key}') ORDER BY attnum",
            &[&format!("analytics.{table}")],
        )
        .await
        .unwrap();
    let columns: Vec<String> = names.iter().map(|row| format!("{}::text", row.get::<_, String>(0))).collect();
    let query =
        format!("SELECT ARRAY[{}] FROM analytics.{table} WHERE tenant = $1 AND {condition}", columns.join(", "));
    client.query(&query, &[&schema]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
