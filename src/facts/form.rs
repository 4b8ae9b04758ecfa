//! What the type of a POS column makes of it: which types can be read as what, and which of them not just as they are.
//! One place for the stream, for discovery and for the SQL of copy and verify.

use std::collections::BTreeMap;

use postgres_types::Type;

use crate::config::{ColumnType, TableKind};

/// How values are read that do not stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Form {
    /// A floating-point number: the shortest decimal number that reads back as the same, which is what is printed of it.
    Float,
    /// A timestamp without time zone: the configuration has to say whose clock it shows.
    Local,
    /// A date: its day is itself, whatever the zone, and its instant the store's midnight.
    Date,
    /// A text or UUID as key: a number is kept for each.
    Text,
}

/// The columns of a store, by logical table and column, that are not read just as they are.
pub type Forms = BTreeMap<(TableKind, &'static str), Form>;

/// How a column of type `oid` is read as `ty`; `Ok(None)`: as it is. `other_text`: the type is none of PostgreSQL's own
/// and its values are text, as those of enums and citext are.
///
/// # Errors
/// It cannot be read; comes back: which types can.
pub fn form(ty: ColumnType, oid: u32, other_text: bool) -> Result<Option<Form>, &'static str> {
    let known = Type::from_oid(oid);
    let is = |types: &[Type]| known.as_ref().is_some_and(|t| types.contains(t));
    let integer = is(&[Type::INT2, Type::INT4, Type::INT8]);
    let found = match ty {
        ColumnType::Key(_) if integer => Some(None),
        ColumnType::Key(_) => is(&[Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::UUID]).then_some(Some(Form::Text)),
        ColumnType::Amount if integer || is(&[Type::NUMERIC]) => Some(None),
        ColumnType::Amount => is(&[Type::FLOAT4, Type::FLOAT8]).then_some(Some(Form::Float)),
        ColumnType::Timestamp | ColumnType::Day => match known {
            Some(Type::TIMESTAMPTZ) => Some(None),
            Some(Type::TIMESTAMP) => Some(Some(Form::Local)),
            Some(Type::DATE) => Some(Some(Form::Date)),
            _ => None,
        },
        ColumnType::Text => {
            let text = is(&[Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME]);
            (text || integer || is(&[Type::BOOL, Type::UUID]) || known.is_none() && other_text).then_some(None)
        }
        ColumnType::Bool => is(&[Type::BOOL]).then_some(None),
    };
    found.ok_or(accepted(ty))
}

/// The types that can be read as `ty`, for messages.
pub const fn accepted(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Key(_) => "an integer, text, varchar, char or uuid",
        ColumnType::Amount => "numeric, an integer, double precision or real",
        ColumnType::Timestamp | ColumnType::Day => "a timestamp with or without time zone, or a date",
        ColumnType::Text => "text, varchar, char, citext, an enum, an integer, boolean or uuid",
        ColumnType::Bool => "boolean",
    }
}
