//! Numbers for keys that the POS keeps as text or UUID: given once, in the transaction that first needs them, and kept for
//! the life of the store, whatever becomes of the rows. A store that is copied anew finds the numbers its keys have.

use foldhash::HashMap;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::Client;

use super::batch::Step;
use super::copy::{CopyError, Snapshot};
use super::statements::Statements;
use crate::config::{Config, TableKind};
use crate::domain::TenantId;
use crate::facts::change::Place;
use crate::facts::plan::MAX_KEY_BYTES;
use crate::verify::{TenantScope, VerifyError, keys, text_keys_sql};

/// Puts their numbers into the changes that lack them. New keys get new numbers.
///
/// # Errors
/// What the server says.
pub async fn resolve(client: &Client, sql: &mut Statements, steps: &mut [Step]) -> Result<(), tokio_postgres::Error> {
    let mut wanted: HashMap<(TenantId, TableKind, Box<str>), usize> = HashMap::default();
    let mut places: Vec<(usize, Vec<(Place, usize)>)> = Vec::new();
    for (at, step) in steps.iter_mut().enumerate() {
        let Step::Keyed(tenant, keyed) = step else { continue };
        let of_step = std::mem::take(&mut keyed.1).into_iter().map(|key| {
            let next = wanted.len();
            (key.place, *wanted.entry((*tenant, key.kind, key.text)).or_insert(next))
        });
        places.push((at, of_step.collect()));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut keys: Vec<_> = wanted.into_iter().map(|(key, at)| (at, key)).collect();
    keys.sort_unstable_by_key(|(at, _)| *at);
    let tenants: Vec<i32> = keys.iter().map(|(_, (tenant, ..))| tenant.0).collect();
    let kinds: Vec<&str> = keys.iter().map(|(_, (_, kind, _))| kind.name()).collect();
    let texts: Vec<&str> = keys.iter().map(|(_, (.., text))| &**text).collect();
    sql.prepare(client, &["number_keys"]).await?;
    let rows = sql.query(client, "number_keys", &[&tenants, &kinds, &texts]).await?;
    let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    for (at, of_step) in places {
        let Some(step) = steps.get_mut(at) else { continue };
        let Step::Keyed(tenant, keyed) = std::mem::replace(step, Step::Commit) else { continue };
        let mut change = keyed.0;
        for (place, key) in of_step {
            if let Some(number) = numbers.get(key) {
                change.put_key(place, *number);
            }
        }
        *step = Step::Change(tenant, change);
    }
    Ok(())
}

/// Numbers every key of a store that is being copied, and brings the numbers to the source, where the copy joins them.
///
/// # Errors
/// See [`CopyError`].
pub(super) async fn store(
    source: &Snapshot<'_>,
    target: &Client,
    sql: &Statements,
    config: &Config,
    scope: &TenantScope,
) -> Result<(), CopyError> {
    const WHAT: &str = "the numbers of its keys";
    let Some(query) = text_keys_sql(scope, config)? else { return Ok(()) };
    let reading = |source| CopyError::Source { store: scope.name.clone(), table: WHAT, source };
    let writing = |source| CopyError::Target { store: scope.name.clone(), what: WHAT, source };
    target.batch_execute(sql.text("make_copied_keys")).await.map_err(writing)?;
    let found = source.client.copy_out(&format!("COPY ({query}) TO STDOUT")).await.map_err(reading)?;
    let table = target.copy_in("COPY pg_temp.tillstream_copied_key FROM STDIN").await.map_err(writing)?;
    pin_mut!(found, table);
    while let Some(chunk) = found.try_next().await.map_err(reading)? {
        table.feed(chunk).await.map_err(writing)?;
    }
    table.finish().await.map_err(writing)?;
    let longest = i32::try_from(MAX_KEY_BYTES).unwrap_or(i32::MAX);
    if let Some(row) = target.query_opt(sql.text("find_long_key"), &[&longest]).await.map_err(writing)? {
        let kind: String = row.try_get(0).map_err(writing)?;
        return Err(CopyError::Unusable(format!("the key of a {kind} has more than {MAX_KEY_BYTES} bytes")));
    }
    target.execute(sql.text("number_copied_keys"), &[&scope.tenant_id.0]).await.map_err(writing)?;
    keys::bring_to_source(source.client, target, config, scope).await.map_err(|e| match e {
        VerifyError::Prepare { source, .. } | VerifyError::Keys { source, .. } => reading(source),
        other => CopyError::Unusable(other.to_string()),
    })
}
