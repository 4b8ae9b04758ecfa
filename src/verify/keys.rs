//! Brings the numbers of keys that the POS keeps as text to the source connection, where copy and recomputation join them.

use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::{Client, Transaction};

use super::sql::{RenderError, identifier, literal};
use super::{TenantScope, VerifyError};
use crate::config::{Config, TableKind};
use crate::facts::Form;

/// Fills the temporary table `tillstream_key` of `source`'s session, until its transaction ends. Nothing to do for a store
/// whose keys are all numbers.
///
/// # Errors
/// The temporary table cannot be made, or either side cannot be read.
pub async fn bring_to_source(
    source: &Transaction<'_>,
    target: &Client,
    cfg: &Config,
    tenant: &TenantScope,
) -> Result<(), VerifyError> {
    if !has_text_keys(tenant) {
        return Ok(());
    }
    let create = "DROP TABLE IF EXISTS pg_temp.tillstream_key; \
                  CREATE TEMPORARY TABLE tillstream_key (kind text COLLATE \"C\", key text COLLATE \"C\", id bigint, \
                  PRIMARY KEY (kind, key)) ON COMMIT DROP";
    source.batch_execute(create).await.map_err(VerifyError::temporary)?;
    let kept = format!(
        "COPY (SELECT k.kind, k.key, k.id FROM {}.source_key k WHERE k.tenant_id = {}) TO STDOUT",
        identifier(&cfg.state_schema())?,
        tenant.tenant_id
    );
    copy(source, target, &kept).await.map_err(|source| VerifyError::Keys { tenant: tenant.name.clone(), source })
}

pub fn has_text_keys(tenant: &TenantScope) -> bool {
    tenant.forms.values().any(|form| *form == Form::Text)
}

async fn copy(source: &Transaction<'_>, target: &Client, kept: &str) -> Result<(), tokio_postgres::Error> {
    let rows = target.copy_out(kept).await?;
    let table = source.copy_in("COPY pg_temp.tillstream_key (kind, key, id) FROM STDIN").await?;
    pin_mut!(rows, table);
    while let Some(chunk) = rows.try_next().await? {
        table.feed(chunk).await?;
    }
    table.finish().await?;
    source.batch_execute("ANALYZE pg_temp.tillstream_key").await
}

/// What is joined for the number of the key `column` of a row of `kind`.
pub(super) fn join(alias: &str, kind: TableKind, column: &str) -> Result<String, RenderError> {
    let kind = literal(kind.name())?;
    Ok(format!(
        "pg_temp.tillstream_key {alias} ON {alias}.kind = {kind} AND {alias}.key = ({column}::text COLLATE \"C\")"
    ))
}
