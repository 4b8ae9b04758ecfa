//! Numbered migrations of the report schema and the state schema, all that are missing in one transaction under an
//! advisory lock, so that two processes that upgrade at once do it once.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Transaction};

use crate::sql::{ident, literal};

/// One step; files are never changed once released.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    pub version: i32,
    pub name: &'static str,
    sql: &'static str,
}

/// Every step in order, numbered from 1 without gaps.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "reports", sql: include_str!("../../sql/migrations/0001_reports.sql") },
    Migration { version: 2, name: "state", sql: include_str!("../../sql/migrations/0002_state.sql") },
    Migration { version: 3, name: "rows", sql: include_str!("../../sql/migrations/0003_rows.sql") },
    Migration { version: 4, name: "jobs", sql: include_str!("../../sql/migrations/0004_jobs.sql") },
    Migration { version: 5, name: "readers", sql: include_str!("../../sql/migrations/0005_readers.sql") },
    Migration { version: 6, name: "views", sql: include_str!("../../sql/migrations/0006_views.sql") },
    Migration { version: 7, name: "functions", sql: include_str!("../../sql/migrations/0007_functions.sql") },
    Migration { version: 8, name: "compat", sql: include_str!("../../sql/migrations/0008_compat.sql") },
    Migration { version: 9, name: "comments", sql: include_str!("../../sql/migrations/0009_comments.sql") },
    Migration {
        version: 10,
        name: "state_comments",
        sql: include_str!("../../sql/migrations/0010_state_comments.sql"),
    },
    Migration { version: 11, name: "verification", sql: include_str!("../../sql/migrations/0011_verification.sql") },
    Migration { version: 12, name: "live_sums", sql: include_str!("../../sql/migrations/0012_live_sums.sql") },
    Migration { version: 13, name: "source_keys", sql: include_str!("../../sql/migrations/0013_source_keys.sql") },
    Migration { version: 14, name: "verified", sql: include_str!("../../sql/migrations/0014_verified.sql") },
    Migration { version: 15, name: "missing", sql: include_str!("../../sql/migrations/0015_missing.sql") },
    Migration { version: 16, name: "latest", sql: include_str!("../../sql/migrations/0016_latest.sql") },
    Migration { version: 17, name: "credit", sql: include_str!("../../sql/migrations/0017_credit.sql") },
    Migration { version: 18, name: "askers", sql: include_str!("../../sql/migrations/0018_askers.sql") },
    Migration { version: 19, name: "appended", sql: include_str!("../../sql/migrations/0019_appended.sql") },
];
const BOOTSTRAP: &str = include_str!("../../sql/migrations/0000_bootstrap.sql");

/// The version this program writes.
pub fn latest() -> i32 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "schema {schema:?} is at version {found}, this program knows versions up to {known}; install the newer program"
    )]
    Newer { schema: String, found: i32, known: i32 },
    #[error("schema {schema:?} is at version {found}, this program needs {known}; run: tillstream init")]
    Older { schema: String, found: i32, known: i32 },
    #[error("the role may not create schema {schema:?}; let a superuser run: {statement}")]
    NoSchema { schema: String, statement: String },
    #[error("schema {schema:?} belongs to another role; let a superuser run: ALTER SCHEMA {} OWNER TO {role};", ident(.schema))]
    NotOwner { schema: String, role: String },
    #[error(
        "schema {schema:?} holds table {table:?} that tillstream did not make; set [target] schema to another name"
    )]
    Occupied { schema: String, table: String },
    #[error("migration {step}: {}", crate::told::describe(.source))]
    Server { step: String, source: tokio_postgres::Error },
}

/// What [`migrate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// 0: there was nothing.
    pub from: i32,
    pub to: i32,
}

fn fill(sql: &str, schema: &str) -> String {
    sql.replace("{reports}", &ident(schema)).replace("{state}", &ident(&format!("{schema}_state")))
}

fn failed(step: &str) -> impl FnOnce(tokio_postgres::Error) -> MigrateError {
    let step = step.to_string();
    move |source| MigrateError::Server { step, source }
}

/// The version the schema is at; 0 where it was never set up (or this role may not see it).
///
/// # Errors
/// What the server says.
pub async fn version(client: &impl GenericClient, schema: &str) -> Result<i32, MigrateError> {
    let state = format!("{schema}_state");
    let there = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = 'migration')",
            &[&state],
        )
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(failed("reading the version"))?;
    if !there {
        return Ok(0);
    }
    let query = fill("SELECT coalesce(max(version), 0) FROM {state}.migration", schema);
    client.query_one(&query, &[]).await.and_then(|row| row.try_get(0)).map_err(failed("reading the version"))
}

/// Refuses a schema that is older or newer than this program.
///
/// # Errors
/// [`MigrateError::Older`] and [`MigrateError::Newer`], each with what to do.
pub async fn require_latest(client: &Client, schema: &str) -> Result<(), MigrateError> {
    let (found, known, schema) = (version(client, schema).await?, latest(), schema.to_string());
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(MigrateError::Older { schema, found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(MigrateError::Newer { schema, found, known }),
    }
}

/// Creates or upgrades both schemas, in one transaction: whatever goes wrong, the old version is there as it was, and
/// the older program still runs on it.
///
/// # Errors
/// [`MigrateError`]; nothing has changed then.
pub async fn migrate(client: &mut Client, schema: &str) -> Result<Migrated, MigrateError> {
    let tx = locked(client, schema).await?;
    let (from, to) = (version(&tx, schema).await?, latest());
    if from > to {
        return Err(MigrateError::Newer { schema: schema.to_string(), found: from, known: to });
    }
    if from == to {
        return Ok(Migrated { from, to });
    }
    for name in [schema.to_string(), format!("{schema}_state")] {
        ensure_schema(&tx, &name).await?;
    }
    tx.batch_execute(&fill(BOOTSTRAP, schema)).await.map_err(failed("0000_bootstrap"))?;
    for migration in MIGRATIONS.iter().filter(|m| m.version > from) {
        let step = format!("{:04}_{}", migration.version, migration.name);
        tx.batch_execute(&fill(migration.sql, schema)).await.map_err(|source| explain(schema, &step, source))?;
        let insert = fill("INSERT INTO {state}.migration (version, name) VALUES ($1, $2)", schema);
        tx.execute(&insert, &[&migration.version, &migration.name]).await.map_err(failed(&step))?;
    }
    tx.commit().await.map_err(failed("commit"))?;
    tracing::info!(schema, from, to, "the report schema is up to date");
    Ok(Migrated { from, to })
}

/// Everything a fresh installation runs, or what is left from version `from` on up to `to`; one transaction.
pub fn print_sql(schema: &str, from: i32, to: i32) -> String {
    let mut script = String::from("BEGIN;\n");
    if from == 0 {
        for name in [schema.to_string(), format!("{schema}_state")] {
            script += &format!("CREATE SCHEMA IF NOT EXISTS {};\n", ident(&name));
        }
        script += &fill(BOOTSTRAP, schema);
    }
    for migration in MIGRATIONS.iter().filter(|m| m.version > from && m.version <= to) {
        let record = format!(
            "INSERT INTO {{state}}.migration (version, name) VALUES ({}, {});",
            migration.version,
            literal(migration.name)
        );
        script += &format!("\n{}{}\n", fill(migration.sql, schema), fill(&record, schema));
    }
    script + "COMMIT;\n"
}

async fn locked<'c>(client: &'c mut Client, schema: &str) -> Result<Transaction<'c>, MigrateError> {
    let tx = client.transaction().await.map_err(failed("lock"))?;
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('tillstream migrate ' || $1, 0))";
    tx.execute(lock, &[&schema]).await.map_err(failed("lock"))?;
    Ok(tx)
}

/// `CREATE SCHEMA IF NOT EXISTS` asks for the right to create even where the schema is there: look first, so that a
/// role without that right can use schemas made for it.
async fn ensure_schema(tx: &Transaction<'_>, schema: &str) -> Result<(), MigrateError> {
    let owned = tx
        .query_opt(
            "SELECT pg_has_role(nspowner, 'USAGE') OR has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1",
            &[&schema],
        )
        .await
        .map_err(failed("schemas"))?;
    let role = || async {
        let row = tx.query_one("SELECT current_user::text", &[]).await.map_err(failed("schemas"))?;
        row.try_get::<_, String>(0).map(|name| ident(&name)).map_err(failed("schemas"))
    };
    match owned {
        Some(row) if row.try_get::<_, bool>(0).map_err(failed("schemas"))? => Ok(()),
        Some(_) => Err(MigrateError::NotOwner { schema: schema.to_string(), role: role().await? }),
        None => {
            let role = role().await?;
            match tx.batch_execute(&format!("CREATE SCHEMA {}", ident(schema))).await {
                Ok(()) => Ok(()),
                Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Err(MigrateError::NoSchema {
                    schema: schema.to_string(),
                    statement: format!("CREATE SCHEMA {} AUTHORIZATION {role};", ident(schema)),
                }),
                Err(e) => Err(failed("schemas")(e)),
            }
        }
    }
}

fn explain(schema: &str, step: &str, source: tokio_postgres::Error) -> MigrateError {
    let taken =
        source.as_db_error().filter(|e| *e.code() == SqlState::DUPLICATE_TABLE).map(|e| e.message().to_string());
    match taken.as_deref().and_then(|message| message.split('"').nth(1)) {
        Some(table) => MigrateError::Occupied { schema: schema.to_string(), table: table.to_string() },
        None => failed(step)(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_from_one_without_gaps() {
        for (i, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(usize::try_from(migration.version), Ok(i + 1), "{}", migration.name);
        }
    }

    #[test]
    fn every_placeholder_is_filled_with_a_quoted_name() {
        let sql = print_sql("Shop reports", 0, latest());
        assert!(sql.contains("CREATE TABLE \"Shop reports\".tenant"), "{sql}");
        assert!(sql.contains("\"Shop reports_state\".position"));
        assert!(!sql.contains("{reports}") && !sql.contains("{state}"));
    }
}
