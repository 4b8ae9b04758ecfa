//! A store from the tables of a Vendure shop.

use chrono::{NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tokio_postgres::{Client, Error};

use super::{Customer, Item, Payment, Product, Sale, Store};

fn cents(amount: i32) -> Decimal {
    Decimal::new(amount.into(), 2)
}

impl Store {
    /// `server`: whose local time orders are placed at.
    pub async fn load_vendure(client: &Client, server: Tz) -> Result<Store, Error> {
        let read = async |query: &str| client.query(query, &[]).await;
        let id = |id: i32| i64::from(id);
        let mut store = Store::default();
        let orders =
            "SELECT id, state, \"customerId\", \"orderPlacedAt\", \"subTotalWithTax\" FROM \"order\" ORDER BY id";
        for row in read(orders).await? {
            let state: &str = row.get(1);
            let counts = [
                "PaymentAuthorized",
                "PaymentSettled",
                "PartiallyShipped",
                "Shipped",
                "PartiallyDelivered",
                "Delivered",
            ];
            let at =
                |local: NaiveDateTime| server.from_local_datetime(&local).latest().expect("a time").with_timezone(&Utc);
            store.sales.push(Sale {
                id: id(row.get(0)),
                status: if counts.contains(&state) { "completed" } else { "open" }.to_string(),
                customer: row.get::<_, Option<i32>>(2).map(id),
                completed_at: row.get::<_, Option<NaiveDateTime>>(3).map(at),
                day: None,
                total: cents(row.get(4)),
                discount: Decimal::ZERO,
                tax: Decimal::ZERO,
            });
        }
        let lines = "SELECT id, \"orderId\", \"productVariantId\", quantity, \"listPrice\" FROM order_line ORDER BY id";
        for row in read(lines).await? {
            let (quantity, price) = (Decimal::from(row.get::<_, i32>(3)), cents(row.get(4)));
            store.items.push(Item {
                id: id(row.get(0)),
                sale: id(row.get(1)),
                product: id(row.get(2)),
                quantity,
                price,
                total: quantity * price,
            });
        }
        for row in
            read("SELECT \"orderId\", method, amount FROM payment WHERE state IN ('Authorized', 'Settled')").await?
        {
            let method = match row.get(1) {
                "cash-in-store" => "cash",
                "stripe-payment" => "card",
                other => other,
            };
            let (sale, amount) = (id(row.get(0)), cents(row.get(2)));
            store.payments.push(Payment { sale, method: method.to_string(), amount });
        }
        let customers = "SELECT id, \"firstName\", \"lastName\", \"phoneNumber\" FROM customer WHERE \"deletedAt\" IS NULL ORDER BY id";
        for row in read(customers).await? {
            let none = String::new;
            store.customers.push(Customer {
                id: id(row.get(0)),
                first: row.get(1),
                last: row.get(2),
                middle: none(),
                kind: none(),
                company: none(),
                phone: row.get::<_, Option<String>>(3).unwrap_or_default(),
                active: true,
            });
        }
        let variants = "SELECT v.id, (SELECT t.name FROM product_variant_translation t WHERE t.\"baseId\" = v.id AND t.\"languageCode\" = 'en'
                                      ORDER BY t.id DESC LIMIT 1), v.sku, v.enabled
                        FROM product_variant v WHERE v.\"deletedAt\" IS NULL ORDER BY v.id";
        for row in read(variants).await? {
            store.products.push(Product {
                id: id(row.get(0)),
                name: row.get::<_, Option<String>>(1).unwrap_or_default(),
                sku: row.get(2),
                barcode: String::new(),
                active: row.get(3),
            });
        }
        let prices =
            read("SELECT \"variantId\", price FROM product_variant_price WHERE \"channelId\" = 1 ORDER BY id").await?;
        store.prices = prices.iter().map(|row| (id(row.get(0)), (Decimal::ZERO, cents(row.get(1))))).collect();
        let levels = "SELECT \"productVariantId\", coalesce(\"stockOnHand\", 0), coalesce(\"stockAllocated\", 0) FROM stock_level";
        for row in read(levels).await? {
            let (product, on_hand, allocated): (i32, i32, i32) = (row.get(0), row.get(1), row.get(2));
            store.batches.push((id(product), on_hand.into(), true));
            store.reservations.push((id(product), allocated.into(), "active".to_string()));
        }
        Ok(store)
    }
}
