//! Stores that are copied again while the others go on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::{RngExt, SeedableRng};

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::live::{seeds, trade, verify};
use crate::stores::{
    PATIENCE, ZONE, busy, copied_again, copied_at, fill, following, in_state, number, own_server, published, sells,
    state,
};

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
    // Other options for a while, put back by hand: also then some changes were not sent.
    let before = copied_at(&client, "tenant_a").await;
    client.batch_execute(&format!("ALTER PUBLICATION {} SET (publish = 'insert')", db.slot())).await.unwrap();
    client.batch_execute("UPDATE tenant_a.sales_sale_item SET quantity = quantity + 1").await.unwrap();
    let options = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";
    client.batch_execute(&format!("ALTER PUBLICATION {} SET ({options})", db.slot())).await.unwrap();
    copied_again(&client, &daemon, "tenant_a", &before).await;
    // And left wrong.
    let before = copied_at(&client, "tenant_a").await;
    client.batch_execute(&format!("ALTER PUBLICATION {} SET (publish = 'insert')", db.slot())).await.unwrap();
    client.batch_execute("UPDATE tenant_a.sales_sale_item SET quantity = quantity + 1").await.unwrap();
    copied_again(&client, &daemon, "tenant_a", &before).await;
    in_state(&client, &daemon, "tenant_b", "live").await;
    verify(&config, &client, &daemon, "the options are mended").await;
    // What must not be in it is taken out.
    client.batch_execute("CREATE TABLE tenant_a.ours (id int)").await.unwrap();
    client.batch_execute(&drop.replace("DROP", "ADD").replace("sales_sale_item", "ours")).await.unwrap();
    wait_until("the stranger is out", PATIENCE, async || published(&client, "tenant_a").await == 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unit_costs_stay_with_their_items_unless_somebody_throws_them_away() {
    let db = TestDb::new().await;
    let (config, client, daemon) = following(&db, &["tenant_a"], "").await;
    client
        .batch_execute(
            "SET search_path TO tenant_a; INSERT INTO products_product (id, name, slug, sku) VALUES (777, 'x', 'x', 'x');
             INSERT INTO products_product_pricing (product_id, cost_price, sale_price) VALUES (777, 10, 30);
             INSERT INTO sales_sale (id, session_id, receipt_number, status, completed_at)
               SELECT 777 + n, min(id), 'cost ' || n, 'completed', now() FROM sales_cashier_session, generate_series(0, 1) n GROUP BY n;
             INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
               SELECT 777 + n, 777, 1, 30, 30 FROM generate_series(0, 1) n;
             RESET search_path",
        )
        .await
        .unwrap();
    let cost = "SELECT coalesce(sum(total_cost), 0)::bigint FROM analytics.product_performance WHERE product_id = 777";
    wait_until("sold at the cost of then", PATIENCE, async || number(&client, cost).await == 20).await;
    client
        .batch_execute(
            "UPDATE tenant_a.products_product_pricing SET cost_price = 15 WHERE product_id = 777;
             UPDATE tenant_a.sales_sale SET status = 'cancelled' WHERE id = 777",
        )
        .await
        .unwrap();
    wait_until("one is cancelled", PATIENCE, async || number(&client, cost).await == 10).await;
    // Copied again by itself, it keeps what it knows, also of the sale that does not count now.
    let before = copied_at(&client, "tenant_a").await;
    client.batch_execute("CLUSTER tenant_a.sales_sale USING sales_sale_pkey").await.unwrap();
    copied_again(&client, &daemon, "tenant_a", &before).await;
    client.batch_execute("UPDATE tenant_a.sales_sale SET status = 'completed' WHERE id = 777").await.unwrap();
    wait_until("both at the cost of then", PATIENCE, async || number(&client, cost).await == 20).await;
    verify(&config, &client, &daemon, "copied by itself").await;
    tillstream(&config, &["resync", "--tenant", "tenant_a"]).await.expect(0);
    assert_eq!(number(&client, cost).await, 30, "a resync takes the prices that it finds");
    verify(&config, &client, &daemon, "resync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resync_shows_how_far_it_is_and_may_be_interrupted() {
    let server = own_server();
    let db = TestDb::on(&server).await;
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
    let before = copied_at(&client, "tenant_b").await;
    tillstream(&config, &["resync"]).await.expect(0);
    assert_ne!(copied_at(&client, "tenant_b").await, before);
    verify(&config, &client, &daemon, "resync of all").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    trade(&db, "tenant_b", ZONE, 30, 40).await;
    tillstream(&config, &["resync", "--tenant", "tenant_a"]).await.expect(0);
    tillstream(&config, &["verify"]).await.expect(0);
    tillstream(&config, &["resync", "--tenant", "nobody"]).await.expect(2);
    drop((client, db));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resync_killed_at_any_moment_is_begun_again() {
    for seed in seeds(1) {
        println!("seed {seed}");
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let server = own_server();
        let db = TestDb::on(&server).await;
        let (config, client, mut daemon) = following(&db, &["tenant_a", "tenant_b"], "").await;
        fill(&client, "tenant_a", 8_000).await;
        let writers = [busy(&db, "tenant_a", seed + 1), busy(&db, "tenant_b", seed + 2)];
        let mut stages = Vec::new();
        for _ in 0..8 {
            let before = copied_at(&client, "tenant_a").await;
            let command = tokio::spawn({
                let config = config.clone();
                async move { tillstream(&config, &["resync", "--tenant", "tenant_a"]).await }
            });
            wait_until("it has begun", PATIENCE, async || {
                state(&client, "tenant_a").await.unwrap().0 == "copying"
                    || copied_at(&client, "tenant_a").await != before
            })
            .await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..2000))).await;
            stages.push(state(&client, "tenant_a").await.unwrap());
            daemon.kill().await;
            command.abort();
            daemon = Daemon::run(&config, &[]);
        }
        println!("seed {seed}: killed at {stages:?}");
        in_state(&client, &daemon, "tenant_a", "live").await;
        for (done, writer) in writers {
            done.store(true, Ordering::Relaxed);
            writer.await.unwrap();
        }
        verify(&config, &client, &daemon, &format!("seed {seed}")).await;
        drop((client, db));
    }
}

/// The copy is committed, and its daemon dies before it has made the store live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_nobody_takes_on_is_made_again() {
    let server = own_server();
    let db = TestDb::on(&server).await;
    let (config, client, mut daemon) = following(&db, &["tenant_a", "tenant_b"], "").await;
    fill(&client, "tenant_a", 5_000).await;
    let floor = "SELECT floor_lsn::text FROM analytics_state.tenant WHERE tenant = 'tenant_a'";
    let floor = async || client.query_one(floor, &[]).await.unwrap().get::<_, String>(0);
    let (before, copied) = (floor().await, copied_at(&client, "tenant_a").await);
    // To make it live has to wait.
    client
        .batch_execute(
            "CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
             CREATE TRIGGER wait BEFORE UPDATE ON analytics.tenant FOR EACH ROW WHEN (NEW.state = 'live')
             EXECUTE FUNCTION public.wait();
             SELECT pg_advisory_lock(42)",
        )
        .await
        .unwrap();
    let command = tokio::spawn({
        let config = config.clone();
        async move { tillstream(&config, &["resync", "--tenant", "tenant_a"]).await }
    });
    wait_until("the copy is committed", PATIENCE, async || floor().await != before).await;
    trade(&db, "tenant_a", ZONE, 41, 20).await;
    assert_eq!(state(&client, "tenant_a").await.unwrap().0, "copying");
    daemon.kill().await;
    command.abort();
    client.batch_execute("DROP TRIGGER wait ON analytics.tenant; SELECT pg_advisory_unlock(42)").await.unwrap();
    trade(&db, "tenant_a", ZONE, 42, 20).await;
    daemon = Daemon::run(&config, &[]);
    copied_again(&client, &daemon, "tenant_a", &copied).await;
    verify(&config, &client, &daemon, "made again").await;
    drop((client, db));
}

/// A new store is none that the planner's statistics tell of, and not every copy pays for new ones.
#[tokio::test]
async fn copies_of_many_stores_do_not_lean_on_statistics() {
    const STORES: i64 = 8;
    let db = TestDb::new().await;
    let client = db.client().await;
    for n in 1..=STORES {
        let schema = format!("tenant_{n}");
        db.create_store(&schema).await;
        client
            .batch_execute(&format!(
                "INSERT INTO {schema}.sales_cashier_session (opened_at) VALUES (now());
                 INSERT INTO {schema}.products_product (name, slug, sku, barcode) SELECT g, g, g, g FROM generate_series(1, 300) g;
                 INSERT INTO {schema}.products_product_pricing (product_id, cost_price, sale_price) SELECT id, 1, 2 FROM {schema}.products_product"
            ))
            .await
            .unwrap();
        fill(&client, &schema, 300).await;
    }
    let config = db.daemon_toml("");
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    for table in ["sale", "inventory"] {
        let query =
            format!("SELECT analyze_count FROM pg_stat_all_tables WHERE relid = 'analytics_state.{table}'::regclass");
        wait_until("the server counts", PATIENCE, async || number(&client, &query).await > 0).await;
        let analyzed = number(&client, &query).await;
        assert!((1..STORES).contains(&analyzed), "{table} was analysed {analyzed} times");
    }
    // The latest price of a product, of a store that is in no statistics.
    for (table, index) in [("pricing", "pricing_latest"), ("stock_limits", "stock_limits_latest")] {
        let explain = format!(
            "EXPLAIN SELECT f.id FROM analytics_state.{table} f WHERE f.tenant_id = 99 AND f.product_id = 5 ORDER BY f.id DESC LIMIT 1"
        );
        client.batch_execute(&format!("SET enable_seqscan = off; ANALYZE analytics_state.{table}")).await.unwrap();
        let rows = client.query(&explain, &[]).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert!(plan.iter().any(|line| line.contains(index)), "{}", plan.join("\n"));
    }
    tillstream(&config, &["verify"]).await.expect(0);
}
