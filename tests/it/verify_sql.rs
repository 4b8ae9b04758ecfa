//! `verify` against the oracle: both recompute random stores from their tables and must agree on every row; and what
//! is falsified in the report tables afterwards must be found.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tillstream::config::{Config, StockSource, TableKind};
use tillstream::domain::TenantId;
use tillstream::verify::{Difference, ReportTable, TenantResult, TenantScope, compare_tenant};
use tokio_postgres::{Client, IsolationLevel, NoTls, Transaction};

use crate::oracle::{Reports, Rows, Setting, Store};
use crate::settings::default_config;
use crate::workload::{CostLedger, Workload};

/// A database of its own, with two connections; dropped by [`Place::close`].
struct Place {
    url: String,
    name: String,
    source: Client,
    target: Client,
}

async fn connect(url: &str, database: Option<&str>) -> Client {
    let mut config: tokio_postgres::Config = url.parse().expect("a server url");
    database.map(|d| config.dbname(d));
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

impl Place {
    /// `None` where no server is named by TILLSTREAM_TEST_URL.
    async fn open(name: &str) -> Option<Place> {
        let url = std::env::var("TILLSTREAM_TEST_URL").ok()?;
        let name = format!("{name}_{}", std::process::id());
        let admin = connect(&url, None).await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (source, target) = (connect(&url, Some(&name)).await, connect(&url, Some(&name)).await);
        for migration in
            [include_str!("../../sql/migrations/0001_reports.sql"), include_str!("../../sql/migrations/0002_state.sql")]
        {
            let sql = migration.replace("{reports}", "analytics").replace("{state}", "analytics_state");
            target.batch_execute(&sql).await.unwrap();
        }
        Some(Place { url, name, source, target })
    }

    async fn close(self) {
        let Place { url, name, source, target } = self;
        drop((source, target));
        let admin = connect(&url, None).await;
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }
}

async fn create_store(client: &Client, schema: &str) {
    client.batch_execute(&include_str!("pos.sql").replace("{schema}", schema)).await.unwrap();
}

fn scope(name: &str, zone: Tz, now: DateTime<Utc>, by_movements: bool) -> TenantScope {
    let today = now.with_timezone(&zone).date_naive();
    let mut has: BTreeSet<TableKind> = TableKind::ALL.into();
    if !by_movements {
        has.remove(&TableKind::StockMovement);
    }
    let horizon = today - Duration::days(365);
    TenantScope {
        name: name.into(),
        tenant_id: TenantId(1),
        zone,
        today,
        horizon,
        stock_source: StockSource::Auto,
        has,
    }
}

fn setting(scope: &TenantScope) -> Setting {
    let by_movements = scope.has.contains(&TableKind::StockMovement);
    Setting { zone: scope.zone, today: scope.today, horizon: scope.horizon, by_movements }
}

/// Writes the oracle's rows where the daemon would have.
async fn write_reports(client: &Client, tenant: &str, reports: &Reports) {
    write(client, tenant, "daily_sales_report", &reports.daily_sales_report).await;
    write(client, tenant, "product_performance", &reports.product_performance).await;
    write(client, tenant, "customer_analytics", &reports.customer_analytics).await;
    write(client, tenant, "inventory_snapshot", &reports.inventory_snapshot).await;
    // Rows of inactive products may be there or not.
    let kept: Rows = reports.inventory_snapshot_optional.iter().step_by(2).cloned().collect();
    write(client, tenant, "inventory_snapshot", &kept).await;
    write(client, tenant, "product", &reports.product).await;
    write(client, tenant, "customer", &reports.customer).await;
}

async fn write(client: &Client, tenant: &str, table: &str, rows: &Rows) {
    let quoted = |row: &Vec<String>| row.iter().map(|v| format!(", '{}'", v.replace('\'', "''"))).collect::<String>();
    let values = rows.iter().map(|row| format!("('{tenant}'{})", quoted(row))).collect::<Vec<_>>().join(",\n");
    if !values.is_empty() {
        client.batch_execute(&format!("INSERT INTO analytics.{table} VALUES {values}")).await.unwrap();
    }
}

/// Stands in for the kept facts: the costs alone.
async fn keep_costs(client: &Client, tenant: TenantId, costs: &BTreeMap<i64, Decimal>) {
    let list = |values: Vec<String>| format!("ARRAY[{}]", values.join(","));
    let ids = list(costs.keys().map(|id| id.to_string()).collect());
    let values = list(costs.values().map(|cost| cost.to_string()).collect());
    client
        .batch_execute(&format!(
            "INSERT INTO analytics_state.sale VALUES ({tenant}, 1, 'c', NULL, NULL, NULL, 0, 0, 0, NULL,
               {ids}::bigint[] || 0::bigint, '{{}}', '{{}}', '{{}}', '{{}}', {values}::numeric[] || NULL::numeric, '{{}}', '{{}}', '{{}}')"
        ))
        .await
        .unwrap();
}

async fn begin(client: &mut Client) -> Transaction<'_> {
    client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await.unwrap()
}

async fn differences(place: &mut Place, cfg: &Config, scope: &TenantScope) -> (TenantResult, Vec<Difference>) {
    let (source, target) = (begin(&mut place.source).await, begin(&mut place.target).await);
    let mut found = Vec::new();
    let result = compare_tenant(&source, &target, cfg, scope, &mut |d| found.push(d)).await.unwrap();
    assert_eq!(result.differences(), found.len() as u64);
    (result, found)
}

/// One random store: rows of verify and of the oracle agree.
async fn agree(seed: u64, zone: Tz, by_movements: bool, steps: usize) {
    let Some(mut place) = Place::open(&format!("agree_{seed}_{by_movements}")).await else {
        return eprintln!("skipped: TILLSTREAM_TEST_URL names no server");
    };
    let schema = "tenant_o'clock";
    let quoted = "\"tenant_o'clock\"";
    let (cfg, now) = (default_config(), Utc::now());
    create_store(&place.source, quoted).await;
    let mut scope = scope("tenant_o'clock", zone, now, by_movements);
    scope.tenant_id = TenantId(7);
    let mut workload = Workload::new(seed, now, zone);
    let mut ledger = CostLedger::default();
    workload.populate(&mut place.source, schema).await.unwrap();
    for _ in 0..steps {
        let step = workload.step(&mut place.source, schema).await.unwrap();
        ledger.follow(&step, &place.source, schema).await.unwrap();
    }
    let stats = &workload.stats;
    println!("seed {seed} {zone}: {stats:?}");
    assert_eq!(stats.failed, 0, "seed {seed}: nobody else was at it: {stats:?}");

    let costs: BTreeMap<i64, Decimal> = ledger.costs().collect();
    let reports = Store::load(&place.source, schema).await.unwrap().reports(setting(&scope), &costs);
    write_reports(&place.target, "tenant_o''clock", &reports).await;
    keep_costs(&place.target, scope.tenant_id, &costs).await;

    let (result, found) = differences(&mut place, &cfg, &scope).await;
    println!("{result}");
    let told = found.iter().take(20).map(|d| d.to_string()).collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "seed {seed} {zone}: {} differences\n{told}", found.len());
    place.close().await;
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("TILLSTREAM_TEST_SEED").unwrap_or(1);
    first..first + number("TILLSTREAM_TEST_SEEDS").unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_oracle_agree_on_every_row() {
    for seed in seeds() {
        agree(seed, chrono_tz::Europe::Berlin, true, 600).await;
        agree(seed, chrono_tz::Asia::Tashkent, false, 600).await;
    }
}
