//! A store from the tables of a Tryton till.

use std::collections::BTreeMap;

use chrono::{NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error};

use super::exact::rounded;
use super::{Item, Payment, Product, Sale, Store};

/// Printed in full, as the server prints floating-point numbers by default.
pub fn printed(text: Option<String>) -> Decimal {
    let text = text.unwrap_or_else(|| "0".to_string());
    Decimal::from_scientific(&text).or_else(|_| text.parse()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

impl Store {
    /// Stock is what has come to places 5 and 6, less what has left them.
    pub async fn load_tryton(client: &Client, zone: Tz) -> Result<Store, Error> {
        client.batch_execute("SET extra_float_digits = 3").await?;
        let read = async |query: &str| client.query(query, &[]).await;
        let mut store = Store::default();
        for row in
            read("SELECT id, sale, product, quantity::text, unit_gross_price FROM sale_point_sale_line ORDER BY id")
                .await?
        {
            let (quantity, price) = (printed(row.get(3)), row.get::<_, Option<Decimal>>(4).unwrap_or_default());
            store.items.push(Item {
                id: row.get::<_, i32>(0).into(),
                sale: row.get::<_, i32>(1).into(),
                product: row.get::<_, Option<i32>>(2).unwrap_or_default().into(),
                quantity,
                price,
                total: rounded(quantity * price, 2),
            });
        }
        for row in read("SELECT id, state, date FROM sale_point_sale ORDER BY id").await? {
            let id = row.get::<_, i32>(0).into();
            let counts = matches!(row.get(1), "done" | "posted");
            // Any time of that day will do.
            let noon = |day: NaiveDate| day.and_time(NaiveTime::from_hms_opt(12, 0, 0).expect("noon"));
            let at =
                |day| zone.from_local_datetime(&noon(day)).earliest().expect("noon is everywhere").with_timezone(&Utc);
            store.sales.push(Sale {
                id,
                status: if counts { "completed" } else { "open" }.to_string(),
                customer: None,
                completed_at: row.get::<_, Option<NaiveDate>>(2).map(at),
                day: None,
                total: store.items.iter().filter(|item| item.sale == id).map(|item| item.total).sum(),
                discount: Decimal::ZERO,
                tax: Decimal::ZERO,
            });
        }
        let payments = "SELECT p.sale, m.cash, m.name, p.amount FROM sale_point_payment p JOIN sale_point_payment_method m ON m.id = p.method";
        for row in read(payments).await? {
            let method = match (row.get(1), row.get(2)) {
                (true, _) => "cash",
                (_, "Card") => "card",
                _ => "voucher",
            };
            store.payments.push(Payment {
                sale: row.get::<_, i32>(0).into(),
                method: method.to_string(),
                amount: row.get(3),
            });
        }
        let products = "SELECT p.id, t.name, p.code, p.active FROM product_product p LEFT JOIN product_template t ON t.id = p.template ORDER BY p.id";
        for row in read(products).await? {
            store.products.push(Product {
                id: row.get::<_, i32>(0).into(),
                name: row.get::<_, Option<String>>(1).unwrap_or_default(),
                sku: row.get::<_, Option<String>>(2).unwrap_or_default(),
                barcode: String::new(),
                active: row.get(3),
            });
        }
        let prices = read("SELECT product, cost_price FROM product_cost_price ORDER BY id").await?;
        store.prices = prices.iter().map(|row| (row.get::<_, i32>(0).into(), (row.get(1), Decimal::ZERO))).collect();
        let inside = |place: i32| matches!(place, 5 | 6);
        for row in read(
            "SELECT product, internal_quantity::text, from_location, to_location FROM stock_move WHERE state = 'done'",
        )
        .await?
        {
            let kind = match (inside(row.get(2)), inside(row.get(3))) {
                (false, true) => "purchase",
                (true, false) => "sale",
                _ => "within",
            };
            store.movements.push((row.get::<_, i32>(0).into(), kind.to_string(), printed(row.get(1))));
        }
        let limits =
            read("SELECT product, \"left\"::text, \"right\"::text FROM \"stock-order_point\" ORDER BY id").await?;
        let limit = |row: &tokio_postgres::Row| {
            let most: Option<String> = row.get(2);
            (row.get::<_, i32>(0).into(), (printed(row.get(1)), most.map(|text| printed(Some(text))), true))
        };
        store.limits = limits.iter().map(limit).collect::<BTreeMap<_, _>>();
        Ok(store)
    }
}
