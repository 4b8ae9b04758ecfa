//! Trade as a Tryton till writes it.

use rand::RngExt;
use tokio_postgres::Error;

use super::trade::Trade;

pub const SCHEMA: &str = include_str!("tryton.sql");

/// A floating-point quantity, now and then one that no short decimal number is.
fn quantity(trade: &mut Trade) -> String {
    match trade.rng.random_range(0..8) {
        0 => "0.1::float8 + 0.2".to_string(),
        1 => "1::float8 / 3".to_string(),
        2..=4 => format!("{}", trade.rng.random_range(1..6)),
        _ => format!("{}::float8 / 1000", trade.rng.random_range(1..9999)),
    }
}

/// Four decimals, or none at all: a numeric without scale.
fn price(trade: &mut Trade) -> String {
    let digits = [0, 2, 4][trade.rng.random_range(0..3)];
    format!("{}", rust_decimal::Decimal::new(trade.rng.random_range(0..500_000), digits).normalize())
}

/// Some template with a product and its cost.
pub async fn stock_up(trade: &mut Trade) -> Result<(), Error> {
    for _ in 0..12 {
        product(trade).await?;
    }
    for _ in 0..20 {
        movement(trade).await?;
    }
    Ok(())
}

pub async fn step(trade: &mut Trade) -> Result<(), Error> {
    match trade.rng.random_range(0..100) {
        0..=39 => sale(trade).await,
        40..=46 => cancel_or_reopen(trade).await,
        47..=59 => edit_lines(trade).await,
        60..=64 => edit_sale(trade).await,
        65..=67 => delete_sale(trade).await,
        68..=73 => edit_payments(trade).await,
        74..=81 => product_chores(trade).await,
        82..=95 => movement(trade).await,
        _ => limits(trade).await,
    }
}

/// Opened, filled and numbered in one transaction; paid and done in another; posted later.
async fn sale(trade: &mut Trade) -> Result<(), Error> {
    let returns = trade.rng.random_ratio(1, 8);
    let days = if trade.rng.random_ratio(1, 3) { trade.rng.random_range(0..50) } else { 0 };
    let mut lines = Vec::new();
    for _ in 0..trade.rng.random_range(1..5) {
        let Some(product) = trade.pick("product_product", "active").await? else { continue };
        let sign = if returns { "-" } else { "" };
        let (quantity, price) = (quantity(trade), price(trade));
        lines.push(format!("(s.id, {product}, {sign}({quantity}), {price}, {price})"));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let sale: i32 = trade
        .client
        .query_one(
            &format!("INSERT INTO sale_point_sale (state, date) VALUES ('open', current_date - {days}) RETURNING id"),
            &[],
        )
        .await?
        .get(0);
    let insert = "INSERT INTO sale_point_sale_line (sale, product, quantity, unit_list_price, unit_gross_price)";
    let lines: Vec<String> = lines.iter().map(|line| line.replace("s.id", &sale.to_string())).collect();
    trade
        .commit(&[
            format!("UPDATE sale_point_sale SET employee = 1 WHERE id = {sale}"),
            format!("{insert} VALUES {}", lines.join(", ")),
            format!("UPDATE sale_point_sale SET number = 'S{sale}' WHERE id = {sale}"),
        ])
        .await?;
    if trade.rng.random_ratio(1, 10) {
        return Ok(());
    }
    let method = trade.rng.random_range(1..4);
    let mut pay = vec![
        format!(
            "INSERT INTO sale_point_payment (sale, method, amount)
             SELECT {sale}, {method}, ceil(sum(round((quantity::text::numeric * unit_gross_price), 2)))
             FROM sale_point_sale_line WHERE sale = {sale} HAVING count(*) > 0"
        ),
        format!("UPDATE sale_point_sale SET state = 'done' WHERE id = {sale}"),
    ];
    if method == 1 {
        // Change.
        pay.insert(1, format!("INSERT INTO sale_point_payment (sale, method, amount) VALUES ({sale}, 1, -0.37)"));
    }
    let moved = format!(
        "INSERT INTO stock_move (product, quantity, internal_quantity, from_location, to_location, state)
         SELECT product, abs(quantity), abs(quantity), CASE WHEN quantity > 0 THEN 5 ELSE 7 END, CASE WHEN quantity > 0 THEN 7 ELSE 5 END,
                'draft' FROM sale_point_sale_line WHERE sale = {sale} AND product IS NOT NULL"
    );
    pay.push(moved);
    pay.push("UPDATE stock_move SET state = 'done', effective_date = current_date WHERE state = 'draft' AND from_location IN (5, 7)".into());
    trade.commit(&pay).await?;
    if trade.rng.random_bool(0.6) {
        trade.run(&format!("UPDATE sale_point_sale SET state = 'posted' WHERE id = {sale}")).await?;
    }
    Ok(())
}

async fn cancel_or_reopen(trade: &mut Trade) -> Result<(), Error> {
    let Some(sale) = trade.pick("sale_point_sale", "true").await? else { return Ok(()) };
    let state = ["open", "cancelled", "done", "posted"][trade.rng.random_range(0..4)];
    trade.run(&format!("UPDATE sale_point_sale SET state = '{state}' WHERE id = {sale}")).await
}

/// The total of a sale that is done changes with them.
async fn edit_lines(trade: &mut Trade) -> Result<(), Error> {
    let Some(line) = trade.pick("sale_point_sale_line", "true").await? else { return Ok(()) };
    let (quantity, price) = (quantity(trade), price(trade));
    let other = trade.pick("product_product", "true").await?.map_or("NULL".to_string(), |id| id.to_string());
    let sale = trade.pick("sale_point_sale", "true").await?.unwrap_or(0);
    let change = match trade.rng.random_range(0..8) {
        0 | 1 => format!("UPDATE sale_point_sale_line SET quantity = {quantity} WHERE id = {line}"),
        2 => format!("UPDATE sale_point_sale_line SET unit_gross_price = {price} WHERE id = {line}"),
        3 => format!("UPDATE sale_point_sale_line SET product = {other} WHERE id = {line}"),
        4 => format!("UPDATE sale_point_sale_line SET sale = {sale} WHERE id = {line}"),
        5 => format!("UPDATE sale_point_sale_line SET id = nextval('sale_point_sale_line_id_seq') WHERE id = {line}"),
        6 => format!("DELETE FROM sale_point_sale_line WHERE id = {line}"),
        _ => format!(
            "INSERT INTO sale_point_sale_line (sale, product, quantity, unit_gross_price) VALUES ({sale}, {other}, {quantity}, NULL)"
        ),
    };
    trade.run(&change).await
}

async fn edit_sale(trade: &mut Trade) -> Result<(), Error> {
    let Some(sale) = trade.pick("sale_point_sale", "true").await? else { return Ok(()) };
    let days = trade.rng.random_range(0..40);
    let date = if trade.rng.random_ratio(1, 5) { "NULL".to_string() } else { format!("current_date - {days}") };
    trade.run(&format!("UPDATE sale_point_sale SET date = {date} WHERE id = {sale}")).await
}

async fn delete_sale(trade: &mut Trade) -> Result<(), Error> {
    let Some(sale) = trade.pick("sale_point_sale", "true").await? else { return Ok(()) };
    let parts = ["sale_point_payment WHERE sale", "sale_point_sale_line WHERE sale", "sale_point_sale WHERE id"];
    trade.commit(&parts.map(|part| format!("DELETE FROM {part} = {sale}"))).await
}

async fn edit_payments(trade: &mut Trade) -> Result<(), Error> {
    let Some(payment) = trade.pick("sale_point_payment", "true").await? else { return Ok(()) };
    let (method, amount) = (trade.rng.random_range(1..4), price(trade));
    let change = match trade.rng.random_range(0..3) {
        0 => format!("UPDATE sale_point_payment SET method = {method} WHERE id = {payment}"),
        1 => format!("UPDATE sale_point_payment SET amount = {amount} WHERE id = {payment}"),
        _ => format!("DELETE FROM sale_point_payment WHERE id = {payment}"),
    };
    trade.run(&change).await
}

/// Of a template of its own, or a variant of another product's.
async fn product(trade: &mut Trade) -> Result<(), Error> {
    let n: u32 = trade.rng.random_range(0..100_000);
    let template = match trade.pick("product_template", "true").await? {
        Some(template) if trade.rng.random_ratio(1, 3) => template.to_string(),
        _ => {
            trade.run(&format!("INSERT INTO product_template (name) VALUES ('Goods {n}')")).await?;
            "(SELECT max(id) FROM product_template)".to_string()
        }
    };
    let cost = rust_decimal::Decimal::new(trade.rng.random_range(0..99_999), 3);
    trade
        .commit(&[
            format!("INSERT INTO product_product (template, code) SELECT {template}, 'P{n}'"),
            format!("INSERT INTO product_cost_price (product, cost_price) SELECT max(id), {cost} FROM product_product"),
        ])
        .await
}

async fn product_chores(trade: &mut Trade) -> Result<(), Error> {
    let Some(product) = trade.pick("product_product", "true").await? else { return Ok(()) };
    let Some(template) = trade.pick("product_template", "true").await? else { return Ok(()) };
    let n: u32 = trade.rng.random_range(0..100_000);
    let cost = rust_decimal::Decimal::new(trade.rng.random_range(0..99_999), 3);
    let change = match trade.rng.random_range(0..9) {
        0 => return self::product(trade).await,
        1 => format!("UPDATE product_template SET name = 'Renamed {n}' WHERE id = {template}"),
        2 => format!("UPDATE product_product SET template = {template} WHERE id = {product}"),
        3 => format!("DELETE FROM product_template WHERE id = {template}"),
        4 => format!("UPDATE product_product SET active = NOT active WHERE id = {product}"),
        5 => format!("UPDATE product_product SET code = NULL WHERE id = {product}"),
        6 => format!("DELETE FROM product_product WHERE id = {product}"),
        7 => format!("UPDATE product_cost_price SET cost_price = {cost} WHERE product = {product}"),
        _ => format!("INSERT INTO product_cost_price (product, cost_price) VALUES ({product}, {cost})"),
    };
    trade.run(&change).await
}

/// Between any two places, in any state.
async fn movement(trade: &mut Trade) -> Result<(), Error> {
    let state = ["draft", "done", "done", "cancelled"][trade.rng.random_range(0..4)];
    let (from, to) = (trade.rng.random_range(5..10), trade.rng.random_range(5..10));
    let quantity = quantity(trade);
    let change = match (trade.rng.random_range(0..6), trade.pick("stock_move", "true").await?) {
        (0, Some(id)) => format!("UPDATE stock_move SET state = '{state}' WHERE id = {id}"),
        (1, Some(id)) => format!("UPDATE stock_move SET internal_quantity = {quantity} WHERE id = {id}"),
        (2, Some(id)) => format!("UPDATE stock_move SET from_location = {from}, to_location = {to} WHERE id = {id}"),
        (3, Some(id)) => format!("DELETE FROM stock_move WHERE id = {id}"),
        _ => {
            let Some(product) = trade.pick("product_product", "true").await? else { return Ok(()) };
            format!(
                "INSERT INTO stock_move (product, quantity, internal_quantity, from_location, to_location, state)
                 VALUES ({product}, {quantity}, {quantity}, {from}, {to}, '{state}')"
            )
        }
    };
    trade.run(&change).await
}

async fn limits(trade: &mut Trade) -> Result<(), Error> {
    let Some(product) = trade.pick("product_product", "true").await? else { return Ok(()) };
    let (least, most) = (quantity(trade), quantity(trade));
    let change = match (trade.rng.random_range(0..3), trade.pick("\"stock-order_point\"", "true").await?) {
        (0, Some(id)) => format!("DELETE FROM \"stock-order_point\" WHERE id = {id}"),
        (1, Some(id)) => {
            format!("UPDATE \"stock-order_point\" SET \"left\" = NULL, \"right\" = {most} WHERE id = {id}")
        }
        _ => format!(
            "INSERT INTO \"stock-order_point\" (product, \"left\", \"right\") VALUES ({product}, {least}, NULL)"
        ),
    };
    trade.run(&change).await
}
