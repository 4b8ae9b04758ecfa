//! Applies typed changes to the working set, in WAL order.

use super::change::{
    BatchRow, Change, ItemRow, MovementRow, PaymentRow, ReservationRow, RowOp, SaleRow, Sign, TransactionRow,
};
use super::entity::{
    CreditPayment, Header, Item, Movement, MovementBlock, Pricing, ProductName, Sale, SaleStatus, StockLimits,
    StockShare,
};
use super::exact::Inexact;
use super::working_set::{Entries, WorkingSet};
use crate::domain::{Quantity, TenantId};

impl WorkingSet {
    /// Applies one change. Everything that [`super::working_set::Needs`] named for it must have been loaded.
    pub fn apply(&mut self, tenant: TenantId, change: Change) {
        match change {
            Change::Sale(op) => self.sale(tenant, op),
            Change::Item(op) => self.item(tenant, op),
            Change::Payment(op) => self.payment(tenant, op),
            Change::Movement(op) => self.movement(tenant, op),
            Change::Pricing(op) => self.price(tenant, op),
            Change::Batch(op) => {
                share(&mut self.batches, tenant, op, |row: BatchRow, _| row.active.then_some(row.share))
            }
            Change::Reservation(op) => {
                share(&mut self.reservations, tenant, op, |row: ReservationRow, before| {
                    row.active.unwrap_or(before).then_some(row.share)
                });
            }
            Change::Transaction(op) => self.transaction(tenant, op),
            Change::Session(op) => put(&mut self.sessions, tenant, op),
            Change::StockLimits(op) => put::<StockLimits>(&mut self.stock_limits, tenant, op),
            Change::Product(op) => {
                let (removed, put) = op.split();
                removed.map(|id| self.products.insert((tenant, id), None));
                if let Some((id, mut row)) = put {
                    if let Some(Some(known)) = self.products.remove(&(tenant, id)) {
                        row.name = row.name.or(known.name);
                        row.sku = row.sku.or(known.sku);
                        row.barcode = row.barcode.or(known.barcode);
                    }
                    self.products.insert((tenant, id), Some(*row));
                }
            }
            Change::ProductName(op) => self.product_name(tenant, op),
            Change::Customer(op) => {
                let (removed, put) = op.split();
                removed.map(|id| self.customers.insert((tenant, id), None));
                if let Some((id, mut row)) = put {
                    if let Some(Some(known)) = self.customers.remove(&(tenant, id)) {
                        row.first_name = row.first_name.or(known.first_name);
                        row.last_name = row.last_name.or(known.last_name);
                        row.middle_name = row.middle_name.or(known.middle_name);
                        row.customer_type = row.customer_type.or(known.customer_type);
                        row.company_name = row.company_name.or(known.company_name);
                        row.phone = row.phone.or(known.phone);
                        row.is_company = row.is_company.or(known.is_company);
                    }
                    self.customers.insert((tenant, id), Some(*row));
                }
            }
        }
    }

    /// A source transaction ends here: items of sales that are counted now take their unit cost, once, and totals that
    /// follow from the items are added up.
    ///
    /// # Errors
    /// The tenant whose figures cannot be held exactly.
    pub fn commit(&mut self) -> Result<(), (TenantId, Inexact)> {
        for (tenant, id) in self.touched.drain(..) {
            let Some(sale) = self.sales.get_mut(&(tenant, id)).and_then(|entry| entry.after.as_mut()) else { continue };
            if sale.counted_day().is_some() {
                for item in sale.items.iter_mut().filter(|item| item.cost.is_none()) {
                    item.cost = Some(self.prices.cost((tenant, item.product)));
                }
            }
            if self.totals_from_items {
                sale.add_up().map_err(|e| (tenant, e))?;
            }
        }
        Ok(())
    }

    /// The sale as it is now, made where there is none yet; to be looked at again when the transaction commits.
    fn touch(&mut self, tenant: TenantId, id: i64) -> &mut Sale {
        if self.touched.last() != Some(&(tenant, id)) {
            self.touched.push((tenant, id));
        }
        self.sales.entry((tenant, id)).or_default().after.get_or_insert_default()
    }

    /// Lets go of a sale of which nothing is left.
    fn tidy(&mut self, tenant: TenantId, id: i64) {
        if let Some(entry) = self.sales.get_mut(&(tenant, id))
            && entry.after.as_ref().is_some_and(Sale::is_empty)
        {
            entry.after = None;
        }
    }

    fn sale(&mut self, tenant: TenantId, op: RowOp<SaleRow>) {
        let (removed, put) = op.split();
        let mut old_status = None;
        if let Some(id) = removed {
            old_status = self.touch(tenant, id).header.take().map(|h| h.status);
            self.tidy(tenant, id);
        }
        if let Some((id, row)) = put {
            let sale = self.touch(tenant, id);
            let status = row.status.or(sale.header.as_ref().map(|h| h.status)).or(old_status);
            sale.header = Some(Header {
                status: status.unwrap_or(SaleStatus::Other),
                customer: row.customer,
                completed_at: row.completed_at,
                day: row.day,
                total: row.total,
                discount: row.discount,
                tax: row.tax,
            });
        }
    }

    fn remove_item(&mut self, tenant: TenantId, id: i64) -> Option<Item> {
        let sale_id = self.sale_of_item.remove(&(tenant, id))?;
        let sale = self.touch(tenant, sale_id);
        let item = sale.items.iter().position(|item| item.id == id).map(|at| sale.items.remove(at));
        self.tidy(tenant, sale_id);
        item
    }

    /// A change of the item's sale or id keeps the unit cost; a change of its product does not.
    fn item(&mut self, tenant: TenantId, op: RowOp<ItemRow>) {
        let (removed, put) = op.split();
        let mut old = removed.and_then(|id| self.remove_item(tenant, id));
        let Some((id, row)) = put else { return };
        let held_by = self.sale_of_item.get(&(tenant, id)).copied();
        if held_by.is_some_and(|sale| sale != row.sale) {
            old = self.remove_item(tenant, id).or(old);
        }
        self.sale_of_item.insert((tenant, id), row.sale);
        let items = &mut self.touch(tenant, row.sale).items;
        let at = items.iter().position(|item| item.id == id);
        let before = at.and_then(|at| items.get(at).cloned()).or(old);
        let cost = before.filter(|item| item.product == row.product).and_then(|item| item.cost);
        let item = Item { id, product: row.product, quantity: row.quantity, price: row.price, total: row.total, cost };
        match at.and_then(|at| items.get_mut(at)) {
            Some(place) => *place = item,
            None => {
                items.push(item);
                self.new_items.push(((tenant, id), row.sale));
            }
        }
    }

    fn remove_payment(&mut self, tenant: TenantId, id: i64) -> Option<super::entity::Payment> {
        let sale_id = self.sale_of_payment.remove(&(tenant, id))?;
        let sale = self.touch(tenant, sale_id);
        let payment = sale.payments.iter().position(|p| p.id == id).map(|at| sale.payments.remove(at));
        self.tidy(tenant, sale_id);
        payment
    }

    fn payment(&mut self, tenant: TenantId, op: RowOp<PaymentRow>) {
        let (removed, put) = op.split();
        let mut old = removed.and_then(|id| self.remove_payment(tenant, id));
        let Some((id, row)) = put else { return };
        if self.sale_of_payment.get(&(tenant, id)).is_some_and(|sale| *sale != row.sale) {
            old = self.remove_payment(tenant, id).or(old);
        }
        self.sale_of_payment.insert((tenant, id), row.sale);
        let payments = &mut self.touch(tenant, row.sale).payments;
        match payments.iter_mut().find(|p| p.id == id) {
            Some(place) => *place = row.into_payment(id, Some(place.kind)),
            None => {
                let sale = row.sale;
                payments.push(row.into_payment(id, old.map(|p| p.kind)));
                self.new_payments.push(((tenant, id), sale));
            }
        }
    }

    fn movement(&mut self, tenant: TenantId, op: RowOp<MovementRow>) {
        let (removed, put) = op.split();
        if let Some(id) = removed {
            remove_movement(&mut self.movements, tenant, id);
        }
        let Some((id, row)) = put else { return };
        let before = remove_movement(&mut self.movements, tenant, id);
        let quantity = match row.sign {
            Some(Sign::Plus | Sign::Signed) => row.quantity,
            Some(Sign::Minus) => -row.quantity,
            Some(Sign::Unknown) => return,
            // The type was left out as unchanged: the sign is the one it had.
            None => match before {
                Some(before) if before.quantity.is_sign_negative() => -row.quantity.abs(),
                Some(_) => row.quantity,
                None => return,
            },
        };
        let key = (tenant, MovementBlock::of(id));
        let block = match self.movements.get_mut(&key) {
            Some(entry) => entry.after.get_or_insert_default(),
            None => self.new_movements.entry(key).or_default(),
        };
        block.entries.push(Movement { id, product: row.product, quantity });
    }

    fn price(&mut self, tenant: TenantId, op: RowOp<Pricing>) {
        let (removed, put) = op.split();
        let key = put.as_ref().map(|(id, _)| *id);
        for id in removed.into_iter().chain(key) {
            if let Some(gone) = self.pricing.entry((tenant, id)).or_default().after.take() {
                self.prices.remove((tenant, gone.product), id);
            }
        }
        if let Some((id, row)) = put {
            self.prices.put((tenant, row.product), id, row.cost_price);
            self.pricing.entry((tenant, id)).or_default().after = Some(row);
        }
    }

    fn product_name(&mut self, tenant: TenantId, op: RowOp<ProductName>) {
        let (removed, put) = op.split();
        let mut old_name = None;
        if let Some(id) = removed {
            let gone = self.product_names.entry((tenant, id)).or_default().after.take();
            old_name = gone.and_then(|row| row.name);
        }
        if let Some((id, mut row)) = put {
            let entry = self.product_names.entry((tenant, id)).or_default();
            let known = entry.after.take().and_then(|row| row.name);
            row.name = row.name.or(known).or(old_name);
            entry.after = Some(row);
        }
    }

    fn transaction(&mut self, tenant: TenantId, op: RowOp<TransactionRow>) {
        let (removed, put) = op.split();
        if let Some(id) = removed {
            self.credit_payments.entry((tenant, id)).or_default().after = None;
        }
        if let Some((id, row)) = put {
            let entry = self.credit_payments.entry((tenant, id)).or_default();
            let is_payment = row.is_payment.unwrap_or(entry.after.is_some());
            entry.after = is_payment.then_some(CreditPayment {
                customer: row.customer,
                amount: row.amount,
                created_at: row.created_at,
                day: row.day,
            });
        }
    }
}

fn remove_movement(blocks: &mut Entries<MovementBlock>, tenant: TenantId, id: i64) -> Option<Movement> {
    let entry = blocks.get_mut(&(tenant, MovementBlock::of(id)))?;
    let block = entry.after.as_mut()?;
    let at = block.entries.iter().position(|movement| movement.id == id)?;
    let movement = block.entries.swap_remove(at);
    if block.entries.is_empty() {
        entry.after = None;
    }
    Some(movement)
}

/// A whole row replaces what is known of its id.
fn put<T: PartialEq>(entries: &mut Entries<T>, tenant: TenantId, op: RowOp<T>) {
    let (removed, put) = op.split();
    if let Some(id) = removed {
        entries.entry((tenant, id)).or_default().after = None;
    }
    if let Some((id, row)) = put {
        entries.entry((tenant, id)).or_default().after = Some(row);
    }
}

/// Rows of which only the active ones are kept, and of those only what is not zero.
fn share<R>(
    entries: &mut Entries<StockShare>,
    tenant: TenantId,
    op: RowOp<R>,
    active: impl Fn(R, bool) -> Option<StockShare>,
) {
    let (removed, put) = op.split();
    let mut was_active = false;
    if let Some(id) = removed {
        was_active = entries.entry((tenant, id)).or_default().after.take().is_some();
    }
    if let Some((id, row)) = put {
        let entry = entries.entry((tenant, id)).or_default();
        was_active |= entry.after.is_some();
        entry.after = active(row, was_active).filter(|share| share.quantity != Quantity::ZERO);
    }
}
