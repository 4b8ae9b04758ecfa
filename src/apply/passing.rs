//! Rows of `{state}.sale` in the binary form of COPY, read while they pass from the POS to their table.
//!
//! The form is that of COPY's "Binary Format" in PostgreSQL's manual: a row is its number of columns, then each column's
//! length (-1: NULL) and bytes. An array's bytes are `array_send`'s: dimensions, a flag, the elements' type, each
//! dimension's length and lower bound, then the elements as columns are.

use bytes::Bytes;
use postgres_types::Type;

use super::rows::{kind_of, status_of};
use crate::domain::Money;
use crate::facts::exact::{self, Inexact};
use crate::facts::{Header, Item, Payment, Sale};
use crate::pgoutput::{Value, ValueError};

/// What a COPY begins with: signature, flags, length of the extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of -1 columns.
pub const TRAILER: &[u8] = &[0xff, 0xff];

/// The row in the first piece of a COPY, which begins with the header.
pub fn first(piece: Bytes) -> Option<Bytes> {
    let header = piece.len().min(HEADER.len());
    Some(piece.slice(header..)).filter(is_row)
}

/// A row, and not the trailer.
pub fn is_row(piece: &Bytes) -> bool {
    **piece != *TRAILER
}

/// Why a sale cannot be added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("10^16 or more does not fit the reports")]
    TooLarge,
    #[error(transparent)]
    Inexact(#[from] Inexact),
}

/// A sale's row; the sale is one for all rows, so that none of them asks for memory.
#[derive(Debug, Default)]
pub struct PassingSale {
    pub id: i64,
    pub sale: Sale,
}

impl PassingSale {
    /// Takes the next row for the one before.
    ///
    /// # Errors
    /// A value that no report can hold; `id` is the row's all the same.
    pub fn read(&mut self, row: &[u8]) -> Result<(), Unusable> {
        let mut columns = Columns(row.get(2..).unwrap_or_default());
        columns.next()?;
        self.id = key(columns.next()?)?;
        let status = columns.next()?;
        let customer = columns.next()?.as_i64(Type::INT8.oid())?;
        let completed_at = columns.next()?.as_instant(Type::TIMESTAMPTZ.oid())?;
        if completed_at.is_some_and(exact::is_too_late) {
            return Err(ValueError::OutOfRange.into());
        }
        let day = columns.next()?.as_date(Type::DATE.oid())?;
        let (total, discount, tax) =
            (amount(columns.next()?)?, amount(columns.next()?)?, amount(columns.next()?)?);
        self.sale.header = match status {
            Value::Null => None,
            status => Some(Header { status: status_of(letter(status)?), customer, completed_at, day, total, discount, tax }),
        };
        // The sum of its credit.
        columns.next()?;

        let (mut ids, mut products, mut quantities) = (columns.array()?, columns.array()?, columns.array()?);
        let (mut prices, mut totals, mut costs) = (columns.array()?, columns.array()?, columns.array()?);
        self.sale.items.clear();
        while !ids.is_empty() {
            self.sale.items.push(Item {
                id: key(ids.next()?)?,
                product: key(products.next()?)?,
                quantity: amount(quantities.next()?)?,
                price: amount(prices.next()?)?,
                total: amount(totals.next()?)?,
                cost: optional_amount(costs.next()?)?,
            });
        }
        let (mut ids, mut kinds, mut amounts) = (columns.array()?, columns.array()?, columns.array()?);
        self.sale.payments.clear();
        while !ids.is_empty() {
            self.sale.payments.push(Payment {
                id: key(ids.next()?)?,
                kind: kind_of(letter(kinds.next()?)?),
                amount: amount(amounts.next()?)?,
            });
        }
        Ok(())
    }
}

/// Columns of a row or elements of an array that are still to come.
struct Columns<'a>(&'a [u8]);

impl<'a> Columns<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn length(&mut self) -> Result<i32, ValueError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(ValueError::Malformed("length"))?;
        self.0 = rest;
        Ok(i32::from_be_bytes(*head))
    }

    fn next(&mut self) -> Result<Value<'a>, ValueError> {
        // Negative: NULL.
        let Ok(length) = usize::try_from(self.length()?) else { return Ok(Value::Null) };
        let (value, rest) = self.0.split_at_checked(length).ok_or(ValueError::Malformed("length"))?;
        self.0 = rest;
        Ok(Value::Binary(value))
    }

    /// The elements of the array that comes next, of one dimension.
    fn array(&mut self) -> Result<Columns<'a>, ValueError> {
        let Value::Binary(bytes) = self.next()? else { return Err(ValueError::Malformed("array")) };
        let mut elements = Columns(bytes);
        let dimensions = elements.length()?;
        // The flag and the elements' type, then the dimension's length and lower bound.
        for _ in 0..2 + 2 * dimensions {
            elements.length()?;
        }
        Ok(elements)
    }
}

fn key(value: Value<'_>) -> Result<i64, ValueError> {
    value.as_i64(Type::INT8.oid())?.ok_or(ValueError::Malformed("key"))
}

/// A value of PostgreSQL's one-byte type "char".
fn letter(value: Value<'_>) -> Result<i8, ValueError> {
    match value {
        Value::Binary([letter]) => Ok(letter.cast_signed()),
        _ => Err(ValueError::Malformed("\"char\"")),
    }
}

fn amount(value: Value<'_>) -> Result<Money, Unusable> {
    Ok(optional_amount(value)?.unwrap_or_default())
}

fn optional_amount(value: Value<'_>) -> Result<Option<Money>, Unusable> {
    match value.as_decimal(Type::NUMERIC.oid())? {
        Some(amount) if exact::is_too_large(amount) => Err(Unusable::TooLarge),
        amount => Ok(amount),
    }
}
