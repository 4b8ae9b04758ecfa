//! Edits of sales, items and payments that were thought finished.

use tokio_postgres::Error;

use super::db::Db;
use super::sales::METHODS;
use super::values::{money, quantity};
use super::{Done, Workload};

impl Workload {
    async fn set_sale(&mut self, db: &Db<'_>, assignments: &str) -> Done {
        let Some(sale) = self.likely_counted_sale(db).await? else { return Ok(false) };
        db.run(&format!("UPDATE sales_sale SET {assignments} WHERE id = {sale}")).await?;
        Ok(true)
    }

    pub(super) async fn edit_total(&mut self, db: &Db<'_>) -> Done {
        let total = money(self.values.cents());
        self.set_sale(db, &format!("total_amount = {total}")).await
    }

    pub(super) async fn edit_discount_and_tax(&mut self, db: &Db<'_>) -> Done {
        let (discount, tax) = (money(self.values.cents()), money(self.values.cents()));
        self.set_sale(db, &format!("discount_amount = {discount}, tax_amount = {tax}")).await
    }

    pub(super) async fn move_in_time(&mut self, db: &Db<'_>) -> Done {
        let at = self.values.when();
        self.set_sale(db, &format!("completed_at = {at}")).await
    }

    pub(super) async fn change_customer(&mut self, db: &Db<'_>) -> Done {
        let customer = if self.values.chance(25) {
            None
        } else {
            db.name(self.values.skewed_share(), "customers_customer", "true").await?
        };
        let customer = customer.map_or("NULL".into(), |c| c.to_string());
        self.set_sale(db, &format!("customer_id = {customer}")).await
    }

    /// An UPDATE that changes nothing, or nothing that reports read.
    pub(super) async fn touch_sale(&mut self, db: &Db<'_>) -> Done {
        let nothing = ["status = status", "notes = 'seen'", "receipt_number = receipt_number"];
        let assignments = self.values.one_of(&nothing);
        self.set_sale(db, assignments).await
    }

    async fn some_item(&mut self, db: &Db<'_>) -> Result<Option<i64>, Error> {
        db.pick(self.values.share(), "sales_sale_item", "true").await
    }

    pub(super) async fn edit_item(&mut self, db: &Db<'_>) -> Done {
        let Some(item) = self.some_item(db).await? else { return Ok(false) };
        let (count, price, total) = (self.values.thousandths(), self.values.cents(), self.values.cents());
        let assignments = match self.values.below(4) {
            0 => format!("quantity = {}", quantity(count)),
            1 => format!("unit_price = {}", money(price)),
            2 => format!("line_total = {}", money(total)),
            _ => {
                format!("quantity = {}, unit_price = {}, line_total = {}", quantity(count), money(price), money(total))
            }
        };
        db.run(&format!("UPDATE sales_sale_item SET {assignments} WHERE id = {item}")).await?;
        Ok(true)
    }

    pub(super) async fn move_item_to_sale(&mut self, db: &Db<'_>) -> Done {
        let Some(item) = self.some_item(db).await? else { return Ok(false) };
        let Some(sale) = db.name(self.values.share(), "sales_sale", "true").await? else { return Ok(false) };
        db.run(&format!("UPDATE sales_sale_item SET sale_id = {sale} WHERE id = {item}")).await?;
        Ok(true)
    }

    pub(super) async fn move_item_to_product(&mut self, db: &Db<'_>) -> Done {
        let Some(item) = self.some_item(db).await? else { return Ok(false) };
        let Some(product) = db.name(self.values.share(), "products_product", "true").await? else { return Ok(false) };
        db.run(&format!("UPDATE sales_sale_item SET product_id = {product} WHERE id = {item}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_item(&mut self, db: &Db<'_>) -> Done {
        let Some(item) = self.some_item(db).await? else { return Ok(false) };
        db.run(&format!("DELETE FROM sales_sale_item WHERE id = {item}")).await?;
        Ok(true)
    }

    pub(super) async fn add_item(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = db.name(self.values.share(), "sales_sale", "true").await? else { return Ok(false) };
        Ok(self.insert_item(db, sale).await?.is_some())
    }

    pub(super) async fn change_item_id(&mut self, db: &Db<'_>) -> Done {
        let Some(item) = self.some_item(db).await? else { return Ok(false) };
        let next = "nextval(pg_get_serial_sequence('sales_sale_item', 'id'))";
        let sql = format!("UPDATE sales_sale_item SET id = {next} WHERE id = {item} RETURNING id");
        let Some(new) = db.id(&sql).await? else { return Ok(false) };
        self.renamed_items.push((item, new));
        Ok(true)
    }

    async fn some_payment(&mut self, db: &Db<'_>) -> Result<Option<i64>, Error> {
        db.pick(self.values.share(), "sales_payment", "true").await
    }

    pub(super) async fn edit_payment(&mut self, db: &Db<'_>) -> Done {
        let Some(payment) = self.some_payment(db).await? else { return Ok(false) };
        let (amount, method) = (money(self.values.cents()), self.values.one_of(METHODS));
        let assignments = match self.values.below(3) {
            0 => format!("amount = {amount}"),
            1 => format!("payment_method = '{method}'"),
            _ => format!("amount = {amount}, payment_method = '{method}'"),
        };
        db.run(&format!("UPDATE sales_payment SET {assignments} WHERE id = {payment}")).await?;
        Ok(true)
    }

    pub(super) async fn move_payment(&mut self, db: &Db<'_>) -> Done {
        let Some(payment) = self.some_payment(db).await? else { return Ok(false) };
        let Some(sale) = db.name(self.values.share(), "sales_sale", "true").await? else { return Ok(false) };
        db.run(&format!("UPDATE sales_payment SET sale_id = {sale} WHERE id = {payment}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_payment(&mut self, db: &Db<'_>) -> Done {
        let Some(payment) = self.some_payment(db).await? else { return Ok(false) };
        db.run(&format!("DELETE FROM sales_payment WHERE id = {payment}")).await?;
        Ok(true)
    }

    pub(super) async fn add_payment(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = db.name(self.values.share(), "sales_sale", "true").await? else { return Ok(false) };
        let (method, amount) = (self.values.one_of(METHODS), self.values.cents());
        self.insert_payment(db, sale, method, amount).await?;
        Ok(true)
    }
}
