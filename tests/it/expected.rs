//! What one store's readers should see, by the oracle alone, and ways to hold a query to it.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tokio_postgres::Client;

use crate::oracle::{Rows, Setting, Store};
use crate::reports_db::{plain, round, rows};

pub const DAILY: &str = "date total_sales total_sales_count avg_sale_amount cash_sales card_sales credit_sales other_sales \
    total_discount total_tax total_items_sold unique_products_sold unique_customers new_customers refund_count \
    refund_amount sessions_opened sessions_closed";
pub const PRODUCTS: &str = "product_id date quantity_sold total_revenue sales_count avg_price avg_discount total_cost \
    total_profit profit_margin";
pub const CUSTOMERS: &str = "customer_id period_end period_start recency_days frequency monetary purchases_count \
    total_spent avg_purchase_amount r_score f_score m_score rfm_score segment credit_purchases total_credit_amount \
    avg_payment_delay_days credit_outstanding first_purchase_date last_purchase_date lifetime_purchases lifetime_spent";
pub const INVENTORY: &str = "product_id date quantity_on_hand reserved_quantity available_quantity total_cost total_value \
    turnover_rate days_of_stock is_out_of_stock is_low_stock is_overstock";

/// One row by column name, as [`rows`] shows it.
#[derive(Debug, Clone)]
pub struct Line(pub BTreeMap<&'static str, String>);

impl Line {
    pub fn text(&self, column: &str) -> String {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column} in {self:?}")).clone()
    }
    pub fn number(&self, column: &str) -> Decimal {
        self.text(column).parse().unwrap_or_else(|e| panic!("{column}: {e} in {self:?}"))
    }
    pub fn date(&self, column: &str) -> NaiveDate {
        self.text(column).parse().expect("date")
    }
    pub fn is(&self, column: &str) -> bool {
        self.text(column) == "t"
    }
    pub fn all(&self, columns: &str) -> Vec<String> {
        columns.split_whitespace().map(|column| self.text(column)).collect()
    }
}

pub fn lines(rows: Rows, columns: &'static str) -> Vec<Line> {
    let shown = |text: String| match text.as_str() {
        "true" => "t".to_string(),
        "false" => "f".to_string(),
        other => plain(other),
    };
    let line = |row: Vec<String>| {
        let names: Vec<&str> = columns.split_whitespace().collect();
        assert_eq!(names.len(), row.len(), "{row:?}");
        Line(names.into_iter().zip(row.into_iter().map(shown)).collect())
    };
    rows.into_iter().map(line).collect()
}

/// What one store's readers should see, all of it from its POS tables.
pub struct Expected {
    pub tenant: &'static str,
    pub today: NaiveDate,
    pub daily: Vec<Line>,
    pub products: Vec<Line>,
    pub customers: Vec<Line>,
    /// Of active products.
    pub stock: Vec<Line>,
    /// Of inactive ones: may be there, and then is right.
    pub inactive_stock: Vec<Line>,
    pub product_names: BTreeMap<String, Line>,
    pub customer_names: BTreeMap<String, Line>,
    /// Product -> least and most.
    pub limits: BTreeMap<String, [String; 2]>,
}

impl Expected {
    pub async fn read(client: &Client, tenant: &'static str, zone: Tz) -> Expected {
        let query = "SELECT today, horizon, stock_source = 'movements' FROM analytics_state.tenant WHERE tenant = $1";
        let row = client.query_one(query, &[&tenant]).await.expect("setting");
        let setting = Setting { zone, today: row.get(0), horizon: row.get(1), by_movements: row.get(2) };
        assert_eq!(setting.today, Utc::now().with_timezone(&zone).date_naive(), "live rows carry today");
        let costs = crate::live::kept_costs(client, tenant).await;
        let reports = Store::load(client, tenant).await.expect("load").reports(setting, &costs);
        let limits = format!(
            "SELECT product_id, min_quantity, max_quantity FROM {tenant}.products_product_inventory ORDER BY id"
        );
        let limit = |row: Vec<String>| (row[0].clone(), [row[1].clone(), row[2].clone()]);
        let by_id = |lines: Vec<Line>, id: &str| lines.into_iter().map(|line| (line.text(id), line)).collect();
        Expected {
            tenant,
            today: setting.today,
            daily: lines(reports.daily_sales_report, DAILY),
            products: lines(reports.product_performance, PRODUCTS),
            customers: lines(reports.customer_analytics, CUSTOMERS),
            stock: lines(reports.inventory_snapshot, INVENTORY),
            inactive_stock: lines(reports.inventory_snapshot_optional, INVENTORY),
            product_names: by_id(lines(reports.product, "product_id name sku barcode is_active"), "product_id"),
            customer_names: by_id(
                lines(reports.customer, "customer_id full_name phone customer_type is_active"),
                "customer_id",
            ),
            limits: rows(client, &limits).await.into_iter().map(limit).collect(),
        }
    }

    pub fn back(&self, days: u64) -> NaiveDate {
        self.today.checked_sub_days(Days::new(days)).expect("a date")
    }

    pub fn day(&self, date: NaiveDate) -> Option<&Line> {
        self.daily.iter().find(|line| line.date("date") == date)
    }

    /// A day's value, 0 where there is no row.
    pub fn value(&self, date: NaiveDate, columns: &str) -> Vec<String> {
        self.day(date).map_or_else(|| columns.split_whitespace().map(|_| "0".to_string()).collect(), |d| d.all(columns))
    }

    /// Sum of a column over days, both ends included.
    pub fn sum(&self, from: NaiveDate, to: NaiveDate, column: &str) -> Decimal {
        self.daily.iter().filter(|d| (from..=to).contains(&d.date("date"))).map(|d| d.number(column)).sum()
    }

    /// Product -> quantity, revenue, sales, cost, profit.
    pub fn sold(&self, from: NaiveDate, to: NaiveDate) -> BTreeMap<i64, [Decimal; 5]> {
        let mut sums: BTreeMap<i64, [Decimal; 5]> = BTreeMap::new();
        for line in self.products.iter().filter(|line| (from..=to).contains(&line.date("date"))) {
            let sum = sums.entry(line.text("product_id").parse().expect("id")).or_default();
            let columns = ["quantity_sold", "total_revenue", "sales_count", "total_cost", "total_profit"];
            for (sum, column) in sum.iter_mut().zip(columns) {
                *sum += line.number(column);
            }
        }
        sums
    }

    /// The named columns of a name's line; of one that was deleted from the POS the last known ones, whatever they are.
    pub fn name(&self, names: &BTreeMap<String, Line>, id: &str, columns: &str) -> Vec<String> {
        let unknown = || columns.split_whitespace().map(|_| ANY.to_string()).collect();
        names.get(id).map_or_else(unknown, |line| line.all(columns))
    }

    pub fn product(&self, id: &str) -> Vec<String> {
        self.name(&self.product_names, id, "name sku")
    }
}

/// Equals whatever was found.
pub const ANY: &str = "<any>";

pub fn text(number: Decimal) -> String {
    number.normalize().to_string()
}

pub fn ratio(part: Decimal, whole: Decimal, digits: u32) -> Decimal {
    if whole > Decimal::ZERO { round(part / whole, digits) } else { Decimal::ZERO }
}

/// The rows of a query in their order.
pub async fn check(client: &Client, query: &str, expected: &[Vec<String>]) {
    let found = rows(client, query).await;
    assert_eq!(found.len(), expected.len(), "{query}\nfound {found:#?}\nexpected {expected:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let same = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| e == ANY || f == e);
        assert!(same, "{query}\nfound    {found:?}\nexpected {expected:?}");
    }
}

/// The rows of a view of one store, whose first `key` columns identify a row; `columns` follow the tenant's.
pub async fn check_view(client: &Client, store: &Expected, view: &str, columns: &str, mut expected: Vec<Vec<String>>) {
    let list = columns.split_whitespace().collect::<Vec<_>>().join(", ");
    let key = columns.split_whitespace().next().expect("a column");
    expected.sort_by(|a, b| a[0].cmp(&b[0]));
    let query = format!(
        "SELECT {list} FROM analytics.{view} WHERE tenant = '{tenant}' AND tenant_name = 'Store {tenant}' \
         ORDER BY {key}::text COLLATE \"C\"",
        tenant = store.tenant
    );
    println!("{} {view}: {} rows", store.tenant, expected.len());
    check(client, &query, &expected).await;
}
