//! Recomputes every report row of a store from its POS tables and compares, apart from the way rows are kept live.
//!
//! ```text
//! source transaction ─ sql/verify/*.sql ─> expected rows ─┐
//!                                                          ├─ merge by key ─> differences, counts
//! target transaction ─ report tables ────> found rows ────┘
//! ```
//! Both transactions must stand at the same WAL position: the caller's business. This module never writes to the
//! target and never reads the views or sums of the live path; of what the daemon keeps it takes alone what no POS table
//! remembers: the frozen unit costs, and the numbers given to keys that are text.

mod compare;
mod costs;
pub mod keys;
mod logical;
mod report;
pub mod sql;
mod table;

use std::collections::BTreeSet;

use chrono_tz::Tz;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

pub use report::{Difference, ReportTable, TableCount, TenantResult};
pub use sql::{RenderError, render};

use crate::config::{Config, StockSource, TableKind};
use crate::domain::{BusinessDay, TenantId};
use crate::facts::Forms;

/// One store as it stands at the position compared.
#[derive(Debug, Clone)]
pub struct TenantScope {
    /// Its name and the name of its schema in the POS database.
    pub name: String,
    pub tenant_id: TenantId,
    pub zone: Tz,
    /// The local day that its live rows carry.
    pub today: BusinessDay,
    /// No report row is dated before it.
    pub horizon: BusinessDay,
    /// `Auto` is the ledger where `has` names it, else the batches.
    pub stock_source: StockSource,
    /// The tables that this store has; all others are read as empty.
    pub has: BTreeSet<TableKind>,
    /// Which of its columns are not read just as they are.
    pub forms: Forms,
    /// Which of the others never hold a NULL. Nothing depends on it but the server's plans: of a bare column it knows how
    /// many values there are, and that an index has them in order.
    pub filled: BTreeSet<(TableKind, &'static str)>,
}

/// Every key of the store that the POS keeps as text: (whose key, key). `None`: it has none.
///
/// # Errors
/// A name that cannot be written in SQL.
pub fn text_keys_sql(tenant: &TenantScope, cfg: &Config) -> Result<Option<String>, RenderError> {
    logical::text_keys(tenant, cfg)
}

/// A comparison could not be made (which is not the same as one that found differences).
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("reading {what} of {tenant}")]
    Read { what: String, tenant: String, source: tokio_postgres::Error },
    #[error("preparing the {side} transaction")]
    Prepare { side: &'static str, source: tokio_postgres::Error },
    #[error(
        "a temporary table is needed on the source for what was kept of items and keys; \
         let its role have one: GRANT TEMPORARY ON DATABASE … TO …"
    )]
    TemporaryTable(#[source] tokio_postgres::Error),
    #[error("copying the numbers of the keys of {tenant}")]
    Keys { tenant: String, source: tokio_postgres::Error },
    #[error("copying the kept unit costs of {tenant}")]
    Costs { tenant: String, source: tokio_postgres::Error },
}

impl VerifyError {
    /// Of a statement that makes a temporary table on the source.
    fn temporary(error: tokio_postgres::Error) -> VerifyError {
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE | &SqlState::READ_ONLY_SQL_TRANSACTION) => {
                VerifyError::TemporaryTable(error)
            }
            _ => VerifyError::Prepare { side: "source", source: error },
        }
    }
}

/// Holds every report row of one store to its POS tables and gives each difference to `sink`, in key order by table.
///
/// `source` must allow writes (for a temporary table); nothing of the POS is written. Memory stays bounded whatever
/// the number of rows. Rows of past days in inventory_snapshot and customer_analytics are history and not compared.
///
/// # Errors
/// When either side cannot be read or the temporary table cannot be made. Differences are not errors.
pub async fn compare_tenant(
    source: &Transaction<'_>,
    target: &Transaction<'_>,
    cfg: &Config,
    tenant: &TenantScope,
    sink: &mut (dyn FnMut(Difference) + Send),
) -> Result<TenantResult, VerifyError> {
    for (side, transaction) in [("source", source), ("target", target)] {
        // Dates are compared as text; planning such a query costs less than compiling it.
        // Floating-point numbers are read as they are printed in full.
        let settings = "SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 3; SET LOCAL jit = off; \
                        SET LOCAL client_min_messages = warning";
        transaction.batch_execute(settings).await.map_err(|source| VerifyError::Prepare { side, source })?;
    }
    costs::bring_to_source(source, target, cfg, tenant).await?;
    keys::bring_to_source(source, target.client(), cfg, tenant).await?;
    let mut result = TenantResult::default();
    for table in ReportTable::ALL {
        let count = compare::compare_table(source, target, cfg, tenant, table, sink).await?;
        result.tables.insert(table, count);
    }
    Ok(result)
}
