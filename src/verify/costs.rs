//! Brings the frozen unit costs that the daemon keeps to the source connection, where the recomputation joins them.

use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::Transaction;

use super::sql::identifier;
use super::{TenantScope, VerifyError};
use crate::config::Config;

/// Fills the temporary table `tillstream_cost` of `source`'s session, until its transaction ends.
pub(super) async fn bring_to_source(
    source: &Transaction<'_>,
    target: &Transaction<'_>,
    cfg: &Config,
    tenant: &TenantScope,
) -> Result<(), VerifyError> {
    let create = "DROP TABLE IF EXISTS pg_temp.tillstream_cost; \
                  CREATE TEMPORARY TABLE tillstream_cost (item_id bigint PRIMARY KEY, cost numeric) ON COMMIT DROP";
    source.batch_execute(create).await.map_err(VerifyError::temporary)?;
    // An item kept twice is a fault of the kept facts: it must show as a difference, not stop the comparison.
    let kept = format!(
        "COPY (SELECT k.item_id, max(k.cost) FROM {}.sale s, unnest(s.item_ids, s.item_costs) k (item_id, cost) \
         WHERE s.tenant_id = {} AND k.cost IS NOT NULL GROUP BY k.item_id) TO STDOUT",
        identifier(&cfg.state_schema())?,
        tenant.tenant_id
    );
    copy(source, target, &kept).await.map_err(|source| VerifyError::Costs { tenant: tenant.name.clone(), source })
}

async fn copy(source: &Transaction<'_>, target: &Transaction<'_>, kept: &str) -> Result<(), tokio_postgres::Error> {
    let rows = target.copy_out(kept).await?;
    let table = source.copy_in("COPY pg_temp.tillstream_cost (item_id, cost) FROM STDIN").await?;
    pin_mut!(rows, table);
    while let Some(chunk) = rows.try_next().await? {
        table.feed(chunk).await?;
    }
    table.finish().await?;
    source.batch_execute("ANALYZE pg_temp.tillstream_cost").await
}
