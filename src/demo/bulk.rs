//! Many finished sales at once, in a few multi-row statements: for a shop's past and for replayed logs.

use rust_decimal::Decimal;

use super::store::{Error, Store};
use crate::domain::{Instant, Money, Quantity};

/// A sale as it stands when all is done with it.
#[derive(Debug, Clone)]
pub struct Sale {
    pub session: i64,
    /// Unique in the store, at most 50 characters.
    pub receipt: String,
    pub status: &'static str,
    pub customer: Option<i64>,
    pub at: Instant,
    pub method: &'static str,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub product: i64,
    pub quantity: Quantity,
    pub price: Money,
    pub total: Money,
}

impl Sale {
    pub fn total(&self) -> Money {
        self.lines.iter().map(|line| line.total).sum()
    }
}

/// Writes the sales with their items and one payment each, within the transaction that is open.
///
/// # Errors
/// What PostgreSQL says, for example that a receipt number is taken.
pub async fn write(store: &mut Store, sales: &[Sale]) -> Result<(), Error> {
    let ids = store.next_ids("sales_sale", sales.len()).await?;
    let totals: Vec<Decimal> = sales.iter().map(Sale::total).collect();
    let sessions: Vec<i64> = sales.iter().map(|s| s.session).collect();
    let times: Vec<Instant> = sales.iter().map(|s| s.at).collect();
    let receipts: Vec<&str> = sales.iter().map(|s| s.receipt.as_str()).collect();
    let statuses: Vec<&str> = sales.iter().map(|s| s.status).collect();
    let customers: Vec<Option<i64>> = sales.iter().map(|s| s.customer).collect();
    let methods: Vec<&str> = sales.iter().map(|s| s.method).collect();
    store
        .run(
            "INSERT INTO sales_sale (id, session_id, receipt_number, status, customer_id, subtotal, total_amount,
                                     created_at, completed_at)
             SELECT id, session, receipt, status, customer, total, total, at, at
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::numeric[],
                         $7::timestamptz[]) AS s (id, session, receipt, status, customer, total, at)",
            &[&ids, &sessions, &receipts, &statuses, &customers, &totals, &times],
        )
        .await?;

    let lines = || sales.iter().zip(&ids).flat_map(|(sale, id)| sale.lines.iter().map(move |line| (sale, *id, line)));
    let line_sales: Vec<i64> = lines().map(|(_, id, _)| id).collect();
    let products: Vec<i64> = lines().map(|(_, _, line)| line.product).collect();
    let quantities: Vec<Decimal> = lines().map(|(_, _, line)| line.quantity).collect();
    let prices: Vec<Decimal> = lines().map(|(_, _, line)| line.price).collect();
    let line_totals: Vec<Decimal> = lines().map(|(_, _, line)| line.total).collect();
    let line_times: Vec<Instant> = lines().map(|(sale, _, _)| sale.at).collect();
    store
        .run(
            "INSERT INTO sales_sale_item (sale_id, product_id, quantity, unit_price, line_total, created_at)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[],
                                  $6::timestamptz[])",
            &[&line_sales, &products, &quantities, &prices, &line_totals, &line_times],
        )
        .await?;
    store
        .run(
            "INSERT INTO sales_payment (sale_id, session_id, payment_method, amount, received_amount, created_at)
             SELECT id, session, method, amount, amount, at
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::numeric[], $5::timestamptz[])
                  AS p (id, session, method, amount, at)",
            &[&ids, &sessions, &methods, &totals, &times],
        )
        .await?;
    Ok(())
}
