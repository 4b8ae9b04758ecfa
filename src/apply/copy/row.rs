//! Rows of `{state}.sale` in the binary form of COPY, read while they pass from the POS to their table.
//!
//! The form is that of COPY's "Binary Format" in PostgreSQL's manual: a row is its number of columns, then each column's
//! length (-1: NULL) and bytes. An array's bytes are `array_send`'s: dimensions, a flag, the elements' type, each
//! dimension's length and lower bound, then the elements as columns are.

use bytes::Bytes;
use postgres_types::Type;

use crate::apply::rows::{kind_of, status_of};
use crate::domain::Money;
use crate::facts::exact;
use crate::facts::plan::Refusal;
use crate::facts::{Header, Item, Payment, Sale};
use crate::pgoutput::{Value, ValueError};

/// What a COPY begins with: signature, flags, length of the extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of -1 columns.
pub const TRAILER: &[u8] = &[0xff, 0xff];

/// What is left of the first piece of a COPY, which begins with the header.
pub fn without_header(piece: Bytes) -> Bytes {
    piece.slice(piece.len().min(HEADER.len())..)
}

/// A row, and not the trailer.
pub fn is_row(piece: &Bytes) -> bool {
    **piece != *TRAILER
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
    pub fn read(&mut self, row: &[u8]) -> Result<(), Refusal> {
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
        let (total, discount, tax) = (amount(columns.next()?)?, amount(columns.next()?)?, amount(columns.next()?)?);
        self.sale.header = match status {
            Value::Null => None,
            status => {
                Some(Header { status: status_of(letter(status)?), customer, completed_at, day, total, discount, tax })
            }
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

fn amount(value: Value<'_>) -> Result<Money, Refusal> {
    Ok(optional_amount(value)?.unwrap_or_default())
}

fn optional_amount(value: Value<'_>) -> Result<Option<Money>, Refusal> {
    match value.as_decimal(Type::NUMERIC.oid())? {
        Some(amount) if exact::is_too_large(amount) => Err(Refusal::TooLarge),
        amount => Ok(amount),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use chrono::NaiveDate;
    use postgres_types::{IsNull, ToSql};

    use super::*;
    use crate::facts::{PaymentKind, SaleStatus};

    fn column(row: &mut BytesMut, ty: Type, value: &(dyn ToSql + Sync)) {
        let mut bytes = BytesMut::new();
        match value.to_sql_checked(&ty, &mut bytes).unwrap() {
            IsNull::Yes => row.put_i32(-1),
            IsNull::No => {
                row.put_i32(i32::try_from(bytes.len()).unwrap());
                row.extend_from_slice(&bytes);
            }
        }
    }

    fn d(text: &str) -> Money {
        text.parse().unwrap()
    }

    /// Sale 7 with two items, of which one is counted, and a payment.
    fn row(header: Option<(&str, NaiveDate)>, credit: Option<Money>) -> BytesMut {
        let mut row = BytesMut::new();
        row.put_i16(20);
        column(&mut row, Type::INT4, &3_i32);
        column(&mut row, Type::INT8, &7_i64);
        column(&mut row, Type::CHAR, &header.map(|_| b'c'.cast_signed()));
        column(&mut row, Type::INT8, &None::<i64>);
        let at = header.map(|(at, _)| at.parse::<crate::domain::Instant>().unwrap());
        column(&mut row, Type::TIMESTAMPTZ, &at);
        column(&mut row, Type::DATE, &header.map(|(_, day)| day));
        for amount in ["12.50", "0", "-1"] {
            column(&mut row, Type::NUMERIC, &d(amount));
        }
        column(&mut row, Type::NUMERIC, &credit);
        column(&mut row, Type::INT8_ARRAY, &vec![1_i64, 2]);
        column(&mut row, Type::INT8_ARRAY, &vec![10_i64, 20]);
        for amounts in [["1.5", "2"], ["3", "4"], ["4.5", "8"]] {
            column(&mut row, Type::NUMERIC_ARRAY, &amounts.map(d).to_vec());
        }
        column(&mut row, Type::NUMERIC_ARRAY, &vec![Some(d("0.25")), None]);
        column(&mut row, Type::INT8_ARRAY, &vec![5_i64]);
        column(&mut row, Type::CHAR_ARRAY, &vec![b'r'.cast_signed()]);
        column(&mut row, Type::NUMERIC_ARRAY, &vec![d("11.5")]);
        row
    }

    #[test]
    fn a_sale_is_read_as_it_passes() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 28).unwrap();
        let mut passing = PassingSale::default();
        passing.read(&row(Some(("2026-11-27T20:00:00Z", day)), Some(d("11.5")))).unwrap();
        let item = |id, product, quantity, price, total, cost| Item {
            id,
            product,
            quantity: d(quantity),
            price: d(price),
            total: d(total),
            cost,
        };
        let expected = Sale {
            header: Some(Header {
                status: SaleStatus::Completed,
                customer: None,
                completed_at: Some("2026-11-27T20:00:00Z".parse().unwrap()),
                day: Some(day),
                total: d("12.50"),
                discount: d("0"),
                tax: d("-1"),
            }),
            items: vec![item(1, 10, "1.5", "3", "4.5", Some(d("0.25"))), item(2, 20, "2", "4", "8", None)],
            payments: vec![Payment { id: 5, kind: PaymentKind::Credit, amount: d("11.5") }],
        };
        assert_eq!((passing.id, &passing.sale), (7, &expected));
        // The next row takes its place, whatever it lacks.
        passing.read(&row(None, None)).unwrap();
        assert_eq!(passing.sale, Sale { header: None, ..expected });
    }

    #[test]
    fn what_no_report_can_hold_is_refused_and_named() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 28).unwrap();
        let late = row(Some(("+200000-01-01T00:00:00Z", day)), None);
        let mut passing = PassingSale::default();
        assert_eq!((passing.read(&late), passing.id), (Err(Refusal::Value(ValueError::OutOfRange)), 7));

        let good = row(Some(("2026-11-27T20:00:00Z", day)), None);
        let mut amount = BytesMut::new();
        d("12.50").to_sql(&Type::NUMERIC, &mut amount).unwrap();
        let at = good.windows(amount.len()).position(|bytes| bytes == &amount[..]).unwrap();
        for (digits, why) in [
            // NaN; then 2 * 10000^4 and as little less as makes a difference: the weight of the first digit.
            ([0, 0, 0, 0, 0xc0, 0, 0, 0], None),
            ([0, 1, 0, 4, 0, 0, 0, 0], Some(Err(Refusal::TooLarge))),
            ([0, 1, 0, 3, 0, 0, 0, 0], Some(Ok(()))),
        ] {
            let mut row = BytesMut::from(&good[..at - 4]);
            let tail = if why.is_none() { &[][..] } else { &[0, 2][..] };
            row.put_i32(i32::try_from(digits.len() + tail.len()).unwrap());
            row.extend_from_slice(&digits);
            row.extend_from_slice(tail);
            row.extend_from_slice(&good[at + amount.len()..]);
            assert_eq!(passing.read(&row), why.unwrap_or(Err(ValueError::NotANumber.into())), "{digits:?}");
        }
    }

    #[test]
    fn no_bytes_are_too_few() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 28).unwrap();
        let good = row(Some(("2026-11-27T20:00:00Z", day)), None);
        for length in 0..good.len() {
            assert!(PassingSale::default().read(&good[..length]).is_err(), "{length} of {}", good.len());
        }
        assert!(without_header(Bytes::from_static(HEADER)).is_empty());
        assert_eq!(without_header(Bytes::from([HEADER, &good].concat())), good);
        assert!(!is_row(&Bytes::from_static(TRAILER)));
    }
}
