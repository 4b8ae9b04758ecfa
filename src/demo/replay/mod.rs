//! Plays a log of real sales through the POS tables.
//!
//! ```text
//! CSV (or CSV.gz) ─ log.rs ─> invoices, products, customers ─ play ─> sales with items and a payment, in order of time
//! ```
//! Logs say nothing of stock, cost or how a sale was paid: products are not tracked and cost nothing, sales are paid
//! in cash. Returns (negative quantities) are sales of a negative total, so takings add up as in the log.

mod log;

use std::path::Path;

use chrono::{NaiveDate, TimeDelta};
use chrono_tz::Tz;
use rust_decimal::{Decimal, RoundingStrategy};
use tokio_postgres::Config;

use super::bulk::{self, Line, Sale};
use super::local::instant;
use super::store::{self, Store};
use crate::domain::{Money, Quantity};

pub use log::{Invoice, Log, LogLine};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {file}: {source}")]
    Read { file: String, source: std::io::Error },
    #[error("{file}: {source}")]
    Csv { file: String, source: csv::Error },
    #[error("{file} has no column for the {missing}: its header is {header:?}")]
    Header { file: String, missing: &'static str, header: Vec<String> },
    #[error("cannot write to the pos: {0}")]
    Store(#[from] store::Error),
}

#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Schema of the store that sells; it exists already.
    pub schema: String,
    /// Where the log's clock hangs.
    pub time_zone: Tz,
    /// Sales written by one transaction.
    pub batch: usize,
}

/// What was played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub sales: u64,
    pub lines: u64,
    pub products: u64,
    pub customers: u64,
    pub sessions: u64,
    /// Lines of the log that could not be read as a sale's line.
    pub rejected: u64,
    pub quantity: Quantity,
    /// Sum of the line totals, each rounded to two places.
    pub takings: Money,
    /// Sum of quantity × price as logged, unrounded.
    pub takings_logged: Money,
}

/// Reads the whole log.
///
/// # Errors
/// The file cannot be read, is not CSV, or lacks a column that a sale needs.
pub fn read(path: &Path) -> Result<Log, Error> {
    log::read(path)
}

/// Writes the log's sales in order of time; `progress` hears of every transaction.
///
/// # Errors
/// The database cannot be reached or a statement failed, for example because the log was played there before.
pub async fn play(
    config: &Config,
    log: &Log,
    options: &ReplayOptions,
    mut progress: impl FnMut(&Counts),
) -> Result<Counts, Error> {
    let mut store = Store::connect(config, &options.schema).await?;
    let mut player = Player {
        products: vec![None; log.products.len()],
        customers: vec![None; log.customers.len()],
        session: None,
        counts: Counts { rejected: log.rejected, ..Counts::default() },
    };
    for invoices in log.invoices.chunks(options.batch.max(1)) {
        store.begin().await?;
        player.make_known(&mut store, log, invoices).await?;
        let mut sales = Vec::with_capacity(invoices.len());
        for invoice in invoices {
            let session = player.session_on(&mut store, invoice.at.date(), options.time_zone).await?;
            sales.push(player.sale(invoice, session, options.time_zone));
        }
        bulk::write(&mut store, &sales).await?;
        store.commit().await?;
        progress(&player.counts);
    }
    player.close_session(&mut store, options.time_zone).await?;
    Ok(player.counts)
}

/// What the POS knows already: the ids of the log's products and customers, by their place in the log.
struct Player {
    products: Vec<Option<i64>>,
    customers: Vec<Option<i64>>,
    session: Option<(NaiveDate, i64)>,
    counts: Counts,
}

impl Player {
    /// Creates the products and customers that these invoices are the first to name.
    async fn make_known(&mut self, store: &mut Store, log: &Log, invoices: &[Invoice]) -> Result<(), Error> {
        let lines = || invoices.iter().flat_map(|i| &i.lines);
        let new_products = unknown(&self.products, lines().map(|line| line.product));
        if !new_products.is_empty() {
            let ids = store.next_ids("products_product", new_products.len()).await?;
            let known = || new_products.iter().filter_map(|at| log.products.get(*at));
            let names: Vec<&str> = known().map(|p| p.name.as_str()).collect();
            let codes: Vec<&str> = known().map(|p| p.code.as_str()).collect();
            let prices: Vec<Decimal> = known().map(|p| cents(p.price)).collect();
            let sql = "INSERT INTO products_product (id, name, slug, sku)
                       SELECT id, name, code, code FROM unnest($1::bigint[], $2::text[], $3::text[]) AS p (id, name, code)";
            store.run(sql, &[&ids, &names, &codes]).await?;
            let sql = "INSERT INTO products_product_pricing (product_id, cost_price, sale_price)
                       SELECT id, 0, price FROM unnest($1::bigint[], $2::numeric[]) AS p (id, price)";
            store.run(sql, &[&ids, &prices]).await?;
            let sql = "INSERT INTO products_product_inventory (product_id, track_inventory)
                       SELECT id, false FROM unnest($1::bigint[]) AS p (id)";
            store.run(sql, &[&ids]).await?;
            remember(&mut self.products, &new_products, &ids);
            self.counts.products += ids.len() as u64;
        }
        let new_customers = unknown(&self.customers, invoices.iter().filter_map(|i| i.customer));
        if !new_customers.is_empty() {
            let ids = store.next_ids("customers_customer", new_customers.len()).await?;
            let codes: Vec<&str> =
                new_customers.iter().filter_map(|at| log.customers.get(*at).map(String::as_str)).collect();
            let sql = "INSERT INTO customers_customer (id, first_name, last_name, phone)
                       SELECT id, 'Customer', left(code, 100), 'c' || id
                       FROM unnest($1::bigint[], $2::text[]) AS c (id, code)";
            store.run(sql, &[&ids, &codes]).await?;
            remember(&mut self.customers, &new_customers, &ids);
            self.counts.customers += ids.len() as u64;
        }
        Ok(())
    }

    /// The session of the day; the day before is closed first.
    async fn session_on(&mut self, store: &mut Store, day: NaiveDate, zone: Tz) -> Result<i64, Error> {
        if let Some((_, session)) = self.session.filter(|(open, _)| *open == day) {
            return Ok(session);
        }
        self.close_session(store, zone).await?;
        let opened = instant(day.and_time(chrono::NaiveTime::MIN), zone);
        let sql = "INSERT INTO sales_cashier_session (opened_at) VALUES ($1) RETURNING id";
        let session = store.id(sql, &[&opened]).await?;
        self.session = Some((day, session));
        self.counts.sessions += 1;
        Ok(session)
    }

    async fn close_session(&mut self, store: &mut Store, zone: Tz) -> Result<(), Error> {
        if let Some((day, session)) = self.session.take() {
            let midnight = day.and_time(chrono::NaiveTime::MIN);
            let closed = instant(midnight + TimeDelta::hours(24) - TimeDelta::seconds(1), zone);
            let sql = "UPDATE sales_cashier_session SET status = 'closed', closed_at = $2 WHERE id = $1";
            store.run(sql, &[&session, &closed]).await?;
        }
        Ok(())
    }

    fn sale(&mut self, invoice: &Invoice, session: i64, zone: Tz) -> Sale {
        let mut lines = Vec::with_capacity(invoice.lines.len());
        for line in &invoice.lines {
            let Some(product) = self.products.get(line.product).copied().flatten() else { continue };
            let amount = line.quantity * line.price;
            let total = cents(amount);
            self.counts.lines += 1;
            self.counts.quantity += line.quantity;
            self.counts.takings += total;
            self.counts.takings_logged += amount;
            lines.push(Line { product, quantity: line.quantity, price: cents(line.price), total });
        }
        self.counts.sales += 1;
        Sale {
            session,
            receipt: invoice.number.clone(),
            status: "completed",
            customer: invoice.customer.and_then(|at| self.customers.get(at).copied().flatten()),
            at: instant(invoice.at, zone),
            method: "cash",
            lines,
        }
    }
}

/// Which of these places have no id yet, each once, in order.
fn unknown(ids: &[Option<i64>], wanted: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut new: Vec<usize> = wanted.filter(|at| ids.get(*at).is_some_and(Option::is_none)).collect();
    new.sort_unstable();
    new.dedup();
    new
}

fn remember(into: &mut [Option<i64>], places: &[usize], ids: &[i64]) {
    for (place, id) in places.iter().zip(ids) {
        if let Some(slot) = into.get_mut(*place) {
            *slot = Some(*id);
        }
    }
}

/// The POS keeps money to two places, half away from zero.
fn cents(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}
