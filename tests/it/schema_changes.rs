//! What a POS's migrations and a DBA do to the tables of a live store, and values that no report can hold.

use std::path::PathBuf;

use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::live::{trade, verify};
use crate::stores::{PATIENCE, ZONE, copied_again, copied_at, following, in_state, number, state};

const STORE: &str = "tenant_a";
const OTHER: &str = "tenant_b";

struct Shop {
    db: TestDb,
    config: PathBuf,
    client: Client,
    daemon: Daemon,
    seed: u64,
}

impl Shop {
    async fn open() -> Shop {
        let db = TestDb::new().await;
        let (config, client, daemon) = following(&db, &[STORE, OTHER], "").await;
        Shop { db, config, client, daemon, seed: 100 }
    }

    async fn run(&self, sql: &str) {
        let script = format!("SET search_path TO {STORE}, public; {sql}; RESET search_path");
        self.client.batch_execute(&script).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    async fn trade(&mut self) {
        self.seed += 1;
        trade(&self.db, STORE, ZONE, self.seed, 30).await;
    }

    async fn right(&self, context: &str) {
        verify(&self.config, &self.client, &self.daemon, context).await;
    }

    /// Waits until the daemon has looked at the tables as they are now: it takes over a new name as well.
    async fn looked(&mut self) {
        self.seed += 1;
        let name = format!("look {}", self.seed);
        let rename = "UPDATE public.users_store SET name = $1 WHERE schema_name = $2";
        self.client.execute(rename, &[&name, &STORE]).await.unwrap();
        let query = "SELECT count(*) FROM analytics.tenant WHERE tenant = $1 AND name = $2";
        wait_until("a look at the tables", PATIENCE, async || {
            self.client.query_one(query, &[&STORE, &name]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
    }

    /// The change is followed as it is: no copy, every row right.
    async fn follows(&mut self, sql: &str) {
        let before = copied_at(&self.client, STORE).await;
        self.run(sql).await;
        self.looked().await;
        assert_eq!(state(&self.client, STORE).await.unwrap().0, "live", "{sql} needs no copy\n{}", self.daemon.log());
        self.trade().await;
        self.right(sql).await;
        assert_eq!(copied_at(&self.client, STORE).await, before, "{sql} needs no copy\n{}", self.daemon.log());
    }

    /// The change makes the store be copied again, by itself.
    async fn copies(&mut self, sql: &str) {
        let before = copied_at(&self.client, STORE).await;
        self.run(sql).await;
        self.trade().await;
        copied_again(&self.client, &self.daemon, STORE, &before).await;
        self.trade().await;
        self.right(sql).await;
    }

    /// The change sets the store aside, with these words in the message; after the repair `resync` brings it back.
    async fn quarantines(&mut self, sql: &str, words: &[&str], repair: &str) {
        let other = copied_at(&self.client, OTHER).await;
        self.run(sql).await;
        let message = in_state(&self.client, &self.daemon, STORE, "quarantined").await;
        for word in words {
            assert!(message.contains(word), "{sql}: {word:?} is not in {message:?}");
        }
        trade(&self.db, OTHER, ZONE, self.seed, 20).await;
        self.right(&format!("the other store beside {sql}")).await;
        assert_eq!(copied_at(&self.client, OTHER).await, other);
        self.run(repair).await;
        tillstream(&self.config, &["resync", "--tenant", STORE]).await.expect(0);
        in_state(&self.client, &self.daemon, STORE, "live").await;
        self.trade().await;
        self.right(&format!("mended after {sql}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_come_go_and_change_their_types() {
    let mut shop = Shop::open().await;
    shop.follows("ALTER TABLE sales_sale ADD COLUMN tips numeric(12,2) NOT NULL DEFAULT 0").await;
    shop.follows("ALTER TABLE sales_sale RENAME COLUMN tips TO thanks").await;
    shop.follows("ALTER TABLE sales_sale DROP COLUMN thanks").await;
    shop.copies("ALTER TABLE sales_sale ALTER COLUMN total_amount TYPE numeric(14,3)").await;
    shop.copies("ALTER TABLE sales_sale_item ALTER COLUMN sale_id TYPE integer").await;
    shop.copies("ALTER TABLE sales_sale_item ALTER COLUMN sale_id TYPE bigint").await;
    // Nothing is rewritten by these.
    shop.follows("ALTER TABLE sales_sale ALTER COLUMN status TYPE text").await;
    shop.follows("ALTER TABLE sales_sale ALTER COLUMN discount_amount TYPE numeric(14,2)").await;
    // The same name and type, and every value another.
    shop.copies(
        "ALTER TABLE sales_sale DROP COLUMN tax_amount; ALTER TABLE sales_sale ADD COLUMN tax_amount numeric(12,2) NOT NULL DEFAULT 1",
    )
    .await;
    shop.copies(
        "ALTER TABLE sales_sale RENAME COLUMN tax_amount TO x; ALTER TABLE sales_sale RENAME COLUMN discount_amount TO tax_amount; \
         ALTER TABLE sales_sale RENAME COLUMN x TO discount_amount",
    )
    .await;
    shop.copies("ALTER TABLE sales_sale ALTER COLUMN total_amount TYPE numeric(14,3) USING total_amount / 10").await;
    // An enum may do for a text; its labels are in no row.
    shop.copies(
        "ALTER TABLE sales_sale ALTER COLUMN status DROP DEFAULT; \
         CREATE TYPE status AS ENUM ('pending', 'completed', 'cancelled', 'refunded', 'draft', 'Completed'); \
         ALTER TABLE sales_sale ALTER COLUMN status TYPE status USING status::status; \
         ALTER TABLE sales_sale ALTER COLUMN status SET DEFAULT 'pending'",
    )
    .await;
    shop.follows("ALTER TYPE status ADD VALUE 'lost'").await;
    shop.copies(
        "ALTER TYPE status RENAME VALUE 'Completed' TO 'x'; ALTER TYPE status RENAME VALUE 'draft' TO 'Completed'; \
         ALTER TYPE status RENAME VALUE 'x' TO 'draft'; \
         ALTER TYPE status RENAME VALUE 'refunded' TO 'y'; ALTER TYPE status RENAME VALUE 'cancelled' TO 'refunded'; \
         ALTER TYPE status RENAME VALUE 'y' TO 'cancelled'",
    )
    .await;
    shop.quarantines(
        "ALTER TABLE sales_sale RENAME COLUMN total_amount TO total",
        &["sales_sale", "total_amount", "numeric"],
        "ALTER TABLE sales_sale RENAME COLUMN total TO total_amount",
    )
    .await;
    shop.quarantines(
        "ALTER TABLE sales_sale ALTER COLUMN total_amount TYPE text",
        &["sales_sale", "total_amount", "text", "numeric"],
        "ALTER TABLE sales_sale ALTER COLUMN total_amount DROP DEFAULT; \
         ALTER TABLE sales_sale ALTER COLUMN total_amount TYPE numeric(12,2) USING total_amount::numeric; \
         ALTER TABLE sales_sale ALTER COLUMN total_amount SET DEFAULT 0",
    )
    .await;
    // The first row after the change is sooner than the next look.
    shop.quarantines(
        "BEGIN; ALTER TABLE sales_payment RENAME COLUMN amount TO paid; UPDATE sales_payment SET paid = paid + 1; COMMIT",
        &["sales_payment", "amount"],
        "ALTER TABLE sales_payment RENAME COLUMN paid TO amount",
    )
    .await;
}

/// Copy and verify read columns that cannot hold a NULL as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nulls_come_into_columns_that_had_none() {
    let mut shop = Shop::open().await;
    shop.follows(
        "ALTER TABLE sales_sale_item ALTER COLUMN quantity DROP NOT NULL; ALTER TABLE sales_payment ALTER COLUMN sale_id DROP NOT NULL; \
         UPDATE sales_sale_item SET quantity = NULL WHERE id % 3 = 0; UPDATE sales_payment SET sale_id = NULL WHERE id % 5 = 0",
    )
    .await;
    let nulls = "SELECT count(*) FROM tenant_a.sales_sale_item i, tenant_a.sales_payment p WHERE i.quantity IS NULL AND p.sale_id IS NULL";
    assert!(number(&shop.client, nulls).await > 0);
    shop.copies("CLUSTER sales_sale_item USING sales_sale_item_pkey").await;
    // From PostgreSQL 18 on a constraint says nothing of the rows that were there before it.
    if number(&shop.client, "SELECT current_setting('server_version_num')::bigint").await >= 180_000 {
        shop.copies(
            "ALTER TABLE sales_sale_item ADD CONSTRAINT filled NOT NULL quantity NOT VALID; \
             ALTER TABLE sales_payment ADD CONSTRAINT filled NOT NULL sale_id NOT VALID; \
             CLUSTER sales_sale_item USING sales_sale_item_pkey",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_rebuilt_truncated_and_given_other_keys() {
    let mut shop = Shop::open().await;
    shop.copies("TRUNCATE sales_payment").await;
    shop.copies("TRUNCATE sales_sale, customers_transaction CASCADE").await;
    shop.copies("BEGIN; INSERT INTO sales_payment (sale_id, session_id, payment_method, amount) SELECT id, session_id, 'cash', 5 \
                 FROM sales_sale; TRUNCATE sales_sale_item; COMMIT")
        .await;
    shop.copies(
        "BEGIN; CREATE TABLE rebuilt (LIKE sales_sale_item INCLUDING ALL);
         ALTER TABLE rebuilt DROP COLUMN product_id; ALTER TABLE rebuilt ADD COLUMN product_id bigint;
         INSERT INTO rebuilt (id, sale_id, product_id, quantity, unit_price, line_total, reservation_id)
           SELECT id, sale_id, product_id, quantity, unit_price, line_total, reservation_id FROM sales_sale_item;
         DROP TABLE sales_sale_item; ALTER TABLE rebuilt RENAME TO sales_sale_item;
         SELECT setval(pg_get_serial_sequence('sales_sale_item', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM sales_sale_item));
         COMMIT",
    )
    .await;
    shop.copies("CLUSTER sales_payment USING sales_payment_pkey").await;
    // Called otherwise for a while, in which its rows are nobody's.
    shop.copies(
        "ALTER TABLE sales_payment RENAME TO elsewhere; UPDATE elsewhere SET amount = amount + 1; ALTER TABLE elsewhere RENAME TO sales_payment",
    )
    .await;
    shop.follows("ALTER TABLE sales_payment REPLICA IDENTITY FULL").await;
    shop.follows("UPDATE sales_payment SET id = id + 100000 WHERE id % 2 = 0").await;
    shop.follows("ALTER TABLE sales_payment REPLICA IDENTITY DEFAULT").await;
    shop.follows("UPDATE sales_payment SET id = id + 200000 WHERE id % 2 = 1").await;
    shop.follows(
        "CREATE UNIQUE INDEX by_id ON sales_payment (id, session_id); ALTER TABLE sales_payment REPLICA IDENTITY USING INDEX by_id",
    )
    .await;
    shop.follows(
        "ALTER TABLE sales_payment REPLICA IDENTITY DEFAULT; ALTER TABLE sales_payment DROP CONSTRAINT sales_payment_pkey; \
         ALTER TABLE sales_payment ADD PRIMARY KEY (session_id, id)",
    )
    .await;
    shop.quarantines(
        "ALTER TABLE sales_payment REPLICA IDENTITY NOTHING",
        &["sales_payment", "replica identity", "ALTER TABLE"],
        // Taken out of the publication it is the POS's to change again.
        "UPDATE sales_payment SET amount = amount + 1; ALTER TABLE sales_payment REPLICA IDENTITY DEFAULT",
    )
    .await;
    shop.quarantines(
        "CREATE UNIQUE INDEX by_receipt ON sales_sale (receipt_number); ALTER TABLE sales_sale REPLICA IDENTITY USING INDEX by_receipt",
        &["sales_sale", "id"],
        "ALTER TABLE sales_sale REPLICA IDENTITY DEFAULT",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_attached_detached_and_truncated() {
    let mut shop = Shop::open().await;
    shop.copies(
        "BEGIN; ALTER TABLE sales_payment RENAME TO old_payment;
         CREATE TABLE sales_payment (id bigint NOT NULL, sale_id bigint NOT NULL, session_id bigint NOT NULL,
           payment_method varchar(20) NOT NULL, amount numeric(12,2) NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE SEQUENCE payments START 2000; ALTER TABLE sales_payment ALTER id SET DEFAULT nextval('payments');
         CREATE TABLE payment_low PARTITION OF sales_payment FOR VALUES FROM (MINVALUE) TO (1000);
         CREATE TABLE payment_high PARTITION OF sales_payment FOR VALUES FROM (2000) TO (MAXVALUE);
         INSERT INTO sales_payment (id, sale_id, session_id, payment_method, amount)
           SELECT id, sale_id, session_id, payment_method, amount FROM old_payment WHERE id < 1000;
         DROP TABLE old_payment; COMMIT",
    )
    .await;
    // A new partition, as they are made ahead of time.
    shop.follows("CREATE TABLE payment_middle PARTITION OF sales_payment FOR VALUES FROM (1900) TO (2000)").await;
    // A row that moves between the partitions.
    shop.follows("UPDATE sales_payment SET id = 90000 WHERE id = (SELECT min(id) FROM sales_payment)").await;
    shop.copies(
        "CREATE TABLE attached (LIKE sales_payment INCLUDING DEFAULTS INCLUDING CONSTRAINTS); ALTER TABLE attached ADD PRIMARY KEY (id);
         INSERT INTO attached SELECT 1500, id, session_id, 'card', 9 FROM sales_sale LIMIT 1;
         ALTER TABLE sales_payment ATTACH PARTITION attached FOR VALUES FROM (1000) TO (1900)",
    )
    .await;
    shop.copies("ALTER TABLE sales_payment DETACH PARTITION attached").await;
    // Truncated by itself a partition is not in the stream at all.
    shop.copies("TRUNCATE payment_low").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_no_report_can_hold_set_only_their_store_aside() {
    let mut shop = Shop::open().await;
    shop.follows("ALTER TABLE sales_sale ALTER COLUMN total_amount TYPE numeric").await;
    let sale = "INSERT INTO sales_sale (id, session_id, receipt_number, status, total_amount, completed_at) \
                SELECT 777001, min(id), 'odd', 'completed', {value}, {at} FROM sales_cashier_session";
    let gone = "DELETE FROM sales_sale WHERE id >= 777001";
    for (value, at) in [
        ("'NaN'", "now()"),
        ("'Infinity'", "now()"),
        ("-1e16", "now()"),
        ("1e40", "now()"),
        ("1", "'infinity'"),
        ("1", "'290000-01-01'"),
        ("1", "'262142-12-31 23:59:59+00'"),
    ] {
        let sql = sale.replace("{value}", value).replace("{at}", at);
        shop.quarantines(&sql, &["tenant_a.sales_sale", "777001"], gone).await;
    }
    // Found by the copy, too.
    shop.run(&sale.replace("{value}", "'NaN'").replace("{at}", "now()")).await;
    in_state(&shop.client, &shop.daemon, STORE, "quarantined").await;
    let ran = tillstream(&shop.config, &["resync", "--tenant", STORE]).await.expect(1);
    for word in ["no report can hold", "tenant_a.sales_sale row 777001"] {
        assert!(ran.stdout.contains(word), "{}", ran.stdout);
    }
    assert_eq!(state(&shop.client, STORE).await.unwrap().0, "quarantined");
    shop.run(gone).await;
    tillstream(&shop.config, &["resync", "--tenant", STORE]).await.expect(0);
    in_state(&shop.client, &shop.daemon, STORE, "live").await;
    // Each fits, their sum does not; the other store's rows are in the same batches.
    shop.quarantines(
        "INSERT INTO sales_sale (id, session_id, receipt_number, status, total_amount, completed_at) \
         SELECT 777001 + n, min(id), 'big' || n, 'completed', 9e15, now() FROM sales_cashier_session, generate_series(0, 1) n GROUP BY n; \
         UPDATE tenant_b.sales_sale SET total_amount = 1",
        &["sale row 777001", "does not fit"],
        gone,
    )
    .await;
    assert_eq!(number(&shop.client, "SELECT count(*) FROM analytics.tenant WHERE state = 'live'").await, 2);
}
