//! Replica identity: whether the POS's own UPDATE and DELETE still work once a table is published, and whether they
//! tell us which row it was.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::sql::qualified;

/// How a table, or one leaf of a partitioned table, identifies its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The columns of the primary key or of the chosen unique index.
    Key(Vec<String>),
    Full,
    /// No primary key, or NOTHING: with such a table in a publication every UPDATE and DELETE of it fails.
    Unusable,
}

/// The identity of one table with rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafIdentity {
    pub oid: u32,
    pub schema: String,
    pub table: String,
    /// A foreign table cannot be replicated at all.
    pub foreign: bool,
    /// Another number: its rows were written anew without the log saying what became of them.
    pub storage: u32,
    pub identity: Identity,
}

/// The identities behind each of these relations, by oid: one for a plain table, one per leaf of a partitioned one.
///
/// # Errors
/// What the server says.
pub async fn identities(
    client: &Client,
    oids: &[u32],
) -> Result<BTreeMap<u32, Vec<LeafIdentity>>, tokio_postgres::Error> {
    let mut found: BTreeMap<u32, Vec<LeafIdentity>> = BTreeMap::new();
    for row in client.query(include_str!("../../sql/catalog/identity.sql"), &[&oids]).await? {
        let mode: i8 = row.try_get("relreplident")?;
        let kind: i8 = row.try_get("relkind")?;
        let columns: Option<Vec<String>> = row.try_get("columns")?;
        let identity = match (mode.cast_unsigned(), columns) {
            (b'f', _) => Identity::Full,
            (b'd' | b'i', Some(columns)) => Identity::Key(columns),
            _ => Identity::Unusable,
        };
        let leaf = LeafIdentity {
            oid: row.try_get("oid")?,
            schema: row.try_get("nspname")?,
            table: row.try_get("relname")?,
            foreign: kind.cast_unsigned() == b'f',
            storage: row.try_get("relfilenode")?,
            identity,
        };
        found.entry(row.try_get("root")?).or_default().push(leaf);
    }
    Ok(found)
}

impl LeafIdentity {
    /// Whether the table may be published without breaking the POS's writes.
    pub fn publishable(&self) -> bool {
        !self.foreign && self.identity != Identity::Unusable
    }

    /// What stands in the way of following this table by `key`, with the statement that mends it.
    pub fn problem(&self, key: &str) -> Option<(String, String)> {
        let name = qualified(&self.schema, &self.table);
        let full = format!("ALTER TABLE {name} REPLICA IDENTITY FULL;");
        match &self.identity {
            _ if self.foreign => Some((
                format!("{name} is a foreign table; its changes are not in this server's log"),
                "-- keep the rows in a table of this server".to_string(),
            )),
            Identity::Unusable => Some((
                format!("{name} has no usable replica identity; published, the POS's own UPDATE and DELETE would fail"),
                format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;  -- with a primary key; without one: {full}"),
            )),
            Identity::Key(columns) if !columns.iter().any(|c| c == key) => Some((
                format!("the replica identity of {name} lacks column {key:?}, by which its rows are known"),
                full,
            )),
            Identity::Key(_) | Identity::Full => None,
        }
    }
}
