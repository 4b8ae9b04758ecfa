//! Everything at the shop that is not a sale: refunds, edits, deletions, customers, prices, sessions, deliveries.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rust_decimal::Decimal;

use super::goods::{create_customer, create_product, deliver, move_stock};
use super::till::{Till, cents};
use crate::demo::store::Error;

impl Till {
    /// Does one of them, the usual ones more often.
    pub(super) async fn chore(&mut self) -> Result<(), Error> {
        match self.rng.random_range(0..100) {
            0..14 => self.refund().await,
            14..18 => self.cancel_and_complete_again().await,
            18..30 => self.edit_sale().await,
            30..36 => self.edit_line().await,
            36..40 => self.delete_sale().await,
            kind => {
                self.counts.chores += 1;
                match kind {
                    40..58 => self.customer_pays().await,
                    58..68 => self.change_price().await,
                    68..84 => self.restock().await,
                    84..88 => self.change_session().await,
                    88..93 => self.new_customer().await,
                    93..95 => self.delete_customer().await,
                    95..97 => self.new_product().await,
                    97..98 => self.write_off().await,
                    _ => self.hold_stock().await,
                }
            }
        }
    }

    fn recent_sale(&mut self) -> Option<i64> {
        let at = self.rng.random_range(0..self.recent.len().max(1));
        self.recent.get(at).copied()
    }

    /// The status first, then the stock, item by item. `completed_at` and the payments stay.
    async fn refund(&mut self) -> Result<(), Error> {
        let Some(sale) = self.recent_sale() else { return Ok(()) };
        self.recent.retain(|s| *s != sale);
        self.store.run("UPDATE sales_sale SET status = 'refunded' WHERE id = $1", &[&sale]).await?;
        let items = "SELECT product_id, batch_id, quantity, reservation_id FROM sales_sale_item
                     WHERE sale_id = $1 AND batch_id IS NOT NULL ORDER BY id";
        for row in self.store.rows(items, &[&sale]).await? {
            let (product, batch, quantity): (i64, i64, Decimal) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let reservation: Option<i64> = row.try_get(3)?;
            let sql = "UPDATE products_stock_reservation SET status = 'cancelled', updated_at = now() WHERE id = $1";
            self.store.run(sql, &[&reservation]).await?;
            self.change_batch(batch, quantity).await?;
            move_stock(&mut self.store, product, "return", quantity).await?;
        }
        self.counts.refunds += 1;
        Ok(())
    }

    async fn cancel_and_complete_again(&mut self) -> Result<(), Error> {
        let Some(sale) = self.recent_sale() else { return Ok(()) };
        self.counts.edits += 1;
        for status in ["cancelled", "completed"] {
            self.store.run("UPDATE sales_sale SET status = $2 WHERE id = $1", &[&sale, &status]).await?;
        }
        Ok(())
    }

    /// One transaction: items and payments are deleted and written again.
    async fn edit_sale(&mut self) -> Result<(), Error> {
        let Some(sale) = self.recent_sale() else { return Ok(()) };
        self.counts.edits += 1;
        self.store.begin().await?;
        let drop_one = "DELETE FROM sales_sale_item
                        WHERE id = (SELECT min(id) FROM sales_sale_item WHERE sale_id = $1)";
        self.store.run(drop_one, &[&sale]).await?;
        let product = self.product()?;
        let quantity = product.some(&mut self.rng);
        self.insert_item(sale, &product, quantity).await?;
        self.store.run("DELETE FROM sales_payment WHERE sale_id = $1", &[&sale]).await?;
        self.total_up(sale).await?;
        self.insert_payment(sale, "card", Decimal::ONE).await?;
        self.store.commit().await
    }

    /// A single line of a completed sale is corrected; the sale's totals stay as they were.
    async fn edit_line(&mut self) -> Result<(), Error> {
        let Some(sale) = self.recent_sale() else { return Ok(()) };
        self.counts.edits += 1;
        let sql = "UPDATE sales_sale_item SET unit_price = round(unit_price * 0.9, 2),
                          line_total = round(quantity * round(unit_price * 0.9, 2), 2)
                   WHERE id = (SELECT max(id) FROM sales_sale_item WHERE sale_id = $1)";
        self.store.run(sql, &[&sale]).await?;
        Ok(())
    }

    async fn delete_sale(&mut self) -> Result<(), Error> {
        let Some(sale) = self.recent_sale() else { return Ok(()) };
        self.recent.retain(|s| *s != sale);
        self.counts.deletions += 1;
        self.store.begin().await?;
        self.store.run("DELETE FROM sales_sale_item WHERE sale_id = $1", &[&sale]).await?;
        self.store.run("DELETE FROM sales_payment WHERE sale_id = $1", &[&sale]).await?;
        self.store.run("DELETE FROM sales_sale WHERE id = $1", &[&sale]).await?;
        self.store.commit().await
    }

    /// The balance in one transaction, the entry for it in the next.
    async fn customer_pays(&mut self) -> Result<(), Error> {
        let Some(customer) = self.customer() else { return Ok(()) };
        let amount = Decimal::from(self.rng.random_range(1..=60) * 5000);
        let sql = "UPDATE customers_customer SET balance = balance + $2, updated_at = now() WHERE id = $1";
        self.store.run(sql, &[&customer, &amount]).await?;
        let sql = "INSERT INTO customers_transaction
                          (customer_id, transaction_type, amount, balance_before, balance_after)
                   SELECT id, 'payment', $2::numeric, balance - $2::numeric, balance FROM customers_customer WHERE id = $1";
        self.store.run(sql, &[&customer, &amount]).await?;
        Ok(())
    }

    /// Three transactions: price, limits, product.
    async fn change_price(&mut self) -> Result<(), Error> {
        let at = self.rng.random_range(0..self.products.len().max(1));
        let factor = Decimal::new(self.rng.random_range(90..=112), 2);
        let Some(product) = self.products.get_mut(at) else { return Ok(()) };
        product.price = cents(product.price * factor);
        let (id, price) = (product.id, product.price);
        let sql = "UPDATE products_product_pricing SET sale_price = $2, cost_price = round(cost_price * $3, 2),
                          updated_at = now() WHERE product_id = $1";
        self.store.run(sql, &[&id, &price, &factor]).await?;
        let sql = "UPDATE products_product_inventory SET min_quantity = min_quantity + 1, updated_at = now()
                   WHERE product_id = $1";
        self.store.run(sql, &[&id]).await?;
        self.store.run("UPDATE products_product SET updated_at = now() WHERE id = $1", &[&id]).await?;
        Ok(())
    }

    /// The emptiest product gets a new batch, from which it is sold from now on; the old one is closed once empty.
    async fn restock(&mut self) -> Result<(), Error> {
        let emptiest = "SELECT product_id, max(purchase_price) FROM products_product_batch WHERE is_active
                        GROUP BY product_id ORDER BY sum(quantity) LIMIT 1";
        let Some(row) = self.store.rows(emptiest, &[]).await?.into_iter().next() else { return Ok(()) };
        let (product, cost): (i64, Decimal) = (row.try_get(0)?, row.try_get(1)?);
        let quantity = Decimal::from(self.rng.random_range(50..=200));
        self.store.begin().await?;
        let batch = deliver(&mut self.store, product, quantity, cost).await?;
        self.store.commit().await?;
        let sql = "UPDATE products_product_batch SET is_active = false, updated_at = now()
                   WHERE product_id = $1 AND id <> $2 AND is_active AND quantity = 0";
        self.store.run(sql, &[&product, &batch]).await?;
        if let Some(known) = self.products.iter_mut().find(|p| p.id == product) {
            known.batch = batch;
        }
        Ok(())
    }

    /// A cashier goes and another comes; sometimes there is a break before.
    async fn change_session(&mut self) -> Result<(), Error> {
        if self.rng.random_bool(0.5) {
            for status in ["suspended", "open"] {
                let sql = "UPDATE sales_cashier_session SET status = $2 WHERE id = $1";
                self.store.run(sql, &[&self.session, &status]).await?;
            }
        }
        let sql = "UPDATE sales_cashier_session SET status = 'closed', closed_at = now(), actual_cash = expected_cash
                   WHERE id = $1";
        self.store.run(sql, &[&self.session]).await?;
        let sql = "INSERT INTO sales_cashier_session (opening_cash) VALUES (100000) RETURNING id";
        self.session = self.store.id(sql, &[]).await?;
        Ok(())
    }

    async fn new_customer(&mut self) -> Result<(), Error> {
        let id = create_customer(&mut self.store, &mut self.rng, self.customers_made).await?;
        self.customers_made += 1;
        self.customers.push(id);
        Ok(())
    }

    /// One transaction: the customer's entries go, the sales stay without a customer.
    async fn delete_customer(&mut self) -> Result<(), Error> {
        // Somebody is left to buy on credit.
        if self.customers.len() < 10 {
            return Ok(());
        }
        let Some(customer) = self.customer() else { return Ok(()) };
        self.customers.retain(|c| *c != customer);
        self.store.begin().await?;
        self.store.run("DELETE FROM customers_transaction WHERE customer_id = $1", &[&customer]).await?;
        self.store.run("UPDATE sales_sale SET customer_id = NULL WHERE customer_id = $1", &[&customer]).await?;
        self.store.run("DELETE FROM customers_customer WHERE id = $1", &[&customer]).await?;
        self.store.commit().await
    }

    async fn new_product(&mut self) -> Result<(), Error> {
        let product = create_product(&mut self.store, &mut self.rng, self.products_made).await?;
        self.products_made += 1;
        self.products.push(product);
        Ok(())
    }

    async fn write_off(&mut self) -> Result<(), Error> {
        let Some(product) = self.products.choose(&mut self.rng).cloned() else { return Ok(()) };
        self.change_batch(product.batch, -Decimal::ONE).await?;
        let kind = if self.rng.random_bool(0.5) { "write_off" } else { "transfer_out" };
        move_stock(&mut self.store, product.id, kind, Decimal::ONE).await
    }

    /// Goods put by for an order: a reservation that stays, while an older one is given up.
    async fn hold_stock(&mut self) -> Result<(), Error> {
        let product = self.product()?;
        let quantity = product.some(&mut self.rng);
        let sql = "INSERT INTO products_stock_reservation (product_id, batch_id, quantity, reserved_until)
                   VALUES ($1, $2, $3, now() + interval '2 hours')";
        self.store.run(sql, &[&product.id, &product.batch, &quantity]).await?;
        let sql = "UPDATE products_stock_reservation SET status = 'expired', updated_at = now()
                   WHERE id = (SELECT min(id) FROM products_stock_reservation WHERE status = 'active')";
        self.store.run(sql, &[]).await?;
        Ok(())
    }
}
