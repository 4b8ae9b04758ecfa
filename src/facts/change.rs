//! One row change of the POS, typed.

use super::entity::{Customer, Payment, PaymentKind, Pricing, Product, SaleStatus, Session, StockLimits, StockShare};
use crate::config::TableKind;
use crate::domain::{BusinessDay, Instant, Money, Quantity};

/// What happened to one row. `Update` carries the old key where the primary key changed.
#[derive(Debug, Clone, PartialEq)]
pub enum RowOp<R> {
    Insert(i64, R),
    Update { old_id: Option<i64>, id: i64, row: R },
    Delete(i64),
}

impl<R> RowOp<R> {
    /// The key under which the row is now, or was last.
    pub fn id(&self) -> i64 {
        match self {
            RowOp::Insert(id, _) | RowOp::Update { id, .. } | RowOp::Delete(id) => *id,
        }
    }

    /// (the id to remove, the id and row to put), either where it applies.
    pub fn split(self) -> (Option<i64>, Option<(i64, R)>) {
        match self {
            RowOp::Insert(id, row) => (None, Some((id, row))),
            RowOp::Update { old_id, id, row } => (old_id, Some((id, row))),
            RowOp::Delete(id) => (Some(id), None),
        }
    }

    pub fn is_insert(&self) -> bool {
        matches!(self, RowOp::Insert(..))
    }
}

/// Header of a sale. Classified text is `None` where the stream left it out as unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct SaleRow {
    pub status: Option<SaleStatus>,
    pub customer: Option<i64>,
    pub completed_at: Option<Instant>,
    pub day: Option<BusinessDay>,
    pub total: Money,
    pub discount: Money,
    pub tax: Money,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ItemRow {
    pub sale: i64,
    pub product: i64,
    pub quantity: Quantity,
    pub price: Money,
    pub total: Money,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PaymentRow {
    pub sale: i64,
    pub kind: Option<PaymentKind>,
    pub amount: Money,
}

impl PaymentRow {
    /// As an entity, with the kind it had before where the stream left it out.
    pub fn into_payment(self, id: i64, before: Option<PaymentKind>) -> Payment {
        Payment { id, kind: self.kind.or(before).unwrap_or(PaymentKind::Other), amount: self.amount }
    }
}

/// How a movement type enters the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Plus,
    Minus,
    Signed,
    /// A type in no list: counts as 0.
    Unknown,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MovementRow {
    pub product: i64,
    pub sign: Option<Sign>,
    pub quantity: Quantity,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TransactionRow {
    pub customer: i64,
    /// It is of a type that pays off credit.
    pub is_payment: Option<bool>,
    pub amount: Money,
    pub created_at: Instant,
    pub day: BusinessDay,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReservationRow {
    pub share: StockShare,
    pub active: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BatchRow {
    pub share: StockShare,
    pub active: bool,
}

/// One typed row change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Sale(RowOp<SaleRow>),
    Item(RowOp<ItemRow>),
    Payment(RowOp<PaymentRow>),
    Customer(RowOp<Box<Customer>>),
    Transaction(RowOp<TransactionRow>),
    Session(RowOp<Session>),
    Product(RowOp<Box<Product>>),
    Pricing(RowOp<Pricing>),
    StockLimits(RowOp<StockLimits>),
    Movement(RowOp<MovementRow>),
    Batch(RowOp<BatchRow>),
    Reservation(RowOp<ReservationRow>),
}

impl Change {
    /// The source row it is about.
    pub fn row(&self) -> (TableKind, i64) {
        match self {
            Change::Sale(op) => (TableKind::Sale, op.id()),
            Change::Item(op) => (TableKind::SaleItem, op.id()),
            Change::Payment(op) => (TableKind::Payment, op.id()),
            Change::Customer(op) => (TableKind::Customer, op.id()),
            Change::Transaction(op) => (TableKind::CustomerTransaction, op.id()),
            Change::Session(op) => (TableKind::Session, op.id()),
            Change::Product(op) => (TableKind::Product, op.id()),
            Change::Pricing(op) => (TableKind::Pricing, op.id()),
            Change::StockLimits(op) => (TableKind::StockLimits, op.id()),
            Change::Movement(op) => (TableKind::StockMovement, op.id()),
            Change::Batch(op) => (TableKind::Batch, op.id()),
            Change::Reservation(op) => (TableKind::Reservation, op.id()),
        }
    }
}
