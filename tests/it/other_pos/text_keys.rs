//! Trade in a shop whose keys are text: keys come before their rows, leave, come back, and are changed.

use rand::RngExt;
use tokio_postgres::Error;

use super::trade::Trade;

pub const SCHEMA: &str = include_str!("text_keys.sql");
pub const CONFIG: &str = include_str!("text_keys.toml");

/// Few enough that keys come again after they were deleted.
fn variant(trade: &mut Trade) -> String {
    format!("variant_{}", trade.rng.random_range(0..25))
}

fn customer(trade: &mut Trade) -> String {
    format!("00000000-0000-4000-8000-{:012}", trade.rng.random_range(0..25))
}

fn key(trade: &mut Trade, kind: &str) -> String {
    format!("{kind}_{:016X}", trade.rng.random::<u64>())
}

fn amount(trade: &mut Trade) -> rust_decimal::Decimal {
    let digits = [0, 1, 2, 3][trade.rng.random_range(0..4)];
    rust_decimal::Decimal::new(trade.rng.random_range(0..200_000), digits)
}

pub async fn stock_up(trade: &mut Trade) -> Result<(), Error> {
    for _ in 0..40 {
        goods_and_people(trade).await?;
    }
    Ok(())
}

pub async fn step(trade: &mut Trade) -> Result<(), Error> {
    match trade.rng.random_range(0..100) {
        0..=39 => order(trade).await,
        40..=64 => edit(trade).await,
        65..=89 => goods_and_people(trade).await,
        _ => stock(trade).await,
    }
}

/// Items may come before their order, and name products that are not there (yet).
async fn order(trade: &mut Trade) -> Result<(), Error> {
    let order = key(trade, "order");
    let mut statements = Vec::new();
    for _ in 0..trade.rng.random_range(1..4) {
        let (item, variant) = (key(trade, "ordli"), variant(trade));
        let (quantity, price) = (trade.rng.random_range(1..5), amount(trade));
        statements.push(format!(
            "INSERT INTO order_line_item (id, order_id, variant_id, quantity, unit_price) VALUES ('{item}', '{order}', '{variant}', {quantity}, {price})"
        ));
    }
    let customer = if trade.rng.random_bool(0.7) { format!("'{}'", customer(trade)) } else { "NULL".into() };
    let minutes = trade.rng.random_range(0..60 * 24 * 40);
    statements.push(format!(
        "INSERT INTO \"order\" (id, customer_id, created_at, shift) VALUES ('{order}', {customer}, now() - interval '{minutes} minutes',
         CASE WHEN {minutes} % 2 = 0 THEN localtimestamp - interval '{minutes} minutes' END)"
    ));
    if trade.rng.random_bool(0.5) {
        trade.commit(&statements).await?;
        statements.clear();
    }
    let (method, amount) = (["cash", "card", "credit", "gift"][trade.rng.random_range(0..4)], amount(trade));
    statements.push(format!(
        "INSERT INTO order_transaction (order_id, amount, reference) VALUES ('{order}', {amount}, '{method}')"
    ));
    let status =
        ["pending", "completed", "completed", "completed", "archived", "canceled"][trade.rng.random_range(0..6)];
    statements.push(format!("UPDATE \"order\" SET status = '{status}' WHERE id = '{order}'"));
    trade.commit(&statements).await
}

async fn edit(trade: &mut Trade) -> Result<(), Error> {
    let Some(order) = trade.pick_text("\"order\"", "true").await? else { return Ok(()) };
    let Some(item) = trade.pick_text("order_line_item", "true").await? else { return Ok(()) };
    let (new_item, new_order, variant, customer) =
        (key(trade, "ordli"), key(trade, "order"), variant(trade), customer(trade));
    let price = amount(trade);
    let hours = trade.rng.random_range(0..200);
    let change = match trade.rng.random_range(0..15) {
        13 => format!("UPDATE \"order\" SET shift = localtimestamp - interval '{hours} hours' WHERE id = '{order}'"),
        14 => format!("UPDATE \"order\" SET shift = NULL WHERE id = '{order}'"),
        0 => format!("UPDATE \"order\" SET deleted_at = now() WHERE id = '{order}'"),
        1 => format!("UPDATE \"order\" SET deleted_at = NULL, status = 'completed' WHERE id = '{order}'"),
        2 => format!("UPDATE \"order\" SET customer_id = '{customer}' WHERE id = '{order}'"),
        3 => format!("UPDATE \"order\" SET id = '{new_order}' WHERE id = '{order}'"),
        4 => format!("DELETE FROM \"order\" WHERE id = '{order}'"),
        5 => format!("UPDATE order_line_item SET deleted_at = now() WHERE id = '{item}'"),
        6 => format!("UPDATE order_line_item SET deleted_at = NULL WHERE id = '{item}'"),
        7 => format!("UPDATE order_line_item SET id = '{new_item}', deleted_at = now() WHERE id = '{item}'"),
        8 => format!("UPDATE order_line_item SET variant_id = '{variant}' WHERE id = '{item}'"),
        9 => format!("UPDATE order_line_item SET order_id = '{order}', unit_price = {price} WHERE id = '{item}'"),
        10 => format!("UPDATE order_line_item SET id = '{new_item}' WHERE id = '{item}'"),
        11 => format!("UPDATE order_line_item SET variant_id = NULL WHERE id = '{item}'"),
        _ => format!("DELETE FROM order_line_item WHERE id = '{item}'"),
    };
    trade.run(&change).await
}

async fn goods_and_people(trade: &mut Trade) -> Result<(), Error> {
    let (variant, other, customer) = (variant(trade), variant(trade), customer(trade));
    let (n, price) = (trade.rng.random_range(0..100_000), amount(trade));
    let change = match trade.rng.random_range(0..12) {
        0..=2 => format!(
            "INSERT INTO product_variant (id, title, sku, price) VALUES ('{variant}', 'Goods {n}', 'S{n}', {price}) ON CONFLICT DO NOTHING"
        ),
        3 => format!("UPDATE product_variant SET title = 'Renamed {n}', price = {price} WHERE id = '{variant}'"),
        4 => format!("DELETE FROM product_variant WHERE id = '{variant}'"),
        5 => format!(
            "UPDATE product_variant SET deleted_at = CASE WHEN deleted_at IS NULL THEN now() END WHERE id = '{variant}'"
        ),
        6 => format!("UPDATE product_variant SET id = '{other}' WHERE id = '{variant}'"),
        7 => format!("DELETE FROM customer WHERE id = '{customer}'"),
        8 => format!(
            "UPDATE customer SET deleted_at = CASE WHEN deleted_at IS NULL THEN now() END WHERE id = '{customer}'"
        ),
        _ => format!(
            "INSERT INTO customer VALUES ('{customer}', 'F{n}', NULL, '{n}') ON CONFLICT (id) DO UPDATE SET last_name = 'L{n}'"
        ),
    };
    trade.run(&change).await
}

async fn stock(trade: &mut Trade) -> Result<(), Error> {
    let (level, variant, quantity) = (trade.rng.random_range(0..40), variant(trade), amount(trade));
    let change = match trade.rng.random_range(0..5) {
        0 => format!("UPDATE inventory_level SET deleted_at = now() WHERE id = 'ilev_{level}'"),
        1 => format!("DELETE FROM inventory_level WHERE id = 'ilev_{level}'"),
        2 => {
            format!("UPDATE inventory_level SET deleted_at = NULL, variant_id = '{variant}' WHERE id = 'ilev_{level}'")
        }
        _ => format!(
            "INSERT INTO inventory_level VALUES ('ilev_{level}', '{variant}', {quantity}, 1) ON CONFLICT (id)
             DO UPDATE SET stocked_quantity = {quantity}, reserved_quantity = NULL"
        ),
    };
    trade.run(&change).await
}
