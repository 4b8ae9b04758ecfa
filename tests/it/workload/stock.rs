//! Products, their prices and limits, and the three ways stock is written down.

use tokio_postgres::Error;

use super::db::Db;
use super::values::{money, quantity};
use super::{Done, Workload};

const MOVEMENTS: &[&str] =
    &["purchase", "purchase", "sale", "return", "write_off", "transfer_in", "transfer_out", "adjustment", "inventory"];

impl Workload {
    async fn some_product(&mut self, db: &Db<'_>) -> Result<Option<i64>, Error> {
        db.name(self.values.share(), "products_product", "true").await
    }

    pub(super) async fn create_product(&mut self, db: &Db<'_>) -> Done {
        let word = self.values.unique();
        let values = format!("'Product {word}', 'p-{word}', 'S{word}', '478{word}'");
        let product = db.insert(&format!("products_product (name, slug, sku, barcode) VALUES ({values})")).await?;
        if self.values.chance(90) {
            self.insert_pricing(db, product).await?;
        }
        if self.values.chance(80) {
            self.insert_limits(db, product).await?;
        }
        if self.values.chance(70) {
            self.insert_batch(db, product).await?;
        }
        Ok(true)
    }

    async fn insert_pricing(&mut self, db: &Db<'_>, product: i64) -> Result<(), Error> {
        let (cost, price) = (money(self.values.cents()), money(self.values.cents()));
        let into = "products_product_pricing (product_id, cost_price, sale_price)";
        db.insert(&format!("{into} VALUES ({product}, {cost}, {price})")).await.map(drop)
    }

    async fn insert_limits(&mut self, db: &Db<'_>, product: i64) -> Result<(), Error> {
        let (least, most) = self.limits();
        let into = "products_product_inventory (product_id, min_quantity, max_quantity)";
        db.insert(&format!("{into} VALUES ({product}, {least}, {most})")).await.map(drop)
    }

    fn limits(&mut self) -> (String, String) {
        let least = self.values.thousandths().abs();
        let most = if self.values.chance(40) { None } else { Some(self.values.thousandths().abs() * 10) };
        (quantity(least), most.map_or("NULL".into(), quantity))
    }

    async fn insert_batch(&mut self, db: &Db<'_>, product: i64) -> Result<(), Error> {
        // What is on hand, at the highest price, still has to fit its report.
        let (word, count) = (self.values.unique(), quantity(self.values.thousandths() * 2));
        let into = "products_product_batch (product_id, batch_number, quantity, purchase_price)";
        db.insert(&format!("{into} VALUES ({product}, 'B{word}', {count}, 1)")).await.map(drop)
    }

    pub(super) async fn edit_product(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = db.pick(self.values.share(), "products_product", "true").await? else { return Ok(false) };
        let word = self.values.unique();
        let assignments = match self.values.below(5) {
            0 => format!("name = 'Renamed ''{word}'' \\\\'"),
            1 => format!("barcode = '{word}', description = repeat('wide ', 3000)"),
            2 => format!("sku = 'N{word}'"),
            3 => "name = name".to_string(),
            _ => "is_active = NOT is_active".to_string(),
        };
        db.run(&format!("UPDATE products_product SET {assignments} WHERE id = {product}")).await?;
        Ok(true)
    }

    /// Only one that no sale names; what else names it goes with it.
    pub(super) async fn delete_product(&mut self, db: &Db<'_>) -> Done {
        let unsold = "NOT EXISTS (SELECT FROM sales_sale_item i WHERE i.product_id = products_product.id)";
        let Some(product) = db.pick(self.values.share(), "products_product", unsold).await? else { return Ok(false) };
        for table in [
            "products_product_pricing",
            "products_product_inventory",
            "products_stock_reservation",
            "products_stock_movement",
            "products_product_batch",
        ] {
            db.run(&format!("DELETE FROM {table} WHERE product_id = {product}")).await?;
        }
        db.run(&format!("DELETE FROM products_product WHERE id = {product}")).await?;
        Ok(true)
    }

    pub(super) async fn change_price(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = self.some_product(db).await? else { return Ok(false) };
        let (cost, price) = (money(self.values.cents()), money(self.values.cents()));
        let sql = format!("UPDATE products_product_pricing SET cost_price = {cost}, sale_price = {price}");
        if db.run(&format!("{sql} WHERE product_id = {product}")).await? == 0 {
            self.insert_pricing(db, product).await?;
        }
        Ok(true)
    }

    /// A price that changes in the transaction that sells at it: the cost frozen is that of the commit.
    pub(super) async fn price_and_sale(&mut self, db: &Db<'_>) -> Done {
        let before = self.values.chance(50);
        if before {
            self.change_price(db).await?;
        }
        let sold = self.whole_sale(db).await?;
        if !before {
            self.change_price(db).await?;
        }
        Ok(sold)
    }

    pub(super) async fn drop_price(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_product_pricing", "true").await? else {
            return Ok(false);
        };
        db.run(&format!("DELETE FROM products_product_pricing WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn change_limits(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = self.some_product(db).await? else { return Ok(false) };
        let (least, most) = self.limits();
        let sql = format!("UPDATE products_product_inventory SET min_quantity = {least}, max_quantity = {most}");
        if db.run(&format!("{sql} WHERE product_id = {product}")).await? == 0 {
            self.insert_limits(db, product).await?;
        }
        Ok(true)
    }

    pub(super) async fn drop_limits(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_product_inventory", "true").await? else {
            return Ok(false);
        };
        db.run(&format!("DELETE FROM products_product_inventory WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn toggle_tracking(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = self.some_product(db).await? else { return Ok(false) };
        let sql = "UPDATE products_product_inventory SET track_inventory = NOT track_inventory WHERE product_id =";
        Ok(db.run(&format!("{sql} {product}")).await? > 0)
    }

    pub(super) async fn add_reservation(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = self.some_product(db).await? else { return Ok(false) };
        let (count, status) =
            (quantity(self.values.thousandths()), self.values.one_of(&["active", "active", "expired"]));
        let into = "products_stock_reservation (product_id, quantity, status)";
        db.insert(&format!("{into} VALUES ({product}, {count}, '{status}')")).await?;
        Ok(true)
    }

    pub(super) async fn edit_reservation(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_stock_reservation", "true").await? else {
            return Ok(false);
        };
        let count = quantity(self.values.thousandths());
        let product = self.some_product(db).await?;
        let assignments = match (self.values.below(5), product) {
            (0, Some(product)) => format!("product_id = {product}"),
            (0 | 1, _) => format!("quantity = {count}"),
            _ => format!("status = '{}'", self.values.one_of(&["active", "completed", "cancelled", "expired"])),
        };
        db.run(&format!("UPDATE products_stock_reservation SET {assignments} WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_reservation(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_stock_reservation", "true").await? else {
            return Ok(false);
        };
        db.run(&format!("UPDATE sales_sale_item SET reservation_id = NULL WHERE reservation_id = {row}")).await?;
        db.run(&format!("DELETE FROM products_stock_reservation WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn add_batch(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = self.some_product(db).await? else { return Ok(false) };
        self.insert_batch(db, product).await?;
        Ok(true)
    }

    pub(super) async fn edit_batch(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_product_batch", "true").await? else {
            return Ok(false);
        };
        let count = quantity(self.values.thousandths() * 20);
        let product = self.some_product(db).await?;
        let assignments = match (self.values.below(6), product) {
            (0, Some(product)) => format!("product_id = {product}"),
            (0 | 1, _) => "is_active = NOT is_active".to_string(),
            (2, _) => "expiry_date = CURRENT_DATE".to_string(),
            (3, _) => "quantity = 0".to_string(),
            _ => format!("quantity = {count}"),
        };
        db.run(&format!("UPDATE products_product_batch SET {assignments} WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_batch(&mut self, db: &Db<'_>) -> Done {
        let unnamed =
            "NOT EXISTS (SELECT FROM products_stock_reservation r WHERE r.batch_id = products_product_batch.id)";
        let Some(row) = db.pick(self.values.share(), "products_product_batch", unnamed).await? else {
            return Ok(false);
        };
        db.run(&format!("DELETE FROM products_product_batch WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn add_movement(&mut self, db: &Db<'_>) -> Done {
        let Some(product) = self.some_product(db).await? else { return Ok(false) };
        for _ in 0..1 + self.values.below(4) {
            let (kind, count) = (self.values.one_of(MOVEMENTS), quantity(self.values.thousandths()));
            let into = "products_stock_movement (product_id, movement_type, quantity)";
            db.insert(&format!("{into} VALUES ({product}, '{kind}', {count})")).await?;
        }
        Ok(true)
    }

    pub(super) async fn edit_movement(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_stock_movement", "true").await? else {
            return Ok(false);
        };
        let (kind, count) = (self.values.one_of(MOVEMENTS), quantity(self.values.thousandths()));
        let product = self.some_product(db).await?;
        let assignments = match (self.values.below(3), product) {
            (0, Some(product)) => format!("product_id = {product}"),
            (1, _) => format!("movement_type = '{kind}'"),
            _ => format!("quantity = {count}"),
        };
        db.run(&format!("UPDATE products_stock_movement SET {assignments} WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_movement(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "products_stock_movement", "true").await? else {
            return Ok(false);
        };
        db.run(&format!("DELETE FROM products_stock_movement WHERE id = {row}")).await?;
        Ok(true)
    }
}
