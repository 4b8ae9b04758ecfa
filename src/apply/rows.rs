//! Sales, ledger blocks and blocks of children between their entity and their stored row.

use postgres_types::ToSql;
use rust_decimal::Decimal;
use tokio_postgres::Row;

use crate::domain::{BusinessDay, Instant, TenantId};
use crate::facts::entity::{Header, Item, Movement, MovementBlock, Payment, PaymentKind, Sale, SaleStatus};
use crate::facts::exact::Inexact;
use crate::facts::working_set::Key;

/// Children whose ids share all but so many of the lowest bits are one row.
const CHILD_BITS: u32 = 6;

/// A row of `{state}.sale`, written as an array of the table's own row type.
#[derive(Debug, ToSql)]
#[postgres(name = "sale")]
pub struct SaleRecord {
    tenant_id: i32,
    id: i64,
    status: Option<i8>,
    customer_id: Option<i64>,
    completed_at: Option<Instant>,
    day: Option<BusinessDay>,
    total: Decimal,
    discount: Decimal,
    tax: Decimal,
    credit: Option<Decimal>,
    item_ids: Vec<i64>,
    item_products: Vec<i64>,
    item_quantities: Vec<Decimal>,
    item_prices: Vec<Decimal>,
    item_totals: Vec<Decimal>,
    item_costs: Vec<Option<Decimal>>,
    payment_ids: Vec<i64>,
    payment_kinds: Vec<i8>,
    payment_amounts: Vec<Decimal>,
}

fn status_code(status: SaleStatus) -> i8 {
    match status {
        SaleStatus::Completed => b'c' as i8,
        SaleStatus::Refunded => b'r' as i8,
        SaleStatus::Other => b'o' as i8,
    }
}

pub(super) fn status_of(code: i8) -> SaleStatus {
    match code as u8 {
        b'c' => SaleStatus::Completed,
        b'r' => SaleStatus::Refunded,
        _ => SaleStatus::Other,
    }
}

fn kind_code(kind: PaymentKind) -> i8 {
    match kind {
        PaymentKind::Cash => b'c' as i8,
        PaymentKind::Card => b'd' as i8,
        PaymentKind::Credit => b'r' as i8,
        PaymentKind::Other => b'o' as i8,
    }
}

pub(super) fn kind_of(code: i8) -> PaymentKind {
    match code as u8 {
        b'c' => PaymentKind::Cash,
        b'd' => PaymentKind::Card,
        b'r' => PaymentKind::Credit,
        _ => PaymentKind::Other,
    }
}

impl SaleRecord {
    pub fn new(tenant: TenantId, id: i64, sale: &Sale) -> Result<SaleRecord, Inexact> {
        let header = sale.header.as_ref();
        let amount = |f: fn(&Header) -> Decimal| header.map_or(Decimal::ZERO, f);
        Ok(SaleRecord {
            tenant_id: tenant.0,
            id,
            status: header.map(|h| status_code(h.status)),
            customer_id: header.and_then(|h| h.customer),
            completed_at: header.and_then(|h| h.completed_at),
            day: header.and_then(|h| h.day),
            total: amount(|h| h.total),
            discount: amount(|h| h.discount),
            tax: amount(|h| h.tax),
            credit: sale.credit()?,
            item_ids: sale.items.iter().map(|i| i.id).collect(),
            item_products: sale.items.iter().map(|i| i.product).collect(),
            item_quantities: sale.items.iter().map(|i| i.quantity).collect(),
            item_prices: sale.items.iter().map(|i| i.price).collect(),
            item_totals: sale.items.iter().map(|i| i.total).collect(),
            item_costs: sale.items.iter().map(|i| i.cost).collect(),
            payment_ids: sale.payments.iter().map(|p| p.id).collect(),
            payment_kinds: sale.payments.iter().map(|p| kind_code(p.kind)).collect(),
            payment_amounts: sale.payments.iter().map(|p| p.amount).collect(),
        })
    }
}

/// Reads a row of `{state}.sale`, all columns in the order of the table.
pub fn sale_from_row(row: &Row) -> Result<(TenantId, i64, Sale), tokio_postgres::Error> {
    let header = match row.try_get::<_, Option<i8>>(2)? {
        None => None,
        Some(code) => Some(Header {
            status: status_of(code),
            customer: row.try_get(3)?,
            completed_at: row.try_get(4)?,
            day: row.try_get(5)?,
            total: row.try_get(6)?,
            discount: row.try_get(7)?,
            tax: row.try_get(8)?,
        }),
    };
    let ids: Vec<i64> = row.try_get(10)?;
    let products: Vec<i64> = row.try_get(11)?;
    let quantities: Vec<Decimal> = row.try_get(12)?;
    let prices: Vec<Decimal> = row.try_get(13)?;
    let totals: Vec<Decimal> = row.try_get(14)?;
    let costs: Vec<Option<Decimal>> = row.try_get(15)?;
    let items = ids
        .into_iter()
        .zip(products)
        .zip(quantities.into_iter().zip(prices))
        .zip(totals.into_iter().zip(costs))
        .map(|(((id, product), (quantity, price)), (total, cost))| Item { id, product, quantity, price, total, cost })
        .collect();
    let ids: Vec<i64> = row.try_get(16)?;
    let kinds: Vec<i8> = row.try_get(17)?;
    let amounts: Vec<Decimal> = row.try_get(18)?;
    let payments = ids
        .into_iter()
        .zip(kinds.into_iter().zip(amounts))
        .map(|(id, (kind, amount))| Payment { id, kind: kind_of(kind), amount })
        .collect();
    Ok((TenantId(row.try_get(0)?), row.try_get(1)?, Sale { header, items, payments }))
}

/// A row of `{state}.stock_movement`.
#[derive(Debug, ToSql)]
#[postgres(name = "stock_movement")]
pub struct MovementRecord {
    tenant_id: i32,
    block: i64,
    ids: Vec<i64>,
    products: Vec<i64>,
    quantities: Vec<Decimal>,
}

impl MovementRecord {
    pub fn new(tenant: TenantId, number: i64, block: &MovementBlock) -> MovementRecord {
        MovementRecord {
            tenant_id: tenant.0,
            block: number,
            ids: block.entries.iter().map(|m| m.id).collect(),
            products: block.entries.iter().map(|m| m.product).collect(),
            quantities: block.entries.iter().map(|m| m.quantity).collect(),
        }
    }
}

pub fn movements_from_row(row: &Row) -> Result<(TenantId, i64, MovementBlock), tokio_postgres::Error> {
    let ids: Vec<i64> = row.try_get(2)?;
    let products: Vec<i64> = row.try_get(3)?;
    let quantities: Vec<Decimal> = row.try_get(4)?;
    let entries = ids
        .into_iter()
        .zip(products.into_iter().zip(quantities))
        .map(|(id, (product, quantity))| Movement { id, product, quantity })
        .collect();
    Ok((TenantId(row.try_get(0)?), row.try_get(1)?, MovementBlock { entries }))
}

/// A row of `{state}.child`: what came into sales, of one block of 64 ids.
#[derive(Debug, ToSql)]
#[postgres(name = "child")]
pub struct ChildRecord {
    pub tenant_id: i32,
    pub kind: i8,
    pub block: i64,
    pub ids: Vec<i64>,
    pub sales: Vec<i64>,
}

impl ChildRecord {
    /// `kind` as in the table: `b'i'` items, `b'p'` payments.
    pub fn of(kind: u8, mut children: Vec<(Key, i64)>) -> Vec<ChildRecord> {
        children.sort_unstable();
        let mut records: Vec<ChildRecord> = Vec::new();
        for ((tenant, id), sale) in children {
            match records.last_mut().filter(|last| last.tenant_id == tenant.0 && last.block == id >> CHILD_BITS) {
                Some(last) => {
                    last.ids.push(id);
                    last.sales.push(sale);
                }
                None => records.push(ChildRecord {
                    tenant_id: tenant.0,
                    kind: kind as i8,
                    block: id >> CHILD_BITS,
                    ids: vec![id],
                    sales: vec![sale],
                }),
            }
        }
        records
    }
}
