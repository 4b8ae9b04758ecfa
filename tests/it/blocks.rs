//! What shares a block of 64 ids comes into it batch by batch, and changes and goes there one by one.

use tokio_postgres::Client;

use crate::harness::{TestDb, tillstream};

/// Somebody publishes all tables, ours among them: what is deleted from a table without a replica identity fails then.
async fn shop(db: &TestDb) -> Client {
    db.create_store("tenant_a").await;
    let client = db.client().await;
    let sql = "SET search_path = tenant_a; INSERT INTO sales_cashier_session (id) VALUES (1);
        INSERT INTO products_product (id, name, slug, sku) VALUES (1, 'Tea', 'tea', 'tea');
        CREATE PUBLICATION everything FOR ALL TABLES";
    client.batch_execute(sql).await.expect(sql);
    client
}

/// Each step is a batch of its own; after it the query says this.
async fn each(db: &TestDb, client: &Client, query: &str, steps: &[(&str, &str)]) {
    let config = db.daemon_toml("");
    tillstream(&config, &["run", "--once"]).await.expect(0);
    for (sql, expected) in steps {
        client.batch_execute(sql).await.expect(sql);
        tillstream(&config, &["run", "--once"]).await.expect(0);
        let found: String = client.query_one(query, &[]).await.expect(query).get(0);
        assert_eq!(&found, expected, "{sql}");
    }
    tillstream(&config, &["verify"]).await.expect(0);
}

#[tokio::test]
async fn entries_of_the_ledger() {
    let db = TestDb::new().await;
    let client = shop(&db).await;
    let query =
        "SELECT concat_ws(' ', (SELECT quantity_on_hand FROM analytics.inventory_snapshot ORDER BY date DESC LIMIT 1),
        (SELECT coalesce(sum(cardinality(ids)), 0) FROM analytics_state.stock_movement),
        (SELECT coalesce(sum(m), 0) FROM analytics_state.stock_movement, unnest(quantities) m))";
    let steps = [
        ("INSERT INTO products_stock_movement VALUES (1, 1, 'purchase', 10), (2, 1, 'purchase', 5)", "15.000 2 15"),
        ("INSERT INTO products_stock_movement VALUES (3, 1, 'sale', 4)", "11.000 3 11"),
        ("UPDATE products_stock_movement SET quantity = 20 WHERE id = 1", "21.000 3 21"),
        ("UPDATE products_stock_movement SET quantity = 30 WHERE id = 1", "31.000 3 31"),
        ("DELETE FROM products_stock_movement WHERE id = 2", "26.000 2 26"),
        ("INSERT INTO products_stock_movement VALUES (4, 1, 'purchase', 1)", "27.000 3 27"),
        ("UPDATE products_stock_movement SET movement_type = 'return' WHERE id = 3", "35.000 3 35"),
        ("DELETE FROM products_stock_movement", "0.000 0 0"),
    ];
    each(&db, &client, query, &steps).await;
}

#[tokio::test]
async fn items_of_sales() {
    let db = TestDb::new().await;
    let client = shop(&db).await;
    let query = "SELECT coalesce((SELECT quantity_sold::text FROM analytics.product_performance), 'none')";
    let sale = "INSERT INTO sales_sale (id, session_id, receipt_number, status, completed_at)
                SELECT n, 1, n, 'completed', now() FROM generate_series(1, 2) n;
        INSERT INTO sales_sale_item (id, sale_id, product_id, quantity, unit_price) VALUES (1, 1, 1, 1, 9)";
    let steps = [
        (sale, "1.000"),
        ("INSERT INTO sales_sale_item (id, sale_id, product_id, quantity, unit_price) VALUES (2, 2, 1, 2, 9)", "3.000"),
        ("INSERT INTO sales_sale_item (id, sale_id, product_id, quantity, unit_price) VALUES (3, 1, 1, 3, 9)", "6.000"),
        ("DELETE FROM sales_sale_item WHERE id = 2", "4.000"),
        ("UPDATE sales_sale_item SET sale_id = 2 WHERE id = 3", "4.000"),
        ("DELETE FROM sales_sale_item WHERE id = 3", "1.000"),
        ("DELETE FROM sales_sale_item WHERE id = 1", "none"),
    ];
    each(&db, &client, query, &steps).await;
}
