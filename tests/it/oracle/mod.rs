//! The reports once more, in the most naive way: all POS rows of a store in memory, loops over them, no SQL.
//!
//! It shares nothing with the daemon, nor with its `verify`: time zones are chrono's, arithmetic is exact decimals and
//! integers. It holds for the default configuration; for POS of other kinds there are further ways to load a store.

mod customers;
mod exact;
mod sales;
mod stock;
mod text_keys;
mod tryton;
mod vendure;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error, Row};

/// The rows of one table: every column after `tenant`, as PostgreSQL prints it; only what is shown to users.
pub type Rows = Vec<Vec<String>>;

/// What a store's rows depend on beside its tables.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub zone: Tz,
    pub today: NaiveDate,
    pub horizon: NaiveDate,
    /// Stock is the sum of the ledger, not of the batches.
    pub by_movements: bool,
}

/// All rows of a store that reports can depend on.
#[derive(Debug, Default)]
pub struct Store {
    sales: Vec<Sale>,
    items: Vec<Item>,
    payments: Vec<Payment>,
    /// Opened, closed.
    sessions: Vec<[Option<DateTime<Utc>>; 2]>,
    products: Vec<Product>,
    customers: Vec<Customer>,
    transactions: Vec<Transaction>,
    /// Product -> cost, sale price.
    prices: BTreeMap<i64, (Decimal, Decimal)>,
    /// Product -> least, most, tracked.
    limits: BTreeMap<i64, (Decimal, Option<Decimal>, bool)>,
    /// Product, type, quantity.
    movements: Vec<(i64, String, Decimal)>,
    /// Product, quantity, active.
    batches: Vec<(i64, Decimal, bool)>,
    /// Product, quantity, status.
    reservations: Vec<(i64, Decimal, String)>,
}

#[derive(Debug)]
struct Sale {
    id: i64,
    status: String,
    customer: Option<i64>,
    completed_at: Option<DateTime<Utc>>,
    /// Where the POS says it by itself.
    day: Option<NaiveDate>,
    total: Decimal,
    discount: Decimal,
    tax: Decimal,
}

#[derive(Debug)]
struct Item {
    id: i64,
    sale: i64,
    product: i64,
    quantity: Decimal,
    price: Decimal,
    total: Decimal,
}

#[derive(Debug)]
struct Payment {
    sale: i64,
    method: String,
    amount: Decimal,
}

#[derive(Debug)]
struct Product {
    id: i64,
    name: String,
    sku: String,
    barcode: String,
    active: bool,
}

#[derive(Debug)]
struct Customer {
    id: i64,
    first: String,
    last: String,
    middle: String,
    kind: String,
    company: String,
    phone: String,
    active: bool,
}

#[derive(Debug)]
struct Transaction {
    id: i64,
    customer: i64,
    kind: String,
    amount: Decimal,
    at: DateTime<Utc>,
}

/// Rows of all six tables.
#[derive(Debug)]
pub struct Reports {
    pub daily_sales_report: Rows,
    pub product_performance: Rows,
    pub customer_analytics: Rows,
    /// Required rows: those of active products.
    pub inventory_snapshot: Rows,
    /// Rows that may be there: those of inactive products.
    pub inventory_snapshot_optional: Rows,
    pub product: Rows,
    pub customer: Rows,
}

impl Store {
    pub async fn load(client: &Client, schema: &str) -> Result<Store, Error> {
        let read = async |table: &str, columns: &str| {
            client.query(&format!("SELECT {columns} FROM \"{schema}\".{table} ORDER BY id"), &[]).await
        };
        let sales =
            read("sales_sale", "id, status, customer_id, completed_at, total_amount, discount_amount, tax_amount");
        let items = read("sales_sale_item", "id, sale_id, product_id, quantity, unit_price, line_total");
        let customers = "id, first_name, last_name, middle_name, customer_type, company_name, phone, is_active";
        let transactions = read("customers_transaction", "id, customer_id, transaction_type, amount, created_at");
        let prices = read("products_product_pricing", "product_id, cost_price, sale_price").await?;
        let limits =
            read("products_product_inventory", "product_id, min_quantity, max_quantity, track_inventory").await?;
        Ok(Store {
            sales: all(sales.await?, |r| Sale {
                id: r.get(0),
                status: r.get(1),
                customer: r.get(2),
                completed_at: r.get(3),
                day: None,
                total: r.get(4),
                discount: r.get(5),
                tax: r.get(6),
            }),
            items: all(items.await?, |r| Item {
                id: r.get(0),
                sale: r.get(1),
                product: r.get(2),
                quantity: r.get(3),
                price: r.get(4),
                total: r.get(5),
            }),
            payments: all(read("sales_payment", "sale_id, payment_method, amount").await?, |r| Payment {
                sale: r.get(0),
                method: r.get(1),
                amount: r.get(2),
            }),
            sessions: all(read("sales_cashier_session", "opened_at, closed_at").await?, |r| [r.get(0), r.get(1)]),
            products: all(read("products_product", "id, name, sku, barcode, is_active").await?, |r| Product {
                id: r.get(0),
                name: r.get(1),
                sku: r.get(2),
                barcode: r.get(3),
                active: r.get(4),
            }),
            customers: all(read("customers_customer", customers).await?, |r| Customer {
                id: r.get(0),
                first: r.get(1),
                last: r.get(2),
                middle: r.get(3),
                kind: r.get(4),
                company: r.get(5),
                phone: r.get(6),
                active: r.get(7),
            }),
            transactions: all(transactions.await?, |r| Transaction {
                id: r.get(0),
                customer: r.get(1),
                kind: r.get(2),
                amount: r.get(3),
                at: r.get(4),
            }),
            prices: prices.iter().map(|r| (r.get(0), (r.get(1), r.get(2)))).collect(),
            limits: limits.iter().map(|r| (r.get(0), (r.get(1), r.get(2), r.get(3)))).collect(),
            movements: all(read("products_stock_movement", "product_id, movement_type, quantity").await?, triple),
            batches: all(read("products_product_batch", "product_id, quantity, is_active").await?, triple),
            reservations: all(read("products_stock_reservation", "product_id, quantity, status").await?, triple),
        })
    }

    /// Every row the reports should have. `frozen` are unit costs by item; an item without one takes today's.
    pub fn reports(&self, setting: Setting, frozen: &BTreeMap<i64, Decimal>) -> Reports {
        let (inventory_snapshot, inventory_snapshot_optional) = self.inventory(setting);
        Reports {
            daily_sales_report: self.daily(setting),
            product_performance: self.performance(setting, frozen),
            customer_analytics: self.analytics(setting),
            inventory_snapshot,
            inventory_snapshot_optional,
            product: self.product_names(),
            customer: self.customer_names(),
        }
    }

    fn counted(&self, setting: Setting) -> impl Iterator<Item = (&Sale, NaiveDate)> {
        let completed = self.sales.iter().filter(|s| s.status == "completed");
        completed.filter_map(move |s| s.day(setting).map(|day| (s, day)))
    }
}

impl Sale {
    fn day(&self, setting: Setting) -> Option<NaiveDate> {
        self.completed_at.map(|at| self.day.unwrap_or_else(|| local_day(at, setting)))
    }
}

fn local_day(at: DateTime<Utc>, setting: Setting) -> NaiveDate {
    at.with_timezone(&setting.zone).date_naive()
}

fn all<T>(rows: Vec<Row>, read: impl Fn(&Row) -> T) -> Vec<T> {
    rows.iter().map(read).collect()
}

fn triple<A, B, C>(row: &Row) -> (A, B, C)
where
    A: for<'a> tokio_postgres::types::FromSql<'a>,
    B: for<'a> tokio_postgres::types::FromSql<'a>,
    C: for<'a> tokio_postgres::types::FromSql<'a>,
{
    (row.get(0), row.get(1), row.get(2))
}
