//! The publication: exactly the mapped tables of the healthy stores, published through their partition root. Never all
//! tables, never a table whose publication would break the POS's own writes, never ours.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::admin;
use super::catalog::StoreTables;
use crate::config::Config;
use crate::sql::{ident, qualified};

/// Each statement is tried this often when the POS holds the lock.
const ATTEMPTS: u32 = 20;
/// Between two tries the POS has the table for itself, at least as long as we made it wait.
const PAUSE_AT_LEAST: Duration = Duration::from_millis(200);

pub(super) const OPTIONS: &str = "publish = 'insert, update, delete, truncate', publish_via_partition_root = true";

#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    #[error(
        "our role may not publish {what}; let an administrator run: tillstream init --admin-url URL, once for all stores, \
         or its owner: {statement}"
    )]
    NotOwner { what: String, statement: String },
    #[error("{what} stayed locked by the POS for {attempts} tries of {} ms; try again later, or raise lock_timeout", .timeout.as_millis())]
    Locked { what: String, attempts: u32, timeout: Duration },
    #[error("publication {name:?} is FOR ALL TABLES or FOR TABLES IN SCHEMA, which could break the POS's own writes; run: DROP PUBLICATION {};", ident(.name))]
    Foreign { name: String },
    #[error("publication: {statement}: {}", crate::told::describe(.source))]
    Server { statement: String, source: tokio_postgres::Error },
}

/// How the publication differs from what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    pub exists: bool,
    /// Our role may alter it.
    pub owned: bool,
    pub owner: String,
    /// FOR ALL TABLES, or with schemas.
    pub too_wide: bool,
    pub options_wrong: bool,
    /// Quoted names of tables to add: those of healthy stores.
    pub add: Vec<String>,
    /// Quoted names of tables to drop: not mapped, harmful to the POS, or published by halves.
    pub drop: Vec<String>,
    /// What is published: oid of the table -> oid of its entry. Another entry: for a while the table was not published.
    pub entries: BTreeMap<u32, u32>,
    /// Changes with every change of the options: for a while some changes may not have been published.
    pub generation: String,
}

impl Drift {
    pub fn none(&self) -> bool {
        self.exists && !self.too_wide && !self.options_wrong && self.add.is_empty() && self.drop.is_empty()
    }

    /// The statements that mend it.
    pub fn statements(&self, publication: &str) -> Vec<String> {
        let name = ident(publication);
        if !self.exists || self.too_wide {
            let tables =
                if self.add.is_empty() { String::new() } else { format!(" FOR TABLE {}", self.add.join(", ")) };
            let create = format!("CREATE PUBLICATION {name}{tables} WITH ({OPTIONS});");
            return if self.too_wide { vec![format!("DROP PUBLICATION {name};"), create] } else { vec![create] };
        }
        let mut statements = Vec::new();
        if self.options_wrong {
            statements.push(format!("ALTER PUBLICATION {name} SET ({OPTIONS});"));
        }
        statements.extend(self.drop.iter().map(|t| format!("ALTER PUBLICATION {name} DROP TABLE {t};")));
        statements.extend(self.add.iter().map(|t| format!("ALTER PUBLICATION {name} ADD TABLE {t};")));
        statements
    }
}

/// What [`ensure`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    pub created: bool,
    /// Quoted names.
    pub added: Vec<String>,
    pub dropped: Vec<String>,
}

/// Compares the publication with the stores. A published table of a store that became unhealthy stays in it as long as
/// that harms nobody: to drop it would lose changes that a mended store needs.
///
/// # Errors
/// What the server says.
pub async fn drift(client: &Client, config: &Config, stores: &[StoreTables]) -> Result<Drift, tokio_postgres::Error> {
    let mut wanted: BTreeMap<u32, String> = BTreeMap::new();
    let mut allowed: BTreeMap<u32, String> = BTreeMap::new();
    for store in stores {
        for table in store.tables.values() {
            let name = qualified(&store.schema, &table.name);
            if store.publishable() {
                wanted.insert(table.oid, name);
            } else if table.publishable() {
                allowed.insert(table.oid, name);
            }
        }
    }
    // FOR TABLES IN SCHEMA came with version 15; before it there is no such catalogue to look into.
    let with_schemas: bool = client
        .query_one("SELECT to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL", &[])
        .await?
        .try_get(0)?;
    let has_schemas =
        if with_schemas { "EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid)" } else { "false" };
    let query = include_str!("../../sql/catalog/publication.sql").replace("{has_schemas}", has_schemas);
    let Some(row) = client.query_opt(&query, &[&config.source.publication]).await? else {
        return Ok(Drift { add: wanted.into_values().collect(), ..Drift::default() });
    };
    let published: Vec<u32> = row.try_get("tables")?;
    let entries: Vec<u32> = row.try_get("entries")?;
    let names: Vec<String> = row.try_get("names")?;
    let halves: Vec<u32> = row.try_get("filtered")?;
    let mut drift = Drift {
        exists: true,
        owned: row.try_get("owned")?,
        owner: row.try_get("owner")?,
        too_wide: row.try_get("too_wide")?,
        options_wrong: !row.try_get::<_, bool>("options_right")?,
        entries: published.iter().copied().zip(entries).collect(),
        generation: row.try_get("generation")?,
        ..Drift::default()
    };
    for (oid, name) in published.iter().zip(names) {
        if halves.contains(oid) || !(wanted.contains_key(oid) || allowed.contains_key(oid)) {
            drift.drop.push(name);
        }
    }
    drift.add = wanted
        .into_iter()
        .filter(|(oid, _)| drift.too_wide || halves.contains(oid) || !published.contains(oid))
        .map(|(_, name)| name)
        .collect();
    Ok(drift)
}

/// Creates the publication, or adds and drops what drifted: one table per transaction, each under the configured
/// lock timeout, tried again while the POS holds the lock.
///
/// # Errors
/// [`PublicationError`], with what to do. What was done before it stays done; run it again.
pub async fn ensure(client: &Client, config: &Config, stores: &[StoreTables]) -> Result<Changes, PublicationError> {
    let publication = &config.source.publication;
    let server = |source| PublicationError::Server { statement: "reading the catalogue".to_string(), source };
    let drift = drift(client, config, stores).await.map_err(server)?;
    let mut changes = Changes::default();
    if drift.too_wide {
        return Err(PublicationError::Foreign { name: publication.clone() });
    }
    if !drift.exists {
        for statement in drift.statements(publication) {
            alter(client, config, Alteration::new("the mapped tables", statement)).await?;
        }
        changes.created = true;
        changes.added = drift.add;
        return Ok(changes);
    }
    mend(client, config, &drift).await?;
    add(client, config, &drift.add).await?;
    (changes.added, changes.dropped) = (drift.add, drift.drop);
    Ok(changes)
}

/// Puts the options right and takes out what must not be published; adds nothing.
///
/// # Errors
/// As [`ensure`].
pub async fn mend(client: &Client, config: &Config, drift: &Drift) -> Result<(), PublicationError> {
    let name = ident(&config.source.publication);
    if drift.options_wrong {
        let statement = format!("ALTER PUBLICATION {name} SET ({OPTIONS});");
        let call = Some(admin::call(config, "mend_options", None));
        alter(client, config, Alteration { call, ..Alteration::new(&name, statement) }).await?;
    }
    for table in &drift.drop {
        let statement = format!("ALTER PUBLICATION {name} DROP TABLE {table};");
        let call = Some(admin::call(config, "withdraw", Some(table)));
        alter(client, config, Alteration { call, ..Alteration::new(table, statement) }).await?;
    }
    Ok(())
}

/// Publishes tables, given by their quoted names.
///
/// # Errors
/// As [`ensure`].
pub async fn add(client: &Client, config: &Config, tables: &[String]) -> Result<(), PublicationError> {
    let name = ident(&config.source.publication);
    for table in tables {
        // On many minor versions a transaction that wrote the table before it was published makes the server take the
        // table for unpublished from then on: hold writers off until those that are open have ended.
        let lock = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;");
        let statement = format!("ALTER PUBLICATION {name} ADD TABLE {table};");
        let call = Some(admin::call(config, "publish", Some(table)));
        alter(client, config, Alteration { lock, call, ..Alteration::new(table, statement) }).await?;
    }
    Ok(())
}

/// The statements that [`ensure`] would run.
///
/// # Errors
/// What the server says.
pub async fn print_sql(
    client: &Client,
    config: &Config,
    stores: &[StoreTables],
) -> Result<Vec<String>, tokio_postgres::Error> {
    Ok(drift(client, config, stores).await?.statements(&config.source.publication))
}

/// Drops the publication; false where there was none.
///
/// # Errors
/// [`PublicationError::NotOwner`] with the statement for its owner.
pub async fn drop(client: &Client, config: &Config) -> Result<bool, PublicationError> {
    let publication = &config.source.publication;
    let server = |source| PublicationError::Server { statement: "reading the catalogue".to_string(), source };
    let query = "SELECT FROM pg_publication WHERE pubname = $1";
    if client.query_opt(query, &[publication]).await.map_err(server)?.is_none() {
        return Ok(false);
    }
    let name = ident(publication);
    alter(client, config, Alteration::new(&name, format!("DROP PUBLICATION {name};"))).await?;
    Ok(true)
}

/// One change of the publication.
struct Alteration {
    what: String,
    /// Taken before it, in the same transaction.
    lock: String,
    statement: String,
    /// The same by an administrator's function, where our role owns neither publication nor tables.
    call: Option<String>,
}

impl Alteration {
    fn new(what: &str, statement: String) -> Alteration {
        Alteration { what: what.to_string(), lock: String::new(), statement, call: None }
    }

    /// Such scripts as keep the pos waiting do so from when their lock is asked for until the commit: half the time for
    /// each part. What a standby takes to confirm the commit is no part of it.
    fn script(&self, called: bool, timeout: Duration) -> String {
        let (whole, half) = (timeout.as_millis(), (timeout / 2).max(Duration::from_millis(1)).as_millis());
        let begin = "BEGIN; SET LOCAL synchronous_commit = local;";
        match &self.call {
            Some(call) if called => {
                format!("{begin} SET LOCAL lock_timeout = {half}; SET LOCAL statement_timeout = {whole}; {call} COMMIT")
            }
            _ if self.lock.is_empty() => format!("{begin} SET LOCAL lock_timeout = {whole}; {} COMMIT", self.statement),
            _ => format!(
                "{begin} SET LOCAL lock_timeout = {half}; {} SET LOCAL statement_timeout = {half}; {} COMMIT",
                self.lock, self.statement
            ),
        }
    }
}

async fn alter(client: &Client, config: &Config, change: Alteration) -> Result<(), PublicationError> {
    let timeout = config.source.lock_timeout;
    let mut called = false;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let Err(source) = client.batch_execute(&change.script(called, timeout)).await else { return Ok(()) };
        // The failed script left its transaction open.
        let server = |source| PublicationError::Server { statement: change.statement.clone(), source };
        client.batch_execute("ROLLBACK").await.map_err(server)?;
        match source.code() {
            Some(code)
                if [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::QUERY_CANCELED]
                    .contains(code) =>
            {
                attempt += 1;
                tracing::debug!(what = %change.what, attempt, "locked by the pos, trying again");
                tokio::time::sleep(timeout.max(PAUSE_AT_LEAST)).await;
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE && !called && change.call.is_some() => {
                called = true
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE || called && admin::not_ours(&source) => {
                return Err(PublicationError::NotOwner { what: change.what, statement: change.statement });
            }
            _ => return Err(server(source)),
        }
    }
    Err(PublicationError::Locked { what: change.what, attempts: ATTEMPTS, timeout })
}
