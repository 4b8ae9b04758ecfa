//! Customers and their money, cashiers and their sessions.

use super::db::Db;
use super::values::money;
use super::{Done, Workload};

impl Workload {
    pub(super) async fn create_customer(&mut self, db: &Db<'_>) -> Done {
        let word = self.values.unique();
        let first = self.values.one_of(&["Ann", "Bek", "", "O'Neil", "Ulug'bek"]).replace('\'', "''");
        let last = self.values.one_of(&["", "Karimov", "van der Berg"]);
        let middle = self.values.one_of(&["", "", "B."]);
        let kind = self.values.one_of(&["individual", "individual", "company"]);
        let company = self.values.one_of(&["", "Till & Sons"]);
        let values = format!("'{first}', '{last}', '{middle}', '{kind}', '{company}', '+{word}'");
        let columns = "first_name, last_name, middle_name, customer_type, company_name, phone";
        db.insert(&format!("customers_customer ({columns}) VALUES ({values})")).await?;
        Ok(true)
    }

    pub(super) async fn edit_customer(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "customers_customer", "true").await? else { return Ok(false) };
        let word = self.values.unique();
        let assignments = match self.values.below(7) {
            0 => format!("first_name = 'First {word}'"),
            1 => "last_name = ''".to_string(),
            2 => "first_name = '', last_name = '', middle_name = ''".to_string(),
            3 => format!("customer_type = 'company', company_name = 'Firm {word}'"),
            4 => "customer_type = 'individual'".to_string(),
            5 => "is_active = NOT is_active".to_string(),
            _ => format!("phone = '+{word}', balance = balance + 1"),
        };
        db.run(&format!("UPDATE customers_customer SET {assignments} WHERE id = {row}")).await?;
        Ok(true)
    }

    /// As the POS does it: transactions deleted, sales left without a customer.
    pub(super) async fn delete_customer(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "customers_customer", "true").await? else { return Ok(false) };
        db.run(&format!("DELETE FROM customers_transaction WHERE customer_id = {row}")).await?;
        db.run(&format!("UPDATE sales_sale SET customer_id = NULL WHERE customer_id = {row}")).await?;
        db.run(&format!("DELETE FROM customers_customer WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn customer_pays(&mut self, db: &Db<'_>) -> Done {
        let Some(customer) = db.pick(self.values.skewed_share(), "customers_customer", "true").await? else {
            return Ok(false);
        };
        let kind = self.values.one_of(&["payment", "payment", "payment", "payment", "charge", "correction"]);
        let sign = if self.values.chance(10) { "-" } else { "" };
        let (amount, at) = (format!("{sign}{}", money(self.values.cents())), self.values.when());
        // Often just what is owed, or a good part of it, so that credit gets settled.
        let owed = format!(
            "(SELECT least(greatest(sum(p.amount), 0), 9999999999.99) FROM sales_payment p JOIN sales_sale s ON s.id = p.sale_id
              WHERE s.customer_id = {customer} AND p.payment_method = 'credit')"
        );
        let amount = match self.values.below(4) {
            0 => format!("coalesce({owed}, 0)"),
            1 => format!("coalesce({owed} / 3, 0)"),
            _ => amount,
        };
        let columns = "customer_id, transaction_type, amount, balance_before, balance_after, created_at";
        let values = format!("{customer}, '{kind}', {amount}, 0, 0, {at}");
        db.insert(&format!("customers_transaction ({columns}) VALUES ({values})")).await?;
        Ok(true)
    }

    pub(super) async fn edit_transaction(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "customers_transaction", "true").await? else { return Ok(false) };
        let customer = db.name(self.values.skewed_share(), "customers_customer", "true").await?;
        let (amount, at) = (money(self.values.cents()), self.values.when());
        let assignments = match (self.values.below(4), customer) {
            (0, Some(customer)) => format!("customer_id = {customer}"),
            (1, _) => format!("created_at = {at}"),
            (2, _) => format!("transaction_type = '{}'", self.values.one_of(&["payment", "charge"])),
            _ => format!("amount = {amount}"),
        };
        db.run(&format!("UPDATE customers_transaction SET {assignments} WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_transaction(&mut self, db: &Db<'_>) -> Done {
        let Some(row) = db.pick(self.values.share(), "customers_transaction", "true").await? else { return Ok(false) };
        db.run(&format!("DELETE FROM customers_transaction WHERE id = {row}")).await?;
        Ok(true)
    }

    pub(super) async fn open_session(&mut self, db: &Db<'_>) -> Done {
        let at = self.values.when();
        db.insert(&format!("sales_cashier_session (opened_at) VALUES ({at})")).await?;
        Ok(true)
    }

    pub(super) async fn close_session(&mut self, db: &Db<'_>) -> Done {
        let row = db.pick(self.values.share(), "sales_cashier_session", "closed_at IS NULL").await?;
        let (Some(row), at) = (row, self.values.when()) else { return Ok(false) };
        let sql = format!("UPDATE sales_cashier_session SET status = 'closed', closed_at = {at} WHERE id = {row}");
        db.run(&sql).await?;
        Ok(true)
    }

    pub(super) async fn reopen_session(&mut self, db: &Db<'_>) -> Done {
        let row = db.pick(self.values.share(), "sales_cashier_session", "closed_at IS NOT NULL").await?;
        let Some(row) = row else { return Ok(false) };
        let sql = "UPDATE sales_cashier_session SET status = 'open', closed_at = NULL WHERE id =";
        db.run(&format!("{sql} {row}")).await?;
        Ok(true)
    }

    pub(super) async fn delete_session(&mut self, db: &Db<'_>) -> Done {
        let unnamed = "NOT EXISTS (SELECT FROM sales_sale s WHERE s.session_id = sales_cashier_session.id)
            AND NOT EXISTS (SELECT FROM sales_payment p WHERE p.session_id = sales_cashier_session.id)";
        let row = db.pick(self.values.share(), "sales_cashier_session", unnamed).await?;
        let Some(row) = row else { return Ok(false) };
        db.run(&format!("DELETE FROM sales_cashier_session WHERE id = {row}")).await?;
        Ok(true)
    }
}
