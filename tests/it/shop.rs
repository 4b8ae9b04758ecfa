//! The simulated shop: every kind of thing it does is accepted by the POS tables and leaves them sound.

use std::time::Duration;

use tillstream::demo::shop::{self, Counts, ShopOptions, StoreOptions};
use tokio::sync::watch;

use crate::harness::{TestDb, wait_until};

fn options(schemas: &[&str]) -> ShopOptions {
    let zones = [chrono_tz::Tz::Asia__Tashkent, chrono_tz::Tz::Europe__Moscow];
    let stores = schemas.iter().zip(zones).map(|(s, time_zone)| StoreOptions { schema: s.to_string(), time_zone });
    ShopOptions { stores: stores.collect(), past_days: 10, past_sales: 20, ..ShopOptions::default() }
}

#[tokio::test]
async fn does_all_that_a_shop_does() {
    let db = TestDb::new().await;
    db.create_store("tenant_central").await;
    let client = db.client().await;
    let options = options(&["tenant_central"]);
    let mut till = shop::open(&db.url.parse().unwrap(), &options).await.unwrap().remove(0);
    for _ in 0..400 {
        till.next().await.unwrap_or_else(|e| panic!("seed {}: {e}", options.seed));
    }
    let done = till.counts();
    let Counts { sales, refunds, cancellations, edits, deletions, chores } = done;
    assert!([sales, refunds, cancellations, edits, deletions, chores].iter().all(|n| *n > 0), "{done:?}");

    client.batch_execute("SET search_path TO tenant_central").await.unwrap();
    let number = async |sql: &str| -> i64 { client.query_one(sql, &[]).await.unwrap().get(0) };
    let past = number("SELECT count(*) FROM sales_sale WHERE receipt_number LIKE 'H-%'").await;
    assert_eq!(past, 200);
    for (what, sql) in [
        ("weighed goods", "SELECT count(*) FROM sales_sale_item WHERE quantity <> trunc(quantity)"),
        ("credit", "SELECT count(*) FROM sales_payment WHERE payment_method = 'credit'"),
        ("sessions closed", "SELECT count(*) FROM sales_cashier_session WHERE status = 'closed' AND id > 10"),
        ("customer payments", "SELECT count(*) FROM customers_transaction"),
        ("moved stock", "SELECT count(*) FROM products_stock_movement WHERE movement_type = 'return'"),
        ("customers' sales", "SELECT count(*) FROM sales_sale WHERE customer_id IS NOT NULL AND status = 'completed'"),
        ("refunded", "SELECT count(*) FROM sales_sale WHERE status = 'refunded' AND completed_at IS NOT NULL"),
    ] {
        assert!(number(sql).await > 0, "{what}: {done:?}");
    }
    let off = "SELECT count(*) FROM sales_sale s WHERE subtotal <> total_amount + discount_amount OR
               (status = 'completed' AND NOT EXISTS (SELECT FROM sales_payment WHERE sale_id = s.id))";
    assert_eq!(number(off).await, 0);
}

#[tokio::test]
async fn sells_in_every_store_until_it_is_stopped() {
    let db = TestDb::new().await;
    db.create_store("tenant_central").await;
    db.create_store("tenant_north").await;
    let options = ShopOptions { sales_per_second: 50.0, past_days: 0, ..options(&["tenant_central", "tenant_north"]) };
    let tills = shop::open(&db.url.parse().unwrap(), &options).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(async move { shop::run(tills, &options, stopped).await });

    let client = db.client().await;
    let sql = "SELECT least((SELECT count(*) FROM tenant_central.sales_sale), (SELECT count(*) FROM tenant_north.sales_sale))";
    wait_until("ten sales in both stores", Duration::from_secs(30), || async {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) >= 10
    })
    .await;
    stop.send(true).unwrap();
    let counts = running.await.unwrap().unwrap();
    let sold: i64 = client
        .query_one(
            "SELECT (SELECT count(*) FROM tenant_central.sales_sale) + (SELECT count(*) FROM tenant_north.sales_sale)",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(u64::try_from(sold).unwrap(), counts.sales + counts.cancellations - counts.deletions);
}
