//! How the logical tables are obtained from those of the POS: which table and column, in what unit, at whose clock.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::mapping::TableKind;

/// How a logical column is obtained from the rows of its table. The one description that the stream (`facts::plan`), the
/// first copy and verify (`verify::sql`) all go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// A column of the table.
    Column(Physical),
    /// The same in every row, as PostgreSQL writes it; `None`: NULL.
    Constant(Option<String>),
    /// What the POS keeps nowhere: the line total of an item is quantity x unit price, rounded to so many digits; the
    /// total of a sale the sum of its items' line totals.
    Computed { round: u32 },
    /// The type of a stock movement that is told by the places between which it moves goods.
    Moved(Moved),
}

/// A column of the POS, and how its values are to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Physical {
    /// As in `pg_attribute.attname`.
    pub name: String,
    /// Amounts are in units of 10^-scale.
    pub scale: u32,
    /// Amounts are rounded to so many digits, half away from zero, after scaling.
    pub round: Option<u32>,
    /// Timestamps without time zone are local to it.
    pub zone: Option<Zone>,
}

/// Whose clock a timestamp without time zone shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// That of the store's own time zone.
    Store,
    Named(Tz),
}

/// Goods that come to one of these places from elsewhere bear one word, those that leave them for elsewhere the other,
/// all others none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub from: String,
    pub to: String,
    pub inside: Vec<String>,
    pub incoming: String,
    pub outgoing: String,
}

/// Which rows of a table are there for us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowFilter {
    /// Rows in which this column is not NULL are not there: the POS has deleted them.
    pub deleted_at: Option<String>,
    /// Of these columns each must have one of its words.
    pub only: BTreeMap<String, Vec<String>>,
}

/// Where one logical table is kept in every store's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMapping {
    /// Physical table name, unquoted, as in `pg_class.relname`. One table may play several parts.
    pub table: String,
    /// For every column of [`TableKind::columns`].
    pub columns: BTreeMap<&'static str, Reading>,
    pub rows: RowFilter,
}

impl TableMapping {
    /// How a logical column is obtained.
    pub fn reading(&self, logical: &str) -> &Reading {
        self.columns.get(logical).unwrap_or(&Reading::Constant(None))
    }

    /// The physical name of a logical column; "" where it is not a column of the table.
    pub fn column(&self, logical: &str) -> &str {
        match self.reading(logical) {
            Reading::Column(physical) => &physical.name,
            _ => "",
        }
    }

    /// Every physical column that is read, each with where the configuration names it.
    pub fn others(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let moved = self.columns.values().flat_map(|reading| match reading {
            Reading::Moved(moved) => {
                vec![(moved.from.as_str(), "columns.movement_type"), (&moved.to, "columns.movement_type")]
            }
            _ => Vec::new(),
        });
        let deleted = self.rows.deleted_at.iter().map(|name| (name.as_str(), "deleted_at"));
        let only = self.rows.only.keys().map(|name| (name.as_str(), "only"));
        moved.chain(deleted).chain(only)
    }

    /// By what the facts of the table are read, for comparing it with what they were read by.
    pub fn definition(&self, kind: TableKind) -> Value {
        let columns = kind.columns().iter().filter_map(|column| {
            let reading = self.reading(column.name);
            let usual = column.usual || *reading != Reading::Constant(None);
            usual.then(|| (column.name, reading.definition()))
        });
        let mut definition = json!({ "table": self.table, "columns": columns.collect::<BTreeMap<_, _>>() });
        if self.rows != RowFilter::default() {
            definition["rows"] = json!([self.rows.deleted_at, self.rows.only]);
        }
        definition
    }
}

impl Reading {
    fn definition(&self) -> Value {
        match self {
            Reading::Column(p) if *p == (Physical { name: p.name.clone(), ..Physical::default() }) => json!(p.name),
            Reading::Column(p) => {
                let zone = p.zone.map(|zone| match zone {
                    Zone::Store => "store",
                    Zone::Named(zone) => zone.name(),
                });
                json!([p.name, p.scale, p.round, zone])
            }
            Reading::Constant(value) => json!({ "value": value }),
            Reading::Computed { round } => json!({ "round": round }),
            Reading::Moved(m) => json!([m.from, m.to, m.inside, m.incoming, m.outgoing]),
        }
    }
}

/// The whole mapping. A kind without an entry is one that this POS does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub tables: BTreeMap<TableKind, TableMapping>,
    pub completed_statuses: Vec<String>,
    pub refunded_statuses: Vec<String>,
    /// Status of a reservation that holds stock back (default `active`).
    pub reservation_active_statuses: Vec<String>,
    /// Type of a customer transaction that pays off credit (default `payment`).
    pub transaction_payment_types: Vec<String>,
    /// `customer_type` of customers that are shown by company name (default `company`).
    pub company_types: Vec<String>,
}

impl Mapping {
    /// A sale's total is the sum of its items' line totals.
    pub fn totals_from_items(&self) -> bool {
        let sale = self.tables.get(&TableKind::Sale);
        sale.is_some_and(|sale| matches!(sale.reading("total_amount"), Reading::Computed { .. }))
    }
}
