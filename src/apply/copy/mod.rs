//! A copy of a store: POS tables as of an exported snapshot -> base facts -> sums -> report rows, all in bulk and in one
//! target transaction, in which the changes since then follow (see engine/copying.rs).
//!
//! ```text
//! POS ── COPY ──┬──────────────────────────> base facts
//!               └─ sales ─ row ─> sums ─────> parts ──(all are there)──> sums ──> report rows
//!                  sales.rs row.rs gather.rs             rebuild/sums.sql         rebuild/show.sql
//! ```

mod gather;
mod row;
mod sales;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::{Client, Transaction};

use super::ApplyError;
use super::statements::{Statements, named};
use crate::config::{Config, TableKind};
use crate::domain::{BusinessDay, TenantId};
use crate::lsn::Lsn;
use crate::sql::qualified;
use crate::verify::{RenderError, TenantScope, render};
pub use gather::Gathered;

const COPIES: &str = include_str!("../../../sql/copy/facts.sql");
/// A store that was not there a moment ago is unknown to the planner's statistics: it would take it for one row, and join
/// the parts of a sum, thousands of rows, one by one. How many rows there are is all that matters of the statistics: a
/// tenth of the usual sample tells.
const SETTINGS: &str = "SET LOCAL work_mem = '128MB'; SET LOCAL jit = off; SET LOCAL enable_nestloop = off; \
    SET LOCAL default_statistics_target = 10";
/// The same for the POS's own server. What is read there is put together in the order of its keys: rows come as soon as
/// they are sorted, so that both sides work at the same time, and where groups are more than the planner thinks (the keys of
/// another POS are looked up) a hash table would be written to disk again and again.
const READING: &str = "SET LOCAL work_mem = '32MB'; SET LOCAL jit = off; SET LOCAL enable_hashagg = off";
/// Report rows are found by key, and so is their store. Others query them, too, by whatever column.
const SHOWING: &str = "SET LOCAL enable_nestloop = on; SET LOCAL default_statistics_target TO DEFAULT";
/// Tables that are read again once they are written, by the copy itself or by the writer's statements.
const FACTS: &[&str] =
    &["sale", "stock_movement", "credit_payment", "pricing", "stock_limits", "product", "tenant", "settings"];
const SUMS: &[&str] = &["product_day", "customer_day", "customer_total", "inventory", "daily", "child"];
/// Without statistics the planner would take the index by date for the one by key.
const REPORTS: &[&str] = &["product_performance", "customer_analytics", "inventory_snapshot", "daily_sales_report"];
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("reading {table} of {store}: {}", crate::told::describe(.source))]
    Source { store: String, table: &'static str, source: tokio_postgres::Error },
    #[error("writing {what} of {store}: {}", crate::told::describe(.source))]
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

    pub fn verdict(&self) -> Verdict {
        let (source, reading) = match self {
            CopyError::Unusable(_) => return Verdict::Unusable,
            CopyError::Render(_) => return Verdict::Innocent,
            CopyError::Source { source, .. } => (source, true),
            CopyError::Target { source, .. } => (source, false),
        };
        match source.code().map_or("", |code| code.code()) {
            // A value that does not fit, wherever that came out.
            code if code.starts_with("22") => Verdict::Unusable,
            // Undefined table, column or schema; a column of another type.
            "42P01" | "42703" | "3F000" | "42883" | "42804" | "42846" | "0A000" if reading => Verdict::Changed,
            "42501" if reading => Verdict::Forbidden,
            _ => Verdict::Innocent,
        }
    }
}

/// What a copy that failed says of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its rows: it is set aside until somebody has put them right.
    Unusable,
    /// Our privileges.
    Forbidden,
    /// Its tables were changed meanwhile: look again.
    Changed,
    /// Nothing: try again.
    Innocent,
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
}

/// Reads one store's facts into the transaction that is open on `target`. After it the source is not needed any more.
/// `tell` hears how many rows have come and how many are expected (0: unknown).
///
/// # Errors
/// See [`CopyError`]; nothing is kept then.
pub async fn facts(
    source: &Snapshot<'_>,
    target: &Client,
    sql: &Statements,
    config: &Config,
    scope: &mut TenantScope,
    new: &NewStore,
    tell: impl Fn(u64, u64) + Send,
) -> Result<(), CopyError> {
    let name = new.name.clone();
    let writing = |what: &'static str| {
        let store = name.clone();
        move |source| CopyError::Target { store, what, source }
    };
    // Before its entry says by what it is read now.
    target.execute(sql.text("make_kept_costs"), &[]).await.map_err(writing("its unit costs"))?;
    let kept = target.execute(sql.text("keep_costs"), &[&new.name]).await.map_err(writing("its unit costs"))?;
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
    // Never before that of an earlier copy: what was pruned stays away.
    scope.horizon = row.try_get(1).map_err(writing("the store's entry"))?;
    for what in ["clear_facts", "clear_sums"] {
        target.execute(sql.text(what), &[&id]).await.map_err(writing(what))?;
    }
    target.batch_execute(SETTINGS).await.map_err(writing("the session's settings"))?;
    let preparing = |source| CopyError::Source { store: name.clone(), table: "settings", source };
    source.client.batch_execute(READING).await.map_err(preparing)?;
    super::keys::store(source, target, sql, config, scope).await?;
    let expected = expected_rows(source.client, config, scope).await;
    let mut progress = Progress { rows: 0, expected, told: Instant::now(), tell };
    (progress.tell)(0, expected);
    let mut odd = Vec::new();
    for (table, template) in named(COPIES) {
        if table == TableKind::Sale.name() {
            odd = sales::copy(source, target, sql, config, scope, &template, &mut progress).await?;
        } else {
            let query = render(&template, scope, config)?;
            copy_table(source, target, config, scope, table, &query, &mut progress).await?;
        }
    }
    (progress.tell)(progress.rows, expected);
    // With a sale that no report can hold the copy fails below, and says which.
    if kept > 0 && odd.is_empty() {
        target.execute(sql.text("restore_costs"), &[&id]).await.map_err(writing("its unit costs"))?;
        gather_anew(target, sql, scope).await?;
    }
    target.execute(sql.text("drop_kept_costs"), &[]).await.map_err(writing("its unit costs"))?;
    // Its locks last until the commit: nothing that the writer runs may want them too.
    analyze(target, sql, &config.state_schema(), FACTS).await.map_err(writing("statistics"))?;
    refuse_unusable(target, sql, config, scope, &odd).await
}

/// Sums, then report rows and dimensions, of one store whose facts are there.
///
/// # Errors
/// See [`CopyError`].
pub async fn build(target: &Client, sql: &Statements, config: &Config, scope: &TenantScope) -> Result<(), CopyError> {
    let id = scope.tenant_id.0;
    let built = async {
        dimensions(target, sql, id).await?;
        sums(target, sql, id).await?;
        analyze(target, sql, &config.state_schema(), SUMS).await?;
        target.batch_execute(SHOWING).await?;
        let shown: bool = target.query_one(sql.text("has_product_performance"), &[&id]).await?.try_get(0)?;
        if shown {
            show_days(target, sql, "show_days_of_product_performance", id).await?;
        } else {
            // By far the most rows: with none to compare with they are written at half the cost.
            target.execute(sql.text("build_product_performance"), &[&id]).await?;
        }
        show_days(target, sql, "show_days_of_daily_sales", id).await?;
        show_live(target, sql, id).await?;
        analyze(target, sql, &config.target.schema, REPORTS).await
    };
    let writing = |source| CopyError::Target { store: scope.name.clone(), what: "the reports", source };
    built.await.map_err(writing)
}

/// Statistics of those of the tables that have outgrown theirs: with many stores not every copy pays for them.
async fn analyze(
    target: &Client,
    sql: &Statements,
    schema: &str,
    tables: &[&str],
) -> Result<(), tokio_postgres::Error> {
    let rows = target.query(sql.text("outgrown"), &[&schema, &tables]).await?;
    let tables = rows.iter().map(|row| Ok(qualified(schema, row.try_get(0)?)));
    let tables = tables.collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
    match tables.is_empty() {
        true => Ok(()),
        false => target.batch_execute(&format!("ANALYZE {}", tables.join(", "))).await,
    }
}

/// A statement that brings rows out of the source, and one that takes them.
fn passage(config: &Config, scope: &TenantScope, table: &str, query: &str) -> (String, String) {
    let from = format!("COPY (SELECT {}::integer, q.* FROM ({query}) q) TO STDOUT (FORMAT binary)", scope.tenant_id);
    (from, format!("COPY {} FROM STDIN (FORMAT binary)", qualified(&config.state_schema(), table)))
}

/// What the sales come to that are stored, instead of what was gathered.
async fn gather_anew(target: &Client, sql: &Statements, scope: &TenantScope) -> Result<(), CopyError> {
    let writing = |source| CopyError::Target { store: scope.name.clone(), what: "its sums", source };
    Gathered::end(target, sql, scope.tenant_id).await.map_err(writing)?;
    target.execute(sql.text("clear_sums"), &[&scope.tenant_id.0]).await.map_err(writing)?;
    match Gathered::stored(target, sql, scope.tenant_id, scope.horizon).await {
        Ok(()) => Ok(()),
        Err(ApplyError::Database(e)) => Err(writing(e)),
        Err(e) => Err(CopyError::Unusable(e.to_string())),
    }
}

/// Streams one table's facts from source to target, as PostgreSQL's own binary rows.
async fn copy_table(
    source: &Snapshot<'_>,
    target: &Client,
    config: &Config,
    scope: &TenantScope,
    table: &'static str,
    query: &str,
    progress: &mut Progress<impl Fn(u64, u64) + Send>,
) -> Result<(), CopyError> {
    let store = || scope.name.clone();
    let reading = |e| CopyError::Source { store: store(), table, source: e };
    let writing = |e| CopyError::Target { store: store(), what: table, source: e };
    let (from, to) = passage(config, scope, table, query);
    let rows = source.client.copy_out(&from).await.map_err(reading)?;
    let sink = target.copy_in::<_, Bytes>(&to).await.map_err(writing)?;
    pin_mut!(rows);
    pin_mut!(sink);
    while let Some(row) = rows.try_next().await.map_err(reading)? {
        sink.feed(row).await.map_err(writing)?;
        progress.row();
    }
    sink.finish().await.map_err(writing)?;
    Ok(())
}

/// NaN, infinity and what is too large for the reports, `odd_sales` among it: named by table and key, never by value.
async fn refuse_unusable(
    target: &Client,
    sql: &Statements,
    config: &Config,
    scope: &TenantScope,
    odd_sales: &[i64],
) -> Result<(), CopyError> {
    let checking = |source| CopyError::Target { store: scope.name.clone(), what: "a check of the values", source };
    let rows = target.query(sql.text("find_unusable"), &[&scope.tenant_id.0, &odd_sales]).await.map_err(checking)?;
    let named = |row: &tokio_postgres::Row| -> Result<String, tokio_postgres::Error> {
        let (kind, id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let mapped = config.mapping.tables.iter().find(|(known, _)| known.name() == kind);
        let table = mapped.map_or(kind.as_str(), |(_, mapped)| mapped.table.as_str());
        // A sale is kept as one row with what belongs to it.
        let parts = if kind == TableKind::Sale.name() { " or an item or payment of it" } else { "" };
        Ok(format!("{}.{table} row {id}{parts}", scope.name))
    };
    let bad = rows.iter().map(named).collect::<Result<Vec<_>, _>>().map_err(checking)?;
    if bad.is_empty() {
        return Ok(());
    }
    Err(CopyError::Unusable(format!(
        "values that no report can hold (NaN, infinite, 10^16 and more, or of more than 28 digits): {}",
        bad.join(", ")
    )))
}

/// The dimensions of a tenant as its facts have them. Comes back: how many rows changed.
pub async fn dimensions(target: &Client, sql: &Statements, id: i32) -> Result<u64, tokio_postgres::Error> {
    let mut changed = 0;
    for statement in ["show_dimension_products", "show_dimension_customers"] {
        changed += target.execute(sql.text(statement), &[&id]).await?;
    }
    Ok(changed)
}

/// The sums of one tenant whose facts are there and whose sums are not, from what was gathered of its sales, which is given up.
pub async fn sums(target: &Client, sql: &Statements, id: i32) -> Result<(), tokio_postgres::Error> {
    for statement in
        ["build_product_days", "build_customer_days", "build_customer_totals", "build_inventory", "build_daily"]
    {
        target.execute(&gather::of_tenant(sql, statement, TenantId(id)), &[&id]).await?;
    }
    Gathered::end(target, sql, TenantId(id)).await
}

/// Writes every report row of a tenant anew; comes back: how many rows changed.
pub async fn show(target: &Client, sql: &Statements, id: i32) -> Result<i64, tokio_postgres::Error> {
    let mut changed = show_live(target, sql, id).await?;
    for statement in ["show_days_of_daily_sales", "show_days_of_product_performance"] {
        changed += show_days(target, sql, statement, id).await?;
    }
    Ok(changed)
}

/// Daily or product rows of all days.
async fn show_days(
    target: &Client,
    sql: &Statements,
    statement: &'static str,
    id: i32,
) -> Result<i64, tokio_postgres::Error> {
    // chrono's first and last days are beyond PostgreSQL's.
    let first = BusinessDay::from_ymd_opt(-4000, 1, 1).unwrap_or_default();
    let last = BusinessDay::from_ymd_opt(200_000, 1, 1).unwrap_or_default();
    target.query_one(sql.text(statement), &[&id, &first, &last]).await?.try_get(0)
}

/// Live customer and today's inventory rows.
async fn show_live(target: &Client, sql: &Statements, id: i32) -> Result<i64, tokio_postgres::Error> {
    let mut changed = 0;
    for statement in ["show_all_customer_analytics", "show_all_inventory"] {
        changed += target.query_one(sql.text(statement), &[&id]).await?.try_get::<_, i64>(0)?;
    }
    Ok(changed)
}

/// Rows of facts that the source's own statistics promise; 0 where it has none yet. Items and payments are in their sale's
/// row, and the stock's ledger has 64 entries in one, see facts.sql.
async fn expected_rows(source: &Transaction<'_>, config: &Config, scope: &TenantScope) -> u64 {
    let names = |wanted: fn(TableKind) -> bool| -> Vec<&str> {
        let tables = config.mapping.tables.iter();
        let read = tables.filter(|(kind, _)| scope.has.contains(kind) && wanted(**kind));
        read.map(|(_, t)| t.table.as_str()).collect()
    };
    let is_block = |kind| kind == TableKind::StockMovement;
    let is_row = |kind| !matches!(kind, TableKind::SaleItem | TableKind::Payment | TableKind::StockMovement);
    let query = "SELECT coalesce(sum(greatest(c.reltuples, 0) / CASE WHEN c.relname = ANY ($3) THEN 64 ELSE 1 END), 0)::bigint \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = ANY ($2 || $3)";
    let row = source.query_one(query, &[&scope.name, &names(is_row), &names(is_block)]).await;
    row.ok().and_then(|row| row.try_get::<_, i64>(0).ok()).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// Counts rows, and tells now and then.
struct Progress<F> {
    rows: u64,
    expected: u64,
    told: Instant,
    tell: F,
}

impl<F: Fn(u64, u64)> Progress<F> {
    fn row(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(4096) && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            (self.tell)(self.rows, self.expected);
        }
    }
}

/// Opens a source transaction that sees what an exported snapshot sees.
pub async fn inside<'a>(client: &'a mut Client, snapshot: &str) -> Result<Transaction<'a>, tokio_postgres::Error> {
    let transaction =
        client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
    transaction.batch_execute(&format!("SET TRANSACTION SNAPSHOT '{}'", snapshot.replace('\'', "''"))).await?;
    Ok(transaction)
}
