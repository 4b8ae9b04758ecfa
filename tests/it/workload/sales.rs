//! Sales from the first scan to the end they come to.

use tokio_postgres::Error;

use super::db::Db;
use super::values::{line_total, money, quantity};
use super::{Done, Workload};

/// A sale being rung up: the POS commits every touch of it by itself.
#[derive(Debug, Clone)]
pub struct OpenSale {
    sale: i64,
    stage: Stage,
    /// Lines still to scan.
    to_scan: u32,
    /// Item, product, quantity in thousandths.
    lines: Vec<(i64, i64, i128)>,
    total: i128,
    /// The reservation of the line whose stock is being moved.
    reservation: i64,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Scan,
    Totals,
    Customer,
    Pay,
    Complete,
    Reserve(usize),
    Link(usize),
    TakeFromBatch(usize),
    Release(usize),
}

pub const METHODS: &[&str] =
    &["cash", "cash", "cash", "card", "card", "transfer", "online", "other", "credit", "barter"];

impl Workload {
    pub(super) async fn insert_sale(
        &mut self,
        db: &Db<'_>,
        status: &str,
        customer: bool,
    ) -> Result<Option<i64>, Error> {
        let Some(session) = db.name(self.values.share(), "sales_cashier_session", "true").await? else {
            return Ok(None);
        };
        let customer =
            if customer { db.name(self.values.skewed_share(), "customers_customer", "true").await? } else { None };
        let customer = customer.map_or("NULL".into(), |c| c.to_string());
        let receipt = self.values.unique();
        let notes = "long enough to be stored out of line ".repeat(if self.values.chance(5) { 400 } else { 0 });
        let columns = "session_id, receipt_number, status, customer_id, notes";
        let values = format!("{session}, 'R{receipt}', '{status}', {customer}, '{notes}'");
        db.insert(&format!("sales_sale ({columns}) VALUES ({values})")).await.map(Some)
    }

    /// Adds a line to a sale: item, product, thousandths, and what it comes to in hundredths.
    pub(super) async fn insert_item(
        &mut self,
        db: &Db<'_>,
        sale: i64,
    ) -> Result<Option<(i64, i64, i128, i128)>, Error> {
        let Some(product) = db.name(self.values.share(), "products_product", "is_active").await? else {
            return Ok(None);
        };
        let (count, price) = (self.values.thousandths(), self.values.cents());
        let discount = if self.values.chance(20) { self.values.cents() % 10_000 } else { 0 };
        let total = line_total(count, price) - discount;
        let values = format!("{sale}, {product}, {}, {}, {}", quantity(count), money(price), money(total));
        let columns = "sale_id, product_id, quantity, unit_price, line_total";
        let item = db.insert(&format!("sales_sale_item ({columns}) VALUES ({values})")).await?;
        Ok(Some((item, product, count, total)))
    }

    pub(super) async fn insert_payment(
        &mut self,
        db: &Db<'_>,
        sale: i64,
        method: &str,
        cents: i128,
    ) -> Result<(), Error> {
        let from = format!("SELECT {sale}, session_id, '{method}', {} FROM sales_sale WHERE id = {sale}", money(cents));
        db.run(&format!("INSERT INTO sales_payment (sale_id, session_id, payment_method, amount) {from}")).await?;
        Ok(())
    }

    pub(super) async fn start_sale(&mut self, db: &Db<'_>) -> Done {
        let Some(sale) = self.insert_sale(db, "pending", false).await? else { return Ok(false) };
        let to_scan = 1 + self.values.below(4);
        self.open.push(OpenSale { sale, stage: Stage::Scan, to_scan, lines: vec![], total: 0, reservation: 0 });
        Ok(true)
    }

    /// The next small transaction of a sale that is being rung up.
    pub(super) async fn go_on_with_sale(&mut self, db: &Db<'_>) -> Done {
        if self.open.is_empty() {
            return self.start_sale(db).await;
        }
        self.current = self.values.below(self.open.len() as u32) as usize;
        let mut open = self.open[self.current].clone();
        if db.id(&format!("SELECT id FROM sales_sale WHERE id = {} FOR KEY SHARE", open.sale)).await?.is_none() {
            return Ok(false);
        }
        let next = self.stage(db, &mut open).await?;
        match next {
            Some(stage) => {
                open.stage = stage;
                self.open[self.current] = open;
            }
            None => drop(self.open.remove(self.current)),
        }
        Ok(true)
    }

    async fn stage(&mut self, db: &Db<'_>, open: &mut OpenSale) -> Result<Option<Stage>, Error> {
        let sale = open.sale;
        let lines = open.lines.clone();
        let line = |i: usize| lines.get(i).copied();
        Ok(match open.stage {
            Stage::Scan => {
                if let (Some((item, ..)), true) = (line(0), self.values.chance(20)) {
                    // The same product again.
                    let sql = "UPDATE sales_sale_item SET quantity = quantity + 1, line_total = least(line_total + 1, 9999999999.99)";
                    db.run(&format!("{sql} WHERE id = {item}")).await?;
                    open.total += 100;
                    open.lines[0].2 += 1000;
                } else if let Some((item, product, count, total)) = self.insert_item(db, sale).await? {
                    open.lines.push((item, product, count));
                    open.total += total;
                }
                Some(Stage::Totals)
            }
            Stage::Totals => {
                db.run(&format!("UPDATE sales_sale SET total_amount = {} WHERE id = {sale}", money(open.total)))
                    .await?;
                open.to_scan = open.to_scan.saturating_sub(1);
                if open.to_scan > 0 {
                    Some(Stage::Scan)
                } else if self.values.chance(60) {
                    Some(Stage::Customer)
                } else {
                    Some(Stage::Pay)
                }
            }
            Stage::Customer => {
                if let Some(customer) = db.name(self.values.skewed_share(), "customers_customer", "true").await? {
                    db.run(&format!("UPDATE sales_sale SET customer_id = {customer} WHERE id = {sale}")).await?;
                }
                Some(Stage::Pay)
            }
            Stage::Pay => {
                let method = self.values.one_of(METHODS);
                // Paid too little: refused, but the payment stays beside that of the second try.
                let too_little = self.values.chance(10);
                let amount = if too_little { open.total / 2 } else { open.total };
                self.insert_payment(db, sale, method, amount).await?;
                Some(if too_little { Stage::Pay } else { Stage::Complete })
            }
            Stage::Complete => {
                if self.values.chance(10) {
                    db.run(&format!("UPDATE sales_sale SET status = 'cancelled' WHERE id = {sale}")).await?;
                    return Ok(None);
                }
                let at = self.values.when();
                let sql = format!("UPDATE sales_sale SET status = 'completed', completed_at = {at} WHERE id = {sale}");
                db.run(&sql).await?;
                (!open.lines.is_empty()).then_some(Stage::Reserve(0))
            }
            Stage::Reserve(i) => {
                let Some((_, product, count)) = line(i) else { return Ok(None) };
                let values = format!("{product}, {}, 'active'", quantity(count));
                let into = "products_stock_reservation (product_id, quantity, status)";
                open.reservation = db.insert(&format!("{into} VALUES ({values})")).await?;
                Some(Stage::Link(i))
            }
            Stage::Link(i) => {
                let Some((item, ..)) = line(i) else { return Ok(None) };
                let sql = format!("UPDATE sales_sale_item SET reservation_id = {} WHERE id = {item}", open.reservation);
                db.run(&sql).await?;
                Some(Stage::TakeFromBatch(i))
            }
            Stage::TakeFromBatch(i) => {
                let Some((_, product, count)) = line(i) else { return Ok(None) };
                let of = format!("product_id = {product}");
                if let Some(batch) = db.pick(self.values.share(), "products_product_batch", &of).await? {
                    let take = quantity(count);
                    let sql =
                        format!("UPDATE products_product_batch SET quantity = quantity - {take} WHERE id = {batch}");
                    db.run(&sql).await?;
                }
                Some(Stage::Release(i))
            }
            Stage::Release(i) => {
                let sql = "UPDATE products_stock_reservation SET status = 'completed' WHERE id =";
                db.run(&format!("{sql} {}", open.reservation)).await?;
                (i + 1 < open.lines.len()).then_some(Stage::Reserve(i + 1))
            }
        })
    }
}
