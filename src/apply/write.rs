//! Writes what a fold made of a batch: base facts, sums, report rows. Bulk statements, pipelined in two round trips.

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::future::{BoxFuture, try_join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::ApplyError;
use super::rows::{MovementRecord, SaleRecord};
use super::statements::Statements;
use crate::domain::{BusinessDay, TenantId};
use crate::facts::WorkingSet;
use crate::facts::working_set::{Entries, Key};
use crate::reports::Deltas;
use crate::reports::deltas::DailyDelta;

type Pending<'a> = BoxFuture<'a, Result<Vec<Row>, tokio_postgres::Error>>;
/// A statement with its parameters, columns of equal length.
type Call = (&'static str, Vec<Box<dyn ToSql + Sync + Send>>);

/// Runs the calls in order, all sent before the first answer is awaited.
async fn pipeline(
    client: &Client,
    sql: &mut Statements,
    calls: &[Call],
) -> Result<Vec<Vec<Row>>, tokio_postgres::Error> {
    let names: Vec<&'static str> = calls.iter().map(|(name, _)| *name).collect();
    sql.prepare(client, &names).await?;
    let sql = &*sql;
    let pending = calls.iter().map(|(name, params)| -> Pending<'_> {
        Box::pin(async move {
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p.as_ref() as &(dyn ToSql + Sync)).collect();
            sql.query(client, name, &params).await
        })
    });
    try_join_all(pending).await
}

/// Builds one column (a parameter array) from each row of a list.
macro_rules! columns {
    ($rows:expr, $row:pat => $($value:expr),+ $(,)?) => {
        vec![$({
            // Each column takes its own part of the row.
            #[allow(unused_variables)]
            let column: Vec<_> = $rows.iter().map(|$row| $value).collect();
            Box::new(column) as Box<dyn ToSql + Sync + Send>
        }),+]
    };
}

/// The map's entries in key order: upserts walk their index once, and two writers could not deadlock.
fn sorted<K: Ord + Copy + Hash, V>(map: &HashMap<K, V>) -> Vec<(K, &V)> {
    let mut rows: Vec<(K, &V)> = map.iter().map(|(key, value)| (*key, value)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows
}

/// Changed entities: (those to put, those to remove).
fn split<T: PartialEq>(entries: &Entries<T>) -> (Vec<(Key, &T)>, Vec<Key>) {
    let (mut put, mut remove) = (Vec::new(), Vec::new());
    for (key, entry) in sorted(entries).into_iter().filter(|(_, entry)| entry.changed()) {
        match &entry.after {
            Some(after) => put.push((key, after)),
            None => remove.push(key),
        }
    }
    (put, remove)
}

fn add(
    calls: &mut Vec<Call>,
    name: &'static str,
    any: bool,
    params: impl FnOnce() -> Vec<Box<dyn ToSql + Sync + Send>>,
) {
    if any {
        calls.push((name, params()));
    }
}

fn remove(calls: &mut Vec<Call>, name: &'static str, keys: &[Key]) {
    add(calls, name, !keys.is_empty(), || columns!(keys, (tenant, id) => tenant.0, *id));
}

/// All base facts that changed.
fn facts(set: &WorkingSet, calls: &mut Vec<Call>) -> Result<(), ApplyError> {
    let (put, gone) = split(&set.sales);
    let records = put
        .iter()
        .map(|((tenant, id), sale)| SaleRecord::new(*tenant, *id, sale).map_err(|e| ApplyError::Refused(*tenant, e)))
        .collect::<Result<Vec<_>, _>>()?;
    add(calls, "put_sales", !records.is_empty(), || vec![Box::new(records)]);
    remove(calls, "remove_sales", &gone);

    let (put, gone) = split(&set.movements);
    let records: Vec<_> = put.iter().map(|((tenant, block), b)| MovementRecord::new(*tenant, *block, b)).collect();
    add(calls, "put_movements", !records.is_empty(), || vec![Box::new(records)]);
    remove(calls, "remove_movements", &gone);

    for (entries, put_name, remove_name) in [
        (&set.batches, "put_batches", "remove_batches"),
        (&set.reservations, "put_reservations", "remove_reservations"),
    ] {
        let (put, gone) = split(entries);
        add(calls, put_name, !put.is_empty(), || columns!(put, ((t, id), s) => t.0, *id, s.product, s.quantity));
        remove(calls, remove_name, &gone);
    }

    let (put, gone) = split(&set.credit_payments);
    add(
        calls,
        "put_credit_payments",
        !put.is_empty(),
        || columns!(put, ((t, id), p) => t.0, *id, p.customer, p.amount, p.created_at, p.day),
    );
    remove(calls, "remove_credit_payments", &gone);

    let (put, gone) = split(&set.sessions);
    add(calls, "put_sessions", !put.is_empty(), || columns!(put, ((t, id), s) => t.0, *id, s.opened_day, s.closed_day));
    remove(calls, "remove_sessions", &gone);

    let (put, gone) = split(&set.pricing);
    add(
        calls,
        "put_pricing",
        !put.is_empty(),
        || columns!(put, ((t, id), p) => t.0, *id, p.product, p.cost_price, p.sale_price),
    );
    remove(calls, "remove_pricing", &gone);

    let (put, gone) = split(&set.stock_limits);
    add(
        calls,
        "put_stock_limits",
        !put.is_empty(),
        || columns!(put, ((t, id), l) => t.0, *id, l.product, l.min_quantity, l.max_quantity, l.track_inventory),
    );
    remove(calls, "remove_stock_limits", &gone);

    attributes(set, calls);
    Ok(())
}

/// Products and customers: attributes, and the dimensions that show them.
fn attributes(set: &WorkingSet, calls: &mut Vec<Call>) {
    let (put, gone) = split(&set.product_names);
    add(
        calls,
        "put_product_names",
        !put.is_empty(),
        || columns!(put, ((t, id), n) => t.0, *id, n.product, n.name.clone()),
    );
    remove(calls, "remove_product_names", &gone);

    let products = sorted(&set.products);
    let put: Vec<_> = products.iter().filter_map(|(key, row)| row.as_ref().map(|row| (*key, row))).collect();
    let gone: Vec<Key> = products.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key).collect();
    add(calls, "put_products", !put.is_empty(), || {
        columns!(put, ((t, id), p) => t.0, *id, p.name.clone(), p.sku.clone(), p.barcode.clone(), p.is_active,
                     p.name_id)
    });
    remove(calls, "remove_products", &gone);
    let mut all: Vec<Key> = products.iter().map(|(key, _)| *key).chain(set.renamed()).collect();
    all.sort_unstable();
    all.dedup();
    remove(calls, "show_products", &all);

    let customers = sorted(&set.customers);
    let put: Vec<_> = customers.iter().filter_map(|(key, row)| row.as_ref().map(|row| (*key, row))).collect();
    let gone: Vec<Key> = customers.iter().filter(|(_, row)| row.is_none()).map(|(key, _)| *key).collect();
    let all: Vec<Key> = customers.iter().map(|(key, _)| *key).collect();
    add(calls, "put_customers", !put.is_empty(), || {
        columns!(put, ((t, id), c) => t.0, *id, c.first_name.clone(), c.last_name.clone(), c.middle_name.clone(),
                 c.customer_type.clone(), c.company_name.clone(), c.phone.clone(), c.is_active, c.is_company)
    });
    remove(calls, "remove_customers", &gone);
    remove(calls, "show_customers", &all);
}

/// The sums, and the report rows that follow from them alone.
fn sums(deltas: &Deltas, calls: &mut Vec<Call>) {
    let days = sorted(&deltas.product_day);
    add(
        calls,
        "add_product_days",
        !days.is_empty(),
        || columns!(days, ((t, product, day), d) => t.0, *product, *day, d.lines, d.sales, d.quantity, d.revenue, d.price_sum, d.cost),
    );
    let by_day = sorted(&deltas.customer_day);
    add(
        calls,
        "add_customer_days",
        !by_day.is_empty(),
        || columns!(by_day, ((t, customer, day), d) => t.0, *customer, *day, d.sales, d.spent, d.credit_sales, d.credit),
    );
    let totals = sorted(&deltas.customer_total);
    add(
        calls,
        "add_customer_totals",
        !totals.is_empty(),
        || columns!(totals, ((t, customer), d) => t.0, *customer, d.sales, d.spent, d.credit, d.payments, d.paid),
    );
    let mut customers: Vec<Key> = deltas.customers.iter().copied().collect();
    customers.sort_unstable();
    remove(calls, "move_first_days", &customers);
    let stock = sorted(&deltas.stock);
    add(
        calls,
        "add_stock",
        !stock.is_empty(),
        || columns!(stock, ((t, product), d) => t.0, *product, d.on_hand, d.reserved),
    );
    add(
        calls,
        "show_product_performance",
        !days.is_empty(),
        || columns!(days, ((t, product, day), _) => t.0, *product, *day),
    );
    let mut products: Vec<Key> = deltas.products.iter().copied().collect();
    products.sort_unstable();
    remove(calls, "show_inventory", &products);
    remove(calls, "show_customer_analytics", &customers);
}

/// Writes facts, sums and report rows of a batch into the open transaction.
pub async fn batch(
    client: &Client,
    sql: &mut Statements,
    set: &WorkingSet,
    mut deltas: Deltas,
    horizons: &crate::reports::Horizons,
) -> Result<(), ApplyError> {
    let mut calls = Vec::new();
    facts(set, &mut calls)?;
    sums(&deltas, &mut calls);
    let answers = pipeline(client, sql, &calls).await?;
    for ((name, _), rows) in calls.iter().zip(&answers) {
        for row in rows {
            follow_up(&mut deltas.daily, horizons, name, row)?;
        }
    }
    let daily = sorted(&deltas.daily);
    if daily.is_empty() {
        return Ok(());
    }
    let calls: Vec<Call> = vec![
        (
            "add_daily",
            columns!(daily, ((t, day), d) => t.0, *day, d.sales, d.total, d.discount, d.tax, d.cash, d.card, d.credit, d.other,
                     d.quantity, d.products, d.customers, d.new_customers, d.refunds, d.refund_total, d.opened, d.closed),
        ),
        ("show_daily_sales", columns!(daily, ((t, day), _) => t.0, *day)),
    ];
    pipeline(client, sql, &calls).await?;
    Ok(())
}

/// Distinct counts that the written sums gave away go to their day, unless it lies before the horizon.
fn follow_up(
    daily: &mut HashMap<(TenantId, BusinessDay), DailyDelta>,
    horizons: &crate::reports::Horizons,
    name: &str,
    row: &Row,
) -> Result<(), ApplyError> {
    let tenant = || -> Result<TenantId, tokio_postgres::Error> { Ok(TenantId(row.try_get(0)?)) };
    let mut at = |tenant: TenantId, day: BusinessDay, change: &dyn Fn(&mut DailyDelta)| {
        if horizons.get(&tenant).is_none_or(|horizon| day >= *horizon) {
            change(daily.entry((tenant, day)).or_default());
        }
    };
    match name {
        "add_product_days" => {
            let count: i64 = row.try_get(2)?;
            at(tenant()?, row.try_get(1)?, &|delta| delta.products += count);
        }
        "add_customer_days" => {
            let count: i64 = row.try_get(2)?;
            at(tenant()?, row.try_get(1)?, &|delta| delta.customers += count);
        }
        "move_first_days" => {
            let count: i64 = row.try_get(3)?;
            if let Some(day) = row.try_get::<_, Option<BusinessDay>>(1)? {
                at(tenant()?, day, &|delta| delta.new_customers -= count);
            }
            if let Some(day) = row.try_get::<_, Option<BusinessDay>>(2)? {
                at(tenant()?, day, &|delta| delta.new_customers += count);
            }
        }
        _ => {}
    }
    Ok(())
}
