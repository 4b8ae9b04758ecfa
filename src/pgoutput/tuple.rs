//! One row as it stands in a message: borrowed, checked once, then iterated without failing.

use super::error::DecodeError;
use super::reader::Reader;

/// One column's value, still in the form in which the server sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    /// A stored-out-of-line (TOAST) value that the UPDATE did not touch and that is therefore not sent. Not NULL.
    Unchanged,
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// The values of one row in the order of its relation's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    columns: u16,
    /// The columns' bytes, validated by [`Tuple::read`].
    bytes: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Reads and checks a whole TupleData.
    pub(super) fn read(reader: &mut Reader<'a>, whole: &'a [u8]) -> Result<Self, DecodeError> {
        let columns = reader.count16("a number of columns")?;
        let start = reader.offset();
        for _ in 0..columns {
            let at = reader.offset();
            match reader.u8("a column kind")? {
                b'n' | b'u' => {}
                b't' | b'b' => {
                    let length = reader.count32("a value length")?;
                    reader.bytes(length, "as many value bytes as the length says")?;
                }
                _ => return Err(reader.expected_at(at, "a column kind (n, u, t or b)")),
            }
        }
        Ok(Tuple { columns, bytes: whole.get(start..reader.offset()).unwrap_or_default() })
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        usize::from(self.columns)
    }

    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The values in column order.
    pub fn iter(&self) -> Values<'a> {
        Values { left: self.columns, bytes: self.bytes }
    }

    /// The value of column `index`, counted from 0; walks over the columns before it.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        self.iter().nth(index)
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = Value<'a>;
    type IntoIter = Values<'a>;

    fn into_iter(self) -> Values<'a> {
        self.iter()
    }
}

/// Iterator over the values of a [`Tuple`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    /// A length and that many bytes. `None` cannot happen: `Tuple::read` walked over the same bytes.
    fn sized(bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        let (&kind, rest) = self.bytes.split_first()?;
        let (value, rest) = match kind {
            b'n' => (Value::Null, rest),
            b'u' => (Value::Unchanged, rest),
            b't' => Self::sized(rest).map(|(value, rest)| (Value::Text(value), rest))?,
            _ => Self::sized(rest).map(|(value, rest)| (Value::Binary(value), rest))?,
        };
        self.bytes = rest;
        self.left = self.left.saturating_sub(1);
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Values<'_> {}
