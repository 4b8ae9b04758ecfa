//! The first copy of a store: POS tables as of an exported snapshot -> base facts -> sums -> report rows, all in bulk and
//! in one target transaction, so that a store is either wholly copied at the snapshot's position or not at all.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::{Client, Transaction};

use super::statements::{Statements, named};
use crate::config::Config;
use crate::domain::{BusinessDay, TenantId};
use crate::lsn::Lsn;
use crate::sql::qualified;
use crate::verify::{RenderError, TenantScope, render};

const COPIES: &str = include_str!("../../sql/copy/facts.sql");
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("reading {table} of {store}: {}", super::describe(.source))]
    Source { store: String, table: &'static str, source: tokio_postgres::Error },
    #[error("writing {what} of {store}: {}", super::describe(.source))]
    Target { store: String, what: &'static str, source: tokio_postgres::Error },
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Values that no report can hold: the store has to be quarantined.
    #[error("{0}")]
    Unusable(String),
}

impl CopyError {
    /// Worth another try as it is: a connection was lost, not a statement refused.
    pub fn is_transient(&self) -> bool {
        match self {
            CopyError::Source { source, .. } | CopyError::Target { source, .. } => {
                crate::engine::error::lost_connection(source)
            }
            CopyError::Render(_) | CopyError::Unusable(_) => false,
        }
    }
}

/// What a store is registered with.
#[derive(Debug, Clone)]
pub struct NewStore {
    pub name: String,
    /// See `{state}.tenant.definitions`.
    pub definitions: String,
    pub horizon: BusinessDay,
    pub today: BusinessDay,
}

/// Where the copy is read: a source session inside the snapshot's transaction.
pub struct Snapshot<'a> {
    pub client: &'a Transaction<'a>,
    /// Transactions whose commit record lies before it are in the snapshot, no others.
    pub position: Lsn,
    /// Called every few thousand rows: it moves on.
    pub moved: &'a (dyn Fn() + Sync),
}

/// Copies one store into `target`'s transaction; the caller commits it.
///
/// # Errors
/// See [`CopyError`]; nothing is kept then.
pub async fn store(
    source: &Snapshot<'_>,
    target: &Transaction<'_>,
    sql: &Statements,
    config: &Config,
    scope: &mut TenantScope,
    new: &NewStore,
) -> Result<u64, CopyError> {
    let name = new.name.clone();
    let writing = |what: &'static str| {
        let store = name.clone();
        move |source| CopyError::Target { store, what, source }
    };
    let stock_source = format!("{:?}", scope.stock_source).to_lowercase();
    let row = target
        .query_one(
            sql.text("register_tenant"),
            &[
                &new.name,
                &scope.zone.name(),
                &stock_source,
                &new.definitions,
                &new.horizon,
                &new.today,
                &source.position,
            ],
        )
        .await
        .map_err(writing("the store's entry"))?;
    let id: i32 = row.try_get(0).map_err(writing("the store's entry"))?;
    scope.tenant_id = TenantId(id);
    scope.horizon = new.horizon;
    for what in ["clear_facts", "clear_sums"] {
        target.execute(sql.text(what), &[&id]).await.map_err(writing(what))?;
        (source.moved)();
    }
    target
        .batch_execute("SET LOCAL work_mem = '128MB'; SET LOCAL jit = off")
        .await
        .map_err(writing("the session's settings"))?;
    super::keys::store(source, target, sql, config, scope).await?;
    let mut progress = Progress::new(&new.name, expected_rows(source.client, config, scope).await);
    for (table, template) in named(COPIES) {
        let query = render(&template, scope, config)?;
        copy_table(source, target, config, scope, table, &query, &mut progress).await?;
    }
    refuse_unusable(target, sql, id, &new.name).await?;
    build(target, sql, id).await.map_err(writing("the reports"))?;
    target
        .execute(sql.text("synchronize_tenant"), &[&new.name, &source.position])
        .await
        .map_err(writing("the store's entry"))?;
    progress.done();
    Ok(progress.rows)
}

/// Streams one table's facts from source to target, as PostgreSQL's own binary rows.
async fn copy_table(
    source: &Snapshot<'_>,
    target: &Transaction<'_>,
    config: &Config,
    scope: &TenantScope,
    table: &'static str,
    query: &str,
    progress: &mut Progress,
) -> Result<(), CopyError> {
    let store = || scope.name.clone();
    let reading = |e| CopyError::Source { store: store(), table, source: e };
    let writing = |e| CopyError::Target { store: store(), what: table, source: e };
    let id = scope.tenant_id;
    let from = format!("COPY (SELECT {id}::integer, q.* FROM ({query}) q) TO STDOUT (FORMAT binary)");
    let to = format!("COPY {} FROM STDIN (FORMAT binary)", qualified(&config.state_schema(), table));
    let rows = source.client.copy_out(&from).await.map_err(reading)?;
    let sink = target.copy_in::<_, bytes::Bytes>(&to).await.map_err(writing)?;
    pin_mut!(rows);
    pin_mut!(sink);
    while let Some(row) = rows.try_next().await.map_err(reading)? {
        sink.feed(row).await.map_err(writing)?;
        if progress.row(table) {
            (source.moved)();
        }
    }
    sink.finish().await.map_err(writing)?;
    Ok(())
}

/// NaN, infinity and what is too large for the reports: named by table and key, never by value.
async fn refuse_unusable(target: &Transaction<'_>, sql: &Statements, id: i32, name: &str) -> Result<(), CopyError> {
    let rows = target.query(sql.text("find_unusable"), &[&id]).await.map_err(|source| CopyError::Target {
        store: name.to_string(),
        what: "a check of the values",
        source,
    })?;
    let bad: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            Some(format!("{} row {}", row.try_get::<_, String>(0).ok()?, row.try_get::<_, String>(1).ok()?))
        })
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(CopyError::Unusable(format!(
        "values that no report can hold (NaN, infinite, 10^16 and more, or of more than 28 digits): {}",
        bad.join(", ")
    )))
}

/// Sums, then report rows and dimensions, of one tenant whose facts are there.
pub async fn build(target: &Transaction<'_>, sql: &Statements, id: i32) -> Result<(), tokio_postgres::Error> {
    dimensions(target, sql, id).await?;
    sums(target, sql, id).await?;
    show(target, sql, id, BusinessDay::MIN, BusinessDay::MAX).await?;
    Ok(())
}

/// The dimensions of a tenant as its facts have them. Comes back: how many rows changed.
pub async fn dimensions(target: &Transaction<'_>, sql: &Statements, id: i32) -> Result<u64, tokio_postgres::Error> {
    let mut changed = 0;
    for statement in ["show_dimension_products", "show_dimension_customers"] {
        changed += target.execute(sql.text(statement), &[&id]).await?;
    }
    Ok(changed)
}

/// The sums of one tenant whose facts are there and whose sums are not.
pub async fn sums(target: &Transaction<'_>, sql: &Statements, id: i32) -> Result<(), tokio_postgres::Error> {
    for statement in
        ["build_product_days", "build_customer_days", "build_customer_totals", "build_stock", "build_daily"]
    {
        target.execute(sql.text(statement), &[&id]).await?;
    }
    target.batch_execute(sql.text("analyze")).await
}

/// Writes every report row of a tenant: daily and product rows of the days given, live customer and today's inventory
/// rows. Comes back: how many rows changed.
pub async fn show(
    target: &Transaction<'_>,
    sql: &Statements,
    id: i32,
    from: BusinessDay,
    to: BusinessDay,
) -> Result<i64, tokio_postgres::Error> {
    // chrono's first and last days are beyond PostgreSQL's.
    let first = from.max(BusinessDay::from_ymd_opt(-4000, 1, 1).unwrap_or_default());
    let last = to.min(BusinessDay::from_ymd_opt(200_000, 1, 1).unwrap_or_default());
    let mut changed = 0;
    for statement in ["show_days_of_daily_sales", "show_days_of_product_performance"] {
        changed += target.query_one(sql.text(statement), &[&id, &first, &last]).await?.try_get::<_, i64>(0)?;
    }
    for statement in ["show_all_customer_analytics", "show_all_inventory"] {
        changed += target.query_one(sql.text(statement), &[&id]).await?.try_get::<_, i64>(0)?;
    }
    Ok(changed)
}

/// Rows that the source's own statistics promise; 0 where it has none yet.
async fn expected_rows(source: &Transaction<'_>, config: &Config, scope: &TenantScope) -> u64 {
    let tables: Vec<&str> = config
        .mapping
        .tables
        .iter()
        .filter(|(kind, _)| scope.has.contains(kind))
        .map(|(_, t)| t.table.as_str())
        .collect();
    let query = "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY ($2)";
    let row = source.query_one(query, &[&scope.name, &tables]).await;
    row.ok().and_then(|row| row.try_get::<_, i64>(0).ok()).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// Tells how far a copy is: rows, rate, time left.
struct Progress {
    store: String,
    expected: u64,
    rows: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(store: &str, expected: u64) -> Progress {
        let now = Instant::now();
        Progress { store: store.to_string(), expected, rows: 0, started: now, told: now }
    }

    /// True every few thousand rows.
    fn row(&mut self, table: &'static str) -> bool {
        self.rows += 1;
        if !self.rows.is_multiple_of(4096) {
            return false;
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let seconds = self.started.elapsed().as_secs().max(1);
            let rate = (self.rows / seconds).max(1);
            let left = self.expected.saturating_sub(self.rows) / rate;
            tracing::info!(store = %self.store, table, rows = self.rows, rows_per_second = rate, seconds_left = left, "copying");
        }
        true
    }

    fn done(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        tracing::info!(store = %self.store, rows = self.rows, seconds = format!("{seconds:.1}"), "copied");
    }
}

/// Opens a source transaction that sees what an exported snapshot sees.
pub async fn inside<'a>(client: &'a mut Client, snapshot: &str) -> Result<Transaction<'a>, tokio_postgres::Error> {
    let transaction =
        client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
    transaction.batch_execute(&format!("SET TRANSACTION SNAPSHOT '{}'", snapshot.replace('\'', "''"))).await?;
    Ok(transaction)
}
