//! The live reports in a terminal: what the report tables say now, drawn again and again.
//!
//! [`query`] reads, [`render`] draws, [`Screen`] shows; only the middle one decides anything, and it is pure.

mod screen;

use std::fmt::Write;
use std::time::Duration;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use tokio_postgres::Client;

use super::pos::quoted;
use crate::domain::{Money, Quantity};

pub use screen::Screen;

/// Longest line, in characters.
const WIDTH: usize = 100;

/// What is on the screen, as the report tables have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    pub stores: Vec<StoreRow>,
    pub top: Vec<ProductRow>,
    /// Segment and number of customers.
    pub segments: Vec<(String, i64)>,
    pub products: i64,
    pub low_stock: i64,
    pub out_of_stock: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRow {
    pub name: String,
    /// As in the tenant table: `live`, `copying` …
    pub state: String,
    /// Its newest day; `None`: it has no figures yet.
    pub day: Option<DayRow>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayRow {
    pub date: NaiveDate,
    pub sales: i64,
    pub total: Money,
    pub average: Money,
    pub cash: Money,
    pub card: Money,
    pub credit: Money,
    pub other: Money,
    pub customers: i64,
    pub refunds: i64,
    pub refunded: Money,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRow {
    pub name: String,
    pub store: String,
    pub quantity: Quantity,
    pub revenue: Money,
}

/// How the daemon keeps up; measured by the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    pub lag_bytes: Option<u64>,
    /// From a commit of the POS to its being in the reports.
    pub lag: Option<Duration>,
    pub changes_per_second: Option<u64>,
    /// Since the demo started.
    pub running: Duration,
}

/// Reads the screen's rows from the report schema, each statement for itself.
///
/// # Errors
/// What PostgreSQL says, for example that the schema does not exist yet.
pub async fn query(client: &Client, schema: &str) -> Result<Rows, tokio_postgres::Error> {
    let sql = |text: &str| text.replace("{reports}", &quoted(schema));
    let mut rows = Rows::default();
    for row in client.query(&sql(include_str!("stores.sql")), &[]).await? {
        let date: Option<NaiveDate> = row.try_get(2)?;
        let day = match date {
            Some(date) => Some(DayRow {
                date,
                sales: row.try_get(3)?,
                total: row.try_get(4)?,
                average: row.try_get(5)?,
                cash: row.try_get(6)?,
                card: row.try_get(7)?,
                credit: row.try_get(8)?,
                other: row.try_get(9)?,
                customers: row.try_get(10)?,
                refunds: row.try_get(11)?,
                refunded: row.try_get(12)?,
            }),
            None => None,
        };
        rows.stores.push(StoreRow { name: row.try_get(0)?, state: row.try_get(1)?, day });
    }
    for row in client.query(&sql(include_str!("top.sql")), &[]).await? {
        rows.top.push(ProductRow {
            name: row.try_get(0)?,
            store: row.try_get(1)?,
            quantity: row.try_get(2)?,
            revenue: row.try_get(3)?,
        });
    }
    for row in client.query(&sql(include_str!("segments.sql")), &[]).await? {
        rows.segments.push((row.try_get(0)?, row.try_get(1)?));
    }
    let stock = client.query_one(&sql(include_str!("stock.sql")), &[]).await?;
    (rows.products, rows.low_stock, rows.out_of_stock) = (stock.try_get(0)?, stock.try_get(1)?, stock.try_get(2)?);
    Ok(rows)
}

/// Draws the screen: plain lines, each ended by a newline, none longer than 100 characters.
pub fn render(rows: &Rows, pace: &Pace) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = draw(&mut out, rows, pace);
    // Names come from the database: whatever is in them moves no cursor.
    let tidy = |line: &str| line.chars().filter(|c| !c.is_control()).take(WIDTH).collect::<String>();
    out.lines().map(|line| tidy(line).trim_end().to_string() + "\n").collect()
}

fn draw(out: &mut String, rows: &Rows, pace: &Pace) -> std::fmt::Result {
    let unknown = || "-".to_string();
    writeln!(
        out,
        "tillstream   {} s   lag {}, {}   {} changes/s",
        pace.running.as_secs(),
        pace.lag.map_or_else(unknown, |lag| format!("{} ms", lag.as_millis())),
        pace.lag_bytes.map_or_else(unknown, |bytes| format!("{} bytes", grouped(&bytes.to_string()))),
        pace.changes_per_second.map_or_else(unknown, |n| grouped(&n.to_string())),
    )?;
    for store in &rows.stores {
        let Some(day) = &store.day else {
            writeln!(out, "\n{}   {}", store.name, store.state)?;
            continue;
        };
        writeln!(out, "\n{}   {}   {}", store.name, day.date, store.state)?;
        writeln!(
            out,
            "  sales {:>7}   total {:>16}   average {:>13}   customers {:>6}",
            grouped(&day.sales.to_string()),
            money(day.total),
            money(day.average),
            grouped(&day.customers.to_string())
        )?;
        writeln!(
            out,
            "  cash {:>16}   card {:>16}   credit {:>14}   other {:>14}",
            money(day.cash),
            money(day.card),
            money(day.credit),
            money(day.other)
        )?;
        writeln!(out, "  refunds {:>5}   refunded {:>13}", grouped(&day.refunds.to_string()), money(day.refunded))?;
    }
    if !rows.top.is_empty() {
        writeln!(out, "\n{:<40} {:<20} {:>14} {:>16}", "top products", "store", "quantity", "revenue")?;
    }
    for product in &rows.top {
        writeln!(
            out,
            "  {:<38} {:<20} {:>14} {:>16}",
            cut(&product.name, 38),
            cut(&product.store, 20),
            grouped(&product.quantity.normalize().to_string()),
            money(product.revenue)
        )?;
    }
    if !rows.segments.is_empty() {
        writeln!(out, "\ncustomers")?;
        // Three to a line, so that all eleven segments fit.
        for group in rows.segments.chunks(3) {
            let cells: Vec<String> = group.iter().map(|(name, count)| format!("  {name:<20} {count:>7}")).collect();
            writeln!(out, "{}", cells.join(" "))?;
        }
    }
    writeln!(
        out,
        "\nstock   {} products   {} low   {} out",
        grouped(&rows.products.to_string()),
        grouped(&rows.low_stock.to_string()),
        grouped(&rows.out_of_stock.to_string())
    )
}

fn money(amount: Decimal) -> String {
    grouped(&format!("{amount:.2}"))
}

/// 1234567.50 as 1 234 567.50.
fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out + fraction
}

/// At most so many characters, with a sign that there are more.
fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_string();
    }
    let kept: String = text.chars().take(characters.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_digits_by_three() {
        for (number, text) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1 000"),
            ("-1234567.50", "-1 234 567.50"),
            ("-100", "-100"),
            ("12.345", "12.345"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn draws_every_part() {
        let day = DayRow {
            date: NaiveDate::from_ymd_opt(2026, 3, 1).unwrap_or_default(),
            sales: 1234,
            total: Decimal::new(1_234_567_890, 2),
            refunds: 2,
            refunded: Decimal::new(-5, 1),
            ..DayRow::default()
        };
        let rows = Rows {
            stores: vec![
                StoreRow { name: "Central".into(), state: "live".into(), day: Some(day) },
                StoreRow { name: "North".into(), state: "copying".into(), day: None },
            ],
            top: vec![ProductRow {
                name: "A product with a name that is longer than its column".into(),
                store: "Central".into(),
                quantity: Decimal::new(12_500, 3),
                revenue: Decimal::from(99),
            }],
            segments: ["Champions", "Lost", "Promising", "At Risk"].map(|s| (s.to_string(), 7)).to_vec(),
            products: 40,
            low_stock: 3,
            out_of_stock: 1,
        };
        let pace = Pace { lag_bytes: Some(2048), changes_per_second: Some(1500), ..Pace::default() };
        let expected = "\
tillstream   0 s   lag -, 2 048 bytes   1 500 changes/s

Central   2026-03-01   live
  sales   1 234   total    12 345 678.90   average          0.00   customers      0
  cash             0.00   card             0.00   credit           0.00   other           0.00
  refunds     2   refunded         -0.50

North   copying

top products                             store                      quantity          revenue
  A product with a name that is longer … Central                        12.5            99.00

customers
  Champions                  7   Lost                       7   Promising                  7
  At Risk                    7

stock   40 products   3 low   1 out
";
        assert_eq!(render(&rows, &pace), expected);
    }

    #[test]
    fn draws_nothing_yet() {
        let text = render(&Rows::default(), &Pace::default());
        assert_eq!(text, "tillstream   0 s   lag -, -   - changes/s\n\nstock   0 products   0 low   0 out\n");
    }
}
