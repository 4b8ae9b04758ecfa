//! What the shop sells, and to whom.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;

use super::super::store::{Error, Store};

/// Name and whether it is sold by weight.
const GOODS: [(&str, bool); 40] = [
    ("Tomatoes", true),
    ("Potatoes", true),
    ("Onions", true),
    ("Carrots", true),
    ("Apples", true),
    ("Grapes", true),
    ("Melon", true),
    ("Watermelon", true),
    ("Almonds", true),
    ("Walnuts", true),
    ("Raisins", true),
    ("Rice", true),
    ("Beef", true),
    ("Lamb", true),
    ("Chicken", true),
    ("Cheese", true),
    ("Cottage cheese", true),
    ("Sausage", true),
    ("Flat bread", false),
    ("White bread", false),
    ("Milk 1 l", false),
    ("Kefir 0.5 l", false),
    ("Butter 200 g", false),
    ("Sour cream 400 g", false),
    ("Eggs, ten", false),
    ("Green tea 100 g", false),
    ("Black tea 100 g", false),
    ("Sugar 1 kg", false),
    ("Flour 2 kg", false),
    ("Sunflower oil 1 l", false),
    ("Cottonseed oil 1 l", false),
    ("Salt 1 kg", false),
    ("Pasta 400 g", false),
    ("Buckwheat 800 g", false),
    ("Honey 500 g", false),
    ("Chocolate 90 g", false),
    ("Halva 300 g", false),
    ("Mineral water 1.5 l", false),
    ("Cola 1 l", false),
    ("Washing powder 3 kg", false),
];
const FIRST_NAMES: [&str; 16] = [
    "Aziza", "Bekzod", "Dilnoza", "Farrukh", "Gulnora", "Iskandar", "Jasur", "Kamola", "Laziz", "Madina", "Nodir",
    "Olim", "Rustam", "Sevara", "Timur", "Zarina",
];
const LAST_NAMES: [&str; 12] = [
    "Abdullaev",
    "Karimov",
    "Rakhimov",
    "Yusupov",
    "Ismailov",
    "Usmanov",
    "Nazarov",
    "Saidov",
    "Tursunov",
    "Ergashev",
    "Kim",
    "Petrov",
];

/// A product as the till knows it.
#[derive(Debug, Clone)]
pub struct Product {
    pub id: i64,
    pub batch: i64,
    pub price: Decimal,
    pub weighed: bool,
}

impl Product {
    /// A usual quantity of it: whole pieces, or kilograms to 5 g.
    pub fn some(&self, rng: &mut ChaCha8Rng) -> Decimal {
        if self.weighed {
            Decimal::new(rng.random_range(20..=500) * 5, 3)
        } else {
            Decimal::from(*[1, 1, 1, 2, 2, 3, 4, 6].get(rng.random_range(0..8)).unwrap_or(&1))
        }
    }
}

/// Creates the `number`th product: one transaction, with its price, limits and first batch.
pub async fn create_product(store: &mut Store, rng: &mut ChaCha8Rng, number: usize) -> Result<Product, Error> {
    let (name, weighed) = GOODS.get(number % GOODS.len()).copied().unwrap_or(("Goods", false));
    let kind = number / GOODS.len();
    let name = if kind == 0 { name.to_string() } else { format!("{name}, kind {}", kind + 1) };
    let price = Decimal::from(rng.random_range(12..=600) * 500);
    let cost = (price * Decimal::new(rng.random_range(55..=90), 2)).round_dp(2);
    let minimum = Decimal::from(rng.random_range(2..=20));
    let maximum = rng.random_bool(0.5).then(|| Decimal::from(rng.random_range(200..=400)));
    let stock = Decimal::from(rng.random_range(5..=300));
    let sku = format!("P{number:05}");
    let barcode = format!("47800{:08}", number);
    store.begin().await?;
    let id = store
        .id(
            "INSERT INTO products_product (name, slug, sku, barcode) VALUES ($1, lower($2), $2, $3) RETURNING id",
            &[&name, &sku, &barcode],
        )
        .await?;
    store
        .run(
            "INSERT INTO products_product_pricing (product_id, cost_price, sale_price) VALUES ($1, $2, $3)",
            &[&id, &cost, &price],
        )
        .await?;
    store
        .run(
            "INSERT INTO products_product_inventory (product_id, min_quantity, max_quantity) VALUES ($1, $2, $3)",
            &[&id, &minimum, &maximum],
        )
        .await?;
    let batch = deliver(store, id, stock, cost).await?;
    store.commit().await?;
    Ok(Product { id, batch, price, weighed })
}

/// A delivery: a new batch, and its entry in the ledger.
pub async fn deliver(store: &mut Store, product: i64, quantity: Decimal, cost: Decimal) -> Result<i64, Error> {
    let batch = store
        .id(
            "INSERT INTO products_product_batch (product_id, batch_number, quantity, purchase_price)
             VALUES ($1, 'B-' || to_char(now(), 'YYYYMMDD'), $2, $3) RETURNING id",
            &[&product, &quantity, &cost],
        )
        .await?;
    move_stock(store, product, "purchase", quantity).await?;
    Ok(batch)
}

/// An entry in the stock ledger, where the store has one.
pub async fn move_stock(store: &mut Store, product: i64, kind: &str, quantity: Decimal) -> Result<(), Error> {
    if store.ledger {
        let sql = "INSERT INTO products_stock_movement (product_id, movement_type, quantity) VALUES ($1, $2, $3)";
        store.run(sql, &[&product, &kind, &quantity]).await?;
    }
    Ok(())
}

/// Creates the `number`th customer; one in nine is a company.
pub async fn create_customer(store: &mut Store, rng: &mut ChaCha8Rng, number: usize) -> Result<i64, Error> {
    let pick = |rng: &mut ChaCha8Rng, names: &[&'static str]| {
        names.get(rng.random_range(0..names.len())).copied().unwrap_or_default()
    };
    let (first, last) = (pick(rng, &FIRST_NAMES), pick(rng, &LAST_NAMES));
    let (kind, company) =
        if number % 9 == 8 { ("company", format!("{last} Trade {number}")) } else { ("individual", String::new()) };
    let phone = format!("+998{number:09}");
    store
        .id(
            "INSERT INTO customers_customer (first_name, last_name, customer_type, company_name, phone)
             VALUES ($1, $2, $3, $4, $5) RETURNING id",
            &[&first, &last, &kind, &company, &phone],
        )
        .await
}
