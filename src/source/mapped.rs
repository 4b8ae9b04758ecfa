//! One table of a store held against its mapping: is it a table, are its columns there and of a usable type, may we
//! read it, can its changes be followed.

use std::collections::{BTreeMap, BTreeSet};

use postgres_types::Type;
use tokio_postgres::Client;

use super::catalog::{Problem, Relation, StoreColumn, StoreTable, StoreTables};
use crate::config::{Absent, Column, ColumnType, Config, Reading, TableKind, TableMapping};
use crate::facts::form::{Form, Forms, accepted, form};
use crate::sql::{ident, qualified};

/// Our role, quoted.
pub(super) async fn role(client: &Client) -> Result<String, tokio_postgres::Error> {
    Ok(ident(client.query_one("SELECT current_user::text", &[]).await?.try_get(0)?))
}

/// What keeps this table from being followed, and whether our role, quoted in `role`, may read it.
pub(super) fn problems(
    role: &str,
    schema: &str,
    kind: TableKind,
    mapped: &TableMapping,
    relation: &Relation,
    table: &StoreTable,
) -> (Vec<Problem>, bool) {
    let name = qualified(schema, &relation.name);
    let mut problems = Vec::new();
    let mut problem = |what: String, fix: String| problems.push(Problem::new(what, fix));
    let remap = format!("-- name a plain table of this server in [source.tables.{kind}]");
    match (relation.kind, relation.persistence) {
        (b'r' | b'p', b'u') => {
            problem(
                format!("{name} is unlogged; its changes are not in the log"),
                format!("ALTER TABLE {name} SET LOGGED;"),
            );
        }
        (b'r' | b'p', b't') => problem(format!("{name} is a temporary table"), remap),
        (b'r' | b'p', _) => {}
        _ => {
            problem(format!("{name} is not a table but a view or foreign table; it has no changes to follow"), remap);
            return (problems, true);
        }
    }
    if relation.has_children {
        problem(
            format!("{name} has inheriting tables; their rows would be counted by one path and not by another"),
            "-- use declarative partitioning, or end the inheritance".to_string(),
        );
    }
    if relation.rows_hidden {
        problem(
            format!("row-level security hides rows of {name} from our role"),
            format!("ALTER ROLE {role} BYPASSRLS;"),
        );
    }
    for leaf in &table.identities {
        if let Some((what, fix)) = leaf.problem(mapped.column("id")) {
            problem(what, fix);
        }
    }
    let mut unreadable = !relation.schema_usable;
    for logical in kind.columns() {
        let Reading::Column(physical) = mapped.reading(logical.name) else { continue };
        let key = logical.name;
        let none = if logical.absent == Absent::Required { "" } else { "; \"\" where there is none" };
        let remap = format!("-- map another column: {key} = \"...\" in [source.tables.{kind}.columns]{none}");
        match read_as(table, logical, &physical.name) {
            Err(Unfit::Missing) => {
                let what =
                    format!("{name} has no column {:?}, expected for {key} ({})", physical.name, accepted(logical.ty));
                problem(what, remap);
            }
            Err(Unfit::Generated) => {
                let what =
                    format!("{name} column {:?} is generated; generated columns are not in the log", physical.name);
                problem(what, remap);
            }
            Err(Unfit::Type { found, expected }) => {
                problem(format!("{name} column {:?} is {found}, expected {expected} for {key}", physical.name), remap);
            }
            Ok((Some(Form::Local), _)) if physical.zone.is_none() => problem(
                format!("{name} column {:?} has no time zone; nothing says whose clock it shows", physical.name),
                format!(
                    "-- say so: {key} = {{ column = {:?}, time_zone = \"UTC\" }} in [source.tables.{kind}.columns]; \"store\": \
                     the store's own",
                    physical.name
                ),
            ),
            Ok((_, column)) => unreadable |= !column.readable,
        }
    }
    for (physical, key) in mapped.others() {
        let remap = format!("-- mend {key} in [source.tables.{kind}]");
        let named = Column { name: key, ..WORD };
        match read_as(table, &named, physical) {
            Err(Unfit::Missing) => problem(format!("{name} has no column {physical:?}, expected for {key}"), remap),
            Err(Unfit::Generated) => {
                problem(
                    format!("{name} column {physical:?} is generated; generated columns are not in the log"),
                    remap,
                );
            }
            Err(Unfit::Type { .. }) if key == "deleted_at" => {}
            Err(Unfit::Type { found, expected }) => {
                problem(format!("{name} column {physical:?} is {found}, expected {expected} for {key}"), remap);
            }
            Ok((_, column)) if key == "deleted_at" && column.type_oid == Type::BOOL.oid() => problem(
                format!("{name} column {physical:?} is boolean; in deleted_at every value but NULL means deleted"),
                format!("-- instead: only = {{ {physical:?} = [\"false\"] }} in [source.tables.{kind}]"),
            ),
            Ok((_, column)) => unreadable |= !column.readable,
        }
    }
    (problems, !unreadable)
}

/// Columns beside the logical ones are compared with words.
const WORD: Column = Column { name: "", ty: ColumnType::Text, nullable: true, absent: Absent::Required, usual: false };

/// Why a column cannot be read.
enum Unfit<'a> {
    Missing,
    Generated,
    Type { found: &'a str, expected: &'static str },
}

fn read_as<'a>(
    table: &'a StoreTable,
    logical: &Column,
    physical: &str,
) -> Result<(Option<Form>, &'a StoreColumn), Unfit<'a>> {
    let column = table.column(physical).ok_or(Unfit::Missing)?;
    if column.generated {
        return Err(Unfit::Generated);
    }
    let form = form(logical.ty, column.type_oid, column.is_enum || column.is_citext);
    form.map(|form| (form, column)).map_err(|expected| Unfit::Type { found: &column.type_name, expected })
}

/// Which columns of a store are not read just as they are.
pub fn forms(config: &Config, store: &StoreTables) -> Forms {
    let mut forms = Forms::new();
    for (kind, table) in &store.tables {
        let Some(mapped) = config.mapping.tables.get(kind) else { continue };
        for logical in kind.columns() {
            if let Ok((Some(form), _)) = read_as(table, logical, mapped.column(logical.name)) {
                forms.insert((*kind, logical.name), form);
            }
        }
    }
    forms
}

/// Which columns of a store are read just as they are and never hold a NULL.
pub fn filled(config: &Config, store: &StoreTables) -> BTreeSet<(TableKind, &'static str)> {
    let mut filled = BTreeSet::new();
    for (kind, table) in &store.tables {
        let Some(mapped) = config.mapping.tables.get(kind) else { continue };
        for logical in kind.columns() {
            if let Ok((None, StoreColumn { not_null: true, .. })) = read_as(table, logical, mapped.column(logical.name))
            {
                filled.insert((*kind, logical.name));
            }
        }
    }
    filled
}

/// The keys of one table must be numbers wherever they stand, or text wherever they stand.
pub(super) fn mixed_keys(config: &Config, store: &StoreTables) -> Vec<Problem> {
    let mut seen: BTreeMap<TableKind, (bool, String)> = BTreeMap::new();
    let mut problems = Vec::new();
    for (kind, table) in &store.tables {
        let Some(mapped) = config.mapping.tables.get(kind) else { continue };
        for logical in kind.columns() {
            let physical = mapped.column(logical.name);
            let (ColumnType::Key(of), Ok((form, _))) = (logical.ty, read_as(table, logical, physical)) else {
                continue;
            };
            let name = format!("{}.{}", qualified(&store.schema, &table.name), ident(physical));
            let is_text = form == Some(Form::Text);
            match seen.get(&of) {
                None => {
                    seen.insert(of, (is_text, name));
                }
                Some((other, first)) if *other != is_text => problems.push(Problem::new(
                    format!("{first} and {name} are keys of the same {of}, one a number and the other text"),
                    format!("-- map another column: {} = \"...\" in [source.tables.{kind}.columns]", logical.name),
                )),
                Some(_) => {}
            }
        }
    }
    problems
}
