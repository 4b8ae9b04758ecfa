//! One store's connection: statements prepared once, run in the store's schema, each a transaction unless told otherwise.

use std::collections::HashMap;

use postgres_types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::pos::quoted;

pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What went wrong at the POS database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the shop has no {0}")]
    Empty(&'static str),
}

/// The client's own text says only "db error"; the reason is in its source.
fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}: {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

pub struct Store {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    /// The store has a stock ledger.
    pub ledger: bool,
}

impl Store {
    /// Connects without TLS and makes the store's schema the current one.
    ///
    /// # Errors
    /// The database cannot be reached or the schema has no POS tables.
    pub async fn connect(config: &Config, schema: &str) -> Result<Self, Error> {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection of the shop ended");
            }
        });
        client.batch_execute(&format!("SET search_path TO {}", quoted(schema))).await?;
        let row = client.query_one("SELECT to_regclass('products_stock_movement') IS NOT NULL", &[]).await?;
        let ledger = row.try_get(0)?;
        Ok(Store { client, statements: HashMap::new(), ledger })
    }

    async fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    /// Runs a statement; gives the number of rows it touched.
    pub async fn run(&mut self, sql: &'static str, params: Params<'_>) -> Result<u64, Error> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.execute(&statement, params).await?)
    }

    pub async fn rows(&mut self, sql: &'static str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query(&statement, params).await?)
    }

    /// Runs a statement that returns one key.
    pub async fn id(&mut self, sql: &'static str, params: Params<'_>) -> Result<i64, Error> {
        let statement = self.prepared(sql).await?;
        Ok(self.client.query_one(&statement, params).await?.try_get(0)?)
    }

    /// The next `count` values of a table's identity column.
    pub async fn next_ids(&mut self, table: &str, count: usize) -> Result<Vec<i64>, Error> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let sql = "SELECT nextval(pg_get_serial_sequence($1, 'id')) FROM generate_series(1, $2::bigint)";
        self.rows(sql, &[&table, &count]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    pub async fn begin(&mut self) -> Result<(), Error> {
        Ok(self.client.batch_execute("BEGIN").await?)
    }

    pub async fn commit(&mut self) -> Result<(), Error> {
        Ok(self.client.batch_execute("COMMIT").await?)
    }
}
