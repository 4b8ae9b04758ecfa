//! Discovery: which schemas are stores, which of their tables play which part, and what is wrong with them.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};

use super::identity::{LeafIdentity, identities};
use crate::config::{Config, Registry, StockSource, TableKind};
use crate::sql::{ident, qualified};

/// Something that keeps a store from being followed, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    pub what: String,
    /// A statement, or an SQL comment where the mending is not a statement.
    pub fix_sql: String,
}

impl Problem {
    pub fn new(what: impl Into<String>, fix_sql: impl Into<String>) -> Self {
        Self { what: what.into(), fix_sql: fix_sql.into() }
    }
}

/// Where a store's stock comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolvedStock {
    Movements,
    Batches,
}

impl ResolvedStock {
    /// As `<schema>_state.tenant.stock_source` has it.
    pub const fn name(self) -> &'static str {
        match self {
            ResolvedStock::Movements => "movements",
            ResolvedStock::Batches => "batches",
        }
    }
}

/// A column of a POS table as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreColumn {
    pub name: String,
    /// Its number in the table: another one is another column, whatever its name.
    pub number: i16,
    pub type_oid: u32,
    /// As `format_type` writes it.
    pub type_name: String,
    pub not_null: bool,
    pub is_enum: bool,
    /// An enum's labels by their oids. Renamed, one changes what is stored in every row.
    pub labels: Option<serde_json::Value>,
    pub is_citext: bool,
    /// Generated columns are not in the log.
    pub generated: bool,
    /// Whether our role may read it.
    pub readable: bool,
}

/// A mapped table of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTable {
    pub oid: u32,
    pub name: String,
    pub partitioned: bool,
    /// Our role owns it, so may publish it.
    pub owned: bool,
    pub owner: String,
    /// All columns, in the table's order.
    pub columns: Vec<StoreColumn>,
    pub identities: Vec<LeafIdentity>,
}

impl StoreTable {
    /// Whether publishing it leaves the POS's own writes alone.
    pub fn publishable(&self) -> bool {
        self.identities.iter().all(LeafIdentity::publishable)
    }

    pub fn column(&self, name: &str) -> Option<&StoreColumn> {
        self.columns.iter().find(|c| c.name == name)
    }
}

/// One store: a schema with at least one of the mapped tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTables {
    pub schema: String,
    /// From the registry, else the schema's name.
    pub display_name: String,
    /// Never both stock tables.
    pub tables: BTreeMap<TableKind, StoreTable>,
    /// Kinds that the mapping names and this store lacks; the figures that need them are zero.
    pub missing_optional: Vec<TableKind>,
    pub stock_source: ResolvedStock,
    pub problems: Vec<Problem>,
    /// Our role may not read some table; that is the last of the problems.
    pub unreadable: bool,
}

impl StoreTables {
    /// Only a healthy store is followed.
    pub fn healthy(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether its tables belong into the publication: a privilege that our role lacks harms nobody there, and the
    /// statement for the administrator shall be whole.
    pub fn publishable(&self) -> bool {
        self.problems.len() == usize::from(self.unreadable)
    }
}

/// Everything discovery found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovery {
    /// In the order of their names.
    pub stores: Vec<StoreTables>,
    /// Schemas that match the patterns and have none of the tables.
    pub without_tables: Vec<String>,
    /// Problems of no single store: the registry.
    pub problems: Vec<Problem>,
}

/// Looks through the catalogue. Reads nothing of the POS but its registry; takes no lock that anybody would notice.
///
/// # Errors
/// What the server says; whatever is wrong with a store is among its problems instead.
pub async fn discover(client: &Client, config: &Config) -> Result<Discovery, tokio_postgres::Error> {
    matching(client, config, &config.tenants.schemas).await
}

/// The same for one schema; `None`: it is not there, is left out, or has none of the tables.
///
/// # Errors
/// As [`discover`].
pub async fn discover_one(
    client: &Client,
    config: &Config,
    schema: &str,
) -> Result<Option<StoreTables>, tokio_postgres::Error> {
    let pattern = schema.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    Ok(matching(client, config, &[pattern]).await?.stores.pop())
}

async fn matching(client: &Client, config: &Config, schemas: &[String]) -> Result<Discovery, tokio_postgres::Error> {
    let role = super::mapped::role(client).await?;
    let mapping = &config.mapping;
    let names: Vec<&str> = mapping.tables.values().map(|t| t.table.as_str()).collect();
    let ours = [config.target.schema.clone(), config.state_schema()];
    let query = include_str!("../../sql/catalog/relations.sql");
    let rows = client.query(query, &[&schemas, &config.tenants.exclude, &ours.as_slice(), &names]).await?;

    let mut schemas: BTreeMap<String, Vec<Relation>> = BTreeMap::new();
    for row in &rows {
        let of_schema = schemas.entry(row.try_get("nspname")?).or_default();
        of_schema.extend(Relation::read(row)?);
    }
    let oids: Vec<u32> = schemas.values().flatten().filter(|r| r.is_table()).map(|r| r.oid).collect();
    let mut columns = columns(client, &oids).await?;
    let mut identities = identities(client, &oids).await?;
    let (mut display_names, problems) = match &config.tenants.registry {
        Some(registry) => registered_names(client, registry).await?,
        None => (BTreeMap::new(), Vec::new()),
    };

    let mut discovery = Discovery { problems, ..Discovery::default() };
    for (schema, relations) in schemas {
        if relations.is_empty() {
            discovery.without_tables.push(schema);
            continue;
        }
        let display_name = display_names.remove(&schema).unwrap_or_else(|| schema.clone());
        let mut found: BTreeMap<String, (Relation, StoreTable)> = BTreeMap::new();
        for relation in relations {
            let table = StoreTable {
                oid: relation.oid,
                name: relation.name.clone(),
                partitioned: relation.kind == b'p',
                owned: relation.owned,
                owner: relation.owner.clone(),
                columns: columns.remove(&relation.oid).unwrap_or_default(),
                identities: identities.remove(&relation.oid).unwrap_or_default(),
            };
            found.insert(relation.name.clone(), (relation, table));
        }
        discovery.stores.push(store(config, &role, schema, display_name, found));
    }
    Ok(discovery)
}

/// A relation that bears a mapped name.
#[derive(Debug)]
pub(super) struct Relation {
    pub oid: u32,
    pub name: String,
    pub kind: u8,
    pub persistence: u8,
    pub has_children: bool,
    pub rows_hidden: bool,
    pub schema_usable: bool,
    owned: bool,
    owner: String,
}

impl Relation {
    fn read(row: &Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let Some(oid) = row.try_get("oid")? else { return Ok(None) };
        Ok(Some(Self {
            oid,
            name: row.try_get("relname")?,
            kind: row.try_get::<_, i8>("relkind")?.cast_unsigned(),
            persistence: row.try_get::<_, i8>("relpersistence")?.cast_unsigned(),
            has_children: row.try_get("has_children")?,
            rows_hidden: row.try_get("rows_hidden")?,
            schema_usable: row.try_get("usable")?,
            owned: row.try_get("owned")?,
            owner: row.try_get("owner")?,
        }))
    }

    fn is_table(&self) -> bool {
        matches!(self.kind, b'r' | b'p')
    }
}

fn store(
    config: &Config,
    role: &str,
    schema: String,
    display_name: String,
    found: BTreeMap<String, (Relation, StoreTable)>,
) -> StoreTables {
    let mapping = &config.mapping;
    let has = |kind: TableKind| mapping.tables.get(&kind).is_some_and(|t| found.contains_key(&t.table));
    let stock_source = match config.inventory.stock_source {
        StockSource::Movements => ResolvedStock::Movements,
        StockSource::Batches => ResolvedStock::Batches,
        StockSource::Auto if has(TableKind::StockMovement) => ResolvedStock::Movements,
        StockSource::Auto => ResolvedStock::Batches,
    };
    let unused = match stock_source {
        ResolvedStock::Movements => TableKind::Batch,
        ResolvedStock::Batches => TableKind::StockMovement,
    };
    let must_have = |kind: TableKind| {
        let explicit = match config.inventory.stock_source {
            StockSource::Auto => None,
            StockSource::Movements => Some(TableKind::StockMovement),
            StockSource::Batches => Some(TableKind::Batch),
        };
        !kind.optional() || explicit == Some(kind)
    };
    let mut store = StoreTables {
        display_name,
        tables: BTreeMap::new(),
        missing_optional: Vec::new(),
        stock_source,
        problems: Vec::new(),
        unreadable: false,
        schema,
    };
    let mut unreadable = Vec::new();
    for kind in TableKind::ALL {
        let Some(mapped) = mapping.tables.get(&kind).filter(|_| kind != unused) else { continue };
        // One table may play several parts.
        match found.get(&mapped.table) {
            Some((relation, table)) => {
                let (problems, readable) =
                    super::mapped::problems(role, &store.schema, kind, mapped, relation, table);
                for problem in problems {
                    if !store.problems.contains(&problem) {
                        store.problems.push(problem);
                    }
                }
                let name = qualified(&store.schema, &table.name);
                if !readable && !unreadable.contains(&name) {
                    unreadable.push(name);
                }
                if relation.is_table() {
                    store.tables.insert(kind, table.clone());
                }
            }
            None if must_have(kind) => store.problems.push(Problem::new(
                format!("{} is missing, the table for {kind}", qualified(&store.schema, &mapped.table)),
                format!(
                    "-- name the table in [source.tables.{kind}], or leave the schema out with [tenants] exclude = [{:?}]",
                    store.schema
                ),
            )),
            None => store.missing_optional.push(kind),
        }
    }
    store.problems.extend(super::mapped::mixed_keys(config, &store));
    if !unreadable.is_empty() {
        store.unreadable = true;
        store.problems.push(Problem::new(
            format!("our role may not read {} of its tables", unreadable.len()),
            format!(
                "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT ON {} TO {role};",
                ident(&store.schema),
                unreadable.join(", ")
            ),
        ));
    }
    store
}

async fn columns(client: &Client, oids: &[u32]) -> Result<BTreeMap<u32, Vec<StoreColumn>>, tokio_postgres::Error> {
    let mut found: BTreeMap<u32, Vec<StoreColumn>> = BTreeMap::new();
    for row in client.query(include_str!("../../sql/catalog/columns.sql"), &[&oids]).await? {
        found.entry(row.try_get("attrelid")?).or_default().push(StoreColumn {
            name: row.try_get("attname")?,
            number: row.try_get("attnum")?,
            type_oid: row.try_get("atttypid")?,
            type_name: row.try_get("type_name")?,
            not_null: row.try_get("not_null")?,
            is_enum: row.try_get("is_enum")?,
            labels: row.try_get("labels")?,
            is_citext: row.try_get("is_citext")?,
            generated: row.try_get("generated")?,
            readable: row.try_get("readable")?,
        });
    }
    Ok(found)
}

/// Display names by schema; privileges are looked at first, since an error would end the caller's transaction.
async fn registered_names(
    client: &Client,
    registry: &Registry,
) -> Result<(BTreeMap<String, String>, Vec<Problem>), tokio_postgres::Error> {
    let name = qualified(&registry.schema, &registry.table);
    let problem = |what: String, fix: String| Ok((BTreeMap::new(), vec![Problem::new(what, fix)]));
    let looked = client
        .query_opt(
            "SELECT c.oid, has_schema_privilege(n.oid, 'USAGE') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2",
            &[&registry.schema, &registry.table],
        )
        .await?;
    let Some(row) = looked else {
        return problem(format!("the registry {name} does not exist"), "-- set [tenants] registry".to_string());
    };
    let (oid, usable): (u32, bool) = (row.try_get(0)?, row.try_get(1)?);
    let columns = columns(client, &[oid]).await?.remove(&oid).unwrap_or_default();
    for (wanted, key) in
        [(&registry.schema_column, "registry_schema_column"), (&registry.name_column, "registry_name_column")]
    {
        match columns.iter().find(|c| c.name == *wanted) {
            None => {
                return problem(
                    format!("the registry {name} has no column {wanted:?}"),
                    format!("-- set [tenants] {key}"),
                );
            }
            Some(column) if !(column.readable && usable) => {
                let role = super::mapped::role(client).await?;
                let fix = format!(
                    "GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT ON {name} TO {role};",
                    ident(&registry.schema)
                );
                return problem(format!("the registry {name} cannot be read"), fix);
            }
            Some(_) => {}
        }
    }
    let (schema, display) = (ident(&registry.schema_column), ident(&registry.name_column));
    let query =
        format!("SELECT {schema}::text, {display}::text FROM {name} WHERE {schema} IS NOT NULL AND {display} <> ''");
    let mut names = BTreeMap::new();
    for row in client.query(&query, &[]).await? {
        names.insert(row.try_get(0)?, row.try_get(1)?);
    }
    Ok((names, Vec::new()))
}
