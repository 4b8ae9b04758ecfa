//! Keys that are text have numbers, and those have to stay the same, whatever happens; and columns that change their type.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Client;

use super::{PATIENCE, Pos, open};
use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::live::{live, verify};
use crate::reports_db::rows;

/// Text key -> number, as the dimensions show it.
async fn numbers(client: &Client) -> BTreeMap<String, String> {
    let query = "SELECT 'product ' || source_key, product_id FROM analytics.product
                 UNION ALL SELECT 'customer ' || source_key, customer_id FROM analytics.customer";
    rows(client, query).await.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_key_keeps_its_number() {
    let (db, client, config) = open(Pos::TextKeys, 77).await;
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let first = numbers(&client).await;
    assert!(first.len() > 10, "{first:?}");
    let kept = async |context: &str| {
        let now = numbers(&client).await;
        for (key, number) in &first {
            assert_eq!(now.get(key), Some(number), "{context}: {key}");
        }
        let twice = "SELECT 1 FROM analytics_state.source_key GROUP BY tenant_id, kind, id HAVING count(*) > 1";
        assert!(rows(&client, twice).await.is_empty(), "{context}");
    };
    // Everything goes and comes back, all at once and one by one; meanwhile new keys come.
    let product = first.keys().find_map(|key| key.strip_prefix("product ")).unwrap().to_string();
    for n in 0..3 {
        client
            .batch_execute(&format!(
                "INSERT INTO product_variant (id, title) VALUES ('new_{n}', 'New');
                 INSERT INTO order_line_item VALUES ('before_{n}', 'order_of_{n}', 'later_{n}', 1, 1);
                 CREATE TABLE aside AS SELECT * FROM product_variant; DELETE FROM product_variant;"
            ))
            .await
            .unwrap();
        if n == 1 {
            tillstream(&config, &["run", "--once"]).await.expect(0);
        }
        client
            .batch_execute(&format!(
                "INSERT INTO product_variant SELECT * FROM aside; DROP TABLE aside;
                 INSERT INTO product_variant (id, title) VALUES ('later_{n}', 'Later');"
            ))
            .await
            .unwrap();
        if n == 2 {
            tillstream(&config, &["resync"]).await.expect(0);
        }
        tillstream(&config, &["run", "--once"]).await.expect(0);
        kept(&format!("round {n}")).await;
        tillstream(&config, &["verify"]).await.expect(0);
    }
    // The item came before its product, and both mean the same.
    let sold = "SELECT p.source_key FROM analytics.product p JOIN analytics_state.sale s ON p.product_id = ANY (s.item_products)
                WHERE p.source_key LIKE 'later%' ORDER BY 1";
    assert_eq!(rows(&client, sold).await, [["later_0"], ["later_1"], ["later_2"]]);
    // A transaction larger than a batch, cut in the middle: its keys get their numbers once.
    let small = db.daemon_toml(&format!("{}[apply]\nmax_batch_rows = 20\n", std::fs::read_to_string(&config).unwrap()));
    let count = async || rows(&client, "SELECT count(*) FROM analytics_state.source_key").await[0][0].clone();
    let before = count().await;
    let daemon = Daemon::run(&small, &[]);
    wait_until("the store is live", PATIENCE, async || live(&client, 1).await).await;
    client
        .batch_execute(
            "INSERT INTO product_variant (id, title) SELECT 'many_' || n, 'Many' FROM generate_series(1, 2000) n",
        )
        .await
        .unwrap();
    let halfway = "SELECT FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'tillstream writer' AND clock_timestamp() - xact_start > interval '50 ms'";
    wait_until("half-way", PATIENCE, async || !client.query(halfway, &[]).await.unwrap().is_empty()).await;
    daemon.kill().await;
    assert_eq!(count().await, before, "numbers were kept of a transaction that was not");
    tillstream(&config, &["run", "--once"]).await.expect(0);
    kept("after the large transaction").await;
    tillstream(&config, &["verify"]).await.expect(0);
    // What cannot be held is refused by the stream and by the copy alike, naming the row; the store comes back without it.
    client.batch_execute("ALTER TABLE order_line_item ALTER variant_id TYPE text").await.unwrap();
    for (change, row, reason) in [
        ("variant_id = repeat('x', 3000)", "product", "more than 1000 bytes"),
        ("unit_price = 1e-29", "public.order row order_of_1", "digits"),
        ("quantity = 98765432109.876543210987654321", "public.order row order_of_1", "digits"),
    ] {
        client
            .batch_execute("INSERT INTO order_line_item VALUES ('bad', 'order_of_1', 'later_1', 1, 1)")
            .await
            .unwrap();
        tillstream(&config, &["run", "--once"]).await.expect(0);
        client.batch_execute(&format!("UPDATE order_line_item SET {change} WHERE id = 'bad'")).await.unwrap();
        for copied in [false, true] {
            if copied {
                tillstream(&config, &["resync"]).await.expect(1);
            }
            tillstream(&config, &["run", "--once"]).await.expect(0);
            let told = rows(&client, "SELECT state, message FROM analytics.tenant").await.concat().join(" ");
            let named = told.contains("public.order_line_item row bad") || copied && told.contains(row);
            assert!(told.starts_with("quarantined") && told.contains(reason) && named, "{change} {copied}: {told}");
        }
        client.batch_execute("DELETE FROM order_line_item WHERE id = 'bad'").await.unwrap();
        tillstream(&config, &["resync"]).await.expect(0);
        tillstream(&config, &["run", "--once"]).await.expect(0);
        kept(change).await;
        tillstream(&config, &["verify"]).await.expect(0);
    }
    // A number that was changed by hand shows.
    let falsify = format!(
        "UPDATE analytics_state.source_key SET id = 999999 WHERE kind = 'product' AND key = '{product}';
         UPDATE analytics.customer SET source_key = 'nobody' WHERE ctid = (SELECT min(ctid) FROM analytics.customer WHERE deleted_at IS NULL)"
    );
    client.batch_execute(&falsify).await.unwrap();
    let found = tillstream(&config, &["verify"]).await.expect(1);
    assert!(
        found.stdout.contains("product 999999") && found.stdout.contains("source_key expected"),
        "{}",
        found.stdout
    );
}

/// Where keys become text, old rows are not taken for those of others; where a column becomes another type, the store is
/// copied again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_may_change_their_type() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE sale (id int PRIMARY KEY, at timestamptz, total numeric);
             CREATE TABLE item (id int PRIMARY KEY, sale int, product int, quantity numeric, price numeric);
             CREATE TABLE product (id int PRIMARY KEY, name text);
             INSERT INTO product SELECT n, 'P' || n FROM generate_series(1, 9) n;
             INSERT INTO sale VALUES (1, now(), 5); INSERT INTO item VALUES (1, 1, 9, 2, 2.5)",
        )
        .await
        .unwrap();
    let config = db.daemon_toml(
        "[source]\npreset = 'none'\n[source.tables.sale]\ntable = 'sale'\n[source.tables.sale.columns]\nstatus = ''\ncustomer_id = ''
         completed_at = { column = 'at', time_zone = 'UTC' }\ntotal_amount = 'total'\ndiscount_amount = ''\ntax_amount = ''
         [source.tables.sale_item]\ntable = 'item'\n[source.tables.sale_item.columns]\nsale_id = 'sale'\nproduct_id = 'product'
         unit_price = 'price'\nline_total = ''\n[source.tables.product]\ntable = 'product'\n[source.tables.product.columns]
         sku = ''\nbarcode = ''\nis_active = ''\n[tenants]\nschemas = ['public']\nregistry = ''\n",
    );
    tillstream(&config, &["init"]).await.expect(0);
    let daemon = Daemon::run(&config, &[]);
    wait_until("the store is live", PATIENCE, async || live(&client, 1).await).await;
    client
        .batch_execute(
            "ALTER TABLE item ALTER product TYPE text, ALTER quantity TYPE double precision;
             ALTER TABLE product ALTER id TYPE text; ALTER TABLE sale ALTER at TYPE timestamp;
             INSERT INTO item VALUES (2, 1, '9', 0.1, 1)",
        )
        .await
        .unwrap();
    let known = "SELECT product_id > 9, name FROM analytics.product WHERE source_key = '9' AND deleted_at IS NULL";
    let came = async || rows(&client, known).await == [["t", "P9"]];
    let waited = tokio::time::timeout(PATIENCE, wait_until("the keys are text", 2 * PATIENCE, came)).await;
    assert!(waited.is_ok(), "{:?}\n{}", rows(&client, "TABLE analytics.tenant").await, daemon.log());
    wait_until("the store is live", PATIENCE, async || live(&client, 1).await).await;
    client.batch_execute("INSERT INTO item VALUES (3, 1, '8', 0.2, 1)").await.unwrap();
    verify(&config, &client, &daemon, "text keys").await;
    let sold = "SELECT d.source_key, p.quantity_sold FROM analytics.product_performance p JOIN analytics.product d USING (product_id)
                ORDER BY 1";
    assert_eq!(rows(&client, sold).await, [["8", "0.2"], ["9", "2.1"]]);
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}
