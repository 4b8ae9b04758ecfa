//! Whole sales in one transaction, and what becomes of finished ones: refunds, cancellations, deletions.

use tokio_postgres::Error;

use super::db::Db;
use super::sales::METHODS;
use super::{Done, Workload};

impl Workload {
    /// A sale of any status, if there is one that nobody else is at.
    pub(super) async fn some_sale(&mut self, db: &Db<'_>, condition: &str) -> Result<Option<i64>, Error> {
        db.pick(self.values.share(), "sales_sale", condition).await
    }

    /// Mostly a counted one.
    pub(super) async fn likely_counted_sale(&mut self, db: &Db<'_>) -> Result<Option<i64>, Error> {
        let condition = if self.values.chance(80) { "status = 'completed'" } else { "true" };
        self.some_sale(db, condition).await
    }

    async fn fill_sale(&mut self, db: &Db<'_>, sale: i64, methods: &[&str]) -> Result<(), Error> {
        for _ in 0..1 + self.values.below(5) {
            self.insert_item(db, sale).await?;
        }
        for _ in 0..1 + self.values.below(3) {
            let method = self.values.one_of(methods);
            let amount = if self.values.chance(5) { -self.values.cents() } else { self.values.cents() };
            self.insert_payment(db, sale, method, amount).await?;
        }
        let totals =
            "total_amount = (SELECT coalesce(greatest(least(sum(line_total), 9999999999.99), -9999999999.99), 0)
            FROM sales_sale_item i WHERE i.sale_id = s.id)";
        db.run(&format!("UPDATE sales_sale s SET {totals} WHERE id = {sale}")).await?;
        Ok(())
    }

    pub(super) async fn whole_sale(&mut self, db: &Db<'_>) -> Done {
        let customer = self.values.chance(60);
        let Some(sale) = self.insert_sale(db, "pending", customer).await? else { return Ok(false) };
        self.fill_sale(db, sale, METHODS).await?;
        let at = self.values.when();
        db.run(&format!("UPDATE sales_sale SET status = 'completed', completed_at = {at} WHERE id = {sale}")).await?;
        Ok(true)
    }

    pub(super) async fn credit_sale(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.insert_sale(db, "completed", true).await? else { return Ok(false) };
        self.fill_sale(db, sale, &["credit", "credit", "cash"]).await?;
        let at = self.values.when();
        db.run(&format!("UPDATE sales_sale SET completed_at = {at} WHERE id = {sale}")).await?;
        Ok(true)
    }

    /// A sale that counts for nothing yet: pending or of a status that no list names.
    pub(super) async fn hidden_sale(&mut self, db: &Db<'_>) -> Done {
        let status = self.values.one_of(&["pending", "draft", "cancelled", "Completed"]);
        let Some(sale) = self.insert_sale(db, status, true).await? else { return Ok(false) };
        self.fill_sale(db, sale, METHODS).await?;
        if self.values.chance(50) {
            let at = self.values.when();
            db.run(&format!("UPDATE sales_sale SET completed_at = {at} WHERE id = {sale}")).await?;
        }
        Ok(true)
    }

    pub(super) async fn refund_sale(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.some_sale(db, "status = 'completed'").await? else { return Ok(false) };
        db.run(&format!("UPDATE sales_sale SET status = 'refunded' WHERE id = {sale}")).await?;
        Ok(true)
    }

    pub(super) async fn cancel_sale(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.likely_counted_sale(db).await? else { return Ok(false) };
        let time = if self.values.chance(30) { ", completed_at = NULL" } else { "" };
        db.run(&format!("UPDATE sales_sale SET status = 'cancelled'{time} WHERE id = {sale}")).await?;
        Ok(true)
    }

    pub(super) async fn recomplete_sale(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.some_sale(db, "status <> 'completed'").await? else { return Ok(false) };
        let at = self.values.when();
        let time = if self.values.chance(50) { format!("coalesce(completed_at, {at})") } else { at };
        let sql = format!("UPDATE sales_sale SET status = 'completed', completed_at = {time} WHERE id = {sale}");
        db.run(&sql).await?;
        Ok(true)
    }

    /// Cancelled and completed again within one transaction: nothing happened.
    pub(super) async fn uncount_and_recount(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.some_sale(db, "status = 'completed'").await? else { return Ok(false) };
        for status in ["cancelled", "refunded", "completed"] {
            db.run(&format!("UPDATE sales_sale SET status = '{status}' WHERE id = {sale}")).await?;
        }
        Ok(true)
    }

    pub(super) async fn complete_without_time(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.likely_counted_sale(db).await? else { return Ok(false) };
        let sql = "UPDATE sales_sale SET status = 'completed', completed_at = NULL WHERE id =";
        db.run(&format!("{sql} {sale}")).await?;
        Ok(true)
    }

    async fn delete_sale(&mut self, db: &Db<'_>, children_first: bool) -> Done {
        let Some(sale) = self.likely_counted_sale(db).await? else { return Ok(false) };
        let children = [
            format!("UPDATE customers_transaction SET sale_id = NULL WHERE sale_id = {sale}"),
            format!("DELETE FROM sales_sale_item WHERE sale_id = {sale}"),
            format!("DELETE FROM sales_payment WHERE sale_id = {sale}"),
        ];
        let parent = format!("DELETE FROM sales_sale WHERE id = {sale}");
        if !children_first {
            db.run(&parent).await?;
        }
        for child in &children {
            db.run(child).await?;
        }
        if children_first {
            db.run(&parent).await?;
        }
        Ok(true)
    }

    pub(super) async fn delete_sale_children_first(&mut self, db: &Db<'_>) -> Done {
        self.delete_sale(db, true).await
    }

    /// The foreign keys cascade or wait for the commit.
    pub(super) async fn delete_sale_parent_first(&mut self, db: &Db<'_>) -> Done {
        self.delete_sale(db, false).await
    }

    /// An edit of a whole sale as the POS makes it: children deleted and inserted again.
    pub(super) async fn replace_children(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.likely_counted_sale(db).await? else { return Ok(false) };
        db.run(&format!("DELETE FROM sales_sale_item WHERE sale_id = {sale}")).await?;
        db.run(&format!("DELETE FROM sales_payment WHERE sale_id = {sale}")).await?;
        self.fill_sale(db, sale, METHODS).await?;
        Ok(true)
    }

    /// The primary key of a sale changes, and with it what its children name.
    pub(super) async fn change_sale_id(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.likely_counted_sale(db).await? else { return Ok(false) };
        let Some(new) = db.id("SELECT nextval(pg_get_serial_sequence('sales_sale', 'id'))").await? else {
            return Ok(false);
        };
        db.run(&format!(
            "WITH items AS (UPDATE sales_sale_item SET sale_id = {new} WHERE sale_id = {sale}),
                  payments AS (UPDATE sales_payment SET sale_id = {new} WHERE sale_id = {sale}),
                  transactions AS (UPDATE customers_transaction SET sale_id = {new} WHERE sale_id = {sale})
             UPDATE sales_sale SET id = {new} WHERE id = {sale}"
        ))
        .await?;
        Ok(true)
    }
}
