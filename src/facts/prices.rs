//! Cost prices by product.

use foldhash::HashMap;

use super::working_set::Key;
use crate::domain::{Money, TenantId};

/// What is known of the pricing rows of products. All rows of a product are known, or none.
#[derive(Debug, Default)]
pub struct Prices(HashMap<Key, Vec<(i64, Money)>>);

impl Prices {
    pub fn knows(&self, product: Key) -> bool {
        self.0.contains_key(&product)
    }

    /// Products that are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The product has no pricing rows but those that [`Prices::put`] brings.
    pub fn begin(&mut self, product: Key) {
        self.0.insert(product, Vec::new());
    }

    /// A pricing row of the product, where it is known.
    pub fn put(&mut self, product: Key, id: i64, cost: Money) {
        if let Some(rows) = self.0.get_mut(&product) {
            rows.retain(|(known, _)| *known != id);
            rows.push((id, cost));
        }
    }

    pub fn remove(&mut self, product: Key, id: i64) {
        if let Some(rows) = self.0.get_mut(&product) {
            rows.retain(|(known, _)| *known != id);
        }
    }

    /// The product's current cost price, that of the row with the highest id; 0 where it has none.
    pub fn cost(&self, product: Key) -> Money {
        let rows = self.0.get(&product).into_iter().flatten();
        rows.max_by_key(|(id, _)| *id).map_or(Money::ZERO, |(_, cost)| *cost)
    }

    /// Nothing is known of the tenant's any more.
    pub fn forget(&mut self, tenant: TenantId) {
        self.0.retain(|(t, _), _| *t != tenant);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
