//! The incremental path over the pure functions alone, held to a recomputation from plain rows: random transactions,
//! cut into batches at random, loaded by what the batch says it needs, folded, differenced and summed up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;

use super::deltas::{CustomerDayDelta, CustomerTotalDelta, DailyDelta, ProductDelta, StockDelta};
use super::{Calendar, Deltas, LocalDays};
use crate::domain::{BusinessDay, TenantId};
use crate::facts::change::{ItemRow, MovementRow, PaymentRow, SaleRow, Sign, TransactionRow};
use crate::facts::entity::{CreditPayment, MovementBlock, PaymentKind, Pricing, Sale, SaleStatus, Session, StockShare};
use crate::facts::working_set::{Needs, load};
use crate::facts::{Change, Prices, RowOp, WorkingSet};

const T: TenantId = TenantId(1);

fn day(n: u32) -> BusinessDay {
    BusinessDay::from_ymd_opt(2026, 1, 1 + n).unwrap()
}

fn amount(rng: &mut impl Rng) -> Decimal {
    Decimal::new(rng.random_range(-200..2000), rng.random_range(0..4))
}

/// The POS as plain rows; what an item's unit cost must be, by the rule and nothing else.
#[derive(Default)]
struct Plain {
    sales: BTreeMap<i64, SaleRow>,
    items: BTreeMap<i64, ItemRow>,
    payments: BTreeMap<i64, (i64, PaymentKind, Decimal)>,
    movements: BTreeMap<i64, (i64, Decimal)>,
    batches: BTreeMap<i64, StockShare>,
    transactions: BTreeMap<i64, CreditPayment>,
    sessions: BTreeMap<i64, Session>,
    prices: BTreeMap<i64, Pricing>,
    /// Item -> product and cost.
    frozen: BTreeMap<i64, (i64, Decimal)>,
    /// The POS keeps no totals of sales.
    totals_from_items: bool,
}

impl Plain {
    fn counted(&self, sale: i64) -> Option<(&SaleRow, BusinessDay)> {
        let sale = self.sales.get(&sale).filter(|s| s.status == Some(SaleStatus::Completed))?;
        sale.day.map(|day| (sale, day))
    }

    fn commit(&mut self) {
        let items = &self.items;
        self.frozen.retain(|id, (product, _)| items.get(id).is_some_and(|item| item.product == *product));
        for (id, item) in &self.items {
            if self.counted(item.sale).is_some() && !self.frozen.contains_key(id) {
                let price = self.prices.iter().rev().find(|(_, p)| p.product == item.product);
                self.frozen.insert(*id, (item.product, price.map_or(Decimal::ZERO, |(_, p)| p.cost_price)));
            }
        }
    }

    fn total(&self, id: i64, sale: &SaleRow) -> Decimal {
        let items = self.items.values().filter(|item| item.sale == id);
        if self.totals_from_items { items.map(|item| item.total).sum() } else { sale.total }
    }

    /// All sums from the rows as they stand.
    fn sums(&self, horizon: BusinessDay) -> Deltas {
        let mut sums = Deltas::default();
        for (id, sale) in &self.sales {
            let Some(day) = sale.day else { continue };
            let sale = &SaleRow { total: self.total(*id, sale), ..sale.clone() };
            if sale.status == Some(SaleStatus::Refunded) && day >= horizon {
                let daily = sums.daily.entry((T, day)).or_default();
                daily.refunds += 1;
                daily.refund_total += sale.total;
            }
            if sale.status != Some(SaleStatus::Completed) {
                continue;
            }
            let payments: Vec<_> = self.payments.values().filter(|(of, ..)| of == id).collect();
            let items: Vec<_> = self.items.iter().filter(|(_, item)| item.sale == *id).collect();
            let credits: Vec<Decimal> =
                payments.iter().filter(|(_, kind, _)| *kind == PaymentKind::Credit).map(|(.., a)| *a).collect();
            if let Some(customer) = sale.customer {
                let by_day = sums.customer_day.entry((T, customer, day)).or_default();
                let total = sums.customer_total.entry((T, customer)).or_default();
                by_day.sales += 1;
                total.sales += 1;
                by_day.spent += sale.total;
                total.spent += sale.total;
                by_day.credit_sales += i64::from(!credits.is_empty());
                by_day.credit += credits.iter().sum::<Decimal>();
                total.credit += credits.iter().sum::<Decimal>();
            }
            if day < horizon {
                continue;
            }
            let daily = sums.daily.entry((T, day)).or_default();
            daily.sales += 1;
            daily.total += sale.total;
            daily.discount += sale.discount;
            daily.tax += sale.tax;
            for (_, kind, amount) in payments {
                match kind {
                    PaymentKind::Cash => daily.cash += *amount,
                    PaymentKind::Card => daily.card += *amount,
                    PaymentKind::Credit => daily.credit += *amount,
                    PaymentKind::Other => daily.other += *amount,
                }
            }
            daily.quantity += items.iter().map(|(_, item)| item.quantity).sum::<Decimal>();
            let products: BTreeSet<i64> = items.iter().map(|(_, item)| item.product).collect();
            for product in products {
                let sum = sums.product_day.entry((T, product, day)).or_default();
                sum.sales += 1;
                for (id, item) in items.iter().filter(|(_, item)| item.product == product) {
                    sum.lines += 1;
                    sum.quantity += item.quantity;
                    sum.revenue += item.total;
                    sum.price_sum += item.price;
                    sum.cost += item.quantity * self.frozen.get(id).map_or(Decimal::ZERO, |(_, cost)| *cost);
                }
            }
        }
        for session in self.sessions.values() {
            for (at, opened) in [(session.opened_day, true), (session.closed_day, false)] {
                let Some(at) = at.filter(|at| *at >= horizon) else { continue };
                let daily = sums.daily.entry((T, at)).or_default();
                if opened { daily.opened += 1 } else { daily.closed += 1 }
            }
        }
        for payment in self.transactions.values() {
            let total = sums.customer_total.entry((T, payment.customer)).or_default();
            total.payments += 1;
            total.paid += payment.amount;
        }
        for (product, quantity) in self.movements.values() {
            sums.stock.entry((T, *product)).or_default().on_hand += *quantity;
        }
        for share in self.batches.values() {
            sums.stock.entry((T, share.product)).or_default().on_hand += share.quantity;
        }
        sums
    }

    /// One random row change: made here, and given as the stream would.
    fn change(&mut self, rng: &mut ChaCha8Rng) -> Change {
        let id = rng.random_range(1..9);
        let remove = rng.random_ratio(1, 5);
        match rng.random_range(0..16) {
            0..=4 => {
                let row = SaleRow {
                    status: Some(
                        [SaleStatus::Completed, SaleStatus::Completed, SaleStatus::Refunded, SaleStatus::Other]
                            [rng.random_range(0..4)],
                    ),
                    customer: rng.random_bool(0.7).then(|| rng.random_range(1..4)),
                    completed_at: None,
                    day: rng.random_bool(0.9).then(|| day(rng.random_range(0..5))),
                    total: amount(rng),
                    discount: amount(rng),
                    tax: amount(rng),
                };
                Change::Sale(op(&mut self.sales, id, remove, row.clone(), row))
            }
            5..=8 => {
                let id = rng.random_range(1..25);
                let row = ItemRow {
                    sale: rng.random_range(1..9),
                    product: rng.random_range(1..5),
                    quantity: amount(rng),
                    price: amount(rng),
                    total: amount(rng),
                };
                Change::Item(op(&mut self.items, id, remove, row.clone(), row))
            }
            9..=10 => {
                let id = rng.random_range(1..17);
                let kind = [PaymentKind::Cash, PaymentKind::Card, PaymentKind::Credit, PaymentKind::Other]
                    [rng.random_range(0..4)];
                let (sale, amount) = (rng.random_range(1..9), amount(rng));
                let row = PaymentRow { sale, kind: Some(kind), amount };
                Change::Payment(op(&mut self.payments, id, remove, (sale, kind, amount), row))
            }
            11 => {
                let id = rng.random_range(1..200);
                let (product, quantity) = (rng.random_range(1..5), amount(rng));
                let sign = [Sign::Plus, Sign::Minus, Sign::Signed][rng.random_range(0..3)];
                let signed = if sign == Sign::Minus { -quantity } else { quantity };
                let row = MovementRow { product, sign: Some(sign), quantity };
                Change::Movement(op(&mut self.movements, id, remove, (product, signed), row))
            }
            12 => {
                let row = Pricing { product: rng.random_range(1..5), cost_price: amount(rng), sale_price: amount(rng) };
                Change::Pricing(op(&mut self.prices, id, remove, row.clone(), row))
            }
            13 => {
                let share = StockShare { product: rng.random_range(1..5), quantity: amount(rng) };
                let row = crate::facts::change::BatchRow { share: share.clone(), active: true };
                Change::Batch(op(&mut self.batches, id, remove, share, row))
            }
            14 => {
                let (customer, amount, day) = (rng.random_range(1..4), amount(rng), day(0));
                let created_at = crate::domain::Instant::default();
                let row = TransactionRow { customer, is_payment: Some(true), amount, created_at, day };
                let plain = CreditPayment { customer, amount, created_at, day };
                Change::Transaction(op(&mut self.transactions, id, remove, plain, row))
            }
            _ => {
                let row = Session { opened_day: Some(day(rng.random_range(0..5))), closed_day: None };
                Change::Session(op(&mut self.sessions, id, remove, row.clone(), row))
            }
        }
    }
}

/// Puts or removes a plain row and says what the stream would say of it.
fn op<P, R>(rows: &mut BTreeMap<i64, P>, id: i64, remove: bool, plain: P, row: R) -> RowOp<R> {
    if remove && rows.remove(&id).is_some() {
        return RowOp::Delete(id);
    }
    match rows.insert(id, plain) {
        Some(_) => RowOp::Update { old_id: None, id, row },
        None => RowOp::Insert(id, row),
    }
}

/// Base facts as the target would keep them.
#[derive(Default)]
struct Stored {
    sales: HashMap<i64, Sale>,
    movements: HashMap<i64, MovementBlock>,
    batches: HashMap<i64, StockShare>,
    credit_payments: HashMap<i64, CreditPayment>,
    sessions: HashMap<i64, Session>,
    pricing: HashMap<i64, Pricing>,
    /// What the writer remembers of them from one batch to the next.
    prices: Prices,
}

impl Stored {
    /// Just what the batch says it needs, as apply/load.rs does.
    fn load(&mut self, needs: &mut Needs) -> WorkingSet {
        let mut set = WorkingSet::with(std::mem::take(&mut self.prices));
        self.load_sales(&mut set, needs, |needs, id, _| needs.sales.contains(&(T, id)));
        let (items, payments) = needs.elsewhere(&set);
        self.load_sales(&mut set, needs, |_, _, sale| {
            sale.items.iter().any(|item| items.contains(&(T, item.id)))
                || sale.payments.iter().any(|payment| payments.contains(&(T, payment.id)))
        });
        fetch(&self.movements, &needs.movement_blocks, &mut set.movements);
        fetch(&self.batches, &needs.batches, &mut set.batches);
        fetch(&self.credit_payments, &needs.credit_payments, &mut set.credit_payments);
        fetch(&self.sessions, &needs.sessions, &mut set.sessions);
        fetch(&self.pricing, &needs.pricing, &mut set.pricing);
        needs.priced_products.iter().for_each(|product| set.prices.begin(*product));
        for (id, pricing) in self.pricing.iter().filter(|(_, p)| needs.priced_products.contains(&(T, p.product))) {
            set.prices.put((T, pricing.product), *id, pricing.cost_price);
        }
        for block in &needs.movement_blocks {
            set.movements.entry(*block).or_default();
        }
        set
    }

    fn load_sales(&self, set: &mut WorkingSet, needs: &mut Needs, wanted: impl Fn(&Needs, i64, &Sale) -> bool) {
        for (id, sale) in &self.sales {
            if wanted(needs, *id, sale) {
                let unfrozen = sale.items.iter().filter(|item| item.cost.is_none());
                let unpriced = unfrozen.map(|item| (T, item.product)).filter(|product| !set.prices.knows(*product));
                needs.priced_products.extend(unpriced);
                set.load_sale(T, *id, sale.clone());
            }
        }
    }

    fn write(&mut self, set: WorkingSet) {
        keep(&mut self.sales, &set.sales);
        keep(&mut self.movements, &set.movements);
        for ((_, block), new) in &set.new_movements {
            self.movements.entry(*block).or_default().entries.extend(new.entries.iter().cloned());
        }
        keep(&mut self.batches, &set.batches);
        keep(&mut self.credit_payments, &set.credit_payments);
        keep(&mut self.sessions, &set.sessions);
        keep(&mut self.pricing, &set.pricing);
        self.prices = set.prices;
    }
}

type Entries<V> = crate::facts::working_set::Entries<V>;

fn fetch<V: Clone>(stored: &HashMap<i64, V>, wanted: &foldhash::HashSet<(TenantId, i64)>, into: &mut Entries<V>) {
    for (id, value) in stored.iter().filter(|(id, _)| wanted.contains(&(T, **id))) {
        load(into, (T, *id), value.clone());
    }
}

fn keep<V: Clone>(stored: &mut HashMap<i64, V>, entries: &Entries<V>) {
    for ((_, id), entry) in entries {
        match &entry.after {
            Some(after) => stored.insert(*id, after.clone()),
            None => stored.remove(id),
        };
    }
}

/// Adds a batch's differences to the sums, as the target's upserts do.
fn add(sums: &mut Deltas, more: Deltas) {
    macro_rules! add {
        ($map:ident: $($field:ident),+) => {
            for (key, delta) in more.$map {
                let sum = sums.$map.entry(key).or_default();
                $(sum.$field += delta.$field;)+
            }
        };
    }
    add!(daily: sales, total, discount, tax, cash, card, credit, other, quantity, refunds, refund_total, opened, closed);
    add!(product_day: lines, sales, quantity, revenue, price_sum, cost);
    add!(customer_day: sales, spent, credit_sales, credit);
    add!(customer_total: sales, spent, credit, payments, paid);
    add!(stock: on_hand, reserved);
}

fn without_zeros(mut sums: Deltas) -> Deltas {
    sums.daily.retain(|_, sum| *sum != DailyDelta::default());
    sums.product_day.retain(|_, sum| *sum != ProductDelta::default());
    sums.customer_day.retain(|_, sum| *sum != CustomerDayDelta::default());
    sums.customer_total.retain(|_, sum| *sum != CustomerTotalDelta::default());
    sums.stock.retain(|_, sum| *sum != StockDelta::default());
    sums
}

#[test]
fn differences_add_up_to_what_the_rows_say() {
    let first: u64 = std::env::var("TILLSTREAM_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    for seed in first..first + 3000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut plain, mut stored, mut sums) = (Plain::default(), Stored::default(), Deltas::default());
        plain.totals_from_items = seed % 3 == 0;
        let horizon = day(1);
        let calendar = Calendar::from_iter([(T, LocalDays { horizon, today: day(4) })]);
        for _ in 0..rng.random_range(1..6) {
            let transactions: Vec<Vec<Change>> = (0..rng.random_range(1..4))
                .map(|_| {
                    let changes = (0..rng.random_range(1..9)).map(|_| plain.change(&mut rng)).collect();
                    plain.commit();
                    changes
                })
                .collect();
            let mut needs = Needs::default();
            for change in transactions.iter().flatten() {
                let headless = |(_, id): (TenantId, i64)| stored.sales.get(&id).is_some_and(|s| s.header.is_none());
                needs.add(T, change, headless, |product| stored.prices.knows(product));
            }
            let mut set = stored.load(&mut needs);
            set.totals_from_items = plain.totals_from_items;
            for changes in transactions {
                for change in changes {
                    set.apply(T, change);
                }
                set.commit().unwrap();
            }
            let deltas = Deltas::of(&set, &calendar).unwrap();
            stored.write(set);
            add(&mut sums, deltas);
        }
        assert_eq!(without_zeros(sums), without_zeros(plain.sums(horizon)), "seed {seed}");
    }
}
