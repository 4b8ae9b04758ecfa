//! No row's value and no secret is in the log, at any level, whatever goes wrong.

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::traders::{PATIENCE, said};

/// What the POS tables of this test hold and what nobody must read in a log.
const VALUES: [&str; 7] = ["Zebulon", "998907654321", "Quincejam", "SKU77031", "48151623", "Unobtainium", "2031-07-19"];
const SECRETS: [&str; 3] = ["sesame-in-url", "sesame-in-file", "sesame-in-environment"];

/// A customer, a product, and a sale of both that can be told from anything else.
const STORE: &str = "
    INSERT INTO tenant_a.sales_cashier_session (id) VALUES (1);
    INSERT INTO tenant_a.customers_customer (id, first_name, phone) VALUES (1, 'Zebulon', '998907654321');
    INSERT INTO tenant_a.products_product (id, name, slug, sku) VALUES (1, 'Quincejam', 'q', 'SKU77031');
    INSERT INTO tenant_a.products_product_pricing (product_id, cost_price, sale_price) VALUES (1, 48151623.17, 48151623.99)";

fn sale(id: i64) -> String {
    format!(
        "INSERT INTO tenant_a.sales_sale (id, session_id, receipt_number, status, customer_id, completed_at, total_amount)
           VALUES ({id}, 1, '{id}', 'completed', 1, '2031-07-19 10:00Z', 48151623.42);
         INSERT INTO tenant_a.sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
           VALUES ({id}, 1, 1, 48151623.42, 48151623.42);
         INSERT INTO tenant_a.sales_payment (sale_id, session_id, payment_method, amount)
           VALUES ({id}, 1, 'Unobtainium', 48151623.42)"
    )
}

#[track_caller]
fn keeps_quiet(text: &str) {
    for word in VALUES.iter().chain(&SECRETS) {
        let line = text.lines().find(|line| line.contains(word));
        assert!(line.is_none(), "{word} is in the log: {}", line.unwrap_or_default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_holds_no_values_and_no_secrets_at_any_level() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    db.create_store("tenant_b").await;
    let client = db.client().await;
    client.batch_execute(STORE).await.unwrap();
    client.batch_execute(&sale(1)).await.unwrap();
    let file = db.dir.path().join("password");
    std::fs::write(&file, SECRETS[1]).unwrap();
    let url = db.url.replacen("postgres@", &format!("postgres:{}@", SECRETS[0]), 1);
    let own = format!(
        "[source]\nurl = '{url}'\n[target]\nurl = '{}'\npassword_file = '{}'\n[verify]\nevery = '1s'\n",
        db.url,
        file.display()
    );
    let config = db.daemon_toml(&own);
    tillstream(&config, &["init"]).await.expect(0);
    for (times, arguments) in [(1, &["-vvv"][..]), (2, &["-vvv", "--log-format", "json"])] {
        let env = [("RUST_LOG", "trace"), ("PGPASSWORD", SECRETS[2])];
        let daemon = Daemon::run_with(&config, arguments, &env);
        said(&daemon, "following the stream", times).await;
        client.batch_execute(&sale(1 + i64::try_from(times).unwrap())).await.unwrap();
        client.batch_execute("DELETE FROM analytics_state.verification").await.unwrap();
        let verified = "SELECT count(*) = 2 FROM analytics_state.verification WHERE right_at IS NOT NULL";
        wait_until("verified", PATIENCE, async || client.query_one(verified, &[]).await.unwrap().get(0)).await;
        assert!(daemon.log().contains("DEBUG"), "the levels are not what the test is about");
        keeps_quiet(&daemon.log());
        drop(daemon);
    }

    // With the usual levels of a person who looks for a fault; and things go wrong.
    let daemon = Daemon::run_with(&config, &["-vvv"], &[]);
    said(&daemon, "following the stream", 3).await;
    // The sums of a figure are refused by the target, with the row in the server's message.
    client
        .batch_execute("ALTER TABLE analytics.daily_sales_report ADD CONSTRAINT small CHECK (total_sales < 200000000)")
        .await
        .unwrap();
    client.batch_execute(&sale(4)).await.unwrap();
    client.batch_execute(&sale(5)).await.unwrap();
    said(&daemon, "violates check constraint", 1).await;
    keeps_quiet(&daemon.log());
}
