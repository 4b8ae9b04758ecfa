//! How the tuples of one POS table become typed changes: columns found by name on every Relation message, values
//! decoded straight to what the facts need. Columns that nothing maps are not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Datelike;
use chrono_tz::Tz;
use postgres_types::Type;
use rust_decimal::Decimal;

use super::change::{
    BatchRow, Change, ItemRow, MovementRow, PaymentRow, ReservationRow, RowOp, SaleRow, Sign, TransactionRow,
};
use super::entity::{Customer, PaymentKind, Pricing, Product, SaleStatus, Session, StockLimits, StockShare};
use crate::config::{ColumnType, Config, TableKind, TableMapping};
use crate::domain::{BusinessDay, Instant, TenantId};
use crate::pgoutput::{OldRow, Relation, Tuple, Value, ValueError};

/// The columns of the widest logical table.
const MAX_COLUMNS: usize = 8;
/// Report columns hold less than this before the decimal point, so no source value may reach it: 10^16.
const LARGEST: Decimal = Decimal::from_parts(0x6FC1_0000, 0x0023_86F2, 0, false, 0);

/// No source time may reach this year; the first copy refuses the same.
const LAST_YEAR: i32 = 200_000;

/// What the POS's words mean: statuses, payment methods, movement types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    statuses: HashMap<String, SaleStatus>,
    methods: HashMap<String, PaymentKind>,
    movements: HashMap<String, Sign>,
    reservation_active: Vec<String>,
    payment_types: Vec<String>,
    company_types: Vec<String>,
}

impl Vocabulary {
    pub fn new(config: &Config) -> Vocabulary {
        fn table<V: Copy>(lists: &[(&[String], V)]) -> HashMap<String, V> {
            lists.iter().flat_map(|(words, value)| words.iter().map(|w| (w.clone(), *value))).collect()
        }
        let (mapping, pay, stock) = (&config.mapping, &config.payments, &config.inventory);
        Vocabulary {
            statuses: table(&[
                (&mapping.completed_statuses, SaleStatus::Completed),
                (&mapping.refunded_statuses, SaleStatus::Refunded),
            ]),
            methods: table(&[
                (&pay.cash, PaymentKind::Cash),
                (&pay.card, PaymentKind::Card),
                (&pay.credit, PaymentKind::Credit),
            ]),
            movements: table(&[
                (&stock.incoming, Sign::Plus),
                (&stock.outgoing, Sign::Minus),
                (&stock.signed, Sign::Signed),
            ]),
            reservation_active: mapping.reservation_active_statuses.clone(),
            payment_types: mapping.transaction_payment_types.clone(),
            company_types: mapping.company_types.clone(),
        }
    }
}

/// A POS table is not what the mapping says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("table {schema}.{table} has no column {column}, which the mapping names for {kind}.{logical}")]
    Missing { schema: String, table: String, column: String, kind: TableKind, logical: &'static str },
    #[error("column {schema}.{table}.{column} is {found}; {kind}.{logical} needs {expected}")]
    WrongType {
        schema: String,
        table: String,
        column: String,
        found: Box<str>,
        kind: TableKind,
        logical: &'static str,
        expected: &'static str,
    },
}

/// A row that cannot be used. Names the row, never its values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table}{} column {column}: {reason}", id.map_or(String::new(), |id| format!(" row {id}")))]
pub struct RowError {
    pub table: String,
    pub id: Option<i64>,
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
}

/// The way from one relation's tuples to changes.
#[derive(Debug, Clone)]
pub struct Plan {
    pub tenant: TenantId,
    pub kind: TableKind,
    zone: Tz,
    words: Arc<Vocabulary>,
    /// schema.table, for messages.
    table: String,
    /// By logical column: where it is in the tuple, and its type oid.
    columns: Vec<(usize, u32)>,
}

impl Plan {
    /// # Errors
    /// A mapped column that is missing or of a type that cannot be read as what it stands for.
    pub fn new(
        tenant: TenantId,
        zone: Tz,
        kind: TableKind,
        mapping: &TableMapping,
        relation: &Relation,
        words: Arc<Vocabulary>,
    ) -> Result<Plan, PlanError> {
        let mut columns = Vec::with_capacity(kind.columns().len());
        for column in kind.columns() {
            let name = mapping.column(column.name);
            let found = relation.columns.iter().enumerate().find(|(_, c)| c.name == name);
            let Some((at, physical)) = found else {
                return Err(PlanError::Missing {
                    schema: relation.namespace.clone(),
                    table: relation.name.clone(),
                    column: name.to_string(),
                    kind,
                    logical: column.name,
                });
            };
            if let Some(expected) = mistyped(column.ty, physical.type_oid) {
                return Err(PlanError::WrongType {
                    schema: relation.namespace.clone(),
                    table: relation.name.clone(),
                    column: name.to_string(),
                    found: type_name(physical.type_oid).into(),
                    kind,
                    logical: column.name,
                    expected,
                });
            }
            columns.push((at, physical.type_oid));
        }
        let table = format!("{}.{}", relation.namespace, relation.name);
        Ok(Plan { tenant, kind, zone, words, table, columns })
    }

    /// The table, as schema.table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// # Errors
    /// A value that cannot be used (NaN, infinite, too large): the store has to be set aside.
    pub fn insert(&self, new: &Tuple<'_>) -> Result<Change, RowError> {
        self.change(Op::Insert, new)
    }

    /// # Errors
    /// As [`Plan::insert`].
    pub fn update(&self, old: Option<&OldRow<'_>>, new: &Tuple<'_>) -> Result<Change, RowError> {
        let old_id = old.map(|old| self.row(&old.tuple()).key(0)).transpose()?;
        self.change(Op::Update(old_id), new)
    }

    /// # Errors
    /// A deletion that does not name the mapped key.
    pub fn delete(&self, old: &OldRow<'_>) -> Result<Change, RowError> {
        let id = self.row(&old.tuple()).key(0)?;
        Ok(match self.kind {
            TableKind::Sale => Change::Sale(RowOp::Delete(id)),
            TableKind::SaleItem => Change::Item(RowOp::Delete(id)),
            TableKind::Payment => Change::Payment(RowOp::Delete(id)),
            TableKind::Customer => Change::Customer(RowOp::Delete(id)),
            TableKind::CustomerTransaction => Change::Transaction(RowOp::Delete(id)),
            TableKind::Session => Change::Session(RowOp::Delete(id)),
            TableKind::Product => Change::Product(RowOp::Delete(id)),
            TableKind::Pricing => Change::Pricing(RowOp::Delete(id)),
            TableKind::StockLimits => Change::StockLimits(RowOp::Delete(id)),
            TableKind::StockMovement => Change::Movement(RowOp::Delete(id)),
            TableKind::Batch => Change::Batch(RowOp::Delete(id)),
            TableKind::Reservation => Change::Reservation(RowOp::Delete(id)),
        })
    }

    fn row<'a>(&'a self, tuple: &Tuple<'a>) -> Fields<'a> {
        let mut values = [Value::Null; MAX_COLUMNS];
        for (at, value) in tuple.iter().enumerate() {
            for (slot, (index, _)) in values.iter_mut().zip(&self.columns) {
                if *index == at {
                    *slot = value;
                }
            }
        }
        Fields { plan: self, values }
    }

    /// The columns are read by their place in [`TableKind::columns`].
    fn change(&self, op: Op, tuple: &Tuple<'_>) -> Result<Change, RowError> {
        let row = self.row(tuple);
        let id = row.key(0)?;
        let words = &*self.words;
        Ok(match self.kind {
            TableKind::Sale => {
                let completed_at = row.instant(3)?;
                Change::Sale(op.of(
                    id,
                    SaleRow {
                        status: row.word(1, &words.statuses, SaleStatus::Other)?,
                        customer: row.optional_key(2)?,
                        completed_at,
                        day: self.day(completed_at),
                        total: row.amount(4)?,
                        discount: row.amount(5)?,
                        tax: row.amount(6)?,
                    },
                ))
            }
            TableKind::SaleItem => Change::Item(op.of(
                id,
                ItemRow {
                    sale: row.optional_key(1)?.unwrap_or(0),
                    product: row.optional_key(2)?.unwrap_or(0),
                    quantity: row.amount(3)?,
                    price: row.amount(4)?,
                    total: row.amount(5)?,
                },
            )),
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
                        is_company: customer_type.map(|t| words.company_types.iter().any(|w| w == t)),
                        customer_type: customer_type.map(str::to_string),
                        company_name: row.owned(5)?,
                        phone: row.owned(6)?,
                        is_active: row.flag(7)?,
                    }),
                ))
            }
            TableKind::CustomerTransaction => {
                let created_at = row.instant(4)?.unwrap_or_default();
                Change::Transaction(op.of(
                    id,
                    TransactionRow {
                        customer: row.optional_key(1)?.unwrap_or(0),
                        is_payment: row.text(2)?.map(|t| words.payment_types.iter().any(|w| w == t)),
                        amount: row.amount(3)?,
                        created_at,
                        day: self.day(Some(created_at)).unwrap_or_default(),
                    },
                ))
            }
            TableKind::Session => Change::Session(
                op.of(id, Session { opened_day: self.day(row.instant(1)?), closed_day: self.day(row.instant(2)?) }),
            ),
            TableKind::Product => Change::Product(op.of(
                id,
                Box::new(Product {
                    name: row.owned(1)?,
                    sku: row.owned(2)?,
                    barcode: row.owned(3)?,
                    is_active: row.flag(4)?,
                }),
            )),
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
                    sign: row.word(2, &words.movements, Sign::Unknown)?,
                    quantity: row.amount(3)?,
                },
            )),
            TableKind::Batch => Change::Batch(op.of(id, BatchRow { share: row.share(1, 2)?, active: row.flag(3)? })),
            TableKind::Reservation => Change::Reservation(op.of(
                id,
                ReservationRow {
                    share: row.share(1, 2)?,
                    active: row.text(3)?.map(|t| words.reservation_active.iter().any(|w| w == t)),
                },
            )),
        })
    }

    fn day(&self, at: Option<Instant>) -> Option<BusinessDay> {
        at.map(|at| at.with_timezone(&self.zone).date_naive())
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

/// A type as SQL calls it, as far as an oid alone can tell.
fn type_name(oid: u32) -> String {
    let Some(known) = Type::from_oid(oid) else { return "of a type made by users".to_string() };
    match known {
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::BOOL => "boolean",
        Type::VARCHAR => "character varying",
        Type::BPCHAR => "character",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        ref other => other.name(),
    }
    .to_string()
}

/// What a column type accepts, where `oid` is not of it. Oids that users made (enums, domains over text) pass as text.
fn mistyped(ty: ColumnType, oid: u32) -> Option<&'static str> {
    let known = Type::from_oid(oid);
    let one_of = |types: &[Type]| known.as_ref().is_some_and(|t| types.contains(t));
    let (fits, expected) = match ty {
        ColumnType::Key => (one_of(&[Type::INT2, Type::INT4, Type::INT8]), "smallint, integer or bigint"),
        ColumnType::Amount => {
            (one_of(&[Type::NUMERIC, Type::INT2, Type::INT4, Type::INT8]), "numeric, smallint, integer or bigint")
        }
        ColumnType::Timestamp => (one_of(&[Type::TIMESTAMPTZ]), "timestamp with time zone"),
        ColumnType::Bool => (one_of(&[Type::BOOL]), "boolean"),
        ColumnType::Text => (
            known.is_none() || one_of(&[Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::CHAR]),
            "text, varchar, char or an enum",
        ),
    };
    (!fits).then_some(expected)
}

/// The mapped values of one tuple, by logical column.
struct Fields<'a> {
    plan: &'a Plan,
    values: [Value<'a>; MAX_COLUMNS],
}

impl<'a> Fields<'a> {
    fn value(&self, column: usize) -> (Value<'a>, u32) {
        let value = self.values.get(column).copied().unwrap_or(Value::Null);
        (value, self.plan.columns.get(column).map_or(0, |(_, oid)| *oid))
    }

    fn refuse(&self, column: usize, reason: impl Into<Refusal>) -> RowError {
        let id = if column == 0 { None } else { self.key(0).ok() };
        let column = self.plan.kind.columns().get(column).map_or("", |c| c.name);
        RowError { table: self.plan.table.clone(), id, column: column.to_string(), reason: reason.into() }
    }

    fn key(&self, column: usize) -> Result<i64, RowError> {
        self.optional_key(column)?.ok_or_else(|| self.refuse(column, Refusal::NoKey))
    }

    fn optional_key(&self, column: usize) -> Result<Option<i64>, RowError> {
        let (value, oid) = self.value(column);
        value.as_i64(oid).map_err(|e| self.refuse(column, e))
    }

    /// NULL is 0.
    fn amount(&self, column: usize) -> Result<Decimal, RowError> {
        Ok(self.optional_amount(column)?.unwrap_or_default())
    }

    fn optional_amount(&self, column: usize) -> Result<Option<Decimal>, RowError> {
        let (value, oid) = self.value(column);
        match value.as_decimal(oid).map_err(|e| self.refuse(column, e))? {
            Some(amount) if amount.abs() >= LARGEST => Err(self.refuse(column, Refusal::TooLarge)),
            amount => Ok(amount),
        }
    }

    fn instant(&self, column: usize) -> Result<Option<Instant>, RowError> {
        let (value, oid) = self.value(column);
        match value.as_instant(oid).map_err(|e| self.refuse(column, e))? {
            // Its local day in some zone may be one that cannot be held any more.
            Some(at) if at.year() >= LAST_YEAR => Err(self.refuse(column, ValueError::OutOfRange)),
            at => Ok(at),
        }
    }

    /// NULL is false.
    fn flag(&self, column: usize) -> Result<bool, RowError> {
        let (value, oid) = self.value(column);
        Ok(value.as_bool(oid).map_err(|e| self.refuse(column, e))?.unwrap_or(false))
    }

    /// `None` where the stream left the value out as unchanged; NULL is "".
    fn text(&self, column: usize) -> Result<Option<&'a str>, RowError> {
        match self.value(column) {
            (Value::Unchanged, _) => Ok(None),
            (value, oid) => Ok(Some(value.as_str(oid).map_err(|e| self.refuse(column, e))?.unwrap_or(""))),
        }
    }

    fn owned(&self, column: usize) -> Result<Option<String>, RowError> {
        Ok(self.text(column)?.map(str::to_string))
    }

    fn word<V: Copy>(&self, column: usize, words: &HashMap<String, V>, other: V) -> Result<Option<V>, RowError> {
        Ok(self.text(column)?.map(|word| words.get(word).copied().unwrap_or(other)))
    }

    fn share(&self, product: usize, quantity: usize) -> Result<StockShare, RowError> {
        Ok(StockShare { product: self.optional_key(product)?.unwrap_or(0), quantity: self.amount(quantity)? })
    }
}
