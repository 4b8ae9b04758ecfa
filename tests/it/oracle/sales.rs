//! daily_sales_report and product_performance.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::exact::{amount, decimals, money, ratio, rounded, share, units};
use super::{Item, Rows, Setting, Store, local_day};

#[derive(Default)]
struct Day {
    sales: i64,
    total: Decimal,
    discount: Decimal,
    tax: Decimal,
    cash: Decimal,
    card: Decimal,
    credit: Decimal,
    other: Decimal,
    quantity: Decimal,
    products: BTreeSet<i64>,
    customers: BTreeSet<i64>,
    new_customers: i64,
    refunds: i64,
    refunded: Decimal,
    opened: i64,
    closed: i64,
}

impl Store {
    pub(super) fn daily(&self, setting: Setting) -> Rows {
        let mut days: BTreeMap<NaiveDate, Day> = BTreeMap::new();
        let mut firsts: BTreeMap<i64, NaiveDate> = BTreeMap::new();
        for (sale, date) in self.counted(setting) {
            let day = days.entry(date).or_default();
            day.sales += 1;
            day.total += sale.total;
            day.discount += sale.discount;
            day.tax += sale.tax;
            for payment in self.payments.iter().filter(|p| p.sale == sale.id) {
                match payment.method.as_str() {
                    "cash" => day.cash += payment.amount,
                    "card" => day.card += payment.amount,
                    "credit" => day.credit += payment.amount,
                    _ => day.other += payment.amount,
                }
            }
            for item in self.items.iter().filter(|i| i.sale == sale.id) {
                day.quantity += item.quantity;
                day.products.insert(item.product);
            }
            if let Some(customer) = sale.customer {
                day.customers.insert(customer);
                let first = firsts.entry(customer).or_insert(date);
                *first = date.min(*first);
            }
        }
        for date in firsts.values() {
            days.entry(*date).or_default().new_customers += 1;
        }
        for sale in self.sales.iter().filter(|s| s.status == "refunded") {
            if let Some(date) = sale.day(setting) {
                let day = days.entry(date).or_default();
                day.refunds += 1;
                day.refunded += sale.total;
            }
        }
        for [opened, closed] in &self.sessions {
            if let Some(at) = opened {
                days.entry(local_day(*at, setting)).or_default().opened += 1;
            }
            if let Some(at) = closed {
                days.entry(local_day(*at, setting)).or_default().closed += 1;
            }
        }
        days.retain(|date, _| *date >= setting.horizon);
        days.iter().map(|(date, day)| day.row(*date)).collect()
    }

    pub(super) fn performance(&self, setting: Setting, frozen: &BTreeMap<i64, Decimal>) -> Rows {
        let mut lines: BTreeMap<(i64, NaiveDate), Vec<&Item>> = BTreeMap::new();
        for (sale, date) in self.counted(setting) {
            for item in self.items.iter().filter(|i| i.sale == sale.id && date >= setting.horizon) {
                lines.entry((item.product, date)).or_default().push(item);
            }
        }
        let cost_of = |item: &Item| {
            let now = || self.prices.get(&item.product).map(|(cost, _)| *cost);
            frozen.get(&item.id).copied().or_else(now).unwrap_or_default()
        };
        let row = |((product, date), items): (&(i64, NaiveDate), &Vec<&Item>)| {
            let quantity: Decimal = items.iter().map(|i| i.quantity).sum();
            let revenue = rounded(items.iter().map(|i| i.total).sum(), 2);
            let prices: Decimal = items.iter().map(|i| i.price).sum();
            let cost = rounded(items.iter().map(|i| i.quantity * cost_of(i)).sum(), 2);
            let count = items.len() as i128;
            let sales: BTreeSet<i64> = items.iter().map(|i| i.sale).collect();

            // mean price = prices / count; all in whole numbers, of as many decimals as quantity and price have.
            let (of_quantity, of_price) = (decimals(&[quantity]), decimals(&[prices]).max(2));
            let (q, p, r, c) =
                (units(quantity, of_quantity), units(prices, of_price), units(revenue, 2), units(cost, 2));
            let times = 10_i128.pow(of_quantity + of_price - 2);
            let discount =
                if q > 0 && p != 0 { share(100 * (p * q - r * times * count), p * q) } else { "0.00".into() };
            let discount = if discount.starts_with('-') { "0.00".into() } else { discount };
            let margin = if r > 0 { share(100 * (r - c), r) } else { "0.00".into() };
            vec![
                product.to_string(),
                date.to_string(),
                amount(quantity),
                money(revenue),
                sales.len().to_string(),
                ratio(prices, Decimal::from(items.len())),
                discount,
                money(cost),
                money(revenue - cost),
                margin,
            ]
        };
        lines.iter().map(row).collect()
    }
}

impl Day {
    fn row(&self, date: NaiveDate) -> Vec<String> {
        let average = if self.sales > 0 { ratio(self.total, Decimal::from(self.sales)) } else { "0.00".into() };
        vec![
            date.to_string(),
            money(self.total),
            self.sales.to_string(),
            average,
            money(self.cash),
            money(self.card),
            money(self.credit),
            money(self.other),
            money(self.discount),
            money(self.tax),
            amount(self.quantity),
            self.products.len().to_string(),
            self.customers.len().to_string(),
            self.new_customers.to_string(),
            self.refunds.to_string(),
            money(self.refunded),
            self.opened.to_string(),
            self.closed.to_string(),
        ]
    }
}
