//! How the tuples of one POS table become typed changes: columns found by name on every Relation message, values
//! decoded straight to what the facts need. Columns that nothing maps are not looked at.
//!
//! The same reading of the same values in SQL, for the first copy and for verify, is in `verify::sql`.

use std::borrow::Cow;
use std::sync::Arc;

use chrono_tz::Tz;

use super::change::{
    BatchRow, Change, ItemRow, MovementRow, PaymentRow, Place, ReservationRow, RowOp, SaleRow, Sign, TextKey,
    TransactionRow,
};
use super::entity::{Customer, PaymentKind, Pricing, Product, ProductName, SaleStatus, Session, StockLimits};
use super::fields::{Fields, MAX_COLUMNS, Slot};
pub use super::find::PlanError;
use super::find::{Condition, Find, Movement};
use super::form::{Form, Forms};
use super::vocabulary::Vocabulary;
use crate::config::{ColumnType, Reading, TableKind, TableMapping, Zone};
use crate::domain::TenantId;
use crate::pgoutput::{OldRow, Relation, Tuple, Value, ValueError};

/// No key may be longer: an index has to hold it.
pub const MAX_KEY_BYTES: usize = 1000;

/// A row that cannot be used. Names the row, never its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table}{} column {column}: {reason}", id.as_ref().map_or(String::new(), |id| format!(" row {id}")))]
pub struct RowError {
    pub table: String,
    pub id: Option<String>,
    pub column: String,
    pub reason: Refusal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("10^16 or more does not fit the reports")]
    TooLarge,
    #[error("the key is null")]
    NoKey,
    #[error("a key of more than {MAX_KEY_BYTES} bytes")]
    LongKey,
}

/// The way from one relation's tuples to changes.
#[derive(Debug, Clone)]
pub struct Plan {
    pub tenant: TenantId,
    pub kind: TableKind,
    pub(super) zone: Tz,
    words: Arc<Vocabulary>,
    /// schema.table, for messages.
    pub(super) table: String,
    /// By logical column.
    pub(super) slots: Vec<Slot>,
    /// (place in the tuple, logical column), in the order of the tuple.
    wanted: Vec<(usize, usize)>,
    /// Logical columns with keys that are kept as text, and whose keys they are.
    text_keys: Vec<(usize, TableKind)>,
    /// What a row must fulfil to be there.
    pub(super) conditions: Vec<Condition>,
    moved: Option<Movement>,
    /// Digits of a computed line total.
    line_total: Option<u32>,
}

impl Plan {
    /// `forms`: how the columns of this store were read when it was copied.
    ///
    /// # Errors
    /// A mapped column that is missing or of a type that cannot be read as what it stands for.
    pub fn new(
        (tenant, zone): (TenantId, Tz),
        kind: TableKind,
        mapping: &TableMapping,
        relation: &Relation,
        words: Arc<Vocabulary>,
        forms: &Forms,
    ) -> Result<Plan, PlanError> {
        let find = Find { kind, relation };
        let mut plan = Plan {
            tenant,
            kind,
            zone,
            words,
            table: format!("{}.{}", relation.namespace, relation.name),
            slots: Vec::with_capacity(kind.columns().len()),
            wanted: Vec::new(),
            text_keys: Vec::new(),
            conditions: Vec::new(),
            moved: None,
            line_total: None,
        };
        for (index, column) in kind.columns().iter().enumerate() {
            let slot = match mapping.reading(column.name) {
                Reading::Column(physical) => {
                    let (at, found) = find.column(&physical.name, column.name)?;
                    let form = find.form(column, found)?;
                    if form.as_ref() != forms.get(&(kind, column.name)) {
                        return Err(find.retyped(found));
                    }
                    if let (ColumnType::Key(of), Some(Form::Text)) = (column.ty, form) {
                        plan.text_keys.push((index, of));
                    }
                    plan.wanted.push((at, index));
                    let zone = match physical.zone {
                        Some(Zone::Named(zone)) => zone,
                        Some(Zone::Store) | None => zone,
                    };
                    Slot {
                        oid: found.type_oid,
                        scale: physical.scale,
                        round: physical.round,
                        zone,
                        form,
                        constant: None,
                    }
                }
                Reading::Constant(value) => Slot::constant(column.ty, value.as_deref()),
                Reading::Computed { round } => {
                    // The total of a sale is added up when the sale is whole.
                    plan.line_total = (kind == TableKind::SaleItem).then_some(*round);
                    Slot::constant(column.ty, None)
                }
                Reading::Moved(moved) => {
                    plan.moved = Some(find.movement(moved, &plan.words)?);
                    Slot::constant(column.ty, None)
                }
            };
            plan.slots.push(slot);
        }
        plan.wanted.sort_unstable();
        plan.conditions = find.conditions(&mapping.rows)?;
        Ok(plan)
    }

    /// The table, as schema.table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The change that a new row is; `None`: the row is not there for us. Keys that the POS keeps as text are added to
    /// `keys`.
    ///
    /// # Errors
    /// A value that cannot be used (NaN, infinite, too large): the store has to be set aside.
    pub fn insert(&self, new: &Tuple<'_>, keys: &mut Vec<TextKey>) -> Result<Option<Change>, RowError> {
        if self.is_there(new)? { self.put(Op::Insert, new, keys).map(Some) } else { Ok(None) }
    }

    /// # Errors
    /// As [`Plan::insert`].
    pub fn update(
        &self,
        old: Option<&OldRow<'_>>,
        new: &Tuple<'_>,
        keys: &mut Vec<TextKey>,
    ) -> Result<Change, RowError> {
        let old = old.map(|old| self.row(&old.tuple()));
        if !self.is_there(new)? {
            // A row that leaves us under a new key was known by the one before.
            return self.gone(&old.unwrap_or_else(|| self.row(new)), keys);
        }
        let Some(old) = old else { return self.put(Op::Update(None), new, keys) };
        let old_id = old.key(0)?;
        if !self.has_text_key() {
            return self.put(Op::Update(Some(old_id)), new, keys);
        }
        let change = self.put(Op::Update(None), new, keys)?;
        self.text_key(&old, 0, Place::Old, self.kind, keys)?;
        Ok(change)
    }

    /// # Errors
    /// A deletion that does not name the mapped key.
    pub fn delete(&self, old: &OldRow<'_>, keys: &mut Vec<TextKey>) -> Result<Change, RowError> {
        self.gone(&self.row(&old.tuple()), keys)
    }

    /// The row's own key is text.
    fn has_text_key(&self) -> bool {
        self.text_keys.first().is_some_and(|(column, _)| *column == 0)
    }

    fn gone(&self, row: &Fields<'_>, keys: &mut Vec<TextKey>) -> Result<Change, RowError> {
        let id = row.key(0)?;
        if self.has_text_key() {
            self.text_key(row, 0, Place::Column(0), self.kind, keys)?;
        }
        Ok(match self.kind {
            TableKind::Sale => Change::Sale(RowOp::Delete(id)),
            TableKind::SaleItem => Change::Item(RowOp::Delete(id)),
            TableKind::Payment => Change::Payment(RowOp::Delete(id)),
            TableKind::Customer => Change::Customer(RowOp::Delete(id)),
            TableKind::CustomerTransaction => Change::Transaction(RowOp::Delete(id)),
            TableKind::Session => Change::Session(RowOp::Delete(id)),
            TableKind::Product => Change::Product(RowOp::Delete(id)),
            TableKind::ProductName => Change::ProductName(RowOp::Delete(id)),
            TableKind::Pricing => Change::Pricing(RowOp::Delete(id)),
            TableKind::StockLimits => Change::StockLimits(RowOp::Delete(id)),
            TableKind::StockMovement => Change::Movement(RowOp::Delete(id)),
            TableKind::Batch => Change::Batch(RowOp::Delete(id)),
            TableKind::Reservation => Change::Reservation(RowOp::Delete(id)),
        })
    }

    fn text_key(
        &self,
        row: &Fields<'_>,
        column: usize,
        place: Place,
        kind: TableKind,
        keys: &mut Vec<TextKey>,
    ) -> Result<(), RowError> {
        if let Some(text) = row.text_key(column)? {
            if text.len() > MAX_KEY_BYTES {
                return Err(row.refuse(column, Refusal::LongKey));
            }
            keys.push(TextKey { place, kind, text: text.into() });
        }
        Ok(())
    }

    pub(super) fn row<'a>(&'a self, tuple: &Tuple<'a>) -> Fields<'a> {
        let mut values = [Value::Null; MAX_COLUMNS];
        for (value, slot) in values.iter_mut().zip(&self.slots) {
            if let Some(constant) = &slot.constant {
                *value = Value::Text(constant.as_bytes());
            }
        }
        let mut wanted = self.wanted.iter().peekable();
        for (at, value) in tuple.iter().enumerate() {
            while let Some((_, column)) = wanted.next_if(|(index, _)| *index == at) {
                if let Some(place) = values.get_mut(*column) {
                    *place = value;
                }
            }
            if wanted.peek().is_none() {
                break;
            }
        }
        Fields { plan: self, values }
    }

    /// The columns are read by their place in [`TableKind::columns`].
    fn put(&self, op: Op, tuple: &Tuple<'_>, keys: &mut Vec<TextKey>) -> Result<Change, RowError> {
        let row = self.row(tuple);
        let id = row.key(0)?;
        for (column, kind) in &self.text_keys {
            self.text_key(&row, *column, Place::Column(*column), *kind, keys)?;
        }
        let words = &*self.words;
        Ok(match self.kind {
            TableKind::Sale => {
                let completed = row.moment(3)?;
                Change::Sale(op.of(
                    id,
                    SaleRow {
                        status: row.word(1, &words.statuses, SaleStatus::Other)?,
                        customer: row.optional_key(2)?,
                        completed_at: completed.map(|(at, _)| at),
                        day: match completed {
                            Some((_, day)) => Some(row.moment(7)?.map_or(day, |(_, day)| day)),
                            None => None,
                        },
                        total: row.amount(4)?,
                        discount: row.amount(5)?,
                        tax: row.amount(6)?,
                    },
                ))
            }
            TableKind::SaleItem => {
                let (quantity, price) = (row.amount(3)?, row.amount(4)?);
                let total = match self.line_total {
                    Some(round) => row.product(quantity, price, round)?,
                    None => row.amount(5)?,
                };
                let (sale, product) = (row.optional_key(1)?.unwrap_or(0), row.optional_key(2)?.unwrap_or(0));
                Change::Item(op.of(id, ItemRow { sale, product, quantity, price, total }))
            }
            TableKind::Payment => Change::Payment(op.of(
                id,
                PaymentRow {
                    sale: row.optional_key(1)?.unwrap_or(0),
                    kind: row.word(2, &words.methods, PaymentKind::Other)?,
                    amount: row.amount(3)?,
                },
            )),
            TableKind::Customer => {
                let customer_type = row.text(4)?;
                Change::Customer(op.of(
                    id,
                    Box::new(Customer {
                        first_name: row.owned(1)?,
                        last_name: row.owned(2)?,
                        middle_name: row.owned(3)?,
                        is_company: customer_type.as_ref().map(|t| words.company_types.iter().any(|w| w == t)),
                        customer_type: customer_type.map(Cow::into_owned),
                        company_name: row.owned(5)?,
                        phone: row.owned(6)?,
                        is_active: row.flag(7)?,
                    }),
                ))
            }
            TableKind::CustomerTransaction => {
                let (created_at, day) = row.moment(4)?.unwrap_or_else(|| row.epoch());
                Change::Transaction(op.of(
                    id,
                    TransactionRow {
                        customer: row.optional_key(1)?.unwrap_or(0),
                        is_payment: row.one_of(2, &words.payment_types)?,
                        amount: row.amount(3)?,
                        created_at,
                        day,
                    },
                ))
            }
            TableKind::Session => {
                let day = |column| Ok(row.moment(column)?.map(|(_, day)| day));
                Change::Session(op.of(id, Session { opened_day: day(1)?, closed_day: day(2)? }))
            }
            TableKind::Product => Change::Product(op.of(
                id,
                Box::new(Product {
                    name: row.owned(1)?,
                    sku: row.owned(2)?,
                    barcode: row.owned(3)?,
                    is_active: row.flag(4)?,
                    name_id: row.optional_key(5)?,
                }),
            )),
            TableKind::ProductName => {
                Change::ProductName(op.of(id, ProductName { product: row.optional_key(1)?, name: row.owned(2)? }))
            }
            TableKind::Pricing => Change::Pricing(op.of(
                id,
                Pricing {
                    product: row.optional_key(1)?.unwrap_or(0),
                    cost_price: row.amount(2)?,
                    sale_price: row.amount(3)?,
                },
            )),
            TableKind::StockLimits => Change::StockLimits(op.of(
                id,
                StockLimits {
                    product: row.optional_key(1)?.unwrap_or(0),
                    min_quantity: row.amount(2)?,
                    max_quantity: row.optional_amount(3)?,
                    track_inventory: row.flag(4)?,
                },
            )),
            TableKind::StockMovement => Change::Movement(op.of(
                id,
                MovementRow {
                    product: row.optional_key(1)?.unwrap_or(0),
                    sign: match &self.moved {
                        Some(movement) => Some(self.direction(movement, tuple)?),
                        None => row.word(2, &words.movements, Sign::Unknown)?,
                    },
                    quantity: row.amount(3)?,
                },
            )),
            TableKind::Batch => Change::Batch(op.of(id, BatchRow { share: row.share(1, 2)?, active: row.flag(3)? })),
            TableKind::Reservation => {
                Change::Reservation(op.of(
                    id,
                    ReservationRow { share: row.share(1, 2)?, active: row.one_of(3, &words.reservation_active)? },
                ))
            }
        })
    }
}

/// Insert, or update with the old key where the stream sent one.
#[derive(Clone, Copy)]
enum Op {
    Insert,
    Update(Option<i64>),
}

impl Op {
    fn of<R>(self, id: i64, row: R) -> RowOp<R> {
        match self {
            Op::Insert => RowOp::Insert(id, row),
            Op::Update(old_id) => RowOp::Update { old_id: old_id.filter(|old| *old != id), id, row },
        }
    }
}
