//! Trade as a Vendure shop writes it: carts and orders in one table, some ten updates of an order.

use chrono::{TimeDelta, Utc};
use rand::RngExt;
use tokio_postgres::Error;

use super::trade::Trade;

pub const SCHEMA: &str = include_str!("vendure.sql");
/// Of the server on which the shop's program runs.
pub const SERVER: chrono_tz::Tz = chrono_tz::America::Sao_Paulo;

pub async fn stock_up(trade: &mut Trade) -> Result<(), Error> {
    for _ in 0..10 {
        variant(trade).await?;
        customer(trade).await?;
    }
    Ok(())
}

pub async fn step(trade: &mut Trade) -> Result<(), Error> {
    match trade.rng.random_range(0..100) {
        0..=39 => order(trade).await,
        40..=49 => cancel(trade).await,
        50..=56 => edit(trade).await,
        57..=59 => abandon(trade).await,
        60..=64 => payments(trade).await,
        65..=74 => customer(trade).await,
        75..=87 => variant(trade).await,
        _ => stock(trade).await,
    }
}

/// Now, or up to some weeks ago, as the server's clock showed it.
fn placed_at(trade: &mut Trade) -> String {
    let ago = if trade.rng.random_bool(0.5) { 0 } else { trade.rng.random_range(0..60 * 24 * 50) };
    let at = Utc::now() - TimeDelta::minutes(ago);
    at.with_timezone(&SERVER).naive_local().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

async fn order(trade: &mut Trade) -> Result<(), Error> {
    let n: u32 = trade.rng.random_range(0..1_000_000);
    let insert = format!("INSERT INTO \"order\" (code, state) VALUES ('O{n}', 'AddingItems') RETURNING id");
    let order: i32 = trade.client.query_one(&insert, &[]).await?.get(0);
    for _ in 0..trade.rng.random_range(1..4) {
        let Some(variant) = trade.pick("product_variant", "\"deletedAt\" IS NULL").await? else { return Ok(()) };
        let (quantity, price) = (trade.rng.random_range(1..6), trade.rng.random_range(0..20_000));
        trade
            .commit(&[
                format!(
                    "INSERT INTO order_line (\"orderId\", \"productVariantId\", quantity, \"listPrice\") VALUES ({order}, {variant}, {quantity}, {price})"
                ),
                totals(order.into()),
            ])
            .await?;
    }
    if let (true, Some(customer)) = (trade.rng.random_bool(0.7), trade.pick("customer", "\"deletedAt\" IS NULL").await?)
    {
        trade.run(&format!("UPDATE \"order\" SET \"customerId\" = {customer} WHERE id = {order}")).await?;
    }
    if trade.rng.random_ratio(1, 6) {
        return Ok(());
    }
    trade.run(&format!("UPDATE \"order\" SET state = 'ArrangingPayment' WHERE id = {order}")).await?;
    let method = ["cash-in-store", "stripe-payment", "voucher"][trade.rng.random_range(0..3)];
    let pay = |state: &str| {
        format!(
            "INSERT INTO payment (\"orderId\", method, state, amount) SELECT id, '{method}', '{state}', \"subTotalWithTax\" FROM \"order\" WHERE id = {order}"
        )
    };
    if trade.rng.random_ratio(1, 5) {
        trade.run(&pay("Declined")).await?;
    }
    let at = placed_at(trade);
    trade
        .commit(&[
            pay("Created"),
            format!("UPDATE payment SET state = 'Authorized' WHERE \"orderId\" = {order} AND state = 'Created'"),
            format!("UPDATE payment SET state = 'Settled' WHERE \"orderId\" = {order} AND state = 'Authorized'"),
            format!(
                "UPDATE \"order\" SET state = 'PaymentSettled', active = false, \"orderPlacedAt\" = '{at}' WHERE id = {order}"
            ),
            format!(
                "UPDATE stock_level s SET \"stockAllocated\" = coalesce(\"stockAllocated\", 0) + l.quantity FROM order_line l
                 WHERE l.\"orderId\" = {order} AND l.\"productVariantId\" = s.\"productVariantId\" AND s.\"stockLocationId\" = 1"
            ),
        ])
        .await?;
    for state in ["Shipped", "Delivered"].into_iter().take(trade.rng.random_range(0..3)) {
        trade
            .commit(&[
                format!("UPDATE \"order\" SET state = '{state}', \"updatedAt\" = now() AT TIME ZONE 'UTC' WHERE id = {order}"),
                format!(
                    "UPDATE stock_level s SET \"stockOnHand\" = \"stockOnHand\" - 1, \"stockAllocated\" = \"stockAllocated\" - 1
                     FROM order_line l WHERE l.\"orderId\" = {order} AND l.\"productVariantId\" = s.\"productVariantId\""
                ),
            ])
            .await?;
    }
    Ok(())
}

fn totals(order: i64) -> String {
    format!(
        "UPDATE \"order\" o SET \"subTotal\" = t.sum, \"subTotalWithTax\" = t.sum
         FROM (SELECT coalesce(sum(quantity * \"listPrice\"), 0)::int AS sum FROM order_line WHERE \"orderId\" = {order}) t
         WHERE o.id = {order}"
    )
}

/// A cancelled line stays, with quantity 0.
async fn cancel(trade: &mut Trade) -> Result<(), Error> {
    let Some(order) = trade.pick("\"order\"", "NOT active").await? else { return Ok(()) };
    let whole = trade.rng.random_bool(0.5);
    let part = if whole { "true" } else { "id % 2 = 0" };
    let mut statements = vec![format!("UPDATE order_line SET quantity = 0 WHERE \"orderId\" = {order} AND {part}")];
    if whole {
        statements.push(format!("UPDATE \"order\" SET state = 'Cancelled' WHERE id = {order}"));
    }
    if trade.rng.random_bool(0.5) {
        statements.push(totals(order));
    }
    trade.commit(&statements).await
}

async fn edit(trade: &mut Trade) -> Result<(), Error> {
    let Some(order) = trade.pick("\"order\"", "true").await? else { return Ok(()) };
    let at = placed_at(trade);
    let customer = trade.pick("customer", "true").await?.map_or("NULL".to_string(), |id| id.to_string());
    let amount = trade.rng.random_range(-500..50_000);
    let change = match trade.rng.random_range(0..5) {
        0 => format!("\"orderPlacedAt\" = '{at}'"),
        1 => format!("\"customerId\" = {customer}"),
        2 => "\"customerId\" = NULL".to_string(),
        3 => format!("\"subTotalWithTax\" = {amount}"),
        _ => "\"orderPlacedAt\" = NULL".to_string(),
    };
    trade.run(&format!("UPDATE \"order\" SET {change} WHERE id = {order}")).await
}

async fn abandon(trade: &mut Trade) -> Result<(), Error> {
    let Some(order) = trade.pick("\"order\"", "true").await? else { return Ok(()) };
    let parts = ["order_line WHERE \"orderId\"", "payment WHERE \"orderId\"", "\"order\" WHERE id"];
    trade.commit(&parts.map(|part| format!("DELETE FROM {part} = {order}"))).await
}

async fn payments(trade: &mut Trade) -> Result<(), Error> {
    let Some(payment) = trade.pick("payment", "true").await? else { return Ok(()) };
    let state = ["Settled", "Declined", "Cancelled", "Error"][trade.rng.random_range(0..4)];
    // Also one that leaves under another key than it had.
    let id = if trade.rng.random_ratio(1, 4) { "nextval('payment_id_seq')" } else { "id" };
    trade.run(&format!("UPDATE payment SET id = {id}, state = '{state}' WHERE id = {payment}")).await
}

async fn customer(trade: &mut Trade) -> Result<(), Error> {
    let n: u32 = trade.rng.random_range(0..100_000);
    let change = match (trade.rng.random_range(0..6), trade.pick("customer", "true").await?) {
        (0, Some(id)) => {
            format!("UPDATE customer SET \"lastName\" = 'Renamed {n}', \"phoneNumber\" = NULL WHERE id = {id}")
        }
        (1, Some(id)) => format!("UPDATE customer SET \"deletedAt\" = now() AT TIME ZONE 'UTC' WHERE id = {id}"),
        (2, Some(id)) => format!("UPDATE customer SET \"deletedAt\" = NULL WHERE id = {id}"),
        _ => {
            format!("INSERT INTO customer (\"firstName\", \"lastName\", \"phoneNumber\") VALUES ('F{n}', '', '+43{n}')")
        }
    };
    trade.run(&change).await
}

async fn variant(trade: &mut Trade) -> Result<(), Error> {
    let n: u32 = trade.rng.random_range(0..100_000);
    let price = trade.rng.random_range(0..50_000);
    let change = match (trade.rng.random_range(0..9), trade.pick("product_variant", "true").await?) {
        (0, Some(id)) => format!("UPDATE product_variant_translation SET name = 'Renamed {n}' WHERE \"baseId\" = {id}"),
        (1, Some(id)) => format!("UPDATE product_variant SET \"deletedAt\" = now() AT TIME ZONE 'UTC' WHERE id = {id}"),
        (2, Some(id)) => {
            format!("UPDATE product_variant SET \"deletedAt\" = NULL, enabled = NOT enabled WHERE id = {id}")
        }
        (3, Some(id)) => format!("UPDATE product_variant_price SET price = {price} WHERE \"variantId\" = {id}"),
        (4, Some(id)) => {
            format!("DELETE FROM product_variant_translation WHERE \"baseId\" = {id} AND \"languageCode\" = 'en'")
        }
        (5, Some(id)) => format!(
            "UPDATE product_variant_translation SET \"languageCode\" = CASE \"languageCode\" WHEN 'en' THEN 'de' ELSE 'en' END WHERE \"baseId\" = {id}"
        ),
        (6, Some(id)) => format!(
            "UPDATE product_variant_translation SET \"baseId\" = {id} WHERE id = (SELECT max(id) FROM product_variant_translation)"
        ),
        _ => {
            let variant = "(SELECT max(id) FROM product_variant)";
            return trade
                .commit(&[
                    format!("INSERT INTO product_variant (sku) VALUES ('SKU-{n}')"),
                    format!("INSERT INTO product_variant_translation (\"languageCode\", name, \"baseId\") VALUES ('de', 'Ware {n}', {variant}), ('en', 'Goods {n}', {variant})"),
                    format!("INSERT INTO product_variant_price (price, \"channelId\", \"variantId\") VALUES ({price}, 1, {variant}), (1, 2, {variant})"),
                    format!("INSERT INTO stock_level (\"productVariantId\", \"stockLocationId\", \"stockOnHand\", \"stockAllocated\") VALUES ({variant}, 1, 40, NULL), ({variant}, 2, NULL, 0)"),
                ])
                .await;
        }
    };
    trade.run(&change).await
}

async fn stock(trade: &mut Trade) -> Result<(), Error> {
    let Some(level) = trade.pick("stock_level", "true").await? else { return Ok(()) };
    let quantity = trade.rng.random_range(-5..60);
    let change = match trade.rng.random_range(0..4) {
        0 => format!("UPDATE stock_level SET \"stockOnHand\" = {quantity} WHERE id = {level}"),
        1 => {
            format!("UPDATE stock_level SET \"stockOnHand\" = NULL, \"stockAllocated\" = {quantity} WHERE id = {level}")
        }
        2 => format!("DELETE FROM stock_level WHERE id = {level}"),
        _ => format!("UPDATE stock_level SET \"stockAllocated\" = NULL WHERE id = {level}"),
    };
    trade.run(&change).await
}
