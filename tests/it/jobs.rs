//! `jobs`, `jobs run` and `recalculate` from the command line, beside a daemon and without one.

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use tokio_postgres::Client;

use crate::harness::{Daemon, Ran, TestDb, tillstream, wait_until};
use crate::workload::Workload;

const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tashkent;
const STORES: [&str; 2] = ["tenant_central", "tenant_north"];
const NAMES: [&str; 6] =
    ["day-roll", "daily-sales", "product-performance", "customer-analytics", "inventory-snapshot", "prune"];

/// Two stores with some trade behind them, copied.
async fn open(seed: u64) -> (TestDb, std::path::PathBuf, Client) {
    let db = TestDb::new().await;
    let config = db.daemon_toml("");
    for (n, schema) in (0..).zip(STORES) {
        db.create_store(schema).await;
        let mut client = db.client().await;
        let mut workload = Workload::new(seed + n, Utc::now(), ZONE);
        workload.populate(&mut client, schema).await.unwrap();
        for _ in 0..60 {
            workload.step(&mut client, schema).await.unwrap();
        }
    }
    tillstream(&config, &["init"]).await.expect(0);
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let client = db.client().await;
    (db, config, client)
}

async fn daemon(config: &Path, client: &Client) -> Daemon {
    let daemon = Daemon::run(config, &[]);
    wait_until("the daemon holds the slot", Duration::from_secs(30), async || {
        let query = "SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()";
        client.query_one(query, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    daemon
}

async fn listed(config: &Path) -> Vec<Value> {
    let ran = tillstream(config, &["jobs", "--json"]).await.expect(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Each job runs when asked to, and the list shows it.
async fn every_job_runs(config: &Path) {
    for name in NAMES {
        let ran = tillstream(config, &["jobs", "run", name]).await.expect(0);
        for store in STORES {
            assert!(ran.stdout.contains(&format!("{name} {store}: ")), "{}", ran.stdout);
        }
        assert!(ran.stdout.contains(" 0 had drifted"), "{}", ran.stdout);
    }
    let jobs = listed(config).await;
    assert_eq!(jobs.len(), 12);
    for job in &jobs {
        assert_eq!(job["state"], "done", "{job}");
        assert!(job["next"].as_str().is_some_and(|next| next.ends_with("+05:00")), "{job}");
        assert!(job["finished"].is_string() && job["error"].is_null(), "{job}");
    }
    let table = tillstream(config, &["jobs"]).await.expect(0).stdout;
    assert_eq!(table.lines().count(), 13, "{table}");
}

#[tokio::test]
async fn every_job_runs_when_asked_to_with_and_without_a_daemon() {
    let (_db, config, client) = open(41).await;
    every_job_runs(&config).await;
    let daemon = daemon(&config, &client).await;
    every_job_runs(&config).await;
    let run = ["jobs", "run", "daily-sales", "--tenant", STORES[1], "--at", "2026-03-01T00:30:00+05:00", "--json"];
    let answer: Value = serde_json::from_str(&tillstream(&config, &run).await.expect(0).stdout).unwrap();
    assert_eq!(answer["runs"].as_array().map(Vec::len), Some(1));
    assert_eq!((&answer["runs"][0]["tenant"], &answer["runs"][0]["rows_changed"]), (&STORES[1].into(), &0.into()));
    let query =
        "SELECT count(*) FROM analytics_state.job_run WHERE requested AND due = '2026-02-28 19:30Z' AND tenant = $1";
    assert_eq!(client.query_one(query, &[&STORES[1]]).await.unwrap().get::<_, i64>(0), 1);
    tillstream(&config, &["verify"]).await.expect(0);
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}

/// Falsifies a sum and a row on different days; says which days.
async fn falsify(client: &Client) -> (String, String) {
    let query = "WITH d AS (SELECT min(ctid) c FROM analytics.product_performance WHERE tenant = 'tenant_central')
                 UPDATE analytics.product_performance p SET total_revenue = total_revenue + 1 FROM d WHERE p.ctid = d.c
                 RETURNING p.date::text";
    let row: String = client.query_one(query, &[]).await.unwrap().get(0);
    let query = "WITH d AS (SELECT max(ctid) c FROM analytics_state.daily WHERE day >= current_date - 300)
                 UPDATE analytics_state.daily p SET total = total + 1, sales = sales + 1 FROM d WHERE p.ctid = d.c RETURNING p.day::text";
    let sum: String = client.query_one(query, &[]).await.unwrap().get(0);
    let query = "UPDATE analytics_state.inventory SET on_hand = on_hand + 1, shown = NOT shown WHERE ctid = (SELECT min(ctid) FROM analytics_state.inventory)";
    client.execute(query, &[]).await.unwrap();
    let query = "UPDATE analytics_state.customer_total SET window_spent = window_spent + 1, last_day = last_day - 1
                 WHERE ctid = (SELECT max(ctid) FROM analytics_state.customer_total WHERE sales > 0)";
    client.execute(query, &[]).await.unwrap();
    let query = "UPDATE analytics_state.customer_day SET spent = spent + 1 WHERE ctid = (SELECT min(ctid) FROM analytics_state.customer_day)";
    client.execute(query, &[]).await.unwrap();
    (row, sum)
}

async fn recalculate(config: &Path, from: &str, to: &str) -> Ran {
    tillstream(config, &["recalculate", "--date", from, "--to", to]).await.expect(0)
}

#[tokio::test]
async fn recalculate_puts_all_four_reports_right_with_and_without_a_daemon() {
    let (_db, config, client) = open(43).await;
    for with_daemon in [false, true] {
        let daemon = if with_daemon { Some(daemon(&config, &client).await) } else { None };
        let (row, sum) = falsify(&client).await;
        let (from, to) = if row < sum { (&row, &sum) } else { (&sum, &row) };
        let ran = recalculate(&config, from, to).await;
        assert!(ran.stdout.contains("put right"), "{}", ran.stdout);
        assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("tenant_")).count(), 2, "{}", ran.stdout);
        tillstream(&config, &["verify"]).await.expect(0);
        // All there is, and much that there is not.
        let ran = recalculate(&config, "1999-01-01", "2400-12-31").await;
        assert!(ran.stdout.lines().filter(|line| line.ends_with("nothing differed")).count() == 2, "{}", ran.stdout);
        let wrong = "SELECT (SELECT count(*) FROM analytics_state.daily d JOIN analytics.daily_sales_report r ON r.date = d.day
                     JOIN analytics_state.tenant t ON t.id = d.tenant_id AND t.tenant = r.tenant WHERE r.total_sales <> round(d.total, 2))";
        assert_eq!(client.query_one(wrong, &[]).await.unwrap().get::<_, i64>(0), 0);
        if let Some(daemon) = daemon {
            assert!(daemon.terminate(Duration::from_secs(5)).await.success());
        }
    }
}

#[tokio::test]
async fn two_at_once_wait_for_each_other_with_and_without_a_daemon() {
    let (_db, config, client) = open(45).await;
    for with_daemon in [false, true] {
        let daemon = if with_daemon { Some(daemon(&config, &client).await) } else { None };
        let runs = (0..2).map(|_| recalculate(&config, "2026-01-01", "2026-12-31"));
        let jobs = ["customer-analytics", "prune"].map(|job| {
            let config = &config;
            async move { tillstream(config, &["jobs", "run", job]).await.expect(0) }
        });
        futures_util::future::join(futures_util::future::join_all(runs), futures_util::future::join_all(jobs)).await;
        // The daemon verifies its reports beside: its own requests come and go.
        let query = "SELECT coalesce(string_agg(kind, ' '), '') FROM analytics_state.request
                     WHERE kind NOT IN ('hold', 'advance', 'release')";
        assert_eq!(client.query_one(query, &[]).await.unwrap().get::<_, String>(0), "", "nothing is left lying");
        drop(daemon);
    }
    tillstream(&config, &["verify"]).await.expect(0);
}

#[tokio::test]
async fn bad_input_is_one_line_and_changes_nothing() {
    let (_db, config, client) = open(47).await;
    for with_daemon in [false, true] {
        let daemon = if with_daemon { Some(daemon(&config, &client).await) } else { None };
        for (args, says) in [
            (&["jobs", "run", "nothing"][..], "inventory-snapshot"),
            (&["jobs", "run", "prune", "--tenant", "tenant_nowhere"], "tenant_nowhere"),
            (&["jobs", "run", "prune", "--at", "yesterday"], "yesterday"),
            (&["recalculate", "--date", "2026-03-02", "--to", "2026-03-01"], "--to 2026-03-01 lies before"),
            (&["recalculate", "--date", "2026-02-30"], "2026-02-30"),
            (&["recalculate", "--date", "2026-03-01", "--tenant", "tenant_nowhere"], "tenant_nowhere"),
            (&["recalculate"], "--date"),
        ] {
            let ran = tillstream(&config, &[args, &["-qq"]].concat()).await.expect(2);
            assert!(ran.stderr.contains(says) && ran.stderr.trim().lines().count() == 1, "{args:?}: {}", ran.stderr);
            assert_eq!(ran.stdout, "", "{args:?}");
        }
        drop(daemon);
    }
    let query = "SELECT count(*) FROM analytics_state.job_run WHERE requested";
    assert_eq!(client.query_one(query, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_job_that_fails_says_why() {
    let (_db, config, client) = open(49).await;
    client.batch_execute("ALTER TABLE analytics_state.kept_period RENAME TO lent").await.unwrap();
    let ran = tillstream(&config, &["jobs", "run", "customer-analytics", "-qq"]).await.expect(2);
    let last = ran.stderr.trim().lines().last().unwrap_or_default();
    assert!(last.starts_with("tillstream: ") && last.contains("kept_period"), "{}", ran.stderr);
    let jobs = listed(&config).await;
    let failed: Vec<_> = jobs.iter().filter(|job| job["state"] == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert!(failed[0]["error"].as_str().is_some_and(|e| e.contains("kept_period")), "{}", failed[0]);
    let table = tillstream(&config, &["jobs"]).await.expect(0).stdout;
    assert!(table.contains("failed: "), "{table}");
}
