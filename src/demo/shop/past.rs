//! The shop's past: finished sales of the last months, so that the reports have something to say from the first second.

use chrono::{Days, TimeDelta, Utc};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::goods::Product;
use super::till::cents;
use super::{ShopOptions, StoreOptions};
use crate::demo::bulk::{self, Line, Sale};
use crate::demo::local::instant;
use crate::demo::store::{Error, Store};

/// Writes the past, oldest day first, a transaction and a session each day. The present day is left to the till.
pub async fn write(
    store: &mut Store,
    rng: &mut ChaCha8Rng,
    products: &[Product],
    customers: &[i64],
    store_options: &StoreOptions,
    options: &ShopOptions,
) -> Result<(), Error> {
    let today = Utc::now().with_timezone(&store_options.time_zone).date_naive();
    for back in (1..=options.past_days).rev() {
        let Some(day) = today.checked_sub_days(Days::new(u64::from(back))) else { continue };
        let opened = instant(day.and_time(chrono::NaiveTime::MIN) + TimeDelta::hours(8), store_options.time_zone);
        let closed = opened + TimeDelta::hours(14);
        store.begin().await?;
        let session = store
            .id(
                "INSERT INTO sales_cashier_session (status, opened_at, closed_at) VALUES ('closed', $1, $2) RETURNING id",
                &[&opened, &closed],
            )
            .await?;
        let mut sales = Vec::new();
        for number in 0..options.past_sales {
            let lines = (0..rng.random_range(1..=5)).filter_map(|_| line(rng, products)).collect();
            // Some buy every week, some came once: early customers of the list are the regulars.
            let regulars = customers.len().div_ceil(if rng.random_bool(0.6) { 5 } else { 1 });
            let customer = customers.get(..regulars).and_then(|c| c.choose(rng)).copied();
            sales.push(Sale {
                session,
                receipt: format!("H-{day}-{number}"),
                status: if rng.random_ratio(1, 50) { "refunded" } else { "completed" },
                customer: customer.filter(|_| rng.random_bool(0.5)),
                at: opened + TimeDelta::seconds(rng.random_range(0..14 * 3600)),
                method: ["cash", "cash", "card", "card", "transfer"].choose(rng).copied().unwrap_or("cash"),
                lines,
            });
        }
        bulk::write(store, &sales).await?;
        store.commit().await?;
    }
    Ok(())
}

fn line(rng: &mut ChaCha8Rng, products: &[Product]) -> Option<Line> {
    let product = products.choose(rng)?;
    let quantity = product.some(rng);
    Some(Line { product: product.id, quantity, price: product.price, total: cents(quantity * product.price) })
}
