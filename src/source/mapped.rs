//! One table of a store held against its mapping: is it a table, are its columns there and of a usable type, may we
//! read it, can its changes be followed.

use tokio_postgres::Client;

use super::catalog::{Problem, Relation, StoreColumn, StoreTable};
use crate::config::{ColumnType, TableKind, TableMapping};
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
        let physical = mapped.column(logical.name);
        let remap = format!("-- map another column: {} = \"...\" in [source.tables.{kind}.columns]", logical.name);
        match table.column(physical) {
            None => problem(
                format!("{name} has no column {physical:?}, expected for {} ({})", logical.name, accepted(logical.ty)),
                remap,
            ),
            Some(column) if !fits(logical.ty, column) => problem(
                format!("{name} column {physical:?} is {}, expected {}", column.type_name, accepted(logical.ty)),
                remap,
            ),
            Some(column) if column.generated => {
                problem(
                    format!("{name} column {physical:?} is generated; generated columns are not in the log"),
                    remap,
                );
            }
            Some(column) => unreadable |= !column.readable,
        }
    }
    (problems, !unreadable)
}

/// Whether values of this column can be read as that type.
fn fits(ty: ColumnType, column: &StoreColumn) -> bool {
    use postgres_types::Type;
    let is = |types: &[Type]| types.iter().any(|t| t.oid() == column.type_oid);
    let integer = is(&[Type::INT2, Type::INT4, Type::INT8]);
    match ty {
        ColumnType::Key => integer,
        ColumnType::Amount => integer || is(&[Type::NUMERIC]),
        ColumnType::Timestamp => is(&[Type::TIMESTAMPTZ]),
        ColumnType::Text => {
            column.is_enum || column.is_citext || is(&[Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME])
        }
        ColumnType::Bool => is(&[Type::BOOL]),
    }
}

const fn accepted(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Key => "smallint, integer or bigint",
        ColumnType::Amount => "numeric or an integer",
        ColumnType::Timestamp => "timestamp with time zone",
        ColumnType::Text => "text, varchar, char, citext or an enum",
        ColumnType::Bool => "boolean",
    }
}
