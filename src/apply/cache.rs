//! What the writer remembers of the stored facts, so that a fresh sale needs no look at the database: the sales of the last
//! moments, prices, and which sales are stored without a header.
//!
//! Nobody else writes these facts while the writer lives; whoever does so between two batches (a copy, a repair) calls
//! [`Cache::forget`] or [`Cache::clear`]. A write that failed leaves nothing to be remembered: the cache is cleared.

use std::collections::VecDeque;

use foldhash::{HashMap, HashSet};

use crate::domain::TenantId;
use crate::facts::working_set::Key;
use crate::facts::{Prices, Sale, WorkingSet};

/// Sales remembered: a POS touches a sale some twenty times within a second, and hardly ever again.
const SALES: usize = 4096;
/// Products whose prices are remembered.
const PRODUCTS: usize = 16_384;
/// More sales without a header than this are not remembered one by one. A POS with foreign keys has none.
pub const HEADLESS: usize = 10_000;

#[derive(Debug, Default)]
pub struct Cache {
    sales: HashMap<Key, Sale>,
    /// The remembered sales, longest ago first; one that was written again stands here more than once.
    order: VecDeque<Key>,
    /// With a working set while it is folded.
    pub prices: Prices,
    /// `None`: not known, or too many to be remembered.
    headless: Option<HashSet<Key>>,
}

impl Cache {
    /// Which sales are stored without a header: all of them.
    pub fn set_headless(&mut self, headless: Vec<Key>) {
        self.headless = (headless.len() < HEADLESS).then(|| headless.into_iter().collect());
    }

    /// A sale may be stored without its header.
    pub fn may_be_headless(&self, key: Key) -> bool {
        self.headless.as_ref().is_none_or(|headless| headless.contains(&key))
    }

    pub fn sale(&self, key: Key) -> Option<&Sale> {
        self.sales.get(&key)
    }

    /// A batch is on its way: what it leaves is what later ones will find.
    pub fn take_in(&mut self, set: WorkingSet) {
        self.prices = set.prices;
        for (key, entry) in set.sales {
            if let Some(headless) = &mut self.headless {
                match &entry.after {
                    Some(sale) if sale.header.is_none() => headless.insert(key),
                    _ => headless.remove(&key),
                };
            }
            match entry.after {
                Some(sale) => {
                    self.order.push_back(key);
                    self.sales.insert(key, sale);
                }
                None => drop(self.sales.remove(&key)),
            }
        }
        if self.headless.as_ref().is_some_and(|headless| headless.len() > HEADLESS) {
            self.headless = None;
        }
        if self.prices.len() > PRODUCTS {
            self.prices.clear();
        }
        while self.order.len() > SALES {
            if let Some(oldest) = self.order.pop_front() {
                self.sales.remove(&oldest);
            }
        }
    }

    /// Somebody else wrote the tenant's facts.
    pub fn forget(&mut self, tenant: TenantId) {
        self.sales.retain(|(t, _), _| *t != tenant);
        self.order.retain(|(t, _)| *t != tenant);
        self.prices.forget(tenant);
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) {
        *self = Cache::default();
    }
}
