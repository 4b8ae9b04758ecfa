//! Reads the stored facts that a batch must see.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use tokio_postgres::{Client, Row};

use super::rows::{movements_from_row, sale_from_row};
use super::statements::Statements;
use crate::domain::TenantId;
use crate::facts::WorkingSet;
use crate::facts::entity::{CreditPayment, Pricing, ProductName, Session, StockLimits, StockShare};
use crate::facts::working_set::{Key, Needs, load};

type PgResult<T> = Result<T, tokio_postgres::Error>;

/// Keys as two parallel arrays.
fn columns(keys: &HashSet<Key>) -> (Vec<i32>, Vec<i64>) {
    let mut keys: Vec<Key> = keys.iter().copied().collect();
    keys.sort_unstable();
    keys.into_iter().map(|(tenant, id)| (tenant.0, id)).unzip()
}

async fn fetch(client: &Client, sql: &Statements, name: &'static str, keys: &HashSet<Key>) -> PgResult<Vec<Row>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let (tenants, ids) = columns(keys);
    sql.query(client, name, &[&tenants, &ids]).await
}

/// Everything `needs` names, in two round trips at most: unfrozen items of loaded sales ask for their products' prices.
pub async fn working_set(client: &Client, sql: &Statements, needs: &mut Needs) -> PgResult<WorkingSet> {
    let rows = try_join_all([
        fetch(client, sql, "load_sales", &needs.sales),
        fetch(client, sql, "load_sales_by_item", &needs.items),
        fetch(client, sql, "load_sales_by_payment", &needs.payments),
        fetch(client, sql, "load_movements", &needs.movement_blocks),
        fetch(client, sql, "load_batches", &needs.batches),
        fetch(client, sql, "load_reservations", &needs.reservations),
        fetch(client, sql, "load_credit_payments", &needs.credit_payments),
        fetch(client, sql, "load_sessions", &needs.sessions),
        fetch(client, sql, "load_stock_limits", &needs.stock_limits),
        fetch(client, sql, "load_pricing", &needs.pricing),
        fetch(client, sql, "load_product_names", &needs.product_names),
        fetch(client, sql, "load_named_products", &needs.product_names),
    ])
    .await?;
    let mut set = WorkingSet::default();
    let mut rows = rows.into_iter();
    let mut next = || rows.next().unwrap_or_default();
    for row in next().iter().chain(&next()).chain(&next()) {
        let (tenant, id, sale) = sale_from_row(row)?;
        let unfrozen = sale.items.iter().filter(|item| item.cost.is_none());
        needs.priced_products.extend(unfrozen.map(|item| (tenant, item.product)));
        set.load_sale(tenant, id, sale);
    }
    for row in next() {
        let (tenant, block, movements) = movements_from_row(&row)?;
        load(&mut set.movements, (tenant, block), movements);
    }
    for entries in [&mut set.batches, &mut set.reservations] {
        for row in next() {
            load(entries, key(&row)?, StockShare { product: row.try_get(2)?, quantity: row.try_get(3)? });
        }
    }
    for row in next() {
        let payment = CreditPayment {
            customer: row.try_get(2)?,
            amount: row.try_get(3)?,
            created_at: row.try_get(4)?,
            day: row.try_get(5)?,
        };
        load(&mut set.credit_payments, key(&row)?, payment);
    }
    for row in next() {
        load(&mut set.sessions, key(&row)?, Session { opened_day: row.try_get(2)?, closed_day: row.try_get(3)? });
    }
    for row in next() {
        let limits = StockLimits {
            product: row.try_get(2)?,
            min_quantity: row.try_get(3)?,
            max_quantity: row.try_get(4)?,
            track_inventory: row.try_get(5)?,
        };
        load(&mut set.stock_limits, key(&row)?, limits);
    }
    let by_id = next();
    for row in next() {
        let name = ProductName { product: row.try_get(2)?, name: row.try_get(3)? };
        load(&mut set.product_names, key(&row)?, name);
    }
    for row in next() {
        set.named_products.insert(key(&row)?);
    }
    let by_product = fetch(client, sql, "load_pricing_of_products", &needs.priced_products).await?;
    for row in by_id.iter().chain(&by_product) {
        let (tenant, id) = key(row)?;
        let pricing = Pricing { product: row.try_get(2)?, cost_price: row.try_get(3)?, sale_price: row.try_get(4)? };
        set.load_pricing(tenant, id, pricing);
    }
    Ok(set)
}

fn key(row: &Row) -> PgResult<Key> {
    Ok((TenantId(row.try_get(0)?), row.try_get(1)?))
}
