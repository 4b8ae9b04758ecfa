//! django-oscar by its shipped example: parent and child rows commit apart, payments are running totals, stock may be null.

use std::path::Path;
use std::time::Duration;

use super::PATIENCE;
use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::live::{live, verify};
use crate::reports_db::rows;

const SCHEMA: &str = "
    CREATE TABLE auth_user (id serial PRIMARY KEY, first_name varchar(150) NOT NULL DEFAULT '', last_name varchar(150) NOT NULL DEFAULT '',
      email varchar(254) NOT NULL, is_active boolean NOT NULL DEFAULT true);
    CREATE TABLE catalogue_product (id serial PRIMARY KEY, title varchar(255) NOT NULL, upc varchar(64), is_public boolean NOT NULL DEFAULT true);
    CREATE TABLE partner_stockrecord (id serial PRIMARY KEY, product_id integer NOT NULL, price numeric(12,2), num_in_stock integer,
      num_allocated integer, low_stock_threshold integer);
    CREATE TABLE order_order (id serial PRIMARY KEY, number varchar(128) NOT NULL, status varchar(100) NOT NULL DEFAULT '',
      total_incl_tax numeric(12,2) NOT NULL, date_placed timestamptz NOT NULL, user_id integer, guest_email varchar(254));
    CREATE TABLE order_line (id serial PRIMARY KEY, order_id integer NOT NULL, product_id integer, quantity integer NOT NULL,
      unit_price_incl_tax numeric(12,2), line_price_incl_tax numeric(12,2) NOT NULL);
    CREATE TABLE payment_sourcetype (id serial PRIMARY KEY, name varchar(128) NOT NULL);
    CREATE TABLE payment_source (id serial PRIMARY KEY, order_id integer NOT NULL, source_type_id integer NOT NULL,
      amount_allocated numeric(12,2) NOT NULL DEFAULT 0, amount_debited numeric(12,2) NOT NULL DEFAULT 0, amount_refunded numeric(12,2) NOT NULL DEFAULT 0);
    INSERT INTO catalogue_product (title, upc) VALUES ('Book', 'B1'), ('Lamp', NULL);
    INSERT INTO partner_stockrecord (product_id, price, num_in_stock, num_allocated, low_stock_threshold) VALUES (1, 9.99, 10, NULL, 3), (2, 20, NULL, NULL, NULL);
    INSERT INTO auth_user (first_name, last_name, email) VALUES ('Ann', 'Lee', 'a@b.c'), ('', '', 'nobody@b.c')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_of_oscar() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute(SCHEMA).await.unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/oscar.toml");
    let mut example: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    example.get_mut("source").and_then(|source| source.as_table_mut()).unwrap().remove("url");
    example.get_mut("tenants").and_then(|tenants| tenants.as_table_mut()).unwrap().insert("registry".into(), "".into());
    let config = db.daemon_toml(&example.to_string());
    tillstream(&config, &["check"]).await.expect(0);
    tillstream(&config, &["init"]).await.expect(0);
    let daemon = Daemon::run(&config, &[]);
    wait_until("the store is live", PATIENCE, async || live(&client, 1).await).await;
    for statement in [
        "INSERT INTO order_line (order_id, product_id, quantity, unit_price_incl_tax, line_price_incl_tax) VALUES (1, 1, 2, 9.99, 18.98)",
        "INSERT INTO order_order (number, status, total_incl_tax, date_placed, user_id) VALUES ('100001', 'Pending', 18.98, now(), 1)",
        "INSERT INTO payment_source (order_id, source_type_id, amount_allocated) VALUES (1, 1, 18.98)",
        "UPDATE payment_source SET amount_debited = 10 WHERE order_id = 1",
        "UPDATE payment_source SET amount_debited = 18.98 WHERE order_id = 1",
        "UPDATE partner_stockrecord SET num_allocated = 2 WHERE product_id = 1",
        "INSERT INTO order_order (number, status, total_incl_tax, date_placed) VALUES ('100002', 'Pending', 40, now())",
        "INSERT INTO order_line (order_id, product_id, quantity, unit_price_incl_tax, line_price_incl_tax) VALUES (2, 2, 2, 20, 40)",
        "INSERT INTO payment_source (order_id, source_type_id, amount_debited) VALUES (2, 2, 40), (2, 2, -5)",
        "UPDATE order_line SET product_id = NULL WHERE id = 2",
        "DELETE FROM partner_stockrecord WHERE product_id = 2",
        "DELETE FROM catalogue_product WHERE id = 2",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    verify(&config, &client, &daemon, "oscar").await;
    let daily = "SELECT total_sales, total_sales_count, card_sales, other_sales, unique_customers FROM analytics.daily_sales_report";
    assert_eq!(rows(&client, daily).await, [["58.98", "2", "18.98", "35", "1"]]);
    let products =
        "SELECT product_id, quantity_sold, total_revenue, avg_discount FROM analytics.product_performance ORDER BY 1";
    assert_eq!(rows(&client, products).await, [["0", "2", "40", "0"], ["1", "2", "18.98", "5.01"]]);
    let stock = "SELECT product_id, quantity_on_hand, reserved_quantity, total_value, is_low_stock FROM analytics.inventory_snapshot";
    assert_eq!(rows(&client, stock).await, [["1", "10", "2", "99.9", "f"]]);
    let people = "SELECT full_name FROM analytics.customer ORDER BY customer_id";
    assert_eq!(rows(&client, people).await, [["Lee Ann"], ["nobody@b.c"]]);
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}
