//! One POS transaction, spoken to in plain SQL: everything the workload writes is generated, so nothing needs binding.

use tokio_postgres::{Error, SimpleQueryMessage, Transaction};

pub struct Db<'a>(pub &'a Transaction<'a>);

impl Db<'_> {
    /// Runs one statement; the number of rows it touched.
    pub async fn run(&self, sql: &str) -> Result<u64, Error> {
        let messages = self.0.simple_query(sql).await?;
        let counts = messages.iter().map(|m| if let SimpleQueryMessage::CommandComplete(n) = m { *n } else { 0 });
        Ok(counts.sum())
    }

    /// The first column of the first row, if there is one and it is not null.
    pub async fn text(&self, sql: &str) -> Result<Option<String>, Error> {
        let messages = self.0.simple_query(sql).await?;
        Ok(messages.iter().find_map(|m| match m {
            SimpleQueryMessage::Row(row) => row.get(0).map(String::from),
            _ => None,
        }))
    }

    pub async fn id(&self, sql: &str) -> Result<Option<i64>, Error> {
        Ok(self.text(sql).await?.and_then(|t| t.parse().ok()))
    }

    /// Inserts a row; its id.
    pub async fn insert(&self, into_values: &str) -> Result<i64, Error> {
        Ok(self.id(&format!("INSERT INTO {into_values} RETURNING id")).await?.expect("an id"))
    }

    /// A row that meets `condition`, the one at `share` millionths of them, locked unless another writer has it.
    pub async fn pick(&self, share: u32, table: &str, condition: &str) -> Result<Option<i64>, Error> {
        self.id(&format!("{} FOR NO KEY UPDATE SKIP LOCKED", choose(share, table, condition))).await
    }

    /// The same for a row that is only to be named by another.
    pub async fn name(&self, share: u32, table: &str, condition: &str) -> Result<Option<i64>, Error> {
        self.id(&format!("{} FOR KEY SHARE SKIP LOCKED", choose(share, table, condition))).await
    }
}

fn choose(share: u32, table: &str, condition: &str) -> String {
    format!(
        "SELECT id FROM {table} WHERE {condition} ORDER BY id \
         OFFSET (SELECT {share} * count(*) / 1000000 FROM {table} WHERE {condition}) LIMIT 1"
    )
}
