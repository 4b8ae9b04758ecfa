//! The till of one store: what a sale is to the POS, statement by statement.

use std::collections::VecDeque;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::{Decimal, RoundingStrategy};
use tokio_postgres::Config;

use super::goods::{Product, create_customer, create_product, move_stock};
use super::{Counts, ShopOptions, StoreOptions, past};
use crate::demo::store::{Error, Store};

/// Sales that may still be refunded, edited or deleted.
const RECENT: usize = 200;

pub struct Till {
    pub(super) store: Store,
    pub(super) rng: ChaCha8Rng,
    pub(super) products: Vec<Product>,
    pub(super) products_made: usize,
    pub(super) customers: Vec<i64>,
    pub(super) customers_made: usize,
    pub(super) session: i64,
    pub(super) recent: VecDeque<i64>,
    pub(super) counts: Counts,
}

impl Till {
    /// Stocks one store and opens its first session.
    pub(super) async fn open(
        config: &Config,
        store_options: &StoreOptions,
        options: &ShopOptions,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut store = Store::connect(config, &store_options.schema).await?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut products = Vec::new();
        for number in 0..options.products.max(1) {
            products.push(create_product(&mut store, &mut rng, number).await?);
        }
        let mut customers = Vec::new();
        for number in 0..options.customers {
            customers.push(create_customer(&mut store, &mut rng, number).await?);
        }
        past::write(&mut store, &mut rng, &products, &customers, store_options, options).await?;
        let session = store.id("INSERT INTO sales_cashier_session DEFAULT VALUES RETURNING id", &[]).await?;
        Ok(Till {
            store,
            rng,
            products_made: products.len(),
            products,
            customers_made: customers.len(),
            customers,
            session,
            recent: VecDeque::new(),
            counts: Counts::default(),
        })
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// One sale, and now and then one of the shop's other affairs.
    ///
    /// # Errors
    /// A statement failed.
    pub async fn next(&mut self) -> Result<(), Error> {
        self.checkout().await?;
        if self.rng.random_ratio(1, 4) { self.chore().await } else { Ok(()) }
    }

    pub(super) fn product(&mut self) -> Result<Product, Error> {
        self.products.choose(&mut self.rng).cloned().ok_or(Error::Empty("products"))
    }

    pub(super) fn customer(&mut self) -> Option<i64> {
        self.customers.choose(&mut self.rng).copied()
    }

    async fn checkout(&mut self) -> Result<(), Error> {
        let receipt = format!("R-{:016x}", self.rng.random::<u64>());
        let sale = self
            .store
            .id(
                "INSERT INTO sales_sale (session_id, receipt_number) VALUES ($1, $2) RETURNING id",
                &[&self.session, &receipt],
            )
            .await?;
        let mut items = Vec::new();
        for _ in 0..self.rng.random_range(1..=4) {
            items.push(self.scan(sale).await?);
        }
        if self.rng.random_ratio(1, 20) {
            self.store.run("UPDATE sales_sale SET status = 'cancelled' WHERE id = $1", &[&sale]).await?;
            self.counts.cancellations += 1;
            return Ok(());
        }
        let customer = if self.rng.random_ratio(2, 5) { self.customer() } else { None };
        if customer.is_some() {
            let sql = "UPDATE sales_sale SET customer_id = $2 WHERE id = $1";
            self.store.run(sql, &[&sale, &customer]).await?;
        }
        if self.rng.random_ratio(1, 15) {
            // A discount is given on the whole sale; the lines keep their totals.
            let sql = "UPDATE sales_sale SET discount_percent = 5, discount_amount = round(subtotal * 0.05, 2),
                              total_amount = subtotal - round(subtotal * 0.05, 2) WHERE id = $1";
            self.store.run(sql, &[&sale]).await?;
        }
        self.pay(sale, customer.is_some()).await?;
        // Rarely a sale is completed without its time: it counts for no day.
        let timed = !self.rng.random_ratio(1, 300);
        let sql = "UPDATE sales_sale SET status = 'completed',
                          completed_at = CASE WHEN $2 THEN clock_timestamp() END WHERE id = $1";
        self.store.run(sql, &[&sale, &timed]).await?;
        for (item, product, quantity) in items {
            self.take_from_stock(sale, item, &product, quantity).await?;
        }
        self.recent.push_back(sale);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.counts.sales += 1;
        Ok(())
    }

    /// Scans a product: its item, then the sale's totals. Scanned twice it becomes one item of twice as many.
    async fn scan(&mut self, sale: i64) -> Result<(i64, Product, Decimal), Error> {
        let product = self.product()?;
        let mut quantity = product.some(&mut self.rng);
        let item = self.insert_item(sale, &product, quantity).await?;
        self.total_up(sale).await?;
        if !product.weighed && self.rng.random_ratio(1, 8) {
            quantity += Decimal::ONE;
            let sql = "UPDATE sales_sale_item SET quantity = $2, line_total = round($2 * unit_price, 2) WHERE id = $1";
            self.store.run(sql, &[&item, &quantity]).await?;
            self.total_up(sale).await?;
        }
        Ok((item, product, quantity))
    }

    pub(super) async fn insert_item(&mut self, sale: i64, product: &Product, quantity: Decimal) -> Result<i64, Error> {
        let line = cents(quantity * product.price);
        self.store
            .id(
                "INSERT INTO sales_sale_item (sale_id, product_id, batch_id, quantity, unit_price, line_total)
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
                &[&sale, &product.id, &product.batch, &quantity, &product.price, &line],
            )
            .await
    }

    /// Brings the sale's totals up to its items; tax is in the prices.
    pub(super) async fn total_up(&mut self, sale: i64) -> Result<(), Error> {
        let sql = "UPDATE sales_sale SET subtotal = i.total, total_amount = i.total - discount_amount,
                          tax_amount = round(i.total * 12 / 112, 2)
                   FROM (SELECT coalesce(sum(line_total), 0) AS total FROM sales_sale_item WHERE sale_id = $1) i
                   WHERE id = $1";
        self.store.run(sql, &[&sale]).await?;
        Ok(())
    }

    async fn pay(&mut self, sale: i64, known: bool) -> Result<(), Error> {
        if self.rng.random_ratio(1, 60) {
            // Underpaid: the checkout is refused, but the payment stays.
            self.insert_payment(sale, "cash", Decimal::new(5, 1)).await?;
        }
        let method = match self.rng.random_range(0..100) {
            0..12 if known => "credit",
            0..52 => "cash",
            52..90 => "card",
            90..95 => "transfer",
            _ => "online",
        };
        if self.rng.random_ratio(1, 12) {
            self.insert_payment(sale, "cash", Decimal::new(5, 1)).await?;
            self.insert_payment(sale, "card", Decimal::new(5, 1)).await
        } else {
            self.insert_payment(sale, method, Decimal::ONE).await
        }
    }

    /// Pays a part of the sale's total.
    pub(super) async fn insert_payment(&mut self, sale: i64, method: &str, part: Decimal) -> Result<(), Error> {
        let sql = "INSERT INTO sales_payment (sale_id, session_id, payment_method, amount, received_amount)
                   SELECT id, session_id, $2, round(total_amount * $3, 2), round(total_amount * $3, 2)
                   FROM sales_sale WHERE id = $1";
        self.store.run(sql, &[&sale, &method, &part]).await?;
        Ok(())
    }

    /// After the sale is completed, each item moves its stock in four steps.
    async fn take_from_stock(
        &mut self,
        sale: i64,
        item: i64,
        product: &Product,
        quantity: Decimal,
    ) -> Result<(), Error> {
        let reference = format!("SALE-{sale}");
        let reservation = self
            .store
            .id(
                "INSERT INTO products_stock_reservation (product_id, batch_id, quantity, order_reference)
                 VALUES ($1, $2, $3, $4) RETURNING id",
                &[&product.id, &product.batch, &quantity, &reference],
            )
            .await?;
        let sql = "UPDATE sales_sale_item SET reservation_id = $2 WHERE id = $1";
        self.store.run(sql, &[&item, &reservation]).await?;
        self.change_batch(product.batch, -quantity).await?;
        move_stock(&mut self.store, product.id, "sale", quantity).await?;
        let sql = "UPDATE products_stock_reservation SET status = 'completed', updated_at = now() WHERE id = $1";
        self.store.run(sql, &[&reservation]).await?;
        Ok(())
    }

    pub(super) async fn change_batch(&mut self, batch: i64, by: Decimal) -> Result<(), Error> {
        let sql = "UPDATE products_product_batch SET quantity = quantity + $2, updated_at = now() WHERE id = $1";
        self.store.run(sql, &[&batch, &by]).await?;
        Ok(())
    }
}

/// To two places, half away from zero.
pub(super) fn cents(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero)
}
