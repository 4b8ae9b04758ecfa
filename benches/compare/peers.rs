//! Those who would keep the reports within the POS's own transactions.

use anyhow::{Context, Result};
use postgres::Client;

use crate::lab::{DATABASE, Lab};
use crate::plain;
use crate::world::{Scale, tidy};

const TABLES: &str = include_str!("sql/peer_tables.sql");
const WRONG: &str = include_str!("sql/peer_wrong.sql");
const TRIGGERS: &str = include_str!("sql/peer_triggers.sql");
const RECOMPUTE: &str = include_str!("sql/peer_recompute.sql");
const IVM: &str = include_str!("sql/peer_ivm.sql");

impl Lab {
    pub fn install_triggers(&self, scale: &Scale) -> Result<()> {
        self.install_peer(scale, TRIGGERS)
    }

    pub fn install_recompute(&self, scale: &Scale) -> Result<()> {
        self.install_peer(scale, RECOMPUTE)
    }

    fn install_peer(&self, scale: &Scale, sql: &str) -> Result<()> {
        let tables = with_queries(TABLES);
        let mut client = self.connect("postgres")?;
        for sql in [tables.as_str(), sql] {
            client.batch_execute(&scale.fill(sql, "tenant_1", &self.zone))?;
        }
        tidy(&mut client)
    }

    /// How many rows of the peers' tables are wrong by now.
    pub fn wrong_rows(&self, scale: &Scale) -> Result<f64> {
        let query = scale.fill(&with_queries(WRONG), "tenant_1", &self.zone);
        Ok(self.connect("postgres")?.query_one(&query, &[])?.try_get::<_, i64>(0)? as f64)
    }

    /// Whether the server has the extension pg_ivm.
    pub fn has_ivm(&self) -> Result<bool> {
        let query = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_ivm')";
        Ok(self.connect("postgres")?.query_one(query, &[])?.try_get(0)?)
    }

    pub fn install_ivm(&self, scale: &Scale) -> Result<()> {
        let mut client = self.connect("postgres")?;
        // Its hooks have to be there in every session; its schema has changed between releases.
        client.batch_execute(&format!(
            "ALTER DATABASE {DATABASE} SET session_preload_libraries = 'pg_ivm'; CREATE EXTENSION pg_ivm"
        ))?;
        let mut client: Client = self.connect("postgres")?;
        client.batch_execute("SET search_path TO public, pgivm, pg_catalog")?;
        client.batch_execute(&scale.fill(IVM, "tenant_1", &self.zone)).context("views of pg_ivm")?;
        tidy(&mut client)
    }
}

/// The plain queries in the place of their reports' names.
fn with_queries(sql: &str) -> String {
    plain::QUERIES.iter().fold(sql.to_string(), |sql, (report, query)| sql.replace(&format!("{{{report}}}"), query))
}
