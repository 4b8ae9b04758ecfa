//! The entities a batch touches, as they were before it and as they are after it so far.

use foldhash::{HashMap, HashSet};

use super::change::{Change, RowOp};
use super::entity::{
    CreditPayment, Customer, MovementBlock, Pricing, Product, ProductName, Sale, Session, StockLimits, StockShare,
};
use super::prices::Prices;
use crate::domain::TenantId;

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
    /// The cost prices of every product whose items may be counted.
    pub prices: Prices,
    /// Ledger entries of blocks that were not loaded, since nothing but new entries is known of them.
    pub new_movements: HashMap<Key, MovementBlock>,
    /// Items and payments that came into a sale: (child, sale).
    pub new_items: Vec<(Key, i64)>,
    pub new_payments: Vec<(Key, i64)>,
    /// Sales touched by the source transaction being folded, some more than once: looked at when it commits.
    pub(super) touched: Vec<Key>,
}

impl WorkingSet {
    /// Nothing but these prices.
    pub fn with(prices: Prices) -> WorkingSet {
        WorkingSet { prices, ..WorkingSet::default() }
    }

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

    /// Products whose name may have changed with the names' table.
    pub fn renamed(&self) -> impl Iterator<Item = Key> {
        let changed = self.product_names.iter().filter(|(_, entry)| entry.changed());
        let named = changed.flat_map(|((tenant, _), entry)| {
            entry.before.iter().chain(&entry.after).filter_map(|name| Some((*tenant, name.product?)))
        });
        named.chain(self.named_products.iter().copied())
    }
}

/// Takes in an entity as stored, unless the batch already knows it.
pub fn load<T: Clone>(entries: &mut Entries<T>, key: Key, stored: T) {
    entries.entry(key).or_insert_with(|| Entry { before: Some(stored.clone()), after: Some(stored) });
}

/// The stored facts a list of changes must see before it can be folded.
///
/// A row that these changes insert is not stored: the key of a table is unique at every moment, so whatever bore its id
/// before is gone, and what removed it names the id as well.
#[derive(Debug, Default)]
pub struct Needs {
    pub sales: HashSet<Key>,
    /// Items and payments to be found wherever they are.
    pub items: HashSet<Key>,
    pub payments: HashSet<Key>,
    /// Items and payments that most probably are in the sale that their row names: to be looked for elsewhere only where
    /// they are not.
    pub updated_items: HashSet<Key>,
    pub updated_payments: HashSet<Key>,
    pub movement_blocks: HashSet<Key>,
    pub batches: HashSet<Key>,
    pub reservations: HashSet<Key>,
    pub credit_payments: HashSet<Key>,
    pub sessions: HashSet<Key>,
    pub pricing: HashSet<Key>,
    pub stock_limits: HashSet<Key>,
    pub product_names: HashSet<Key>,
    /// Products whose prices are needed and not known.
    pub priced_products: HashSet<Key>,
    fresh_sales: HashSet<Key>,
    fresh_items: HashSet<Key>,
    fresh_payments: HashSet<Key>,
    fresh_others: HashSet<(u8, Key)>,
}

impl Needs {
    /// Notes what one change needs; call in the order of the changes. `headless`: a sale may be stored without its header,
    /// because its items or payments came first. `priced`: a product's prices are known.
    pub fn add(
        &mut self,
        tenant: TenantId,
        change: &Change,
        headless: impl Fn(Key) -> bool,
        priced: impl Fn(Key) -> bool,
    ) {
        let key = |id: i64| (tenant, id);
        match change {
            Change::Sale(op) => {
                if op.is_insert() && !headless(key(op.id())) {
                    self.fresh_sales.insert(key(op.id()));
                }
                each_id(op, |id| want(&mut self.sales, &self.fresh_sales, key(id)));
            }
            Change::Item(op) => {
                if let RowOp::Insert(_, row) | RowOp::Update { row, .. } = op {
                    want(&mut self.sales, &self.fresh_sales, key(row.sale));
                    if !priced(key(row.product)) {
                        self.priced_products.insert(key(row.product));
                    }
                }
                child(op, key, &mut self.fresh_items, &mut self.items, &mut self.updated_items);
            }
            Change::Payment(op) => {
                if let RowOp::Insert(_, row) | RowOp::Update { row, .. } = op {
                    want(&mut self.sales, &self.fresh_sales, key(row.sale));
                }
                child(op, key, &mut self.fresh_payments, &mut self.payments, &mut self.updated_payments);
            }
            // New entries are added to what their block holds, whatever that is.
            Change::Movement(op) if op.is_insert() => {}
            Change::Movement(op) => each_id(op, |id| {
                self.movement_blocks.insert(key(MovementBlock::of(id)));
            }),
            Change::Pricing(op) => {
                self.other(0, |needs| &mut needs.pricing, op, key);
            }
            Change::Batch(op) => self.other(1, |needs| &mut needs.batches, op, key),
            Change::Reservation(op) => self.other(2, |needs| &mut needs.reservations, op, key),
            Change::Transaction(op) => self.other(3, |needs| &mut needs.credit_payments, op, key),
            Change::Session(op) => self.other(4, |needs| &mut needs.sessions, op, key),
            Change::StockLimits(op) => self.other(5, |needs| &mut needs.stock_limits, op, key),
            Change::ProductName(op) => each_id(op, |id| {
                self.product_names.insert(key(id));
            }),
            Change::Product(_) | Change::Customer(_) => {}
        }
    }

    /// Items and payments that have to be found wherever they are, once the sales in `set` are known: none of them holds them.
    pub fn elsewhere(&self, set: &WorkingSet) -> (HashSet<Key>, HashSet<Key>) {
        let missing = |wanted: &HashSet<Key>, updated: &HashSet<Key>, known: &HashMap<Key, i64>| {
            wanted.iter().chain(updated).filter(|key| !known.contains_key(key)).copied().collect()
        };
        (
            missing(&self.items, &self.updated_items, &set.sale_of_item),
            missing(&self.payments, &self.updated_payments, &set.sale_of_payment),
        )
    }

    fn other<R>(
        &mut self,
        kind: u8,
        wanted: impl Fn(&mut Needs) -> &mut HashSet<Key>,
        op: &RowOp<R>,
        key: impl Fn(i64) -> Key,
    ) {
        if op.is_insert() {
            self.fresh_others.insert((kind, key(op.id())));
        }
        each_id(op, |id| {
            if !self.fresh_others.contains(&(kind, key(id))) {
                wanted(self).insert(key(id));
            }
        });
    }
}

/// An item or a payment.
fn child<R>(
    op: &RowOp<R>,
    key: impl Fn(i64) -> Key,
    fresh: &mut HashSet<Key>,
    wanted: &mut HashSet<Key>,
    updated: &mut HashSet<Key>,
) {
    match op {
        RowOp::Insert(id, _) => {
            fresh.insert(key(*id));
        }
        RowOp::Update { old_id: None, id, .. } => want(updated, fresh, key(*id)),
        RowOp::Update { .. } | RowOp::Delete(_) => each_id(op, |id| want(wanted, fresh, key(id))),
    }
}

fn each_id<R>(op: &RowOp<R>, mut f: impl FnMut(i64)) {
    if let RowOp::Update { old_id: Some(old), .. } = op {
        f(*old);
    }
    f(op.id());
}

fn want(wanted: &mut HashSet<Key>, fresh: &HashSet<Key>, key: Key) {
    if !fresh.contains(&key) {
        wanted.insert(key);
    }
}
