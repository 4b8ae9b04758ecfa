//! The dashboards that people import: every query runs, on what the dashboards say they are for.

use serde_json::Value;

use crate::readers::grant_to;
use crate::reports_db::{ReportsDb, try_rows};
use tillstream::commands::grant::Change;

const OWNER: &str = include_str!("../../deploy/grafana/owner.json");
const OPERATOR: &str = include_str!("../../deploy/grafana/operator.json");

/// Every text under this key, wherever it is.
fn under<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if name == key {
                    found.extend(value.as_str());
                }
                under(value, key, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| under(value, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_query_of_the_owner_s_dashboard_runs_as_a_reader_and_shows_something() {
    let db = ReportsDb::filled().await;
    let (login, reader) = db.login("grafana").await;
    grant_to(&db, &login, &[], Change::Grant).await;
    let dashboard: Value = serde_json::from_str(OWNER).expect("json");
    let mut queries = Vec::new();
    under(&dashboard, "rawSql", &mut queries);
    under(&dashboard["templating"], "query", &mut queries);
    queries.retain(|q| q.starts_with("SELECT"));
    assert!(queries.len() > 15, "{}", queries.len());
    for query in queries {
        // What Grafana fills in.
        let sql = query
            .replace("${tenant:sqlstring}", "'tenant_central'")
            .replace("$__timeFrom()", "now() - interval '30 days'")
            .replace("$__timeTo()", "now()");
        let sql = sql.replace("now() - interval '30 days'::date", "(now() - interval '30 days')::date");
        assert!(!sql.contains('$'), "{sql}");
        let rows = try_rows(&reader, &sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        assert!(!rows.is_empty(), "{sql}");
    }
}

/// Metrics by their type; histograms are asked for by `_bucket`, `_sum` and `_count`.
const METRICS: &[&str] = &[
    "tillstream_lag_bytes",
    "tillstream_lag_seconds",
    "tillstream_last_commit_timestamp_seconds",
    "tillstream_changes_total",
    "tillstream_transactions_total",
    "tillstream_batch_changes_bucket",
    "tillstream_batch_seconds_bucket",
    "tillstream_commit_to_visible_seconds_bucket",
    "tillstream_reconnects_total",
    "tillstream_retained_wal_bytes",
    "tillstream_slot_active",
    "tillstream_stores",
    "tillstream_job_last_success_timestamp_seconds",
    "tillstream_job_duration_seconds_sum",
    "tillstream_job_duration_seconds_count",
    "tillstream_job_drifted_rows_total",
    "tillstream_job_failures_total",
    "tillstream_verify_last_success_timestamp_seconds",
    "tillstream_verify_differences",
    "tillstream_build_info",
];

#[test]
fn the_operator_s_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(OPERATOR).expect("json");
    let mut queries = Vec::new();
    under(&dashboard, "expr", &mut queries);
    under(&dashboard["templating"], "definition", &mut queries);
    let text = queries.join(" ");
    let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| w.starts_with("tillstream_"));
    let names: std::collections::BTreeSet<&str> = names.collect();
    for name in &names {
        assert!(METRICS.contains(name), "{name}");
    }
    assert_eq!(names.len(), METRICS.len(), "a metric that nobody looks at");
}
