//! One entry of `[source.tables.KIND.columns]` -> [`Reading`].
//!
//! ```toml
//! total_amount = "total"                                              # a column
//! total_amount = ""                                                   # there is none
//! total_amount = { column = "totalWithTax", scale = 2 }               # a column, read in a certain way
//! payment_method = { value = "cash" }                                 # the same in every row
//! movement_type = { from = "from_location", to = "to_location", inside = ["5"] }
//! ```

use toml::de::DeValue;

use super::mapping::{Absent, Column, ColumnType};
use super::reader::{Section, expected, integer, texts};
use super::reading::{Moved, Physical, Reading, Zone};
use super::values;

/// Digits to which a computed line total is rounded where nothing else is said.
const ROUND: u32 = 2;
/// As many decimal places as amounts can have.
const MAX_PLACES: u64 = 28;

/// The words that lists of the configuration have for rows that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    /// Those of this table's own list.
    pub counts: &'a [String],
    pub incoming: &'a [String],
    pub outgoing: &'a [String],
}

/// How `column` is obtained, by what `columns` says of it.
pub(super) fn reading(columns: &Section<'_>, column: &Column, words: Words<'_>) -> Reading {
    let named = columns.optional(column.name, |value| match value {
        DeValue::Table(_) => Ok(None),
        value => value.as_str().map(|name| Some(name.to_string())).ok_or_else(|| expected("a name or a table", value)),
    });
    let name = match named {
        Some(Some(name)) => name,
        Some(None) => match columns.table(column.name) {
            Some(section) => return written_out(columns, section, column, words),
            None => String::new(),
        },
        None if column.usual => column.name.to_string(),
        None => String::new(),
    };
    if name.is_empty() {
        return absent(columns, column, words);
    }
    if let Err(message) = values::identifier(&name) {
        columns.problem(column.name, message);
    }
    Reading::Column(Physical { name, ..Physical::default() })
}

fn absent(columns: &Section<'_>, column: &Column, words: Words<'_>) -> Reading {
    match column.absent {
        Absent::Value(value) => Reading::Constant(value.map(str::to_string)),
        Absent::Counts => Reading::Constant(Some(first(words.counts))),
        Absent::Computed => Reading::Computed { round: ROUND },
        Absent::Required => {
            columns.problem(column.name, "nothing can stand in for it; name a column");
            Reading::Constant(None)
        }
    }
}

/// No word where the list has none: such rows do not count.
fn first(words: &[String]) -> String {
    words.first().cloned().unwrap_or_default()
}

/// Each type of column has its own keys; the others are refused as unknown.
fn written_out(columns: &Section<'_>, section: Section<'_>, column: &Column, words: Words<'_>) -> Reading {
    if section.has("from") || section.has("to") {
        return moved(columns, section, column, words);
    }
    let name = section.optional("column", |v| values::identifier(v.as_str().ok_or_else(|| expected("a string", v))?));
    let mut physical = Physical { name: name.clone().unwrap_or_default(), ..Physical::default() };
    let mut value = None;
    match column.ty {
        ColumnType::Key(_) => {}
        ColumnType::Amount => {
            let places = |v: &DeValue<'_>| integer(v, 0, MAX_PLACES).map(|n| u32::try_from(n).unwrap_or_default());
            physical.scale = section.get("scale", 0, places);
            physical.round = section.optional("round", places);
            value = section.optional("value", values::constant_amount);
        }
        ColumnType::Timestamp | ColumnType::Day => {
            physical.zone = section.optional("time_zone", |v| match v.as_str() {
                Some("store") => Ok(Zone::Store),
                Some(name) => values::time_zone(name).map(Zone::Named),
                None => Err(expected("a string", v)),
            });
        }
        ColumnType::Text => {
            value =
                section.optional("value", |v| v.as_str().map(str::to_string).ok_or_else(|| expected("a string", v)));
        }
        ColumnType::Bool => {
            value = section
                .optional("value", |v| v.as_bool().map(|b| b.to_string()).ok_or_else(|| expected("true or false", v)));
        }
    }
    let computed = column.absent == Absent::Computed && column.name == "line_total";
    let reading = match (name, value) {
        (Some(_), Some(_)) => {
            columns.problem(column.name, "either a column or a value, not both");
            Reading::Column(physical)
        }
        (Some(_), None) => Reading::Column(physical),
        (None, Some(value)) => Reading::Constant(Some(value)),
        (None, None) if computed && section.has("round") => {
            Reading::Computed { round: physical.round.unwrap_or(ROUND) }
        }
        (None, None) => {
            if !section.has("column") && !section.has("value") {
                columns.problem(column.name, "must name a column: { column = \"...\" }");
            }
            Reading::Column(physical)
        }
    };
    section.finish();
    reading
}

fn moved(columns: &Section<'_>, section: Section<'_>, column: &Column, words: Words<'_>) -> Reading {
    if column.name != "movement_type" {
        columns.problem(column.name, "from and to are for movement_type");
        return Reading::Constant(None);
    }
    let name =
        |key: &str| section.optional(key, |v| values::identifier(v.as_str().ok_or_else(|| expected("a string", v))?));
    let (from, to) = (name("from"), name("to"));
    let inside = section.optional("inside", texts);
    if inside.as_ref().is_none_or(Vec::is_empty) {
        columns.problem(column.name, "inside must list the places whose goods are the store's stock");
    }
    if !(section.has("from") && section.has("to")) {
        columns.problem(column.name, "needs both from and to, the columns with the places a movement links");
    }
    section.finish();
    Reading::Moved(Moved {
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
        inside: inside.unwrap_or_default(),
        incoming: first(words.incoming),
        outgoing: first(words.outgoing),
    })
}
