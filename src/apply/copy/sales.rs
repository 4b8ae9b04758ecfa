//! Sales on their way from the POS to their table, added up as they pass.

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use tokio_postgres::Client;

use super::gather::Gathered;
use super::row::{self, PassingSale};
use super::{CopyError, Progress, Snapshot, passage};
use crate::apply::Statements;
use crate::config::{Config, TableKind};
use crate::verify::{TenantScope, render};

/// So many sales are named that no report can hold.
const NAMED: usize = 5;
/// Sales with what belongs to them. Joined like this they come in the order of their keys, which mostly is that of their
/// days: joined from all three sides they would come out of a hash table.
const SALES: &str = "sale s LEFT JOIN item i ON i.id = s.id LEFT JOIN payment p ON p.id = s.id";
/// Items and payments whose sale is not there.
const HEADLESS: &str =
    "item i FULL JOIN payment p ON p.id = i.id LEFT JOIN sale s ON s.id = coalesce(i.id, p.id) WHERE s.id IS NULL";
const CHILDREN: &str = "SELECT (SELECT count(*) FROM {table sale_item} i) + (SELECT count(*) FROM {table payment} p)";

/// The sales of a store on their way.
struct Sales {
    gathered: Gathered,
    passing: PassingSale,
    /// Items and payments that have passed.
    children: usize,
    /// Some that no report can hold.
    odd: Vec<i64>,
}

impl Sales {
    fn pass(&mut self, row: &[u8]) {
        let read = self.passing.read(row).is_ok();
        let sale = &self.passing.sale;
        self.children += sale.items.len() + sale.payments.len();
        let added = read && self.gathered.add(self.passing.id, sale).is_ok();
        if !added && self.odd.len() < NAMED {
            self.odd.push(self.passing.id);
        }
    }
}

/// Streams the sales, and gathers what they come to while they pass. Comes back: the ids of some that no report can hold.
pub async fn copy(
    source: &Snapshot<'_>,
    target: &Client,
    sql: &Statements,
    config: &Config,
    scope: &TenantScope,
    template: &str,
    progress: &mut Progress<impl Fn(u64, u64) + Send>,
) -> Result<Vec<i64>, CopyError> {
    let table = TableKind::Sale.name();
    let reading = |e| CopyError::Source { store: scope.name.clone(), table, source: e };
    let writing = |e| CopyError::Target { store: scope.name.clone(), what: table, source: e };
    let gathered = Gathered::begin(target, sql, scope.tenant_id, scope.horizon).await.map_err(writing)?;
    let mut sales = Sales { gathered, passing: PassingSale::default(), children: 0, odd: Vec::new() };
    for joined in [SALES, HEADLESS] {
        let (from, to) = passage(config, scope, table, &render(&template.replace("{joined}", joined), scope, config)?);
        let rows = source.client.copy_out(&from).await.map_err(reading)?;
        pin_mut!(rows);
        let mut next = rows.try_next().await.map_err(reading)?.map(row::without_header);
        if next.as_ref().is_some_and(Bytes::is_empty) {
            next = rows.try_next().await.map_err(reading)?;
        }
        next = next.filter(row::is_row);
        while next.is_some() {
            let sink = target.copy_in::<_, Bytes>(&to).await.map_err(writing)?;
            pin_mut!(sink);
            sink.feed(Bytes::from_static(row::HEADER)).await.map_err(writing)?;
            while let Some(row) = next.take_if(|_| !sales.gathered.is_full()) {
                sales.pass(&row);
                sink.feed(row).await.map_err(writing)?;
                progress.row();
                next = rows.try_next().await.map_err(reading)?.filter(row::is_row);
            }
            sink.feed(Bytes::from_static(row::TRAILER)).await.map_err(writing)?;
            sink.finish().await.map_err(writing)?;
            sales.gathered.write(target, sql).await.map_err(writing)?;
        }
        let there = source.client.query_one(&render(CHILDREN, scope, config)?, &[]).await.map_err(reading)?;
        let there: i64 = there.try_get(0).map_err(reading)?;
        // To look for those of no sale takes as long as to read them all.
        if usize::try_from(there) == Ok(sales.children) {
            break;
        }
    }
    Ok(sales.odd)
}
