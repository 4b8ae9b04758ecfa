//! customer_analytics and the customer dimension.

use std::collections::BTreeSet;

use chrono::{Duration, NaiveDate};
use rust_decimal::Decimal;

use super::exact::{money, ratio};
use super::{Rows, Sale, Setting, Store, local_day};

impl Store {
    pub(super) fn analytics(&self, setting: Setting) -> Rows {
        let customers: BTreeSet<i64> = self.counted(setting).filter_map(|(s, _)| s.customer).collect();
        customers.into_iter().map(|c| self.customer_row(c, setting)).collect()
    }

    fn credit_of(&self, sale: &Sale) -> Option<Decimal> {
        let mut credit = None;
        for payment in self.payments.iter().filter(|p| p.sale == sale.id && p.method == "credit") {
            *credit.get_or_insert(Decimal::ZERO) += payment.amount;
        }
        credit
    }

    fn customer_row(&self, customer: i64, setting: Setting) -> Vec<String> {
        let start = setting.today - Duration::days(90);
        let mut sales: Vec<(&Sale, NaiveDate)> =
            self.counted(setting).filter(|(s, _)| s.customer == Some(customer)).collect();
        sales.sort_by_key(|(s, _)| (s.completed_at, s.id));
        let in_window = |day: &NaiveDate| *day >= start && *day <= setting.today;
        let window: Vec<&(&Sale, NaiveDate)> = sales.iter().filter(|(_, day)| in_window(day)).collect();

        let first = sales.iter().map(|(_, day)| *day).min().expect("a sale");
        let last = sales.iter().map(|(_, day)| *day).max().expect("a sale");
        let recency = (setting.today - last).num_days().max(0);
        let frequency = window.len() as i64;
        let spent: Decimal = window.iter().map(|(s, _)| s.total).sum();
        let average = if frequency > 0 { ratio(spent, Decimal::from(frequency)) } else { "0.00".into() };
        let credits: Vec<Decimal> = window.iter().filter_map(|(s, _)| self.credit_of(s)).collect();

        let r = match recency {
            ..=7 => 5,
            8..=30 => 4,
            31..=60 => 3,
            61..=90 => 2,
            _ => 1,
        };
        let f = match frequency {
            20.. => 5,
            10.. => 4,
            5.. => 3,
            2.. => 2,
            _ => 1,
        };
        let reached = [500_000, 1_000_000, 2_000_000, 5_000_000].into_iter().filter(|t| spent >= Decimal::from(*t));
        let m = 1 + reached.count() as i32;

        let paid: Vec<_> = self.transactions.iter().filter(|t| t.customer == customer && t.kind == "payment").collect();
        let all_credit: Decimal = sales.iter().filter_map(|(s, _)| self.credit_of(s)).sum();
        let all_paid: Decimal = paid.iter().map(|t| t.amount).sum();

        vec![
            customer.to_string(),
            setting.today.to_string(),
            start.to_string(),
            recency.to_string(),
            frequency.to_string(),
            money(spent),
            frequency.to_string(),
            money(spent),
            average,
            r.to_string(),
            f.to_string(),
            m.to_string(),
            ((r + f + m) / 3).to_string(),
            segment(r, f, m).to_string(),
            credits.len().to_string(),
            money(credits.iter().sum()),
            self.mean_delay(&sales, customer, setting, in_window).to_string(),
            money((all_credit - all_paid).max(Decimal::ZERO)),
            first.to_string(),
            last.to_string(),
            sales.len().to_string(),
            money(sales.iter().map(|(s, _)| s.total).sum()),
        ]
    }

    /// Days from a sale on credit to the payment that settles it, first in first out.
    fn mean_delay(
        &self,
        sales: &[(&Sale, NaiveDate)],
        customer: i64,
        setting: Setting,
        in_window: impl Fn(&NaiveDate) -> bool,
    ) -> i64 {
        let mut payments: Vec<_> = self
            .transactions
            .iter()
            .filter(|t| t.customer == customer && t.kind == "payment" && t.amount > Decimal::ZERO)
            .collect();
        payments.sort_by_key(|t| (t.at, t.id));
        let (mut owed, mut sum, mut settled) = (Decimal::ZERO, 0, 0);
        for (sale, day) in sales {
            let Some(credit) = self.credit_of(sale) else { continue };
            owed += credit;
            let mut paid = Decimal::ZERO;
            let settling = payments.iter().find(|t| {
                paid += t.amount;
                paid >= owed
            });
            if let (Some(payment), true) = (settling, in_window(day)) {
                sum += (local_day(payment.at, setting) - *day).num_days().max(0);
                settled += 1;
            }
        }
        if settled > 0 { (2 * sum + settled) / (2 * settled) } else { 0 }
    }

    pub(super) fn customer_names(&self) -> Rows {
        let row = |c: &super::Customer| {
            let parts: Vec<&str> =
                [&c.last, &c.first, &c.middle].map(String::as_str).into_iter().filter(|p| !p.is_empty()).collect();
            let name = if c.kind == "company" && !c.company.is_empty() {
                c.company.clone()
            } else if parts.is_empty() {
                c.phone.clone()
            } else {
                parts.join(" ")
            };
            vec![c.id.to_string(), name, c.phone.clone(), c.kind.clone(), c.active.to_string()]
        };
        self.customers.iter().map(row).collect()
    }
}

/// The eleven rules in their order.
pub fn segment(r: i32, f: i32, m: i32) -> &'static str {
    let rules = [
        (r >= 4 && f >= 4 && m >= 4, "Champions"),
        (r <= 2 && f == 5 && m == 5, "Can't Lose Them"),
        (r <= 2 && f >= 4 && m >= 4, "At Risk"),
        (f >= 4 && m >= 4, "Loyal Customers"),
        (r >= 4 && f >= 3 && m >= 3, "Potential Loyalists"),
        (r >= 4 && f <= 2 && m <= 2, "New Customers"),
        (r >= 3 && f <= 2, "Promising"),
        (r >= 3, "Need Attention"),
        (r <= 2 && f >= 2, "Hibernating"),
        (r == 2, "About To Sleep"),
    ];
    rules.iter().find(|(holds, _)| *holds).map_or("Lost", |(_, name)| name)
}
