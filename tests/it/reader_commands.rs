//! `grant`, `revoke` and `compat` as an administrator types them.

use std::path::Path;
use std::time::Duration;

use tillstream::sql::ident;

use crate::harness::{Daemon, TestDb, connect, server, tillstream, wait_until};
use crate::reports_db::rows;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two stores whose reports are there, and a login.
async fn reports() -> (TestDb, std::path::PathBuf, String) {
    let db = TestDb::new().await;
    for store in ["tenant_a", "tenant_b"] {
        db.create_store(store).await;
    }
    let config = db.daemon_toml("");
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let login = format!("{}_BI \"tool\"", db.name);
    db.client().await.batch_execute(&format!("CREATE ROLE {} LOGIN", ident(&login))).await.expect("create role");
    (db, config, login)
}

/// It could not be done: status 2 and one line that says why.
async fn refused(config: &Path, args: &[&str], why: &str) {
    let ran = tillstream(config, args).await.expect(2);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains(why) && ran.stderr.lines().count() == 1, "{args:?}: {}", ran.stderr);
}

#[tokio::test]
async fn grant_and_revoke() {
    let (db, config, login) = reports().await;
    let login = login.as_str();
    let reader = connect(&server().url_as(login, &db.name)).await;
    let stores = async || rows(&reader, "SELECT tenant FROM analytics.daily_sales_today ORDER BY 1").await.concat();

    for command in ["grant", "revoke"] {
        refused(&config, &[command, "nobody_at_all"], "role \"nobody_at_all\" does not exist").await;
        let unknown = "no such store: tenant_x; known are: tenant_a, tenant_b";
        refused(&config, &[command, login, "--tenant", "tenant_a", "--tenant", "tenant_x"], unknown).await;
    }
    for _ in 0..2 {
        let ran = tillstream(&config, &["grant", login, "--tenant", "tenant_a"]).await.expect(0);
        assert_eq!(ran.stdout, format!("{login} reads tenant_a\n"));
        assert_eq!(stores().await, ["tenant_a"]);
    }
    for _ in 0..2 {
        let ran = tillstream(&config, &["grant", login, "--json"]).await.expect(0);
        let access: serde_json::Value = serde_json::from_str(&ran.stdout).expect("json");
        let expected = serde_json::json!({"login": login, "all_stores": true, "stores": ["tenant_a"]});
        assert_eq!(access, expected);
        assert_eq!(stores().await, ["tenant_a", "tenant_b"]);
    }
    for _ in 0..2 {
        let ran = tillstream(&config, &["revoke", login]).await.expect(0);
        assert_eq!(ran.stdout, format!("{login} reads nothing\n"));
    }
    // A role that is gone: what it was granted can still be taken back, by hand or by `revoke`, once.
    tillstream(&config, &["grant", login, "--tenant", "tenant_b"]).await.expect(0);
    drop(reader);
    let role = ident(login);
    db.client().await.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.expect("drop role");
    tillstream(&config, &["revoke", login]).await.expect(0);
    refused(&config, &["revoke", login], "does not exist").await;
}

#[tokio::test]
async fn commands_before_init_say_what_to_do() {
    let db = TestDb::new().await;
    let config = db.daemon_toml("");
    for args in [&["grant", "postgres"][..], &["revoke", "postgres"], &["compat", "install"], &["compat", "remove"]] {
        refused(&config, args, "tillstream init").await;
    }
}

#[tokio::test]
async fn compat_and_a_store_that_appears_afterwards() {
    let (db, config, _) = reports().await;
    let client = db.client().await;
    let views = async |store: &str| {
        let query = format!(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = '{store}' AND c.relkind = 'v' AND c.relname LIKE 'analytics%' ORDER BY 1"
        );
        rows(&client, &query).await.concat()
    };
    let all = [
        "analytics_customer",
        "analytics_daily_sales",
        "analytics_inventory_snapshot",
        "analytics_product_performance",
    ];
    for action in ["install", "remove"] {
        refused(&config, &["compat", action, "--tenant", "tenant_x"], "no such store: tenant_x").await;
    }
    let own = "CREATE TABLE tenant_a.analytics_customer (id int)";
    client.batch_execute(own).await.expect("the application's own table");
    let daemon = Daemon::run(&config, &[]);
    for moved in ["analytics_customer", ""] {
        let ran = tillstream(&config, &["compat", "install"]).await.expect(0);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("tenant_a: views analytics_daily_sales, "), "{lines:?}");
        assert!(lines[0].ends_with(&format!("tables {moved}")), "{lines:?}");
    }
    assert_eq!(
        (views("tenant_a").await, views("tenant_b").await),
        (all.map(String::from).to_vec(), all.map(String::from).to_vec())
    );
    db.create_store("tenant_c").await;
    wait_until("a new store gets the views from the daemon", PATIENCE, async || views("tenant_c").await == all).await;
    client
        .batch_execute(
            "INSERT INTO tenant_c.sales_cashier_session (id) VALUES (1);
             INSERT INTO tenant_c.sales_sale (session_id, receipt_number, status, completed_at, total_amount)
             VALUES (1, 'R', 'completed', now(), 10)",
        )
        .await
        .expect("sale");
    let sold = "SELECT total_sales FROM tenant_c.analytics_daily_sales";
    wait_until("its sales are in them", PATIENCE, async || rows(&client, sold).await == [["10"]]).await;

    tillstream(&config, &["compat", "remove", "--tenant", "tenant_c"]).await.expect(0);
    assert_eq!((views("tenant_c").await.len(), views("tenant_b").await.len()), (0, 4));
    for _ in 0..2 {
        tillstream(&config, &["compat", "remove"]).await.expect(0);
        assert_eq!((views("tenant_a").await.len(), views("tenant_b").await.len()), (0, 0));
        assert!(rows(&client, "SELECT id FROM tenant_a.analytics_customer").await.is_empty());
    }
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}
