//! What the first copy adds up while the sales pass.

use tokio_postgres::Client;

use crate::harness::{TestDb, tillstream};

async fn store(db: &TestDb) -> Client {
    db.create_store("tenant_a").await;
    let client = db.client().await;
    let sql = "SET search_path = tenant_a; INSERT INTO sales_cashier_session (id) VALUES (1);
        INSERT INTO products_product (id, name, slug, sku) SELECT n, n, n, n FROM generate_series(1, 300) n;
        INSERT INTO products_product_pricing (product_id, cost_price, sale_price) SELECT n, n % 7, 9 FROM generate_series(1, 300) n;
        INSERT INTO customers_customer (id, first_name, phone) SELECT n, n, n FROM generate_series(1, 4000) n";
    client.batch_execute(sql).await.expect(sql);
    client
}

async fn found(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.expect(query).get(0)
}

/// More sums than are kept in memory, with their days in no order, so that hardly any is whole before it is written.
#[tokio::test]
async fn sums_in_many_parts() {
    let db = TestDb::new().await;
    let client = store(&db).await;
    let sql = "INSERT INTO sales_sale (id, session_id, receipt_number, status, customer_id, total_amount, completed_at)
          SELECT n, 1, n, CASE WHEN n % 50 = 0 THEN 'refunded' ELSE 'completed' END, 1 + (hashint4(n) & 2047), 10,
                 now() - make_interval(days => 1 + (hashint4(-n) & 63)) FROM generate_series(1, 60000) n;
        INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
          SELECT n, 1 + (n * 31 + k * k) % 300, k, 5, 5 * k FROM generate_series(1, 60000) n, generate_series(1, 2) k;
        INSERT INTO sales_payment (session_id, sale_id, payment_method, amount)
          SELECT 1, n, CASE WHEN n % 3 = 0 THEN 'card' ELSE 'cash' END, 10 FROM generate_series(1, 60000) n";
    client.batch_execute(sql).await.expect(sql);
    let config = db.daemon_toml("");
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let query = "SELECT concat_ws(' ', sum(total_sales), sum(total_sales_count), sum(cash_sales), sum(card_sales), sum(refund_count),
        (SELECT sum(quantity_sold) FROM analytics.product_performance), (SELECT sum(sales_count) FROM analytics.product_performance),
        (SELECT sum(cardinality(ids)) FROM analytics_state.child)) FROM analytics.daily_sales_report";
    assert_eq!(found(&client, query).await, "588000.00 58800 392000.00 196000.00 1200 176400.000 117600 180000");
    // Every item and payment is found by its id.
    let sql = "DELETE FROM sales_sale_item WHERE id % 1000 = 1; DELETE FROM sales_payment WHERE id % 1000 = 1";
    client.batch_execute(sql).await.expect(sql);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    tillstream(&config, &["verify"]).await.expect(0);
}

/// Without foreign keys what belongs to a sale may be there before it.
#[tokio::test]
async fn items_and_payments_of_no_sale() {
    let db = TestDb::new().await;
    let client = store(&db).await;
    let sql = "ALTER TABLE sales_sale_item DROP CONSTRAINT sales_sale_item_sale_id_fkey;
        ALTER TABLE sales_payment DROP CONSTRAINT sales_payment_sale_id_fkey;
        INSERT INTO sales_sale (id, session_id, receipt_number, status, total_amount, completed_at) VALUES (1, 1, 1, 'completed', 10, now());
        INSERT INTO sales_sale_item (id, sale_id, product_id, quantity, unit_price, line_total) VALUES (1, 1, 1, 1, 10, 10), (2, 2, 1, 2, 10, 20), (3, 2, 2, 3, 10, 30);
        INSERT INTO sales_payment (id, session_id, sale_id, payment_method, amount) VALUES (1, 1, 3, 'cash', 40), (2, 1, 2, 'cash', 50)";
    client.batch_execute(sql).await.expect(sql);
    let config = db.daemon_toml("");
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let query = "SELECT concat_ws(' ', total_sales_count, cash_sales, (SELECT sum(quantity_sold) FROM analytics.product_performance),
        (SELECT count(*) FROM analytics_state.sale)) FROM analytics.daily_sales_report";
    assert_eq!(found(&client, query).await, "1 0.00 1.000 3");
    let sql = "INSERT INTO sales_sale (id, session_id, receipt_number, status, total_amount, completed_at)
        SELECT n, 1, n, 'completed', 10, now() FROM generate_series(2, 3) n";
    client.batch_execute(sql).await.expect(sql);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    assert_eq!(found(&client, query).await, "3 90.00 6.000 3");
    tillstream(&config, &["verify"]).await.expect(0);
}
