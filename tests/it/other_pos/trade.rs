//! Somebody who trades in a POS: a connection and chance.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

pub struct Trade {
    pub client: Client,
    pub rng: ChaCha8Rng,
    pub committed: u64,
}

impl Trade {
    pub fn new(client: Client, seed: u64) -> Trade {
        Trade { client, rng: ChaCha8Rng::seed_from_u64(seed), committed: 0 }
    }

    /// The id of some row, as a number.
    pub async fn pick(&mut self, table: &str, condition: &str) -> Result<Option<i64>, Error> {
        let id = self.pick_text(table, condition).await?;
        Ok(id.map(|id| id.parse().expect("an integer key")))
    }

    /// The same as text.
    pub async fn pick_text(&mut self, table: &str, condition: &str) -> Result<Option<String>, Error> {
        let count = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let count: i64 = self.client.query_one(&count, &[]).await?.get(0);
        if count == 0 {
            return Ok(None);
        }
        let at = self.rng.random_range(0..count);
        let query = format!("SELECT id::text FROM {table} WHERE {condition} ORDER BY id LIMIT 1 OFFSET {at}");
        Ok(self.client.query_opt(&query, &[]).await?.map(|row| row.get(0)))
    }

    pub async fn run(&mut self, statement: &str) -> Result<(), Error> {
        self.commit(&[statement.to_string()]).await
    }

    /// Several statements in one transaction; one that meets another trader's is given up, as a till would.
    pub async fn commit(&mut self, statements: &[String]) -> Result<(), Error> {
        let script = format!("BEGIN;\n{};\nCOMMIT", statements.join(";\n"));
        match self.client.batch_execute(&script).await {
            Ok(()) => self.committed += 1,
            Err(e) => {
                self.client.batch_execute("ROLLBACK").await?;
                let met = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::UNIQUE_VIOLATION];
                if !e.code().is_some_and(|code| met.contains(code)) {
                    panic!("{script}\n{e:?}");
                }
            }
        }
        Ok(())
    }
}
