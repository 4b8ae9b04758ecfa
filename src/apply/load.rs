//! Reads the stored facts that a batch must see.

use foldhash::HashSet;
use futures_util::future::try_join_all;
use tokio_postgres::{Client, Row};

use super::cache::Cache;
use super::rows::{movements_from_row, sale_from_row};
use super::statements::Statements;
use crate::domain::TenantId;
use crate::facts::entity::{CreditPayment, Pricing, ProductName, Session, StockLimits, StockShare};
use crate::facts::working_set::{Key, Needs, load};
use crate::facts::{Sale, WorkingSet};

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

/// Everything `needs` names: what is remembered, and the rest in as few round trips as it takes. Mostly that is none.
pub async fn working_set(
    client: &Client,
    sql: &mut Statements,
    cache: &mut Cache,
    needs: &mut Needs,
) -> PgResult<WorkingSet> {
    let mut set = WorkingSet::with(std::mem::take(&mut cache.prices));
    let mut missing = HashSet::default();
    for key in &needs.sales {
        match cache.sale(*key) {
            Some(sale) => add_sale(&mut set, &mut needs.priced_products, *key, sale.clone()),
            None => drop(missing.insert(*key)),
        }
    }
    needs.sales = missing;
    others(client, sql, needs, &mut set).await?;
    let (items, payments) = needs.elsewhere(&set);
    for (name, keys) in [("load_sales_by_item", &items), ("load_sales_by_payment", &payments)] {
        for row in fetch(client, sql, name, keys).await? {
            let (tenant, id, stored) = sale_from_row(&row)?;
            // What is remembered may be on its way still, and is never older.
            let sale = cache.sale((tenant, id)).cloned().unwrap_or(stored);
            add_sale(&mut set, &mut needs.priced_products, (tenant, id), sale);
        }
    }
    prices(client, sql, needs, &mut set).await?;
    Ok(set)
}

/// Its items that were never counted ask for their products' prices.
fn add_sale(set: &mut WorkingSet, priced: &mut HashSet<Key>, (tenant, id): Key, sale: Sale) {
    let unpriced = sale.items.iter().filter(|item| item.cost.is_none()).map(|item| (tenant, item.product));
    priced.extend(unpriced.filter(|product| !set.prices.knows(*product)));
    set.load_sale(tenant, id, sale);
}

/// Everything that is found by a key of its own.
async fn others(client: &Client, sql: &mut Statements, needs: &mut Needs, set: &mut WorkingSet) -> PgResult<()> {
    let wanted = [
        ("load_sales", &needs.sales),
        ("load_movements", &needs.movement_blocks),
        ("load_batches", &needs.batches),
        ("load_reservations", &needs.reservations),
        ("load_credit_payments", &needs.credit_payments),
        ("load_sessions", &needs.sessions),
        ("load_stock_limits", &needs.stock_limits),
        ("load_product_names", &needs.product_names),
        ("load_named_products", &needs.product_names),
        ("load_pricing", &needs.pricing),
    ];
    let names: Vec<&'static str> = wanted.iter().filter(|(_, keys)| !keys.is_empty()).map(|(name, _)| *name).collect();
    if names.is_empty() {
        return Ok(());
    }
    sql.prepare(client, &names).await?;
    let rows = try_join_all(wanted.map(|(name, keys)| fetch(client, sql, name, keys))).await?;
    let mut rows = rows.into_iter();
    let mut next = || rows.next().unwrap_or_default();
    for row in next() {
        let (tenant, id, sale) = sale_from_row(&row)?;
        add_sale(set, &mut needs.priced_products, (tenant, id), sale);
    }
    for row in next() {
        let (tenant, block, movements) = movements_from_row(&row)?;
        load(&mut set.movements, (tenant, block), movements);
    }
    for block in &needs.movement_blocks {
        set.movements.entry(*block).or_default();
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
    for row in next() {
        let name = ProductName { product: row.try_get(2)?, name: row.try_get(3)? };
        load(&mut set.product_names, key(&row)?, name);
    }
    for row in next() {
        set.named_products.insert(key(&row)?);
    }
    for row in next() {
        let ((tenant, id), pricing) = pricing_from_row(&row)?;
        load(&mut set.pricing, (tenant, id), pricing);
    }
    Ok(())
}

/// The prices of the products whose items may be counted now.
async fn prices(client: &Client, sql: &mut Statements, needs: &Needs, set: &mut WorkingSet) -> PgResult<()> {
    if needs.priced_products.is_empty() {
        return Ok(());
    }
    sql.prepare(client, &["load_pricing_of_products"]).await?;
    for product in &needs.priced_products {
        set.prices.begin(*product);
    }
    for row in fetch(client, sql, "load_pricing_of_products", &needs.priced_products).await? {
        let ((tenant, id), pricing) = pricing_from_row(&row)?;
        set.prices.put((tenant, pricing.product), id, pricing.cost_price);
    }
    Ok(())
}

fn key(row: &Row) -> PgResult<Key> {
    Ok((TenantId(row.try_get(0)?), row.try_get(1)?))
}

fn pricing_from_row(row: &Row) -> PgResult<(Key, Pricing)> {
    Ok((key(row)?, Pricing { product: row.try_get(2)?, cost_price: row.try_get(3)?, sale_price: row.try_get(4)? }))
}
