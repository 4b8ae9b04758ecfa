//! Stores that come, go and are copied again while the others go on.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::live::{states, trade, verify};

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tashkent;

/// A daemon that follows the stores named, each with some trade in it already.
pub async fn following(db: &TestDb, stores: &[&'static str], overrides: &str) -> (std::path::PathBuf, Client, Daemon) {
    for (n, schema) in stores.iter().enumerate() {
        db.create_store(schema).await;
        trade(db, schema, ZONE, n as u64 + 1, 40).await;
    }
    let config = db.daemon_toml(&format!("[tenants]\ndiscover_every = '1s'\n{overrides}"));
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
async fn sells(client: &Client, schema: &str, receipt: &str, limit: Duration) {
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

async fn published(client: &Client, schema: &str) -> i64 {
    number(
        client,
        &format!(
            "SELECT count(*) FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{schema}'"
        ),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_appears_goes_live_while_the_others_go_on() {
    let db = TestDb::new().await;
    let (config, client, daemon) = following(&db, &["tenant_a"], "").await;
    // The snapshot of the copy waits for every transaction that is open at the source.
    let mut long = db.client().await;
    let open = long.transaction().await.unwrap();
    open.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
    db.create_store("tenant_b").await;
    let busy = tokio::spawn({
        let url = db.url.clone();
        async move {
            let mut client = crate::harness::connect(&url).await;
            let mut workload = crate::workload::Workload::new(77, chrono::Utc::now(), ZONE);
            workload.populate(&mut client, "tenant_b").await.unwrap();
            for _ in 0..300 {
                workload.step(&mut client, "tenant_b").await.unwrap();
            }
        }
    });
    in_state(&client, &daemon, "tenant_b", "published").await;
    for n in 0..5 {
        sells(&client, "tenant_a", &format!("beside the copy {n}"), Duration::from_secs(5)).await;
    }
    assert_eq!(state(&client, "tenant_b").await.unwrap().0, "published");
    open.rollback().await.unwrap();
    in_state(&client, &daemon, "tenant_b", "live").await;
    busy.await.unwrap();
    verify(&config, &client, &daemon, "a new store").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_never_keeps_the_pos_waiting() {
    let db = TestDb::new().await;
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
    open.commit().await.unwrap();
    in_state(&client, &daemon, "tenant_b", "live").await;
    verify(&config, &client, &daemon, "a store that was hard to publish").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_dropped_from_the_publication_is_copied_again() {
    let db = TestDb::new().await;
    let (config, client, daemon) = following(&db, &["tenant_a", "tenant_b"], "").await;
    let (before, other) = (copied_at(&client, "tenant_a").await, copied_at(&client, "tenant_b").await);
    let drop = format!("ALTER PUBLICATION {} DROP TABLE tenant_a.sales_sale_item", db.slot());
    client.batch_execute(&drop).await.unwrap();
    trade(&db, "tenant_a", ZONE, 5, 40).await;
    copied_again(&client, &daemon, "tenant_a", &before).await;
    verify(&config, &client, &daemon, "the publication is mended").await;
    // Put back by hand between two looks: what happened in between is missing all the same.
    let before = copied_at(&client, "tenant_a").await;
    client.batch_execute(&drop).await.unwrap();
    client.batch_execute("UPDATE tenant_a.sales_sale_item SET quantity = quantity + 1").await.unwrap();
    client.batch_execute(&drop.replace("DROP", "ADD")).await.unwrap();
    copied_again(&client, &daemon, "tenant_a", &before).await;
    verify(&config, &client, &daemon, "the publication was mended by hand").await;
    assert_eq!(copied_at(&client, "tenant_b").await, other, "the other store is left alone");
    // What must not be in it is taken out.
    client.batch_execute("CREATE TABLE tenant_a.ours (id int)").await.unwrap();
    client.batch_execute(&drop.replace("DROP", "ADD").replace("sales_sale_item", "ours")).await.unwrap();
    wait_until("the stranger is out", PATIENCE, async || published(&client, "tenant_a").await == 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_leaves_keeps_its_reports_until_they_are_purged() {
    let db = TestDb::new().await;
    let (config, client, daemon) = following(&db, &["tenant_a", "tenant_b"], "").await;
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
    let left = "SELECT count(*) FROM analytics_state.sale s WHERE NOT EXISTS (SELECT FROM analytics_state.tenant t WHERE t.id = s.tenant_id)";
    assert_eq!(number(&client, left).await, 0);
    verify(&config, &client, &daemon, "purged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resync_may_be_interrupted_at_any_moment() {
    let db = TestDb::new().await;
    let (config, client, mut daemon) = following(&db, &["tenant_a", "tenant_b"], "").await;
    for round in 0..3 {
        let before = copied_at(&client, "tenant_a").await;
        let mut long = db.client().await;
        let open = long.transaction().await.unwrap();
        open.query("SELECT pg_current_xact_id()", &[]).await.unwrap();
        // The command shows how far it is until it is done; to end it ends nothing else.
        let command = tokio::spawn({
            let config = config.clone();
            async move { tillstream(&config, &["resync", "--tenant", "tenant_a"]).await }
        });
        in_state(&client, &daemon, "tenant_a", "copying").await;
        trade(&db, "tenant_a", ZONE, 20 + round, 20).await;
        sells(&client, "tenant_b", &format!("round {round}"), Duration::from_secs(5)).await;
        match round {
            0 => {
                daemon.kill().await;
                daemon = Daemon::run(&config, &[]);
            }
            1 => {
                assert!(daemon.terminate(Duration::from_secs(5)).await.success(), "SIGTERM in a copy");
                daemon = Daemon::run(&config, &[]);
            }
            _ => {}
        }
        if round == 2 {
            command.abort();
            open.commit().await.unwrap();
        } else {
            open.commit().await.unwrap();
            let ran = command.await.unwrap().expect(0);
            assert!(ran.stdout.contains("waits for the transactions"), "{}", ran.stdout);
        }
        copied_again(&client, &daemon, "tenant_a", &before).await;
    }
    verify(&config, &client, &daemon, "resync").await;
    tillstream(&config, &["resync"]).await.expect(0);
    trade(&db, "tenant_b", ZONE, 30, 40).await;
    for schema in ["tenant_a", "tenant_b"] {
        in_state(&client, &daemon, schema, "live").await;
    }
    verify(&config, &client, &daemon, "resync of all").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    tillstream(&config, &["resync", "--tenant", "tenant_a"]).await.expect(0);
    tillstream(&config, &["verify"]).await.expect(0);
    tillstream(&config, &["resync", "--tenant", "nobody"]).await.expect(2);
}
