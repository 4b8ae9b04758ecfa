//! What unit cost each item must have frozen, told from outside: by looking after every commit of a lone writer.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use tokio_postgres::{Client, Error};

use super::Step;

/// Item id -> product and the cost frozen with it.
///
/// A cost is taken at the commit after which the item is first counted, anew once its product is another, and goes
/// with the item when its primary key changes. An uncounted item whose product changes has none until it is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostLedger {
    costs: BTreeMap<i64, (i64, Decimal)>,
}

impl CostLedger {
    /// Looks at the store after a step. Steps that did not commit change nothing.
    pub async fn follow(&mut self, step: &Step, client: &Client, schema: &str) -> Result<(), Error> {
        if !step.committed {
            return Ok(());
        }
        for (old, new) in &step.renamed_items {
            if let Some(kept) = self.costs.remove(old) {
                self.costs.insert(*new, kept);
            }
        }
        self.look(client, schema).await
    }

    /// Takes the store as it stands, as the first copy does.
    pub async fn look(&mut self, client: &Client, schema: &str) -> Result<(), Error> {
        let sql = format!(
            "SELECT i.id, i.product_id, s.status = 'completed' AND s.completed_at IS NOT NULL, coalesce(p.cost_price, 0)
             FROM \"{schema}\".sales_sale_item i JOIN \"{schema}\".sales_sale s ON s.id = i.sale_id
             LEFT JOIN \"{schema}\".products_product_pricing p ON p.product_id = i.product_id"
        );
        let mut before = std::mem::take(&mut self.costs);
        for row in client.query(&sql, &[]).await? {
            let (item, product, counted): (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
            let kept = before.remove(&item).filter(|(of, _)| *of == product);
            if let Some(kept) = kept.or_else(|| counted.then(|| (product, row.get(3)))) {
                self.costs.insert(item, kept);
            }
        }
        Ok(())
    }

    /// Every item that was ever counted and still exists, with its frozen cost, by id.
    pub fn costs(&self) -> impl Iterator<Item = (i64, Decimal)> + '_ {
        self.costs.iter().map(|(item, (_, cost))| (*item, *cost))
    }
}
