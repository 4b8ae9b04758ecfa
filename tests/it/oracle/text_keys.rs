//! A store whose keys are text. The numbers that stand for them are the daemon's business: they are looked up, and that they
//! are what they should be is another test's.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error};

use super::exact::rounded;
use super::{Customer, Item, Payment, Product, Sale, Store};

impl Store {
    /// The shop's shifts are on the clock of its head office in Auckland.
    pub async fn load_text_keys(client: &Client, tenant: &str, zone: Tz) -> Result<Store, Error> {
        let read = async |query: &str| client.query(query, &[]).await;
        let query = "SELECT k.kind, k.key, k.id FROM analytics_state.source_key k
                     JOIN analytics_state.tenant t ON t.id = k.tenant_id WHERE t.tenant = $1";
        let numbers: HashMap<(String, String), i64> =
            client.query(query, &[&tenant]).await?.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        let number = |kind: &str, key: String| {
            *numbers.get(&(kind.to_string(), key.clone())).unwrap_or_else(|| panic!("{kind} {key} has no number"))
        };
        let mut store = Store::default();
        let items =
            "SELECT id, order_id, variant_id, quantity, unit_price FROM order_line_item WHERE deleted_at IS NULL";
        for row in read(items).await? {
            let (quantity, price): (Decimal, Decimal) = (row.get(3), row.get(4));
            store.items.push(Item {
                id: number("sale_item", row.get(0)),
                sale: number("sale", row.get(1)),
                product: row.get::<_, Option<String>>(2).map_or(0, |key| number("product", key)),
                quantity,
                price,
                total: rounded(quantity * price, 1),
            });
        }
        let auckland = chrono_tz::Pacific::Auckland;
        let shift_day = |shift: NaiveDateTime| {
            auckland.from_local_datetime(&shift).latest().expect("a time").with_timezone(&zone).date_naive()
        };
        let orders =
            "SELECT id, status::text, customer_id::text, created_at, shift FROM \"order\" WHERE deleted_at IS NULL";
        for row in read(orders).await? {
            let id = number("sale", row.get(0));
            let status = match row.get(1) {
                "completed" | "archived" => "completed",
                "canceled" => "refunded",
                _ => "pending",
            };
            store.sales.push(Sale {
                id,
                status: status.to_string(),
                customer: row.get::<_, Option<String>>(2).map(|key| number("customer", key)),
                completed_at: Some(row.get::<_, DateTime<Utc>>(3)),
                day: row.get::<_, Option<NaiveDateTime>>(4).map(shift_day),
                total: store.items.iter().filter(|item| item.sale == id).map(|item| item.total).sum(),
                discount: Decimal::ZERO,
                tax: Decimal::ZERO,
            });
        }
        for row in read("SELECT order_id, reference, amount FROM order_transaction").await? {
            let sale = number("sale", row.get(0));
            store.payments.push(Payment { sale, method: row.get(1), amount: row.get(2) });
        }
        let text = |text: Option<String>| text.unwrap_or_default();
        let customers = "SELECT id::text, first_name, last_name, phone FROM customer WHERE deleted_at IS NULL";
        for row in read(customers).await? {
            store.customers.push(Customer {
                id: number("customer", row.get(0)),
                first: text(row.get(1)),
                last: text(row.get(2)),
                middle: String::new(),
                kind: String::new(),
                company: String::new(),
                phone: text(row.get(3)),
                active: true,
            });
        }
        for row in read("SELECT id, title, sku, barcode, price FROM product_variant WHERE deleted_at IS NULL").await? {
            let id = number("product", row.get(0));
            let price = row.get::<_, Option<Decimal>>(4).unwrap_or_default();
            store.prices.insert(id, (rounded(price, 1), price));
            store.products.push(Product {
                id,
                name: row.get(1),
                sku: text(row.get(2)),
                barcode: text(row.get(3)),
                active: true,
            });
        }
        let levels =
            "SELECT variant_id, coalesce(stocked_quantity, 0), coalesce(reserved_quantity, 0) FROM inventory_level
                      WHERE deleted_at IS NULL";
        for row in read(levels).await? {
            let product = number("product", row.get(0));
            store.batches.push((product, row.get(1), true));
            store.reservations.push((product, row.get(2), "active".to_string()));
        }
        Ok(store)
    }
}
