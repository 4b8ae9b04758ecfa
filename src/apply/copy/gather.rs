//! The sums of a store as a whole, gathered from its sales one after the other: what each adds is what the stream would add.
//!
//! ```text
//! sale ─> deltas by key ──(full)──> parts of sums, in tables of this transaction ──(all are there)──> sums  (sums.sql)
//! ```
//! Sales mostly come in the order of their days, so there are hardly more parts than sums.

use std::pin::Pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};

use crate::apply::rows::{ChildRecord, sale_from_row};
use crate::apply::{ApplyError, Statements};
use crate::domain::{BusinessDay, TenantId};
use crate::facts::Sale;
use crate::facts::exact::Inexact;
use crate::facts::working_set::Key;
use crate::reports::Deltas;

/// So many sums, and so many items and payments, are kept in memory: 10 MB and 6 MB.
const SUMS: usize = 50_000;
const CHILDREN: usize = 250_000;
/// After so many rows others have their turn.
const TURN: usize = 500;

pub struct Gathered {
    tenant: TenantId,
    horizon: BusinessDay,
    deltas: Deltas,
    /// With the sale that each came into.
    items: Vec<(Key, i64)>,
    payments: Vec<(Key, i64)>,
}

impl Gathered {
    /// Makes the tables for the parts in the open transaction.
    ///
    /// # Errors
    /// What the server says.
    pub async fn begin(
        target: &Client,
        sql: &Statements,
        tenant: TenantId,
        horizon: BusinessDay,
    ) -> Result<Gathered, Error> {
        target.batch_execute(&of_tenant(sql, "make_gathered", tenant)).await?;
        Ok(Gathered { tenant, horizon, deltas: Deltas::default(), items: Vec::new(), payments: Vec::new() })
    }

    /// The sums of the sales that are stored.
    ///
    /// # Errors
    /// What the server says; figures that cannot be held exactly.
    pub async fn stored(
        target: &Client,
        sql: &Statements,
        tenant: TenantId,
        horizon: BusinessDay,
    ) -> Result<(), ApplyError> {
        let mut gathered = Gathered::begin(target, sql, tenant, horizon).await?;
        target.execute(sql.text("open_sales"), &[&tenant.0]).await?;
        let next = target.prepare(sql.text("next_sales")).await?;
        loop {
            let rows = target.query(&next, &[]).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let (_, id, sale) = sale_from_row(row)?;
                gathered.add(id, &sale).map_err(|e| ApplyError::Refused(tenant, e))?;
            }
            if gathered.is_full() {
                gathered.write(target, sql).await?;
            }
        }
        target.batch_execute("CLOSE sales").await?;
        Ok(gathered.write(target, sql).await?)
    }

    /// # Errors
    /// Figures that cannot be held exactly.
    pub fn add(&mut self, id: i64, sale: &Sale) -> Result<(), Inexact> {
        self.items.extend(sale.items.iter().map(|item| ((self.tenant, item.id), id)));
        self.payments.extend(sale.payments.iter().map(|payment| ((self.tenant, payment.id), id)));
        self.deltas.add(self.tenant, self.horizon, sale)
    }

    /// It is to be written before more is added.
    pub fn is_full(&self) -> bool {
        self.deltas.len() >= SUMS || self.items.len() + self.payments.len() >= CHILDREN
    }

    /// Gives up the tables for the parts, whose rows are no longer wanted.
    ///
    /// # Errors
    /// What the server says.
    pub async fn end(target: &Client, sql: &Statements, tenant: TenantId) -> Result<(), Error> {
        target.batch_execute(&of_tenant(sql, "drop_gathered", tenant)).await
    }

    /// Writes what is gathered, and forgets it.
    ///
    /// # Errors
    /// What the server says.
    pub async fn write(&mut self, target: &Client, sql: &Statements) -> Result<(), Error> {
        let deltas = std::mem::take(&mut self.deltas);
        let mut rows = Rows::into(target, sql, "copy_product_days", self.tenant, PRODUCT_DAY);
        for ((_, product, day), d) in &deltas.product_day {
            rows.put(&[product, day, &d.lines, &d.sales, &d.quantity, &d.revenue, &d.price_sum, &d.cost]).await?;
        }
        rows.end().await?;
        let mut rows = Rows::into(target, sql, "copy_customer_days", self.tenant, CUSTOMER_DAY);
        for ((_, customer, day), d) in &deltas.customer_day {
            rows.put(&[customer, day, &d.sales, &d.spent, &d.credit_sales, &d.credit]).await?;
        }
        rows.end().await?;
        let mut rows = Rows::into(target, sql, "copy_days", self.tenant, DAY);
        for ((_, day), d) in &deltas.daily {
            rows.put(&[
                day,
                &d.sales,
                &d.total,
                &d.discount,
                &d.tax,
                &d.cash,
                &d.card,
                &d.credit,
                &d.other,
                &d.quantity,
                &d.refunds,
                &d.refund_total,
            ])
            .await?;
        }
        rows.end().await?;
        let mut rows = Rows::into(target, sql, "copy_children", self.tenant, CHILD);
        for (kind, children) in [(b'i', &mut self.items), (b'p', &mut self.payments)] {
            for child in ChildRecord::of(kind, std::mem::take(children)) {
                rows.put(&[&child.tenant_id, &child.kind, &child.block, &child.ids, &child.sales]).await?;
            }
        }
        rows.end().await
    }
}

/// A statement about the parts of one store.
pub fn of_tenant(sql: &Statements, name: &'static str, tenant: TenantId) -> String {
    sql.text(name).replace("{tenant}", &tenant.to_string())
}

const PRODUCT_DAY: &[Type] =
    &[Type::INT8, Type::DATE, Type::INT8, Type::INT8, Type::NUMERIC, Type::NUMERIC, Type::NUMERIC, Type::NUMERIC];
const CUSTOMER_DAY: &[Type] = &[Type::INT8, Type::DATE, Type::INT8, Type::NUMERIC, Type::INT8, Type::NUMERIC];
const DAY: &[Type] = &[
    Type::DATE,
    Type::INT8,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::NUMERIC,
    Type::INT8,
    Type::NUMERIC,
];
const CHILD: &[Type] = &[Type::INT4, Type::CHAR, Type::INT8, Type::INT8_ARRAY, Type::INT8_ARRAY];

/// Rows on their way into a table.
struct Rows<'a> {
    target: &'a Client,
    copy: String,
    columns: &'static [Type],
    /// `None` until there is a row: with many small stores most have none.
    writer: Option<Pin<Box<BinaryCopyInWriter>>>,
    put: usize,
}

impl<'a> Rows<'a> {
    fn into(
        target: &'a Client,
        sql: &Statements,
        copy: &'static str,
        tenant: TenantId,
        columns: &'static [Type],
    ) -> Rows<'a> {
        Rows { target, copy: of_tenant(sql, copy, tenant), columns, writer: None, put: 0 }
    }

    async fn put(&mut self, row: &[&(dyn ToSql + Sync)]) -> Result<(), Error> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let sink = self.target.copy_in(&self.copy).await?;
                self.writer.insert(Box::pin(BinaryCopyInWriter::new(sink, self.columns)))
            }
        };
        self.put += 1;
        if self.put.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
        writer.as_mut().write(row).await
    }

    async fn end(self) -> Result<(), Error> {
        match self.writer {
            Some(mut writer) => writer.as_mut().finish().await.map(drop),
            None => Ok(()),
        }
    }
}
