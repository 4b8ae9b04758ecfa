//! Stores that come, go and are copied again while the others go on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use nix::sys::signal::Signal;
use tillstream::demo::postgres::{Postgres, StartOptions};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, connect, tillstream, wait_until};
use crate::live::{states, trade, verify};
use crate::service::{address, metric};
use crate::traders::said;
use crate::workload::Workload;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tashkent;

/// A daemon that follows the stores named, each with some trade in it already.
pub async fn following(db: &TestDb, stores: &[&'static str], overrides: &str) -> (std::path::PathBuf, Client, Daemon) {
    for (n, schema) in stores.iter().enumerate() {
        db.create_store(schema).await;
        trade(db, schema, ZONE, n as u64 + 1, 40).await;
    }
    let config = db.daemon_toml(&format!("[tenants]\ndiscover_every = '100ms'\n{overrides}"));
    tillstream(&config, &["init"]).await.expect(0);
    let daemon = Daemon::run(&config, &[]);
    let client = db.client().await;
    for schema in stores {
        in_state(&client, &daemon, schema, "live").await;
    }
    (config, client, daemon)
}

pub async fn state(client: &Client, schema: &str) -> Option<(String, Option<String>)> {
    let query = "SELECT state, message FROM analytics.tenant WHERE tenant = $1";
    let row = client.query_opt(query, &[&schema]).await.ok().flatten()?;
    Some((row.get(0), row.get(1)))
}

/// Waits until the store is in that state; gives its message.
pub async fn in_state(client: &Client, daemon: &Daemon, schema: &str, wanted: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match state(client, schema).await {
            Some((state, message)) if state == wanted => return message.unwrap_or_default(),
            other => assert!(Instant::now() < deadline, "{schema} is {other:?}, not {wanted}\n{}", daemon.log()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The position of the store's last copy.
pub async fn copied_at(client: &Client, schema: &str) -> String {
    let query = "SELECT coalesce(synchronized_at::text, '') FROM analytics.tenant WHERE tenant = $1";
    client.query_one(query, &[&schema]).await.unwrap().get(0)
}

/// Waits until the store was copied again and is live.
pub async fn copied_again(client: &Client, daemon: &Daemon, schema: &str, before: &str) {
    let deadline = Instant::now() + PATIENCE;
    while copied_at(client, schema).await == before || state(client, schema).await.unwrap().0 != "live" {
        assert!(Instant::now() < deadline, "not copied again: {:?}\n{}", states(client).await, daemon.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn number(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

/// Commits a sale and waits until the reports show one more.
pub async fn sells(client: &Client, schema: &str, receipt: &str, limit: Duration) {
    let count = format!(
        "SELECT coalesce(sum(total_sales_count), 0)::bigint FROM analytics.daily_sales_report WHERE tenant = '{schema}'"
    );
    let before = number(client, &count).await;
    client
        .batch_execute(&format!(
            "INSERT INTO {schema}.sales_sale (session_id, receipt_number, status, total_amount, completed_at)
             SELECT min(id), '{receipt}', 'completed', 12, now() FROM {schema}.sales_cashier_session"
        ))
        .await
        .unwrap();
    wait_until("the sale shows", limit, async || number(client, &count).await == before + 1).await;
}

pub async fn published(client: &Client, schema: &str) -> i64 {
    number(
        client,
        &format!(
            "SELECT count(*) FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{schema}'"
        ),
    )
    .await
}

/// A server of its own, for tests that keep transactions open: everybody's snapshots wait for those.
pub fn own_server() -> Postgres {
    Postgres::start(StartOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// So many sales more, each with an item and a payment, of the last thirty days.
pub async fn fill(client: &Client, schema: &str, sales: i64) {
    let script = format!(
        "BEGIN; SET LOCAL search_path TO {schema};
         WITH sale AS (
           INSERT INTO sales_sale (session_id, receipt_number, status, total_amount, completed_at)
           SELECT (SELECT min(id) FROM sales_cashier_session), gen_random_uuid(), 'completed', n % 90 + 1, now() - n % 30 * interval '1 day'
           FROM generate_series(1, {sales}) n RETURNING id, session_id, total_amount
         ), item AS (
           INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
           SELECT id, (SELECT min(id) FROM products_product), 1, total_amount, total_amount FROM sale
         )
         INSERT INTO sales_payment (sale_id, session_id, payment_method, amount) SELECT id, session_id, 'cash', total_amount FROM sale;
         COMMIT"
    );
    client.batch_execute(&script).await.unwrap();
}

/// Writers in the store, until told to stop.
pub fn busy(db: &TestDb, schema: &'static str, seed: u64) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let (url, done) = (db.url.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&done);
    let writer = tokio::spawn(async move {
        let mut client = connect(&url).await;
        let mut workload = Workload::new(seed, Utc::now(), ZONE);
        workload.populate(&mut client, schema).await.unwrap();
        while !stopped.load(Ordering::Relaxed) {
            workload.step(&mut client, schema).await.unwrap();
        }
    });
    (done, writer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_appears_goes_live_while_the_others_go_on() {
    let server = own_server();
    let db = TestDb::on(&server).await;
    let (config, client, daemon) = following(&db, &["tenant_a"], "[http]\nlisten = '127.0.0.1:0'\n").await;
    let address = address(&daemon).unwrap();
    let stores = async |state: &str| metric(&address, &format!("tillstream_stores{{state=\"{state}\"}}")).await;
    // The snapshot of the copy waits for every transaction that is open at the source.
    let mut long = db.client().await;
    let open = long.transaction().await.unwrap();
    open.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
    let created = Instant::now();
    db.create_store("tenant_b").await;
    let (done, writer) = busy(&db, "tenant_b", 77);
    in_state(&client, &daemon, "tenant_b", "published").await;
    assert!(created.elapsed() < Duration::from_secs(5), "found and published after {:?}", created.elapsed());
    // Open while its tables were published: what it has not written yet is lost to nobody.
    open.batch_execute("UPDATE tenant_b.sales_cashier_session SET opening_cash = 1").await.unwrap();
    for n in 0..5 {
        sells(&client, "tenant_a", &format!("beside the copy {n}"), Duration::from_secs(5)).await;
    }
    assert_eq!(state(&client, "tenant_b").await.unwrap().0, "published");
    let status = tillstream(&config, &["status"]).await.expect(0).stdout;
    assert!(status.contains("published") && status.contains("waits for the transactions that are open"), "{status}");
    wait_until("the metrics have it", PATIENCE, async || stores("published").await == Some(1.0)).await;
    assert_eq!(stores("live").await, Some(1.0));
    open.commit().await.unwrap();
    in_state(&client, &daemon, "tenant_b", "live").await;
    wait_until("the metrics have both", PATIENCE, async || stores("live").await == Some(2.0)).await;
    verify(&config, &client, &daemon, "a new store, still busy").await;
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    verify(&config, &client, &daemon, "a new store").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    drop((client, long, db));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_copy_keeps_nobody_waiting() {
    let server = own_server();
    let db = TestDb::on(&server).await;
    let (config, client, daemon) = following(&db, &["tenant_a"], "").await;
    // Seen with its rows, or not at all.
    let template = db.client().await;
    template.batch_execute("BEGIN").await.unwrap();
    tillstream::demo::pos::create_store(&template, "tenant_b", "Store tenant_b").await.unwrap();
    template
        .batch_execute(
            "INSERT INTO tenant_b.sales_cashier_session DEFAULT VALUES;
             INSERT INTO tenant_b.products_product (name, slug, sku) VALUES ('a', 'a', 'a')",
        )
        .await
        .unwrap();
    fill(&template, "tenant_b", 40_000).await;
    let (done, writer) = busy(&db, "tenant_b", 78);
    let (mut sold, mut beside, mut slowest) = (0, 0, Duration::ZERO);
    let patience = Instant::now() + PATIENCE;
    let mut message = String::new();
    loop {
        let began = Instant::now();
        sold += 1;
        sells(&client, "tenant_a", &format!("beside the large copy {sold}"), Duration::from_secs(10)).await;
        match state(&client, "tenant_b").await {
            Some((state, told)) if state == "copying" => {
                beside += 1;
                slowest = slowest.max(began.elapsed());
                message = told.unwrap_or(message);
            }
            Some((state, _)) if state == "live" => break,
            other => assert!(Instant::now() < patience, "{other:?}\n{}", daemon.log()),
        }
    }
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    println!("{beside} sales beside the copy, the slowest after {slowest:?}; {message}");
    assert!(beside > 3 && message.contains("rows copied"), "{beside} sales beside the copy\n{}", daemon.log());
    // A whole copy takes some seconds here; a busy machine may add to what is some milliseconds.
    assert!(slowest < Duration::from_secs(2), "a sale showed after {slowest:?}\n{}", daemon.log());
    verify(&config, &client, &daemon, "a large store").await;
    drop((client, template, db));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_never_keeps_the_pos_waiting() {
    let server = own_server();
    let db = TestDb::on(&server).await;
    let (config, client, daemon) = following(&db, &["tenant_a"], "[source]\nlock_timeout = '100ms'\n").await;
    db.create_store("tenant_b").await;
    // An open transaction has written to the table: the lock that waits it out cannot be had.
    let mut long = db.client().await;
    let open = long.transaction().await.unwrap();
    open.batch_execute("INSERT INTO tenant_b.sales_cashier_session DEFAULT VALUES").await.unwrap();
    let mut slowest = Duration::ZERO;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let began = Instant::now();
        client.batch_execute("INSERT INTO tenant_b.sales_cashier_session DEFAULT VALUES").await.unwrap();
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(state(&client, "tenant_b").await.unwrap().0, "discovered", "{}", daemon.log());
    // A busy machine may add to it.
    assert!(slowest < Duration::from_millis(600), "a writer of the pos waited {slowest:?}");
    // It has written one table before that was published, and writes the others after that.
    open.batch_execute(
        "INSERT INTO tenant_b.sales_sale (session_id, receipt_number, status, total_amount, completed_at)
         SELECT min(id), 'late', 'completed', 5, now() FROM tenant_b.sales_cashier_session",
    )
    .await
    .unwrap();
    open.commit().await.unwrap();
    in_state(&client, &daemon, "tenant_b", "live").await;
    sells(&client, "tenant_b", "at last", PATIENCE).await;
    verify(&config, &client, &daemon, "a store that was hard to publish").await;
    drop((client, long, db));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_gives_way_to_a_migration() {
    let db = TestDb::new().await;
    let (config, client, daemon) = following(&db, &["tenant_a"], "").await;
    let before = copied_at(&client, "tenant_a").await;
    fill(&client, "tenant_a", 20_000).await;
    client.batch_execute("TRUNCATE tenant_a.customers_transaction").await.unwrap();
    let reading = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                   WHERE a.application_name = 'tillstream copy' AND l.relation = 'tenant_a.sales_sale'::regclass AND l.granted";
    for table in ["sales_sale", "sales_sale_item"] {
        wait_until("the copy reads", PATIENCE, async || number(&client, reading).await > 0).await;
        let began = Instant::now();
        client.batch_execute(&format!("ALTER TABLE tenant_a.{table} ADD COLUMN tips numeric")).await.unwrap();
        // A busy machine may add to it.
        assert!(began.elapsed() < Duration::from_secs(2), "the migration waited {:?}", began.elapsed());
    }
    assert!(daemon.log().contains("a statement that changes a table waited"), "{}", daemon.log());
    copied_again(&client, &daemon, "tenant_a", &before).await;
    verify(&config, &client, &daemon, "migrated").await;
}

/// Another configuration, taken by the running daemon or by its successor.
async fn reconfigure(config: &Path, text: &str, daemon: &mut Daemon, running: bool) {
    if running {
        std::fs::write(config, text).unwrap();
        let read = daemon.log().matches("configuration read again").count();
        daemon.signal(Signal::SIGHUP);
        said(daemon, "configuration read again", read + 1).await;
    } else {
        daemon.signal(Signal::SIGTERM);
        daemon.ended(Duration::from_secs(5)).await;
        std::fs::write(config, text).unwrap();
        *daemon = Daemon::run(config, &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_leaves_keeps_its_reports_until_they_are_purged() {
    let db = TestDb::new().await;
    let (config, client, mut daemon) = following(&db, &["tenant_a", "tenant_b"], "").await;
    let rows = "SELECT count(*) FROM analytics.daily_sales_report WHERE tenant = 'tenant_b'";
    let before = number(&client, rows).await;
    assert!(before > 0);
    let refused = tillstream(&config, &["resync", "--tenant", "tenant_b", "--purge"]).await.expect(2);
    assert!(refused.stderr.contains("exclude"), "{}", refused.stderr);
    client.batch_execute("DROP SCHEMA tenant_b CASCADE").await.unwrap();
    let message = in_state(&client, &daemon, "tenant_b", "gone").await;
    assert!(message.contains("--purge"), "{message}");
    assert_eq!(number(&client, rows).await, before);
    verify(&config, &client, &daemon, "one store is gone").await;
    // Back under the same name, with other rows.
    client.batch_execute("DELETE FROM public.users_store WHERE schema_name = 'tenant_b'").await.unwrap();
    db.create_store("tenant_b").await;
    trade(&db, "tenant_b", ZONE, 9, 40).await;
    in_state(&client, &daemon, "tenant_b", "live").await;
    verify(&config, &client, &daemon, "it is back").await;
    client.batch_execute("DROP SCHEMA tenant_b CASCADE").await.unwrap();
    in_state(&client, &daemon, "tenant_b", "gone").await;
    tillstream(&config, &["resync", "--tenant", "tenant_b", "--purge"]).await.expect(0);
    assert_eq!(number(&client, rows).await, 0);
    assert_eq!(state(&client, "tenant_b").await, None);
    // Excluded and let in again, beside the daemon and while it is down: what happened meanwhile is not missing.
    for (seed, running) in [(10, true), (11, false)] {
        let before = copied_at(&client, "tenant_a").await;
        let text = std::fs::read_to_string(&config).unwrap();
        let excluded = text.replacen("[tenants]", "[tenants]\nexclude = ['tenant_a']", 1);
        reconfigure(&config, &excluded, &mut daemon, running).await;
        in_state(&client, &daemon, "tenant_a", "gone").await;
        trade(&db, "tenant_a", ZONE, seed, 20).await;
        verify(&config, &client, &daemon, "excluded").await;
        reconfigure(&config, &text, &mut daemon, running).await;
        copied_again(&client, &daemon, "tenant_a", &before).await;
        verify(&config, &client, &daemon, "let in again").await;
    }
    let left = "SELECT count(*) FROM analytics_state.sale s WHERE NOT EXISTS (SELECT FROM analytics_state.tenant t WHERE t.id = s.tenant_id)";
    assert_eq!(number(&client, left).await, 0);
    verify(&config, &client, &daemon, "purged").await;
}
