//! inventory_snapshot and the product dimension.

use chrono::Duration;
use rust_decimal::Decimal;

use super::exact::{amount, decimals, money, share, units};
use super::{Product, Rows, Setting, Store};

impl Store {
    /// Rows that must be there, rows that may.
    pub(super) fn inventory(&self, setting: Setting) -> (Rows, Rows) {
        let (mut required, mut optional) = (Rows::new(), Rows::new());
        for product in &self.products {
            let (least, most, tracked) = self.limits.get(&product.id).copied().unwrap_or((Decimal::ZERO, None, true));
            if tracked {
                let row = self.inventory_row(product, least, most, setting);
                if product.active { required.push(row) } else { optional.push(row) }
            }
        }
        (required, optional)
    }

    fn on_hand(&self, product: i64, setting: Setting) -> Decimal {
        let mut sum = Decimal::ZERO;
        if setting.by_movements {
            for (_, kind, quantity) in self.movements.iter().filter(|(p, ..)| *p == product) {
                match kind.as_str() {
                    "purchase" | "return" | "transfer_in" | "adjustment" => sum += quantity,
                    "sale" | "write_off" | "transfer_out" => sum -= quantity,
                    _ => {}
                }
            }
        } else {
            for (_, quantity, _) in self.batches.iter().filter(|(p, _, active)| *p == product && *active) {
                sum += quantity;
            }
        }
        sum
    }

    fn inventory_row(&self, product: &Product, least: Decimal, most: Option<Decimal>, setting: Setting) -> Vec<String> {
        let on_hand = self.on_hand(product.id, setting);
        let held = self.reservations.iter().filter(|(p, _, status)| *p == product.id && status == "active");
        let reserved: Decimal = held.map(|(_, quantity, _)| *quantity).sum();
        let month = setting.today - Duration::days(30);
        let mut sold = Decimal::ZERO;
        for (sale, _) in self.counted(setting).filter(|(_, day)| *day >= month && *day <= setting.today) {
            for item in self.items.iter().filter(|i| i.sale == sale.id && i.product == product.id) {
                sold += item.quantity;
            }
        }
        let (cost, price) = self.prices.get(&product.id).copied().unwrap_or_default();
        let digits = decimals(&[on_hand, sold]);
        let (h, s) = (units(on_hand, digits), units(sold, digits));
        let moves = h > 0 && s > 0;
        vec![
            product.id.to_string(),
            setting.today.to_string(),
            amount(on_hand),
            amount(reserved),
            amount(on_hand - reserved),
            money(on_hand * cost),
            money(on_hand * price),
            if moves { share(s, h) } else { "0.00".into() },
            if moves { (h * 30 / s).min(2_147_483_647).to_string() } else { "0".into() },
            (on_hand <= Decimal::ZERO).to_string(),
            (on_hand <= least).to_string(),
            most.is_some_and(|most| on_hand >= most).to_string(),
        ]
    }

    pub(super) fn product_names(&self) -> Rows {
        let row = |p: &Product| {
            vec![p.id.to_string(), p.name.clone(), p.sku.clone(), p.barcode.clone(), p.active.to_string()]
        };
        self.products.iter().map(row).collect()
    }
}
