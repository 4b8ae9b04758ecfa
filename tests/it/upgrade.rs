//! Upgrades of the report schema: from each version, with data in it; and what is refused.

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use tillstream::apply::migrate;
use tokio_postgres::Client;

use crate::harness::{TestDb, tillstream};
use crate::workload::Workload;

/// Puts the same reports back as they would be in a schema of this version: its tables, and of their rows the columns
/// that it has. What the version did not know yet is lost, as it would never have been there.
async fn take_back_to(client: &Client, version: i32) {
    client
        .batch_execute(
            "ALTER SCHEMA analytics RENAME TO newer; ALTER SCHEMA analytics_state RENAME TO newer_state;
             SET client_min_messages = error",
        )
        .await
        .unwrap();
    client.batch_execute(&migrate::print_sql("analytics", 0, version)).await.unwrap();
    client.batch_execute(include_str!("upgrade.sql")).await.unwrap();
    client.batch_execute("DROP SCHEMA newer, newer_state CASCADE").await.unwrap();
}

/// Rows of the report tables and of the daemon's own, without those that a table of a later version would hold.
async fn count(client: &Client, schema_version: i32) -> i64 {
    let tables = client
        .query(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
             WHERE schemaname IN ('analytics', 'analytics_state') AND tablename <> 'migration'",
            &[],
        )
        .await
        .unwrap();
    assert!(!tables.is_empty(), "version {schema_version}");
    let mut rows = 0;
    for table in tables {
        let query = format!("SELECT count(*) FROM {}", table.get::<_, String>(0));
        rows += client.query_one(&query, &[]).await.unwrap().get::<_, i64>(0);
    }
    rows
}

async fn verified(config: &Path, what: &str) {
    let ran = tillstream(config, &["verify"]).await;
    assert_eq!(ran.code, 0, "{what}:\n{}\n{}", ran.stdout, ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_is_upgraded_with_its_data_and_goes_on() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("");
    let mut client = db.client().await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut workload = Workload::new(seed, Utc::now(), chrono_tz::Asia::Tashkent);
    workload.populate(&mut client, "tenant_a").await.unwrap();
    for _ in 0..200 {
        workload.step(&mut client, "tenant_a").await.unwrap();
    }
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    for version in 1..migrate::latest() {
        take_back_to(&client, version).await;
        let before = count(&client, version).await;
        // While the older program was down, the shop went on.
        for _ in 0..30 {
            workload.step(&mut client, "tenant_a").await.unwrap();
        }
        // By init for every other version, else by the daemon itself.
        if version % 2 == 0 {
            let said = tillstream(&config, &["init"]).await.expect(0).stdout;
            assert!(said.contains(&format!("upgraded from version {version}")), "{said}");
            assert!(count(&client, version).await >= before, "rows are lost by the upgrade from version {version}");
        }
        let ran = tillstream(&config, &["run", "--once", "-v"]).await.expect(0);
        if version >= 3 {
            assert!(!ran.stderr.contains("copied"), "the store was copied anew:\n{}", ran.stderr);
        }
        verified(&config, &format!("upgraded from version {version}")).await;
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_every_command() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("");
    tillstream(&config, &["init"]).await.expect(0);
    let client = db.client().await;
    client.batch_execute("INSERT INTO analytics_state.migration VALUES (9999, 'of tomorrow')").await.unwrap();
    for command in [
        &["run", "--once"][..],
        &["init"],
        &["verify"],
        &["resync"],
        &["jobs"],
        &["recalculate", "--date", "2026-01-01"],
    ] {
        let refused = tillstream(&config, command).await.expect(2);
        let told = refused.stderr.lines().filter(|line| line.starts_with("tillstream: ")).count();
        assert_eq!(told, 1, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("version 9999") && refused.stderr.contains("install the newer program"),
            "{}",
            refused.stderr
        );
    }
    let status = tillstream(&config, &["status"]).await.expect(0).stdout;
    assert!(status.contains("install the newer program"), "{status}");
}

#[tokio::test]
async fn an_older_schema_waits_for_init_where_the_config_says_so() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("[target]\nauto_migrate = false\n");
    let refused = tillstream(&config, &["run", "--once"]).await.expect(2);
    assert!(refused.stderr.contains("run: tillstream init"), "{}", refused.stderr);
    let client = db.client().await;
    client.batch_execute(&migrate::print_sql("analytics", 0, 3)).await.unwrap();
    let refused = tillstream(&config, &["run", "--once"]).await.expect(2);
    assert!(
        refused.stderr.contains("version 3") && refused.stderr.contains("run: tillstream init"),
        "{}",
        refused.stderr
    );
    let version: i32 =
        client.query_one("SELECT max(version) FROM analytics_state.migration", &[]).await.unwrap().get(0);
    assert_eq!(version, 3, "it was upgraded against the config's word");
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_old_version() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("");
    let client = db.client().await;
    client.batch_execute(&migrate::print_sql("analytics", 0, 4)).await.unwrap();
    // In the way of a late step, when the steps before it are done already.
    client.batch_execute("CREATE TABLE analytics_state.verification (mine int)").await.unwrap();
    let refused = tillstream(&config, &["run", "--once"]).await.expect(2);
    assert!(refused.stderr.contains("verification"), "{}", refused.stderr);
    let version: i32 =
        client.query_one("SELECT max(version) FROM analytics_state.migration", &[]).await.unwrap().get(0);
    assert_eq!(version, 4, "half an upgrade is left behind");
    client.batch_execute("DROP TABLE analytics_state.verification").await.unwrap();
    tillstream(&config, &["run", "--once"]).await.expect(0);
}

/// The script that an administrator runs by hand does the same.
#[tokio::test]
async fn the_printed_upgrade_is_the_same() {
    let db = TestDb::new().await;
    db.create_store("tenant_a").await;
    let config = db.daemon_toml("[target]\nauto_migrate = false\n");
    let client = db.client().await;
    client.batch_execute(&migrate::print_sql("analytics", 0, 2)).await.unwrap();
    let printed = tillstream(&config, &["init", "--print-sql"]).await.expect(0).stdout;
    let from = printed.find("BEGIN;").unwrap();
    let upgrade = &printed[from..printed.find("COMMIT;").unwrap() + "COMMIT;".len()];
    client.batch_execute(upgrade).await.unwrap();
    let waited = tillstream(&config, &["run", "--once"]);
    assert_eq!(waited.await.code, 0);
    tokio::time::timeout(Duration::from_secs(60), tillstream(&config, &["verify"])).await.unwrap().expect(0);
}
