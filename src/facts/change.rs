//! One row change of the POS, typed.

use serde::{Deserialize, Serialize};

use super::entity::{
    Customer, Payment, PaymentKind, Pricing, Product, ProductName, SaleStatus, Session, StockLimits, StockShare,
};
use crate::config::TableKind;
use crate::domain::{BusinessDay, Instant, Money, Quantity};

/// What happened to one row. `Update` carries the old key where the primary key changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

    fn put_id(&mut self, number: i64) {
        match self {
            RowOp::Insert(id, _) | RowOp::Update { id, .. } | RowOp::Delete(id) => *id = number,
        }
    }

    /// After the key itself is known.
    fn put_old_id(&mut self, number: i64) {
        if let RowOp::Update { old_id, id, .. } = self {
            *old_id = Some(number).filter(|old| old != id);
        }
    }

    fn row_mut(&mut self) -> Option<&mut R> {
        match self {
            RowOp::Insert(_, row) | RowOp::Update { row, .. } => Some(row),
            RowOp::Delete(_) => None,
        }
    }

    pub fn is_insert(&self) -> bool {
        matches!(self, RowOp::Insert(..))
    }
}

/// Header of a sale. Classified text is `None` where the stream left it out as unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SaleRow {
    pub status: Option<SaleStatus>,
    pub customer: Option<i64>,
    #[serde(with = "chrono::serde::ts_microseconds_option")]
    pub completed_at: Option<Instant>,
    pub day: Option<BusinessDay>,
    #[serde(with = "rust_decimal::serde::str")]
    pub total: Money,
    #[serde(with = "rust_decimal::serde::str")]
    pub discount: Money,
    #[serde(with = "rust_decimal::serde::str")]
    pub tax: Money,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemRow {
    pub sale: i64,
    pub product: i64,
    #[serde(with = "rust_decimal::serde::str")]
    pub quantity: Quantity,
    #[serde(with = "rust_decimal::serde::str")]
    pub price: Money,
    #[serde(with = "rust_decimal::serde::str")]
    pub total: Money,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaymentRow {
    pub sale: i64,
    pub kind: Option<PaymentKind>,
    #[serde(with = "rust_decimal::serde::str")]
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
    ProductName(RowOp<ProductName>),
    Pricing(RowOp<Pricing>),
    StockLimits(RowOp<StockLimits>),
    Movement(RowOp<MovementRow>),
    Batch(RowOp<BatchRow>),
    Reservation(RowOp<ReservationRow>),
}

impl Change {
    /// It is about a sale or what belongs to one.
    pub fn is_of_a_sale(&self) -> bool {
        matches!(self, Change::Sale(_) | Change::Item(_) | Change::Payment(_))
    }

    /// The sale that it adds to, where it takes nothing away and no other sale has to be looked for.
    pub fn adds_to_sale(&self) -> Option<i64> {
        match self {
            Change::Sale(RowOp::Insert(id, _) | RowOp::Update { old_id: None, id, .. }) => Some(*id),
            Change::Item(RowOp::Insert(_, row)) => Some(row.sale),
            Change::Payment(RowOp::Insert(_, row)) => Some(row.sale),
            _ => None,
        }
    }

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
            Change::ProductName(op) => (TableKind::ProductName, op.id()),
            Change::Pricing(op) => (TableKind::Pricing, op.id()),
            Change::StockLimits(op) => (TableKind::StockLimits, op.id()),
            Change::Movement(op) => (TableKind::StockMovement, op.id()),
            Change::Batch(op) => (TableKind::Batch, op.id()),
            Change::Reservation(op) => (TableKind::Reservation, op.id()),
        }
    }
}

/// A key that the POS keeps as text. Its place in the change holds 0 until its number is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextKey {
    pub place: Place,
    /// Whose key it is.
    pub kind: TableKind,
    pub text: Box<str>,
}

/// Where in a change a key belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A logical column, by its place among those of the table; 0 is the row's own key.
    Column(usize),
    /// The row's own key as it was before.
    Old,
}

impl Change {
    /// Puts the number of a key where the key belongs; the row's own key comes before the one it had.
    pub fn put_key(&mut self, place: Place, number: i64) {
        macro_rules! each {
            ($($variant:ident $(, $row:ident, $column:literal => $field:expr)*);+ $(;)?) => {
                match self {
                    $(Change::$variant(op) => match place {
                        Place::Column(0) => op.put_id(number),
                        Place::Old => op.put_old_id(number),
                        $(Place::Column($column) => if let Some($row) = op.row_mut() { $field = number.into() },)*
                        Place::Column(_) => {}
                    },)+
                }
            };
        }
        each! {
            Sale, row, 2 => row.customer;
            Item, row, 1 => row.sale, row, 2 => row.product;
            Payment, row, 1 => row.sale;
            Customer;
            Transaction, row, 1 => row.customer;
            Session;
            Product, row, 5 => row.name_id;
            ProductName, row, 1 => row.product;
            Pricing, row, 1 => row.product;
            StockLimits, row, 1 => row.product;
            Movement, row, 1 => row.product;
            Batch, row, 1 => row.share.product;
            Reservation, row, 1 => row.share.product;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Money, Quantity};

    #[test]
    fn keys_are_put_where_they_belong() {
        let row = || ItemRow { sale: 0, product: 0, quantity: Quantity::ONE, price: Money::ZERO, total: Money::ZERO };
        let mut change = Change::Item(RowOp::Update { old_id: None, id: 0, row: row() });
        for (place, number) in [
            (Place::Column(0), 7),
            (Place::Column(1), 8),
            (Place::Column(2), 9),
            (Place::Column(3), 1),
            (Place::Old, 6),
        ] {
            change.put_key(place, number);
        }
        let row = ItemRow { sale: 8, product: 9, ..row() };
        assert_eq!(change, Change::Item(RowOp::Update { old_id: Some(6), id: 7, row }));
        change.put_key(Place::Old, 7);
        assert!(matches!(change, Change::Item(RowOp::Update { old_id: None, .. })), "it is the same key");
        let mut gone = Change::Product(RowOp::Delete(0));
        gone.put_key(Place::Column(0), 3);
        assert_eq!(gone, Change::Product(RowOp::Delete(3)));
    }
}
