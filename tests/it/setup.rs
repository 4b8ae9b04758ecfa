//! `init`, `check` and `drop` as an administrator meets them.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::harness::{Daemon, TestDb, connect, tillstream, wait_until};
use crate::live::verify;
use crate::stores::{PATIENCE, in_state};

async fn texts(db: &TestDb, query: &str) -> Vec<String> {
    db.client().await.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn published(db: &TestDb) -> Vec<String> {
    texts(db, "SELECT prrelid::regclass::text FROM pg_publication_rel ORDER BY prrelid::regclass::text COLLATE \"C\"")
        .await
}

#[tokio::test]
async fn init_twice_then_drop_twice() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("");
    tillstream(&config, &["check"]).await.expect(0);
    assert!(published(&db).await.is_empty(), "check changes nothing");
    tillstream(&config, &["init"]).await.expect(0);
    let tables = published(&db).await;
    assert_eq!(tables.len(), 11, "{tables:?}");
    let again = tillstream(&config, &["init"]).await.expect(0);
    assert!(again.stdout.contains("is right") && again.stdout.contains("is there"), "{}", again.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&tillstream(&config, &["check", "--json"]).await.expect(0).stdout).unwrap();
    assert_eq!(json["ok"], true);
    let refused = tillstream(&config, &["drop"]).await.expect(2);
    assert!(refused.stderr.contains("--yes") && refused.stderr.lines().count() == 1, "{}", refused.stderr);
    tillstream(&config, &["drop", "--yes", "--reports"]).await.expect(0);
    assert!(texts(&db, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'analytics%'").await.is_empty());
    assert!(texts(&db, "SELECT pubname::text FROM pg_publication").await.is_empty());
    tillstream(&config, &["drop", "--yes", "--reports"]).await.expect(0);
}

#[tokio::test]
async fn a_table_that_publishing_would_break_is_never_published() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    db.create_store("tenant_b").await;
    let config = db.daemon_toml("");
    let client = db.client().await;
    client.batch_execute("ALTER TABLE tenant_a.sales_payment REPLICA IDENTITY NOTHING").await.unwrap();
    let found = tillstream(&config, &["check"]).await.expect(1);
    assert!(found.stdout.contains("ALTER TABLE \"tenant_a\".\"sales_payment\" REPLICA IDENTITY"), "{}", found.stdout);
    tillstream(&config, &["init"]).await.expect(0);
    assert!(published(&db).await.iter().all(|table| table.starts_with("tenant_b.")));
    // Mended: init adds the rest. Broken while published: init takes the one table out, and only that.
    client.batch_execute("ALTER TABLE tenant_a.sales_payment REPLICA IDENTITY FULL").await.unwrap();
    tillstream(&config, &["init"]).await.expect(0);
    assert_eq!(published(&db).await.len(), 22);
    client.batch_execute("ALTER TABLE tenant_a.sales_payment REPLICA IDENTITY NOTHING").await.unwrap();
    tillstream(&config, &["check"]).await.expect(1);
    tillstream(&config, &["init"]).await.expect(0);
    let tables = published(&db).await;
    assert!(tables.len() == 21 && !tables.contains(&"tenant_a.sales_payment".to_string()), "{tables:?}");
}

#[tokio::test]
async fn partitioned_tables_and_mixed_case_names() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE SCHEMA \"Shop One\";
             CREATE TYPE \"Shop One\".state AS ENUM ('Done', 'Back');
             CREATE TABLE \"Shop One\".\"Receipts\" (id integer, status \"Shop One\".state, customer_id smallint,
               \"completedAt\" timestamptz, \"Sum\" integer, discount_amount numeric, tax_amount numeric,
               PRIMARY KEY (id, \"completedAt\")) PARTITION BY RANGE (\"completedAt\");
             CREATE TABLE \"Shop One\".old PARTITION OF \"Shop One\".\"Receipts\" FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
             CREATE TABLE \"Shop One\".new PARTITION OF \"Shop One\".\"Receipts\" FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
             CREATE TABLE \"Shop One\".lines (id bigint PRIMARY KEY, sale_id integer, product_id integer, quantity numeric,
               unit_price numeric, line_total numeric);
             CREATE TABLE \"Shop One\".goods (id bigint PRIMARY KEY, name text, sku text, barcode char(13), is_active boolean)",
        )
        .await
        .unwrap();
    let config = db.daemon_toml(
        "[source]\npreset = 'none'\n[source.tables.sale]\ntable = 'Receipts'\ncompleted_statuses = ['Done']\n\
         refunded_statuses = ['Back']\n[source.tables.sale.columns]\ncompleted_at = 'completedAt'\ntotal_amount = 'Sum'\n\
         [source.tables.sale_item]\ntable = 'lines'\n[source.tables.product]\ntable = 'goods'\n\
         [tenants]\nschemas = ['Shop %']\nregistry = ''\n",
    );
    tillstream(&config, &["check"]).await.expect(0);
    tillstream(&config, &["init"]).await.expect(0);
    let tables = published(&db).await;
    assert_eq!(tables, ["\"Shop One\".\"Receipts\"", "\"Shop One\".goods", "\"Shop One\".lines"]);
    client
        .batch_execute(
            "INSERT INTO \"Shop One\".\"Receipts\" VALUES (1, 'Done', NULL, '2026-02-01', 5, 0, 0);
             UPDATE \"Shop One\".\"Receipts\" SET \"Sum\" = 6, \"completedAt\" = '2025-02-01';
             DELETE FROM \"Shop One\".\"Receipts\"",
        )
        .await
        .unwrap();
    // One leaf that cannot be identified is enough to refuse the whole table.
    client.batch_execute("ALTER TABLE \"Shop One\".old REPLICA IDENTITY NOTHING").await.unwrap();
    let found = tillstream(&config, &["check"]).await.expect(1);
    assert!(found.stdout.contains("\"Shop One\".\"old\" has no usable replica identity"), "{}", found.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_of_few_privileges_is_enough_after_an_administrator_ran_init() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let (role, client) = (format!("role_{}", db.name), db.client().await);
    let url = format!("{} user={role}", key_values(&db.url));
    let config = db.daemon_toml(&format!("[source]\nurl = \"{url}\"\n"));
    client.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let found = tillstream(&config, &["check"]).await.expect(1).stdout;
    for part in [
        "REPLICATION;",
        "GRANT USAGE ON SCHEMA \"tenant_a\"",
        "CREATE PUBLICATION",
        "CREATE SCHEMA \"analytics\" AUTHORIZATION",
    ] {
        assert!(found.contains(part), "{part} is not in\n{found}");
    }
    let refused = tillstream(&config, &["init"]).await.expect(2);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    tillstream(&config, &["init", "--admin-url", &db.url]).await.expect(0);
    tillstream(&config, &["check"]).await.expect(0);
    tillstream(&config, &["init"]).await.expect(0);

    // A store that appears later is followed by itself: found, admitted, published, copied.
    let daemon = Daemon::run(&config, &[]);
    in_state(&client, &daemon, "tenant_a", "live").await;
    db.create_store("tenant_b").await;
    in_state(&client, &daemon, "tenant_b", "live").await;
    verify(&config, &client, &daemon, "a store admitted by the functions").await;
    // What must not be published is taken out, and put back.
    let publication = db.slot();
    client.batch_execute("CREATE TABLE public.stranger (id int)").await.unwrap();
    client.batch_execute(&format!("ALTER PUBLICATION {publication} ADD TABLE public.stranger")).await.unwrap();
    client.batch_execute(&format!("ALTER PUBLICATION {publication} DROP TABLE tenant_b.sales_payment")).await.unwrap();
    wait_until("the publication is mended", PATIENCE, async || published(&db).await.len() == 22).await;
    in_state(&client, &daemon, "tenant_b", "live").await;
    // The functions do nothing but that.
    let ours = connect(&db.url.replacen("postgres@", &format!("{role}@"), 1)).await;
    client
        .batch_execute("CREATE TABLE tenant_b.secret (id int); CREATE TABLE public.sales_sale (id int)")
        .await
        .unwrap();
    for call in [
        "admit('tenant_b', '{secret}')",
        "admit('public', '{sales_sale}')",
        "publish('tenant_b.secret')",
        "publish('public.sales_sale')",
    ] {
        let refused = ours.batch_execute(&format!("SELECT \"{publication}_admin\".{call}")).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{call}: {refused:?}");
    }
    // Without them it is said what to do, and done as soon as they are there.
    client.batch_execute(&format!("DROP SCHEMA \"{publication}_admin\" CASCADE")).await.unwrap();
    db.create_store("tenant_c").await;
    in_state(&client, &daemon, "tenant_c", "quarantined").await;
    let status = tillstream(&config, &["status"]).await.expect(0).stdout;
    assert!(status.contains("store tenant_c cannot be copied: our role may not read"), "{status}");
    let grant =
        format!("GRANT USAGE ON SCHEMA tenant_c TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA tenant_c TO {role}");
    client.batch_execute(&grant).await.unwrap();
    wait_until("it may be read, not published", PATIENCE, async || {
        let status = tillstream(&config, &["status"]).await.expect(0).stdout;
        status.contains("our role may not publish") && status.contains("tillstream init --admin-url URL")
    })
    .await;
    tillstream(&config, &["init", "--admin-url", &db.url]).await.expect(0);
    in_state(&client, &daemon, "tenant_c", "live").await;
    verify(&config, &client, &daemon, "a store admitted by hand").await;
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());

    // The publication is the administrator's.
    let refused = tillstream(&config, &["drop", "--yes", "--reports"]).await.expect(2).stderr;
    assert!(refused.contains("DROP PUBLICATION"), "{refused}");
    tillstream(&config, &["drop", "--yes", "--reports", "--admin-url", &db.url]).await.expect(0);
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// The same place as key=value pairs without a user.
fn key_values(url: &str) -> String {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let host = match config.get_hosts().first().unwrap() {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(dir) => dir.display().to_string(),
    };
    format!("host={host} port={} dbname={}", config.get_ports()[0], config.get_dbname().unwrap())
}
