//! Every view and function of the report schema against a plain computation over the report rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, Days, NaiveDate};
use rand::RngExt;
use rust_decimal::Decimal;

use crate::reports_db::{NULL, ReportsDb, plain, round, rows};

/// The report rows, read once, and the stores' todays.
struct Raw {
    today: BTreeMap<String, NaiveDate>,
    daily: Vec<Row>,
    products: Vec<Row>,
    inventory: Vec<Row>,
    customers: Vec<Row>,
    product_names: BTreeMap<(String, i64), Row>,
    customer_names: BTreeMap<(String, i64), Row>,
    limits: BTreeMap<(String, i64), Row>,
}

/// One row by column name, as text.
#[derive(Debug, Clone)]
struct Row(BTreeMap<String, String>);

impl Row {
    fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column} in {self:?}"))
    }
    fn number(&self, column: &str) -> Decimal {
        self.text(column).parse().unwrap_or_else(|e| panic!("{column}: {e} in {self:?}"))
    }
    fn date(&self, column: &str) -> NaiveDate {
        self.text(column).parse().expect("date")
    }
    fn is(&self, column: &str) -> bool {
        self.text(column) == "t"
    }
    fn key(&self, column: &str) -> (String, i64) {
        (self.text("tenant").to_string(), self.text(column).parse().expect("id"))
    }
}

async fn named_rows(db: &ReportsDb, sql: &str) -> Vec<Row> {
    let statement = db.client.prepare(sql).await.expect("prepare");
    let names: Vec<String> = statement.columns().iter().map(|c| c.name().to_string()).collect();
    rows(&db.client, sql).await.into_iter().map(|values| Row(names.iter().cloned().zip(values).collect())).collect()
}

impl Raw {
    async fn read(db: &ReportsDb) -> Raw {
        let table = async |name: &str| named_rows(db, &format!("SELECT * FROM analytics.{name}")).await;
        let by_key = |rows: Vec<Row>, id: &str| rows.into_iter().map(|row| (row.key(id), row)).collect();
        let limits = "SELECT t.tenant, l.* FROM analytics_state.stock_limits l JOIN analytics_state.tenant t ON t.id = tenant_id";
        Raw {
            today: named_rows(db, "SELECT tenant, today FROM analytics_state.tenant")
                .await
                .into_iter()
                .map(|row| (row.text("tenant").to_string(), row.date("today")))
                .collect(),
            daily: table("daily_sales_report").await,
            products: table("product_performance").await,
            inventory: table("inventory_snapshot").await,
            customers: table("customer_analytics").await,
            product_names: by_key(table("product").await, "product_id"),
            customer_names: by_key(table("customer").await, "customer_id"),
            limits: by_key(named_rows(db, limits).await, "product_id"),
        }
    }

    fn day(&self, tenant: &str, date: NaiveDate) -> Option<&Row> {
        self.daily.iter().find(|row| row.text("tenant") == tenant && row.date("date") == date)
    }

    /// Sum of a column over a store's days, both ends included.
    fn sum(&self, tenant: Option<&str>, from: NaiveDate, to: NaiveDate, column: &str) -> Decimal {
        let of_store = |row: &&Row| tenant.is_none_or(|t| row.text("tenant") == t);
        let inside = |row: &&Row| (from..=to).contains(&row.date("date"));
        self.daily.iter().filter(of_store).filter(inside).map(|row| row.number(column)).sum()
    }

    fn live_customers(&self) -> impl Iterator<Item = &Row> {
        self.customers.iter().filter(|row| self.today.get(row.text("tenant")) == Some(&row.date("period_end")))
    }

    /// The newest row of each product that is tracked and not deleted.
    fn stock(&self) -> Vec<&Row> {
        let mut newest: BTreeMap<(String, i64), &Row> = BTreeMap::new();
        for row in &self.inventory {
            let key = row.key("product_id");
            let tracked = self.limits.get(&key).is_none_or(|l| l.is("track_inventory"));
            let deleted = self.product_names.get(&key).is_none_or(|p| p.text("deleted_at") != NULL);
            if tracked && !deleted && newest.get(&key).is_none_or(|n| n.date("date") < row.date("date")) {
                newest.insert(key, row);
            }
        }
        newest.into_values().collect()
    }

    fn is_active(&self, row: &Row) -> bool {
        self.product_names.get(&row.key("product_id")).is_some_and(|p| p.is("is_active"))
    }
}

fn text(number: Decimal) -> String {
    number.normalize().to_string()
}

fn ratio(part: Decimal, whole: Decimal, digits: u32) -> Decimal {
    if whole > Decimal::ZERO { round(part / whole, digits) } else { Decimal::ZERO }
}

fn days_before(date: NaiveDate, days: u64) -> NaiveDate {
    date.checked_sub_days(Days::new(days)).expect("a date")
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

const STORES: [(&str, &str); 3] = [("tenant_central", "Central"), ("tenant_north", "North"), ("tenant_quiet", "Quiet")];
const MONEY: [&str; 6] = ["total_sales", "cash_sales", "card_sales", "credit_sales", "other_sales", "total_discount"];

#[tokio::test]
async fn daily_sales_today_has_every_store_and_zeros_where_nothing_is_sold() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    let columns = "total_sales, total_sales_count, avg_sale_amount, cash_sales, card_sales, credit_sales, other_sales, \
                   total_discount, total_tax, total_items_sold, unique_products_sold, unique_customers, new_customers, \
                   refund_count, refund_amount, sessions_opened, sessions_closed";
    let mut expected = Vec::new();
    for (tenant, name) in STORES {
        let today = raw.today[tenant];
        let mut row = vec![tenant.to_string(), name.to_string(), today.to_string()];
        let day = raw.day(tenant, today);
        row.extend(columns.split(", ").map(|c| day.map_or("0".to_string(), |d| d.text(c.trim()).to_string())));
        expected.push(row);
    }
    let found =
        rows(&db.client, &format!("SELECT tenant, tenant_name, date, {columns} FROM analytics.daily_sales_today"))
            .await;
    assert_eq!(sorted(found), expected);
}

#[tokio::test]
async fn spans_of_days_add_up() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    let mut rng = rand::rng();
    for _ in 0..10 {
        let (tenant, _) = STORES[rng.random_range(0..3)];
        let to = days_before(raw.today[tenant], rng.random_range(0..60));
        let from = days_before(to, rng.random_range(0..60));
        let sum = |column: &str| raw.sum(Some(tenant), from, to, column);
        let mut expected: Vec<String> = MONEY.iter().map(|c| text(sum(c))).collect();
        expected.push(text(ratio(sum("total_sales"), sum("total_sales_count"), 2)));
        expected.push(text(sum("refund_amount")));
        let query = format!(
            "SELECT {}, avg_sale_amount, refund_amount FROM analytics.daily_sales_period('{tenant}', '{from}', '{to}')",
            MONEY.join(", ")
        );
        assert_eq!(rows(&db.client, &query).await, [expected], "{query}");

        let days: u64 = rng.random_range(1..100);
        let today = raw.today[tenant];
        let expected: Vec<Vec<String>> = (0..days)
            .rev()
            .map(|back| days_before(today, back))
            .map(|date| {
                let day = raw.day(tenant, date);
                let value = |c: &str| day.map_or("0".to_string(), |d| d.text(c).to_string());
                vec![
                    date.to_string(),
                    value("total_sales"),
                    value("total_sales_count"),
                    value("unique_customers"),
                    value("refund_amount"),
                ]
            })
            .collect();
        let query = format!(
            "SELECT date, total_sales, total_sales_count, unique_customers, refund_amount FROM analytics.sales_trends('{tenant}', {days})"
        );
        assert_eq!(rows(&db.client, &query).await, expected, "{query}");

        let weeks: u64 = rng.random_range(1..15);
        let expected: Vec<Vec<String>> = (1..=7_u32)
            .map(|weekday| {
                let dates = (1..=weeks * 7)
                    .map(|back| days_before(today, back))
                    .filter(|d| d.weekday().number_from_monday() == weekday);
                let days: Vec<&Row> = dates.filter_map(|date| raw.day(tenant, date)).collect();
                let total = |c: &str| days.iter().map(|d| d.number(c)).sum::<Decimal>();
                let (sales, count, weeks) = (total("total_sales"), total("total_sales_count"), Decimal::from(weeks));
                vec![
                    weekday.to_string(),
                    text(weeks),
                    text(sales),
                    text(count),
                    text(ratio(sales, weeks, 2)),
                    text(ratio(count, weeks, 2)),
                    text(ratio(sales, count, 2)),
                ]
            })
            .collect();
        let query = format!(
            "SELECT weekday, days, total_sales, total_sales_count, avg_sales_per_day, avg_count_per_day, avg_sale_amount FROM analytics.sales_by_weekday('{tenant}', {weeks})"
        );
        assert_eq!(rows(&db.client, &query).await, expected, "{query}");
    }
    let monday = rows(&db.client, "SELECT weekday_name FROM analytics.sales_by_weekday('tenant_central', 1)").await;
    assert_eq!(monday.concat(), ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]);
    for none in [
        "daily_sales_period('nobody', '2020-01-01', '2030-01-01')",
        "sales_trends('nobody')",
        "sales_by_weekday('tenant_new')",
    ] {
        assert_eq!(
            rows(&db.client, &format!("SELECT * FROM analytics.{none}")).await,
            Vec::<Vec<String>>::new(),
            "{none}"
        );
    }
}

#[tokio::test]
async fn store_totals_are_best_first_and_end_with_all_stores() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    let to = raw.today["tenant_central"];
    let from = days_before(to, 30);
    let all = raw.sum(None, from, to, "total_sales");
    let line = |rank: String, tenant: Option<&str>, name: &str| {
        let sum = |c: &str| raw.sum(tenant, from, to, c);
        let share = ratio(sum("total_sales") * Decimal::ONE_HUNDRED, all, 2);
        let shown = tenant.unwrap_or(NULL).to_string();
        vec![
            rank,
            shown,
            name.to_string(),
            text(sum("total_sales")),
            text(share),
            text(sum("total_sales_count")),
            text(ratio(sum("total_sales"), sum("total_sales_count"), 2)),
            text(sum("new_customers")),
        ]
    };
    let mut stores = STORES.to_vec();
    stores.push(("tenant_new", "New"));
    stores.sort_by_key(|(tenant, _)| (std::cmp::Reverse(raw.sum(Some(tenant), from, to, "total_sales")), *tenant));
    let mut expected: Vec<_> =
        stores.iter().zip(1..).map(|((t, n), rank)| line(rank.to_string(), Some(t), n)).collect();
    expected.push(line(NULL.to_string(), None, "all stores"));
    let query = format!(
        "SELECT rank, tenant, tenant_name, total_sales, share_percent, total_sales_count, avg_sale_amount, new_customers FROM analytics.store_totals('{from}', '{to}')"
    );
    assert_eq!(rows(&db.client, &query).await, expected);
}

#[tokio::test]
async fn top_products_by_every_order() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    let tenant = "tenant_central";
    let today = raw.today[tenant];
    for (from, to, span) in [
        (days_before(today, 29), today, String::new()),
        (
            days_before(today, 50),
            days_before(today, 3),
            format!(", '{}', '{}'", days_before(today, 50), days_before(today, 3)),
        ),
        (days_before(today, 400), today, ", '0001-01-01', '9999-12-31'".to_string()),
    ] {
        let mut sums: BTreeMap<i64, (Decimal, Decimal, Decimal)> = BTreeMap::new();
        for row in raw.products.iter().filter(|r| r.text("tenant") == tenant && (from..=to).contains(&r.date("date"))) {
            let sum = sums.entry(row.key("product_id").1).or_default();
            sum.0 += row.number("quantity_sold");
            sum.1 += row.number("total_revenue");
            sum.2 += row.number("total_profit");
        }
        for order in ["revenue", "quantity", "profit", "margin"] {
            let margin = |revenue: Decimal, profit: Decimal| {
                if revenue > Decimal::ZERO { profit / revenue } else { Decimal::ZERO }
            };
            let mut best: Vec<_> = sums.iter().collect();
            best.sort_by_key(|(id, (quantity, revenue, profit))| {
                let by = match order {
                    "revenue" => *revenue,
                    "quantity" => *quantity,
                    "profit" => *profit,
                    _ => margin(*revenue, *profit),
                };
                (std::cmp::Reverse(by), **id)
            });
            let expected: Vec<Vec<String>> = best
                .iter()
                .take(7)
                .zip(1..)
                .map(|((id, (quantity, revenue, profit)), rank)| {
                    vec![
                        rank.to_string(),
                        id.to_string(),
                        format!("{tenant} secret product {id}"),
                        text(*quantity),
                        text(*revenue),
                        text(*profit),
                        text(round(margin(*revenue, *profit) * Decimal::ONE_HUNDRED, 2)),
                    ]
                })
                .collect();
            let query = format!(
                "SELECT rank, product_id, product_name, quantity_sold, total_revenue, total_profit, profit_margin \
                                 FROM analytics.top_products('{tenant}'{span}, row_limit => 7, order_by => '{order}')"
            );
            assert_eq!(rows(&db.client, &query).await, expected, "{query}");
        }
    }
    let error = crate::reports_db::try_rows(
        &db.client,
        "SELECT * FROM analytics.top_products('tenant_central', order_by => 'reveneu')",
    )
    .await;
    let error = error.expect_err("an order that does not exist");
    assert_eq!(
        error.as_db_error().expect("from the server").message(),
        "order_by is revenue, quantity, profit or margin, not 'reveneu'"
    );
}

#[tokio::test]
async fn slow_movers_are_in_stock_and_sold_less() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    for (tenant, days, below) in
        [("tenant_central", 30, 5), ("tenant_north", 7, 2), ("tenant_central", 60, 1000), ("tenant_quiet", 30, 5)]
    {
        let from = days_before(raw.today[tenant], days - 1);
        let mut expected = Vec::new();
        for row in raw
            .stock()
            .into_iter()
            .filter(|r| r.text("tenant") == tenant && raw.is_active(r) && r.number("quantity_on_hand") > Decimal::ZERO)
        {
            let key = row.key("product_id");
            let sales: Vec<&Row> = raw.products.iter().filter(|r| r.key("product_id") == key).collect();
            let sold: Decimal =
                sales.iter().filter(|r| r.date("date") >= from).map(|r| r.number("quantity_sold")).sum();
            let last = sales.iter().map(|r| r.date("date")).max().map_or(NULL.to_string(), |d| d.to_string());
            if sold < Decimal::from(below) {
                expected.push(vec![key.1.to_string(), text(sold), last, plain(row.text("quantity_on_hand"))]);
            }
        }
        let query = format!(
            "SELECT product_id, quantity_sold, last_sold_on, quantity_on_hand FROM analytics.slow_movers('{tenant}', {days}, {below})"
        );
        assert_eq!(sorted(rows(&db.client, &query).await), sorted(expected), "{query}");
    }
}

#[tokio::test]
async fn customers_are_those_of_today() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    let at_risk = BTreeSet::from(["At Risk", "Can't Lose Them", "Hibernating", "Lost"]);
    let line = |row: &Row| {
        let key = row.key("customer_id");
        let name = raw.customer_names.get(&key).map_or(NULL, |c| c.text("full_name"));
        vec![
            key.0,
            key.1.to_string(),
            name.to_string(),
            row.text("segment").to_string(),
            row.text("credit_outstanding").to_string(),
            row.text("last_purchase_date").to_string(),
        ]
    };
    let expected =
        |wanted: &dyn Fn(&Row) -> bool| sorted(raw.live_customers().filter(|r| wanted(r)).map(line).collect());
    let query = |view: &str| {
        format!(
            "SELECT tenant, customer_id, full_name, segment, credit_outstanding, last_purchase_date FROM analytics.{view}"
        )
    };
    for (view, wanted) in [
        ("customer_live", expected(&|_| true)),
        ("customers_at_risk", expected(&|r| at_risk.contains(r.text("segment")))),
        ("debtors", expected(&|r| r.number("credit_outstanding") > Decimal::ZERO)),
    ] {
        assert!(!wanted.is_empty(), "{view}");
        assert_eq!(sorted(rows(&db.client, &query(view)).await), wanted, "{view}");
    }

    let mut segments: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in raw.live_customers() {
        segments.entry((row.text("tenant"), row.text("segment"))).or_default().push(row);
    }
    let expected: Vec<Vec<String>> = segments
        .iter()
        .map(|((tenant, segment), members)| {
            let of_store = raw.live_customers().filter(|r| r.text("tenant") == *tenant).count();
            let (count, spent) =
                (Decimal::from(members.len()), members.iter().map(|r| r.number("total_spent")).sum::<Decimal>());
            let owed: Decimal = members.iter().map(|r| r.number("credit_outstanding")).sum();
            vec![
                tenant.to_string(),
                segment.to_string(),
                text(count),
                text(ratio(count * Decimal::ONE_HUNDRED, Decimal::from(of_store), 2)),
                text(spent),
                text(ratio(spent, count, 2)),
                text(owed),
            ]
        })
        .collect();
    let query = "SELECT tenant, segment, customers, customers_percent, total_spent, avg_spent, credit_outstanding FROM analytics.customer_segments";
    assert_eq!(sorted(rows(&db.client, query).await), sorted(expected));
}

#[tokio::test]
async fn stock_is_the_newest_row_of_each_tracked_product() {
    let db = ReportsDb::filled().await;
    let raw = Raw::read(&db).await;
    let line = |row: &&Row| {
        let key = row.key("product_id");
        let name = raw.product_names[&key].text("name").to_string();
        vec![key.0, key.1.to_string(), name, row.text("date").to_string(), row.text("quantity_on_hand").to_string()]
    };
    let expected = |wanted: &dyn Fn(&Row) -> bool| sorted(raw.stock().iter().filter(|r| wanted(r)).map(line).collect());
    for (view, wanted) in [
        ("inventory_latest", expected(&|_| true)),
        ("low_stock_alerts", expected(&|r| r.is("is_low_stock") && raw.is_active(r))),
        ("out_of_stock", expected(&|r| r.is("is_out_of_stock") && raw.is_active(r))),
        ("overstock", expected(&|r| r.is("is_overstock") && raw.is_active(r))),
    ] {
        assert!(!wanted.is_empty(), "{view}");
        let query = format!("SELECT tenant, product_id, product_name, date, quantity_on_hand FROM analytics.{view}");
        assert_eq!(sorted(rows(&db.client, &query).await), wanted, "{view}");
    }
}
