//! Base facts as the fold sees them.

use serde::{Deserialize, Serialize};

use super::exact::{self, Inexact};
use crate::domain::{BusinessDay, Instant, Money, Quantity};

/// What a sale's status means to the reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SaleStatus {
    /// One of the completed statuses: counted once `completed_at` is set.
    Completed,
    /// One of the refunded statuses.
    Refunded,
    Other,
}

/// The report column a payment goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PaymentKind {
    Cash,
    Card,
    Credit,
    Other,
}

/// A sale with its items and payments: the unit in which sales are loaded, changed and written.
///
/// Children may arrive before their sale (deferred foreign keys) and leave after it, so the header is optional.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sale {
    pub header: Option<Header>,
    pub items: Vec<Item>,
    pub payments: Vec<Payment>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub status: SaleStatus,
    pub customer: Option<i64>,
    pub completed_at: Option<Instant>,
    /// Local date of `completed_at`.
    pub day: Option<BusinessDay>,
    pub total: Money,
    pub discount: Money,
    pub tax: Money,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: i64,
    pub product: i64,
    pub quantity: Quantity,
    pub price: Money,
    pub total: Money,
    /// The product's cost price when the item was first counted; `None` until then.
    pub cost: Option<Money>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    pub id: i64,
    pub kind: PaymentKind,
    pub amount: Money,
}

impl Sale {
    /// The day on which the sale is counted, if it is.
    pub fn counted_day(&self) -> Option<BusinessDay> {
        self.header.as_ref().filter(|h| h.status == SaleStatus::Completed).and_then(|h| h.day)
    }

    /// The day on which the sale is shown as refunded, if it is.
    pub fn refunded_day(&self) -> Option<BusinessDay> {
        self.header.as_ref().filter(|h| h.status == SaleStatus::Refunded).and_then(|h| h.day)
    }

    /// Sum of the credit payments; `None` where there is none.
    pub fn credit(&self) -> Result<Option<Money>, Inexact> {
        let mut sum = None;
        for payment in self.payments.iter().filter(|p| p.kind == PaymentKind::Credit) {
            exact::add(sum.get_or_insert(Money::ZERO), payment.amount)?;
        }
        Ok(sum)
    }

    /// Takes the sum of the items' totals for the sale's.
    pub(super) fn add_up(&mut self) -> Result<(), Inexact> {
        let Some(header) = &mut self.header else { return Ok(()) };
        header.total = Money::ZERO;
        for item in &self.items {
            exact::add(&mut header.total, item.total)?;
        }
        Ok(())
    }

    /// Nothing is left of it: the row can go.
    pub fn is_empty(&self) -> bool {
        self.header.is_none() && self.items.is_empty() && self.payments.is_empty()
    }
}

/// Ledger entries whose ids share all but the lowest [`MovementBlock::BITS`] bits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MovementBlock {
    pub entries: Vec<Movement>,
}

/// One ledger entry with what it adds to the stock (negative for outgoing ones).
#[derive(Debug, Clone, PartialEq)]
pub struct Movement {
    pub id: i64,
    pub product: i64,
    pub quantity: Quantity,
}

impl MovementBlock {
    pub const BITS: u32 = 6;

    pub fn of(id: i64) -> i64 {
        id >> Self::BITS
    }
}

/// A quantity of a product: an active batch or an active reservation.
#[derive(Debug, Clone, PartialEq)]
pub struct StockShare {
    pub product: i64,
    pub quantity: Quantity,
}

/// A customer transaction that pays off credit.
#[derive(Debug, Clone, PartialEq)]
pub struct CreditPayment {
    pub customer: i64,
    pub amount: Money,
    pub created_at: Instant,
    /// Local date of `created_at`.
    pub day: BusinessDay,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub opened_day: Option<BusinessDay>,
    pub closed_day: Option<BusinessDay>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pricing {
    pub product: i64,
    pub cost_price: Money,
    pub sale_price: Money,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StockLimits {
    pub product: i64,
    pub min_quantity: Quantity,
    pub max_quantity: Option<Quantity>,
    pub track_inventory: bool,
}

/// Text columns are `None` where the stream left them out as unchanged: what is stored stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    pub name: Option<String>,
    pub sku: Option<String>,
    pub barcode: Option<String>,
    pub is_active: bool,
    /// The row of the names' table that names it, where products refer to those.
    pub name_id: Option<i64>,
}

/// A product's name where it is kept in a table of its own. Text as in [`Product`].
#[derive(Debug, Clone, PartialEq)]
pub struct ProductName {
    /// The product it names, where names refer to products.
    pub product: Option<i64>,
    pub name: Option<String>,
}

/// Text columns as in [`Product`].
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub middle_name: Option<String>,
    pub customer_type: Option<String>,
    pub company_name: Option<String>,
    pub phone: Option<String>,
    pub is_active: bool,
    /// The type is one of the company types; `None` with the type.
    pub is_company: Option<bool>,
}
