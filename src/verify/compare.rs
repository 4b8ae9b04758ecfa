//! Merges the rows that should be there with the rows that are, both streamed in key order.

use std::cmp::Ordering;
use std::pin::Pin;

use chrono::{Days, NaiveDate};
use futures_util::TryStreamExt;
use tokio_postgres::{Row, RowStream, Transaction};

use super::table::Layout;
use super::{Difference, ReportTable, TableCount, TenantScope, VerifyError};
use crate::config::Config;

/// Compares one table of one store; see [`super::compare_tenant`].
pub(super) async fn compare_table(
    source: &Transaction<'_>,
    target: &Transaction<'_>,
    cfg: &Config,
    tenant: &TenantScope,
    table: ReportTable,
    sink: &mut (dyn FnMut(Difference) + Send),
) -> Result<TableCount, VerifyError> {
    let layout = table.layout();
    let read_error = |what: String| move |source| VerifyError::Read { what, tenant: tenant.name.clone(), source };
    let expected_error = || read_error(format!("the rows that {table} should have"));
    let found_error = || read_error(format!("the rows of {table}"));

    let mut expected = Side::open(source, &table.expected_sql(tenant, cfg)?).await.map_err(expected_error())?;
    let mut found = Side::open(target, &table.found_sql(tenant, cfg)?).await.map_err(found_error())?;
    let mut report = Reporter { table, layout, tenant, count: TableCount::default(), sink };

    loop {
        let order = match (&expected.head, &found.head) {
            (None, None) => return Ok(report.count),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(e), Some(f)) => e.key().cmp(&f.key()),
        };
        let (e, f) = (
            if order.is_le() { expected.take().await.map_err(expected_error())? } else { None },
            if order.is_ge() { found.take().await.map_err(found_error())? } else { None },
        );
        match (e, f) {
            (Some(e), Some(f)) => report.both(&e, &f),
            (Some(e), None) => report.missing(&e),
            (None, Some(f)) => report.extra(&f),
            (None, None) => {}
        }
    }
}

/// One row of either side: its key, a flag (expected: required; found: not deleted), its columns as text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: i64,
    /// Days since 2000-01-01.
    day: i32,
    flag: bool,
    values: Vec<Option<String>>,
}

impl Entry {
    fn read(row: &Row) -> Result<Entry, tokio_postgres::Error> {
        let values = (3..row.len()).map(|i| row.try_get(i)).collect::<Result<_, _>>()?;
        Ok(Entry { id: row.try_get(0)?, day: row.try_get(1)?, flag: row.try_get(2)?, values })
    }

    fn key(&self) -> (i64, i32) {
        (self.id, self.day)
    }
}

/// A stream of rows with the next one in hand. Rows not yet asked for stay in the server: the client takes them from
/// the socket only as fast as they are taken from here.
struct Side {
    rows: Pin<Box<RowStream>>,
    head: Option<Entry>,
}

impl Side {
    async fn open(transaction: &Transaction<'_>, sql: &str) -> Result<Side, tokio_postgres::Error> {
        let rows = transaction.query_raw(sql, Vec::<i32>::new()).await?;
        let mut side = Side { rows: Box::pin(rows), head: None };
        side.take().await?;
        Ok(side)
    }

    /// The row in hand; the following one takes its place.
    async fn take(&mut self) -> Result<Option<Entry>, tokio_postgres::Error> {
        let next = self.rows.try_next().await?.as_ref().map(Entry::read).transpose()?;
        Ok(std::mem::replace(&mut self.head, next))
    }
}

struct Reporter<'a> {
    table: ReportTable,
    layout: &'static Layout,
    tenant: &'a TenantScope,
    count: TableCount,
    sink: &'a mut (dyn FnMut(Difference) + Send),
}

impl Reporter<'_> {
    fn both(&mut self, expected: &Entry, found: &Entry) {
        self.count.rows += 1;
        let before = self.count.differences;
        for ((column, e), f) in self.layout.columns.iter().zip(&expected.values).zip(&found.values) {
            if e != f {
                self.tell(expected, Some(column), e.clone(), f.clone());
            }
        }
        self.count.differing_rows += u64::from(self.count.differences > before);
    }

    fn missing(&mut self, expected: &Entry) {
        if expected.flag {
            self.count.rows += 1;
            self.count.differing_rows += 1;
            self.tell(expected, None, Some(self.whole(expected)), None);
        }
    }

    fn extra(&mut self, found: &Entry) {
        if found.flag {
            self.count.rows += 1;
            self.count.differing_rows += 1;
            self.tell(found, None, None, Some(self.whole(found)));
        }
    }

    fn whole(&self, entry: &Entry) -> String {
        let pairs = self.layout.columns.iter().zip(&entry.values);
        pairs.map(|(c, v)| format!("{c}={}", v.as_deref().unwrap_or("null"))).collect::<Vec<_>>().join(", ")
    }

    fn tell(&mut self, entry: &Entry, column: Option<&'static str>, expected: Option<String>, found: Option<String>) {
        self.count.differences += 1;
        let date = self.layout.day.and_then(|_| date(entry.day));
        let id = self.layout.id.map(|_| entry.id);
        let mut key = self.tenant.name.clone();
        if let Some(date) = date {
            key.push_str(&format!(" {date}"));
        }
        if let Some(id) = id {
            key.push_str(&format!(" {} {id}", self.layout.noun));
        }
        (self.sink)(Difference { table: self.table, key, date, id, column, expected, found });
    }
}

/// The date `days` after 2000-01-01, `None` where it is beyond what chrono can hold.
fn date(days: i32) -> Option<NaiveDate> {
    let start = NaiveDate::from_ymd_opt(2000, 1, 1)?;
    let distance = Days::new(u64::from(days.unsigned_abs()));
    if days < 0 { start.checked_sub_days(distance) } else { start.checked_add_days(distance) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn counts_days_as_postgres_does() {
        assert_eq!(date(0).unwrap().to_string(), "2000-01-01");
        assert_eq!(date(-1).unwrap().to_string(), "1999-12-31");
        assert_eq!(date(9822).unwrap().to_string(), "2026-11-22");
        assert_eq!(date(i32::MAX), None);
    }
}
