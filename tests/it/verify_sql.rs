//! `verify` against the oracle: both recompute random stores from their tables and must agree on every row; and what
//! is falsified in the report tables afterwards must be found.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tillstream::apply::migrate;
use tillstream::config::{Config, StockSource, TableKind};
use tillstream::domain::TenantId;
use tillstream::verify::{Difference, ReportTable, TenantResult, TenantScope, compare_tenant};
use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::harness::TestDb;
use crate::oracle::{Reports, Rows, Setting, Store};
use crate::workload::{CostLedger, Workload};

/// A database of its own, with two connections.
struct Place {
    db: TestDb,
    source: Client,
    target: Client,
}

impl Place {
    async fn open() -> Place {
        let db = TestDb::new().await;
        let (source, mut target) = (db.client().await, db.client().await);
        migrate::migrate(&mut target, "analytics").await.unwrap();
        Place { db, source, target }
    }

    fn config(&self) -> Config {
        Config::load(&self.db.daemon_toml("")).unwrap()
    }
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
        forms: Default::default(),
        filled: Default::default(),
    }
}

fn setting(scope: &TenantScope) -> Setting {
    let by_movements = scope.has.contains(&TableKind::StockMovement);
    Setting { zone: scope.zone, today: scope.today, horizon: scope.horizon, by_movements }
}

/// Writes the oracle's rows where the daemon would have.
async fn write_reports(client: &Client, tenant: &str, reports: &Reports) {
    let entry =
        format!("INSERT INTO analytics.tenant (tenant, name, time_zone, state) VALUES ('{tenant}', '', 'UTC', 'live')");
    client.batch_execute(&entry).await.unwrap();
    write(client, tenant, "product", &reports.product).await;
    write(client, tenant, "customer", &reports.customer).await;
    write(client, tenant, "daily_sales_report", &reports.daily_sales_report).await;
    write(client, tenant, "product_performance", &reports.product_performance).await;
    write(client, tenant, "customer_analytics", &reports.customer_analytics).await;
    write(client, tenant, "inventory_snapshot", &reports.inventory_snapshot).await;
    // Rows of inactive products may be there or not.
    let kept: Rows = reports.inventory_snapshot_optional.iter().step_by(2).cloned().collect();
    write(client, tenant, "inventory_snapshot", &kept).await;
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

/// What verify says once `change` is made to the reports (and undone afterwards).
async fn differences_after(
    change: &str,
    place: &mut Place,
    cfg: &Config,
    scope: &TenantScope,
) -> (TenantResult, Vec<Difference>) {
    let (source, target) = (begin(&mut place.source).await, begin(&mut place.target).await);
    target.batch_execute(change).await.unwrap();
    let mut found = Vec::new();
    let result = compare_tenant(&source, &target, cfg, scope, &mut |d| found.push(d)).await.unwrap();
    assert_eq!(result.differences(), found.len() as u64);
    (result, found)
}

/// A store after random transactions, its reports written by the oracle.
struct Prepared {
    place: Place,
    cfg: Config,
    scope: TenantScope,
}

const SCHEMA: &str = "tenant_o'clock";

async fn prepare(seed: u64, zone: Tz, by_movements: bool, steps: usize, writers: u64) -> Option<Prepared> {
    let mut place = Place::open().await;
    let (cfg, now) = (place.config(), Utc::now());
    place.db.create_store(SCHEMA).await;
    let scope = scope(SCHEMA, zone, now, by_movements);
    let costs = if writers == 1 {
        write_alone(seed, &mut place, zone, steps).await
    } else {
        write_together(seed, &place, zone, steps, writers).await;
        BTreeMap::new()
    };
    let reports = Store::load(&place.source, SCHEMA).await.unwrap().reports(setting(&scope), &costs);
    write_reports(&place.target, "tenant_o''clock", &reports).await;
    keep_costs(&place.target, scope.tenant_id, &costs).await;
    Some(Prepared { place, cfg, scope })
}

/// Steps of one writer; the unit costs that they froze.
async fn write_alone(seed: u64, place: &mut Place, zone: Tz, steps: usize) -> BTreeMap<i64, Decimal> {
    let mut workload = Workload::new(seed, Utc::now(), zone);
    let mut ledger = CostLedger::default();
    workload.populate(&mut place.source, SCHEMA).await.unwrap();
    ledger.look(&place.source, SCHEMA).await.unwrap();
    for _ in 0..steps {
        let step = workload.step(&mut place.source, SCHEMA).await.unwrap_or_else(|err| panic!("seed {seed}: {err:?}"));
        ledger
            .follow(&step, &place.source, SCHEMA)
            .await
            .unwrap_or_else(|err| panic!("seed {seed} {}: {err:?}", step.action));
    }
    let stats = &workload.stats;
    println!("seed {seed} {zone}: {stats:?}");
    assert!(stats.failed * 100 <= stats.committed, "seed {seed}: nobody else was at it: {stats:?}");
    assert!(stats.idle * 10 <= stats.committed, "seed {seed}: {stats:?}");
    ledger.costs().collect()
}

async fn write_together(seed: u64, place: &Place, zone: Tz, steps: usize, writers: u64) {
    let write = async |writer: u64| {
        let mut client = place.db.client().await;
        let mut workload = Workload::new(seed * 100 + writer, Utc::now(), zone);
        workload.populate(&mut client, SCHEMA).await.unwrap();
        for _ in 0..steps {
            let step = workload.step(&mut client, SCHEMA).await;
            step.unwrap_or_else(|err| panic!("seed {seed} writer {writer}: {err:?}"));
        }
        workload.stats
    };
    for stats in futures_util::future::join_all((0..writers).map(write)).await {
        let (committed, failed) = (stats.committed, stats.failed);
        println!("seed {seed} {zone}: committed {committed}, failed by another {failed}");
        assert!(failed * 10 <= committed, "seed {seed}: too few got through: {stats:?}");
    }
}

/// Rows of verify and of the oracle agree.
async fn agree(seed: u64, zone: Tz, by_movements: bool, steps: usize, writers: u64) {
    let Some(Prepared { mut place, cfg, scope }) = prepare(seed, zone, by_movements, steps, writers).await else {
        return;
    };
    let (result, found) = differences_after("", &mut place, &cfg, &scope).await;
    println!("{result}");
    let told = found.iter().take(20).map(|d| d.to_string()).collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "seed {seed} {zone}: {} differences\n{told}", found.len());
    assert!(result.tables.values().all(|count| count.rows > 3), "seed {seed}: too little to compare: {result}");
}

fn seeds(offset: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = offset + number("TILLSTREAM_TEST_SEED").unwrap_or(1);
    first..first + number("TILLSTREAM_TEST_SEEDS").unwrap_or(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_oracle_agree_on_every_row() {
    for seed in seeds(0) {
        agree(seed, chrono_tz::Europe::Berlin, true, 600, 1).await;
        agree(seed, chrono_tz::Asia::Tashkent, false, 600, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_oracle_agree_after_several_writers() {
    for seed in seeds(0) {
        agree(seed, chrono_tz::America::Santiago, seed % 2 == 0, 300, 4).await;
    }
}

/// Columns of a report table that are compared, with a value that is wrong.
async fn falsifications(client: &Client, table: ReportTable) -> Vec<(String, String)> {
    let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns
               WHERE table_schema = 'analytics' AND table_name = $1 ORDER BY ordinal_position";
    let keys = ["tenant", "date", "period_end", "product_id", "customer_id", "created_at", "updated_at"];
    let id_only = matches!(table, ReportTable::Product | ReportTable::Customer);
    let rows = client.query(sql, &[&table.name()]).await.unwrap();
    let columns = rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    let columns = columns.filter(|(name, _)| !keys.contains(&name.as_str()) || (name == "deleted_at" && id_only));
    columns
        .map(|(name, ty)| {
            let wrong = match ty.as_str() {
                "numeric" => format!("CASE WHEN {name} > 0 THEN {name} - 0.01 ELSE {name} + 0.01 END"),
                "boolean" => format!("NOT {name}"),
                "text" => format!("coalesce({name}, '') || ' '"),
                "timestamp with time zone" => "now()".to_string(),
                "integer" => format!("{name} - 1"),
                _ => format!("{name} + 1"),
            };
            (name, wrong)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_falsified_row_is_found() {
    let Some(Prepared { mut place, cfg, scope }) = prepare(4711, chrono_tz::Europe::Berlin, true, 300, 1).await else {
        return;
    };
    for table in ReportTable::ALL {
        let active = match table {
            ReportTable::InventorySnapshot => {
                "product_id IN (SELECT product_id FROM analytics.product WHERE is_active)"
            }
            _ => "true",
        };
        let one = format!("ctid = (SELECT max(ctid) FROM analytics.{table} WHERE {active})");
        for (column, wrong) in falsifications(&place.source, table).await {
            let change = format!("UPDATE analytics.{table} SET {column} = {wrong} WHERE {one}");
            let (result, found) = differences_after(&change, &mut place, &cfg, &scope).await;
            assert_eq!(found.len(), 1, "{change}: {found:?}");
            assert_eq!((found[0].table, found[0].column), (table, Some(column.as_str())), "{change}");
            assert_eq!(result.tables[&table].differing_rows, 1);
        }
        let (_, found) =
            differences_after(&format!("DELETE FROM analytics.{table} WHERE {one}"), &mut place, &cfg, &scope).await;
        assert!(matches!(&found[..], [d] if d.table == table && d.column.is_none() && d.found.is_none()), "{found:?}");

        let (key, step) = if table == ReportTable::DailySalesReport { ("date", -9000) } else { (key(table), 100_000) };
        let change = format!("UPDATE analytics.{table} SET {key} = {key} + {step} WHERE {one}");
        let (_, found) = differences_after(&change, &mut place, &cfg, &scope).await;
        assert_eq!(found.len(), 2, "a row missing and one too many: {found:?}");
        assert!(found.iter().any(|d| d.expected.is_none()) && found.iter().any(|d| d.found.is_none()), "{found:?}");
    }
}

fn key(table: ReportTable) -> &'static str {
    match table {
        ReportTable::CustomerAnalytics | ReportTable::Customer => "customer_id",
        _ => "product_id",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_flagged_dimensions_are_let_be() {
    let Some(Prepared { mut place, cfg, scope }) = prepare(4712, chrono_tz::Asia::Tashkent, false, 200, 1).await else {
        return;
    };
    let change = "
        UPDATE analytics.inventory_snapshot SET date = date - 1, quantity_on_hand = -5
        WHERE product_id IN (SELECT product_id FROM analytics.product WHERE NOT is_active);
        INSERT INTO analytics.customer_analytics
        SELECT (jsonb_populate_record(c, jsonb_build_object('period_end', period_end - 7, 'monetary', -1))).*
        FROM analytics.customer_analytics c;
        INSERT INTO analytics.product VALUES ('tenant_o''clock', 999999, 'gone', 'gone', '', true, now());
        INSERT INTO analytics.customer VALUES ('tenant_o''clock', 999999, 'gone', 'gone', '', true, now());
        INSERT INTO analytics.product VALUES ('tenant_other', 999999, 'not ours', '', '', true)";
    let (_, found) = differences_after(change, &mut place, &cfg, &scope).await;
    assert_eq!(found, vec![]);
}

/// A store without any optional table is read as if they were empty, and so is a POS without them.
#[tokio::test(flavor = "multi_thread")]
async fn optional_tables_may_be_missing() {
    let Some(Prepared { mut place, mut cfg, mut scope }) = prepare(4713, chrono_tz::Asia::Tashkent, true, 100, 1).await
    else {
        return;
    };
    scope.has.retain(|kind| !kind.optional());
    place.source.batch_execute(&format!("DROP TABLE \"{SCHEMA}\".products_stock_movement")).await.unwrap();
    let (_, of_store) = differences_after("", &mut place, &cfg, &scope).await;
    let customers = of_store.iter().filter(|d| d.table == ReportTable::Customer);
    assert!(customers.clone().count() > 0 && customers.clone().all(|d| d.expected.is_none()));
    cfg.mapping.tables.retain(|kind, _| !kind.optional());
    scope.has = TableKind::ALL.into();
    let (_, of_pos) = differences_after("", &mut place, &cfg, &scope).await;
    assert_eq!(of_store, of_pos);
}
