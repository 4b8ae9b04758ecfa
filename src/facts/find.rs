//! The columns of a relation that a plan reads, or what is wrong with them; and those beside the logical ones: by which a
//! row is there or not, and by which goods come or go.

use std::borrow::Cow;

use postgres_types::Type;

use super::change::Sign;
use super::form::{Form, form};
use super::plan::{Plan, RowError};
use super::vocabulary::Vocabulary;
use crate::config::{Column, ColumnType, Moved, RowFilter, TableKind};
use crate::pgoutput::{Relation, RelationColumn, Tuple, Value};

/// Types from here on are those of users and extensions: enums, citext.
const FIRST_USER_OID: u32 = 16_384;

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
    #[error("column {schema}.{table}.{column} has another type than when the store was copied")]
    Retyped { schema: String, table: String, column: String },
}

/// A column beside the logical ones: its place in the tuple, its type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    at: usize,
    oid: u32,
    name: &'static str,
}

#[derive(Debug, Clone)]
pub(super) enum Condition {
    IsNull(Beside),
    OneOf(Beside, Vec<String>),
}

/// Movements told by their places.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    from: Beside,
    to: Beside,
    inside: Vec<String>,
    incoming: Sign,
    outgoing: Sign,
}

impl Plan {
    /// Whether a row is there for us at all.
    pub(super) fn is_there(&self, tuple: &Tuple<'_>) -> Result<bool, RowError> {
        for condition in &self.conditions {
            let there = match condition {
                // An unchanged value that was not sent is not NULL.
                Condition::IsNull(column) => matches!(tuple.get(column.at), None | Some(Value::Null)),
                Condition::OneOf(column, words) => {
                    self.beside(tuple, column)?.is_some_and(|found| words.iter().any(|word| *word == found))
                }
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn beside<'a>(&self, tuple: &Tuple<'a>, column: &Beside) -> Result<Option<Cow<'a, str>>, RowError> {
        tuple.get(column.at).unwrap_or(Value::Null).as_text(column.oid).map_err(|reason| RowError {
            table: self.table.clone(),
            id: self.row(tuple).id(),
            column: column.name.to_string(),
            reason: reason.into(),
        })
    }

    /// Whether goods come, go, or neither, as far as this store is concerned.
    pub(super) fn direction(&self, movement: &Movement, tuple: &Tuple<'_>) -> Result<Sign, RowError> {
        let inside = |column: &Beside| -> Result<bool, RowError> {
            let place = self.beside(tuple, column)?;
            Ok(place.is_some_and(|place| movement.inside.iter().any(|inside| *inside == place)))
        };
        Ok(match (inside(&movement.from)?, inside(&movement.to)?) {
            (false, true) => movement.incoming,
            (true, false) => movement.outgoing,
            (true, true) | (false, false) => Sign::Unknown,
        })
    }
}

/// Looks columns up in the relation, or says what is wrong with them.
pub(super) struct Find<'a> {
    pub kind: TableKind,
    pub relation: &'a Relation,
}

impl<'a> Find<'a> {
    pub fn column(&self, name: &str, logical: &'static str) -> Result<(usize, &'a RelationColumn), PlanError> {
        let found = self.relation.columns.iter().enumerate().find(|(_, column)| column.name == name);
        found.ok_or_else(|| PlanError::Missing {
            schema: self.relation.namespace.clone(),
            table: self.relation.name.clone(),
            column: name.to_string(),
            kind: self.kind,
            logical,
        })
    }

    pub fn form(&self, logical: &Column, found: &RelationColumn) -> Result<Option<Form>, PlanError> {
        form(logical.ty, found.type_oid, found.type_oid >= FIRST_USER_OID)
            .map_err(|expected| self.mistyped(found, logical.name, expected))
    }

    fn mistyped(&self, found: &RelationColumn, logical: &'static str, expected: &'static str) -> PlanError {
        PlanError::WrongType {
            schema: self.relation.namespace.clone(),
            table: self.relation.name.clone(),
            column: found.name.clone(),
            found: type_name(found.type_oid).into(),
            kind: self.kind,
            logical,
            expected,
        }
    }

    pub fn retyped(&self, found: &RelationColumn) -> PlanError {
        PlanError::Retyped {
            schema: self.relation.namespace.clone(),
            table: self.relation.name.clone(),
            column: found.name.clone(),
        }
    }

    fn beside(&self, name: &str, logical: &'static str) -> Result<Beside, PlanError> {
        let (at, found) = self.column(name, logical)?;
        Ok(Beside { at, oid: found.type_oid, name: logical })
    }

    /// A column that is compared with words.
    fn word(&self, name: &str, logical: &'static str) -> Result<Beside, PlanError> {
        let (at, found) = self.column(name, logical)?;
        form(ColumnType::Text, found.type_oid, found.type_oid >= FIRST_USER_OID)
            .map_err(|expected| self.mistyped(found, logical, expected))?;
        Ok(Beside { at, oid: found.type_oid, name: logical })
    }

    pub fn conditions(&self, rows: &RowFilter) -> Result<Vec<Condition>, PlanError> {
        let mut conditions = Vec::new();
        if let Some(name) = &rows.deleted_at {
            conditions.push(Condition::IsNull(self.beside(name, "deleted_at")?));
        }
        for (name, one_of) in &rows.only {
            conditions.push(Condition::OneOf(self.word(name, "only")?, one_of.clone()));
        }
        Ok(conditions)
    }

    pub fn movement(&self, moved: &Moved, words: &Vocabulary) -> Result<Movement, PlanError> {
        let sign = |word: &str| words.movements.get(word).copied().unwrap_or(Sign::Unknown);
        Ok(Movement {
            from: self.word(&moved.from, "movement_type")?,
            to: self.word(&moved.to, "movement_type")?,
            inside: moved.inside.clone(),
            incoming: sign(&moved.incoming),
            outgoing: sign(&moved.outgoing),
        })
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
