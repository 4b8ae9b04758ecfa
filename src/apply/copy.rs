//! The first copy of a store: POS tables as of an exported snapshot -> base facts -> sums -> report rows, all in bulk and
//! in one target transaction, so that a store is either wholly copied at the snapshot's position or not at all.
//!
//! ```text
//! facts (reads the source) ── finish (sums, report rows) ── the writer stands between two batches ── hand_over ── COMMIT
//! ```
//! # Why the hand-over is exact
//! The copy holds all that committed before X. Meanwhile the writer has gone on to P for the others. The transaction that
//! makes the copy visible also takes the position back to X, where X < P, and sets every other store's floor to P: the
//! stream is read again from X, and each store skips what it has, by commit position. So nothing is lost or doubled,
//! whichever of X and P is further on, and a crash on either side of the commit finds a state that holds by itself.

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
const TELL_EVERY: Duration = Duration::from_secs(1);

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
    #[error("the stored position is no longer {0}: another process wrote it; only one daemon may write these reports")]
    Moved(Lsn),
}

/// What a copy that failed says of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its rows or our privileges: it is set aside until somebody has put it right.
    Unusable,
    /// Its tables were changed meanwhile: look again.
    Changed,
    /// Nothing: try again.
    Innocent,
}

impl CopyError {
    /// Worth another try as it is: a connection was lost, not a statement refused.
    pub fn is_transient(&self) -> bool {
        match self {
            CopyError::Source { source, .. } | CopyError::Target { source, .. } => {
                crate::engine::error::lost_connection(source)
            }
            CopyError::Render(_) | CopyError::Unusable(_) | CopyError::Moved(_) => false,
        }
    }

    pub fn verdict(&self) -> Verdict {
        let (source, reading) = match self {
            CopyError::Unusable(_) => return Verdict::Unusable,
            CopyError::Render(_) | CopyError::Moved(_) => return Verdict::Innocent,
            CopyError::Source { source, .. } => (source, true),
            CopyError::Target { source, .. } => (source, false),
        };
        match source.code().map_or("", |code| code.code()) {
            // A value that does not fit, wherever that came out.
            code if code.starts_with("22") => Verdict::Unusable,
            // Undefined table, column or schema; a column of another type.
            "42P01" | "42703" | "3F000" | "42883" | "42804" | "42846" | "0A000" if reading => Verdict::Changed,
            "42501" if reading => Verdict::Unusable,
            _ => Verdict::Innocent,
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
}

/// Reads one store's facts into `target`'s transaction. After it the source is not needed any more. `tell` hears how
/// many rows have come and how many are expected (0: unknown).
///
/// # Errors
/// See [`CopyError`]; nothing is kept then.
pub async fn facts(
    source: &Snapshot<'_>,
    target: &Transaction<'_>,
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
    }
    target
        .batch_execute(
            "SET LOCAL work_mem = '128MB'; SET LOCAL jit = off; \
             CREATE TEMP TABLE tillstream_product (id bigint, name text, sku text, barcode text, is_active boolean) ON COMMIT DROP",
        )
        .await
        .map_err(writing("a temporary table"))?;
    let expected = expected_rows(source.client, config, scope).await;
    let mut progress = Progress { rows: 0, expected, told: Instant::now(), tell };
    (progress.tell)(0, expected);
    for (table, template) in named(COPIES) {
        let query = render(&template, scope, config)?;
        copy_table(source, target, config, scope, table, &query, &mut progress).await?;
    }
    (progress.tell)(progress.rows, expected);
    refuse_unusable(target, sql, id, &new.name).await
}

/// Builds sums and report rows from the facts.
///
/// # Errors
/// See [`CopyError`].
pub async fn finish(target: &Transaction<'_>, sql: &Statements, scope: &TenantScope) -> Result<(), CopyError> {
    let writing = |source| CopyError::Target { store: scope.name.clone(), what: "the reports", source };
    build(target, sql, scope.tenant_id.0).await.map_err(writing)
}

/// Makes the copy part of the reports; the caller commits. `position`: where the copy was made. `stored`: where the
/// writer stands, between two batches. Comes back: where to read the stream on from.
///
/// # Errors
/// [`CopyError::Target`]; [`CopyError::Moved`] where the writer does not stand there.
pub async fn hand_over(
    target: &Transaction<'_>,
    sql: &Statements,
    scope: &TenantScope,
    position: Lsn,
    stored: Lsn,
) -> Result<Lsn, CopyError> {
    let writing = |source| CopyError::Target { store: scope.name.clone(), what: "the hand-over", source };
    let back = position.min(stored);
    target.execute(sql.text("synchronize_tenant"), &[&scope.name, &position]).await.map_err(writing)?;
    target.execute(sql.text("raise_floors"), &[&scope.tenant_id.0, &stored]).await.map_err(writing)?;
    let none: Option<crate::domain::Instant> = None;
    let moved = target.query(sql.text("move_position"), &[&stored, &back, &none]).await.map_err(writing)?;
    if moved.is_empty() {
        return Err(CopyError::Moved(stored));
    }
    // The stream is opened there, which confirms it: it has to be on disk.
    target.batch_execute("SET LOCAL synchronous_commit = on").await.map_err(writing)?;
    Ok(back)
}

/// Streams one table's facts from source to target, as PostgreSQL's own binary rows.
async fn copy_table(
    source: &Snapshot<'_>,
    target: &Transaction<'_>,
    config: &Config,
    scope: &TenantScope,
    table: &'static str,
    query: &str,
    progress: &mut Progress<impl Fn(u64, u64) + Send>,
) -> Result<(), CopyError> {
    let store = || scope.name.clone();
    let reading = |e| CopyError::Source { store: store(), table, source: e };
    let writing = |e| CopyError::Target { store: store(), what: table, source: e };
    let (from, to) = if table == "tillstream_product" {
        (format!("COPY ({query}) TO STDOUT (FORMAT binary)"), format!("COPY {table} FROM STDIN (FORMAT binary)"))
    } else {
        let id = scope.tenant_id;
        (
            format!("COPY (SELECT {id}::integer, q.* FROM ({query}) q) TO STDOUT (FORMAT binary)"),
            format!("COPY {} FROM STDIN (FORMAT binary)", qualified(&config.state_schema(), table)),
        )
    };
    let rows = source.client.copy_out(&from).await.map_err(reading)?;
    let sink = target.copy_in::<_, bytes::Bytes>(&to).await.map_err(writing)?;
    pin_mut!(rows);
    pin_mut!(sink);
    while let Some(row) = rows.try_next().await.map_err(reading)? {
        sink.feed(row).await.map_err(writing)?;
        progress.row();
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
        .filter_map(|row| Some(format!("{} row {}", row.try_get::<_, String>(0).ok()?, row.try_get::<_, i64>(1).ok()?)))
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(CopyError::Unusable(format!(
        "values that no report can hold (NaN, infinite, or 10^16 and more): {}",
        bad.join(", ")
    )))
}

/// Sums, then report rows and dimensions, of one tenant whose facts are there.
async fn build(target: &Transaction<'_>, sql: &Statements, id: i32) -> Result<(), tokio_postgres::Error> {
    for statement in ["show_dimension_products", "show_dimension_customers"] {
        target.execute(sql.text(statement), &[&id]).await?;
    }
    sums(target, sql, id).await?;
    // Its locks last until the commit: nothing that the writer runs may want them too.
    target.batch_execute(sql.text("analyze")).await?;
    show(target, sql, id, BusinessDay::MIN, BusinessDay::MAX).await?;
    Ok(())
}

/// The sums of one tenant whose facts are there and whose sums are not.
pub async fn sums(target: &Transaction<'_>, sql: &Statements, id: i32) -> Result<(), tokio_postgres::Error> {
    for statement in
        ["build_product_days", "build_customer_days", "build_customer_totals", "build_stock", "build_daily"]
    {
        target.execute(sql.text(statement), &[&id]).await?;
    }
    Ok(())
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
