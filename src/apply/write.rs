//! What folds made of a batch, as bulk statements: base facts after each fold, sums and report rows once, from the
//! differences of all of them. They are sent before those before them are answered, so nothing here depends on an answer.

use std::hash::Hash;

use foldhash::HashMap;
use tokio_postgres::types::ToSql;

use super::ApplyError;
use super::known::Known;
use super::rows::{ChildRecord, MovementRecord, SaleRecord};
use crate::facts::WorkingSet;
use crate::facts::working_set::{Entries, Key};
use crate::reports::deltas::DailyDelta;
use crate::reports::live::{self, InventoryDelta, Unsettled};
use crate::reports::{Calendar, Deltas};

/// A statement with its parameters, columns of equal length.
pub type Call = (&'static str, Vec<Box<dyn ToSql + Sync + Send>>);

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
///
/// # Errors
/// The store whose figures cannot be held exactly.
pub fn facts(set: &WorkingSet) -> Result<Vec<Call>, ApplyError> {
    let mut list = Vec::new();
    let calls = &mut list;
    let (put, gone) = split(&set.sales);
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for (key @ (tenant, id), sale) in put {
        let record = SaleRecord::new(tenant, id, sale).map_err(|e| ApplyError::Refused(tenant, e))?;
        let is_new = set.sales.get(&key).is_some_and(|entry| entry.before.is_none());
        if is_new { new.push(record) } else { changed.push(record) }
    }
    add(calls, "add_sales", !new.is_empty(), || vec![Box::new(new)]);
    add(calls, "put_sales", !changed.is_empty(), || vec![Box::new(changed)]);
    remove(calls, "remove_sales", &gone);

    // A block that changed is written anew; what came into one is a row of its own.
    let (mut put, mut gone) = split(&set.movements);
    gone.extend(put.iter().map(|(key, _)| *key));
    remove(calls, "remove_movements", &gone);
    put.extend(sorted(&set.new_movements));
    let records: Vec<_> = put.iter().map(|((tenant, block), b)| MovementRecord::new(*tenant, *block, b)).collect();
    add(calls, "add_movements", !records.is_empty(), || vec![Box::new(records)]);
    let mut children = ChildRecord::of(b'i', set.new_items.clone());
    children.extend(ChildRecord::of(b'p', set.new_payments.clone()));
    add(calls, "add_children", !children.is_empty(), || vec![Box::new(children)]);

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
    Ok(list)
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

/// The sums, and the report rows that follow from them; after the facts, of which some are looked up.
///
/// # Errors
/// The store whose figures cannot be held exactly.
pub fn sums(
    deltas: &Deltas,
    calendar: &Calendar,
    window_days: u64,
    known: &mut Known,
) -> Result<Vec<Call>, ApplyError> {
    let mut list = Vec::new();
    let calls = &mut list;
    let refused = |(tenant, e)| ApplyError::Refused(tenant, e);
    let days = sorted(&deltas.product_day);
    add(
        calls,
        if known.product_days(&days, calendar) { "grow_product_days" } else { "add_product_days" },
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
    let all = live::customers(deltas, calendar, window_days).map_err(refused)?;
    let name = if known.customers(all.iter()) { "grow_customers" } else { "add_customers" };
    add(calls, name, !all.is_empty(), || {
        columns!(all, ((t, id), d) => t.0, *id, d.sales, d.spent, d.credit, d.payments, d.paid, d.first_day, d.last_day,
                 d.window.sales, d.window.spent, d.window.credit_sales, d.window.credit, d.unsettled as i16)
    });
    let unsettled: Vec<_> = all.iter().filter(|(_, d)| d.unsettled != Unsettled::No).collect();
    add(
        calls,
        "settle_customers",
        !unsettled.is_empty(),
        || columns!(unsettled, ((t, id), d) => t.0, *id, d.credit_from),
    );

    let all = live::inventory(deltas, calendar).map_err(refused)?;
    let (settle, plain): (Vec<_>, Vec<_>) = all.iter().partition(|(_, delta)| delta.settle);
    inventory("add_inventory", &plain, calls);
    inventory("add_stock", &settle, calls);
    let settle: Vec<Key> = settle.into_iter().map(|(key, _)| *key).collect();
    remove(calls, "settle_inventory", &settle);

    let none = DailyDelta::default();
    let days: Vec<_> =
        live::days(deltas, calendar).into_iter().map(|key| (key, deltas.daily.get(&key).unwrap_or(&none))).collect();
    let name = if known.days(&days, calendar) { "grow_daily" } else { "add_daily" };
    add(calls, name, !days.is_empty(), || {
        columns!(days, ((t, day), d) => t.0, *day, d.sales, d.total, d.discount, d.tax, d.cash, d.card, d.credit, d.other,
                    d.quantity, d.refunds, d.refund_total, d.opened, d.closed)
    });
    Ok(list)
}

fn inventory(name: &'static str, rows: &[(&Key, &InventoryDelta)], calls: &mut Vec<Call>) {
    add(calls, name, !rows.is_empty(), || columns!(rows, ((t, id), d) => t.0, *id, d.on_hand, d.reserved, d.sold));
}
