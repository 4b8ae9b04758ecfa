//! How late a customer pays, where a sale on credit comes to what is owed and paid already: most often nothing has to be
//! looked up, and this is where something has.

use chrono::{NaiveDate, Utc};
use tokio_postgres::Client;

use crate::harness::{TestDb, tillstream};

enum Event {
    /// A counted sale on credit: days before today, hour, credit.
    Owes(u32, u32, &'static str),
    /// A payment: days before today, amount.
    Pays(u32, &'static str),
    /// The customer's last sale is refunded.
    Refund,
}
use Event::{Owes, Pays, Refund};

/// What happened before, the mean delay of it in days; what comes then, the mean delay with it.
type Story = (&'static str, &'static [Event], i32, &'static [Event], i32);

const STORIES: [Story; 12] = [
    ("paid up, buys again", &[Owes(20, 9, "100"), Pays(10, "100")], 10, &[Owes(0, 9, "40")], 10),
    ("owes still, buys again", &[Owes(20, 9, "100"), Owes(9, 9, "10"), Pays(10, "100")], 10, &[Owes(0, 9, "40")], 10),
    ("paid ahead", &[Owes(20, 9, "100"), Pays(10, "500")], 10, &[Owes(0, 9, "100")], 5),
    ("paid ahead, but not all", &[Owes(20, 9, "100"), Pays(10, "150")], 10, &[Owes(0, 9, "100")], 10),
    ("before all others", &[Owes(20, 9, "100"), Pays(10, "100")], 10, &[Owes(30, 9, "100"), Owes(0, 9, "5")], 20),
    ("earlier that day", &[Owes(5, 12, "100"), Pays(4, "50"), Pays(2, "50")], 3, &[Owes(5, 11, "50")], 1),
    ("later that day", &[Owes(5, 12, "100"), Pays(4, "50"), Pays(2, "50")], 3, &[Owes(5, 13, "50")], 3),
    (
        "less than nothing, then again something",
        &[Owes(20, 9, "100"), Pays(10, "100"), Owes(0, 10, "-60")],
        5,
        &[Owes(0, 11, "50")],
        3,
    ),
    ("nothing at all", &[Owes(20, 9, "100"), Pays(10, "100")], 10, &[Owes(0, 9, "0")], 5),
    ("a payment taken back", &[Owes(20, 9, "100"), Pays(10, "150"), Pays(5, "-60")], 10, &[Owes(0, 9, "40")], 5),
    ("a refund besides", &[Owes(20, 9, "100"), Owes(15, 9, "100"), Pays(10, "200")], 8, &[Refund, Owes(0, 9, "1")], 5),
    (
        "a refund of nothing besides",
        &[Owes(20, 9, "100"), Pays(10, "100"), Owes(5, 9, "0")],
        5,
        &[Refund, Owes(5, 12, "10")],
        10,
    ),
];

#[tokio::test]
async fn new_credit_moves_how_late_a_customer_pays_only_where_it_has_to() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let client = db.client().await;
    client
        .batch_execute("SET search_path = tenant_a; INSERT INTO sales_cashier_session (id) VALUES (1)")
        .await
        .expect("a session");
    let config = db.daemon_toml("");
    let today = Utc::now().with_timezone(&chrono_tz::Asia::Tashkent).date_naive();
    tillstream(&config, &["run", "--once"]).await.expect(0);
    for (customer, (.., before, _, _, _)) in (1..).zip(&STORIES) {
        let sql = format!(
            "INSERT INTO customers_customer (id, first_name, phone) VALUES ({customer}, 'Someone', '{customer}')"
        );
        client.execute(&sql, &[]).await.expect("a customer");
        happen(&client, customer, today, before).await;
    }
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let expected = |delay: fn(&Story) -> i32| STORIES.iter().map(|s| (s.0, delay(s))).collect::<Vec<_>>();
    assert_eq!(delays(&client).await, expected(|(_, _, delay, _, _)| *delay));

    for (customer, (.., then, _)) in (1..).zip(&STORIES) {
        happen(&client, customer, today, then).await;
    }
    tillstream(&config, &["run", "--once"]).await.expect(0);
    assert_eq!(delays(&client).await, expected(|(.., delay)| *delay));
    tillstream(&config, &["verify"]).await.expect(0);

    // What was bought 20 days ago is not in the window any more, but paid before all that is.
    let config = db.daemon_toml("[rfm]\nwindow_days = 15\n");
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let late: Vec<_> = delays(&client).await.into_iter().filter(|(_, days)| *days != 0).collect();
    assert_eq!(late, [("earlier that day", 1), ("later that day", 3)]);
    tillstream(&config, &["verify"]).await.expect(0);
}

/// In one transaction.
async fn happen(client: &Client, customer: i64, today: NaiveDate, events: &[Event]) {
    let at =
        |days: u32, hour: u32| format!("(date '{today}' - {days} + time '{hour}:00') AT TIME ZONE 'Asia/Tashkent'");
    let mut sql = String::new();
    for event in events {
        sql += &match event {
            Owes(days, hour, credit) => format!(
                "WITH s AS (INSERT INTO sales_sale (session_id, receipt_number, status, customer_id, completed_at)
                            VALUES (1, gen_random_uuid(), 'completed', {customer}, {}) RETURNING id)
                 INSERT INTO sales_payment (sale_id, session_id, payment_method, amount) SELECT id, 1, 'credit', {credit} FROM s;",
                at(*days, *hour)
            ),
            Pays(days, amount) => format!(
                "INSERT INTO customers_transaction (customer_id, transaction_type, amount, balance_before, balance_after, created_at)
                 VALUES ({customer}, 'payment', {amount}, 0, 0, {});",
                at(*days, 15)
            ),
            Refund => format!(
                "UPDATE sales_sale SET status = 'refunded'
                 WHERE id = (SELECT id FROM sales_sale WHERE customer_id = {customer} ORDER BY completed_at DESC LIMIT 1);"
            ),
        };
    }
    client.batch_execute(&sql).await.expect(&sql);
}

async fn delays(client: &Client) -> Vec<(&'static str, i32)> {
    let sql = "SELECT customer_id, avg_payment_delay_days FROM analytics.customer_analytics ORDER BY 1";
    let rows = client.query(sql, &[]).await.expect(sql);
    STORIES.iter().zip(rows).map(|(story, row)| (story.0, row.get(1))).collect()
}
