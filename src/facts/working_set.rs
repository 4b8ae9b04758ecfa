//! The entities a batch touches, as they were before it and as they are after it so far.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::change::{Change, RowOp};
use super::entity::{
    CreditPayment, Customer, MovementBlock, Pricing, Product, ProductName, Sale, Session, StockLimits, StockShare,
};
use crate::domain::{Money, TenantId};

/// A tenant's row by its id.
pub type Key = (TenantId, i64);

/// One entity before and after the batch. `None`: does not exist.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<T> {
    pub before: Option<T>,
    pub after: Option<T>,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Entry { before: None, after: None }
    }
}

impl<T: PartialEq> Entry<T> {
    pub fn changed(&self) -> bool {
        self.before != self.after
    }
}

pub type Entries<T> = HashMap<Key, Entry<T>>;

/// Everything a fold reads and writes. Loaded from the base facts by [`Needs`], changed by `fold`, then turned into
/// fact writes and report deltas.
#[derive(Debug, Default)]
pub struct WorkingSet {
    pub sales: Entries<Sale>,
    pub movements: Entries<MovementBlock>,
    pub batches: Entries<StockShare>,
    pub reservations: Entries<StockShare>,
    pub credit_payments: Entries<CreditPayment>,
    pub sessions: Entries<Session>,
    pub pricing: Entries<Pricing>,
    pub stock_limits: Entries<StockLimits>,
    /// Attributes only, last one wins; `None`: deleted.
    pub products: HashMap<Key, Option<Product>>,
    pub customers: HashMap<Key, Option<Customer>>,
    pub product_names: Entries<ProductName>,
    /// Products that refer to one of these names.
    pub named_products: HashSet<Key>,
    /// The POS has no totals of sales: they are the sums of their items.
    pub totals_from_items: bool,
    /// Which sale holds an item or a payment now.
    pub sale_of_item: HashMap<Key, i64>,
    pub sale_of_payment: HashMap<Key, i64>,
    /// The pricing rows of a product: the one with the highest id is valid.
    pub pricing_of: HashMap<Key, Vec<i64>>,
    /// Sales touched by the source transaction being folded: looked at when it commits.
    pub(super) touched: HashSet<Key>,
}

impl WorkingSet {
    /// Takes in a sale as stored.
    pub fn load_sale(&mut self, tenant: TenantId, id: i64, sale: Sale) {
        for item in &sale.items {
            self.sale_of_item.insert((tenant, item.id), id);
        }
        for payment in &sale.payments {
            self.sale_of_payment.insert((tenant, payment.id), id);
        }
        load(&mut self.sales, (tenant, id), sale);
    }

    /// Takes in a pricing row as stored.
    pub fn load_pricing(&mut self, tenant: TenantId, id: i64, pricing: Pricing) {
        let ids = self.pricing_of.entry((tenant, pricing.product)).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
        load(&mut self.pricing, (tenant, id), pricing);
    }

    /// Products whose name may have changed with the names' table.
    pub fn renamed(&self) -> impl Iterator<Item = Key> {
        let changed = self.product_names.iter().filter(|(_, entry)| entry.changed());
        let named = changed.flat_map(|((tenant, _), entry)| {
            entry.before.iter().chain(&entry.after).filter_map(|name| Some((*tenant, name.product?)))
        });
        named.chain(self.named_products.iter().copied())
    }

    /// The product's current cost price, 0 where it has none.
    pub fn cost_of(&self, tenant: TenantId, product: i64) -> Money {
        self.pricing_of
            .get(&(tenant, product))
            .and_then(|ids| ids.iter().max())
            .and_then(|id| self.pricing.get(&(tenant, *id)))
            .and_then(|entry| entry.after.as_ref())
            .map_or(Money::ZERO, |pricing| pricing.cost_price)
    }
}

/// Takes in an entity as stored, unless the batch already knows it.
pub fn load<T: Clone>(entries: &mut Entries<T>, key: Key, stored: T) {
    entries.entry(key).or_insert_with(|| Entry { before: Some(stored.clone()), after: Some(stored) });
}

/// The stored facts a list of changes must see before it can be folded.
#[derive(Debug, Default)]
pub struct Needs {
    pub sales: HashSet<Key>,
    /// Items and payments whose sale is not known from the change itself.
    pub items: HashSet<Key>,
    pub payments: HashSet<Key>,
    pub movement_blocks: HashSet<Key>,
    pub batches: HashSet<Key>,
    pub reservations: HashSet<Key>,
    pub credit_payments: HashSet<Key>,
    pub sessions: HashSet<Key>,
    pub pricing: HashSet<Key>,
    pub stock_limits: HashSet<Key>,
    pub product_names: HashSet<Key>,
    /// Products whose pricing rows are needed.
    pub priced_products: HashSet<Key>,
    /// Rows inserted by these very changes: nothing is stored of them.
    fresh_items: HashSet<Key>,
    fresh_payments: HashSet<Key>,
    fresh_others: HashSet<(u8, Key)>,
}

impl Needs {
    /// Notes what one change needs; call in the order of the changes. `fresh` is false where rows of the same source
    /// transaction may have been stored already (a transaction larger than a batch): then an insert proves nothing.
    pub fn add(&mut self, tenant: TenantId, change: &Change, fresh: bool) {
        let key = |id: i64| (tenant, id);
        match change {
            // Also where it is inserted: its children may have come before it.
            Change::Sale(op) => each_id(op, |id| {
                self.sales.insert(key(id));
            }),
            Change::Item(op) => {
                if let RowOp::Insert(_, row) | RowOp::Update { row, .. } = op {
                    self.sales.insert(key(row.sale));
                    self.priced_products.insert(key(row.product));
                }
                if fresh && op.is_insert() {
                    self.fresh_items.insert(key(op.id()));
                }
                each_id(op, |id| want(&mut self.items, &self.fresh_items, key(id)));
            }
            Change::Payment(op) => {
                if let RowOp::Insert(_, row) | RowOp::Update { row, .. } = op {
                    self.sales.insert(key(row.sale));
                }
                if fresh && op.is_insert() {
                    self.fresh_payments.insert(key(op.id()));
                }
                each_id(op, |id| want(&mut self.payments, &self.fresh_payments, key(id)));
            }
            Change::Movement(op) => each_id(op, |id| {
                self.movement_blocks.insert(key(MovementBlock::of(id)));
            }),
            Change::Pricing(op) => {
                if let RowOp::Insert(_, row) | RowOp::Update { row, .. } = op {
                    self.priced_products.insert(key(row.product));
                }
                each_id(op, |id| {
                    want_kind(0, &mut self.pricing, &mut self.fresh_others, key(id), fresh && op.is_insert())
                });
            }
            Change::Batch(op) => each_id(op, |id| {
                want_kind(1, &mut self.batches, &mut self.fresh_others, key(id), fresh && op.is_insert())
            }),
            Change::Reservation(op) => each_id(op, |id| {
                want_kind(2, &mut self.reservations, &mut self.fresh_others, key(id), fresh && op.is_insert())
            }),
            Change::Transaction(op) => each_id(op, |id| {
                want_kind(3, &mut self.credit_payments, &mut self.fresh_others, key(id), fresh && op.is_insert())
            }),
            Change::Session(op) => each_id(op, |id| {
                want_kind(4, &mut self.sessions, &mut self.fresh_others, key(id), fresh && op.is_insert())
            }),
            Change::StockLimits(op) => each_id(op, |id| {
                want_kind(5, &mut self.stock_limits, &mut self.fresh_others, key(id), fresh && op.is_insert())
            }),
            Change::ProductName(op) => each_id(op, |id| {
                self.product_names.insert(key(id));
            }),
            Change::Product(_) | Change::Customer(_) => {}
        }
    }
}

fn each_id<R>(op: &RowOp<R>, mut f: impl FnMut(i64)) {
    if let RowOp::Update { old_id: Some(old), .. } = op {
        f(*old);
    }
    f(op.id());
}

fn want<K: Hash + Eq>(wanted: &mut HashSet<K>, fresh: &HashSet<K>, key: K) {
    if !fresh.contains(&key) {
        wanted.insert(key);
    }
}

fn want_kind(kind: u8, wanted: &mut HashSet<Key>, fresh: &mut HashSet<(u8, Key)>, key: Key, is_fresh: bool) {
    if is_fresh {
        fresh.insert((kind, key));
    }
    if !fresh.contains(&(kind, key)) {
        wanted.insert(key);
    }
}
