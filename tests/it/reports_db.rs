//! A database with the report schema and random report rows in it, for tests of views, readers and dashboards; and
//! plain ways to read and compare.

use rand::RngExt;
use rust_decimal::Decimal;
use tillstream::apply::migrate::migrate;
use tillstream::config::Config;
use tillstream::sql::ident;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::harness::{TestDb, connect, server};

/// NULL, as [`rows`] shows it.
pub const NULL: &str = "null";

pub struct ReportsDb {
    pub db: TestDb,
    /// As the owner of the reports.
    pub client: Client,
    pub config: Config,
}

impl ReportsDb {
    /// The migrated schema, without a row.
    pub async fn empty() -> Self {
        let db = TestDb::new().await;
        let mut client = db.client().await;
        migrate(&mut client, "analytics").await.expect("migrate");
        let config = Config::load(&db.daemon_toml("")).expect("config");
        ReportsDb { db, client, config }
    }

    /// With rows that follow from a seed; it is printed.
    pub async fn filled() -> Self {
        let this = Self::empty().await;
        let seed = f64::from(rand::rng().random_range(-1000_i32..=1000)) / 1000.0;
        println!("seed {seed}");
        let sql = include_str!("fill_reports.sql").replace("{seed}", &seed.to_string());
        this.client.batch_execute(&sql).await.expect("fill the reports");
        this
    }

    /// A login of this database's own, and a connection as it.
    pub async fn login(&self, name: &str) -> (String, Client) {
        let login = format!("{}_{name}", self.db.name);
        self.client.batch_execute(&format!("CREATE ROLE {} LOGIN", ident(&login))).await.expect("create role");
        let client = connect(&server().url_as(&login, &self.db.name)).await;
        (login, client)
    }
}

/// The rows of a query as text, numbers without trailing zeros.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    try_rows(client, sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

pub async fn try_rows(client: &Client, sql: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).map_or(NULL.to_string(), plain)).collect())
        }
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// A number without trailing zeros; anything else as it is.
pub fn plain(text: &str) -> String {
    text.parse::<Decimal>().map_or(text.to_string(), |number| number.normalize().to_string())
}

/// Half away from zero, as PostgreSQL's round.
pub fn round(number: Decimal, digits: u32) -> Decimal {
    number.round_dp_with_strategy(digits, rust_decimal::RoundingStrategy::MidpointAwayFromZero)
}
