//! The POS's database with a past of a given size.

use anyhow::Result;
use postgres::Client;
use tillstream::demo::pos;

use crate::lab::{DATABASE, Lab};

const WORLD: &str = include_str!("sql/world.sql");
const SEED: &str = include_str!("sql/seed.sql");
const BARE: &str = include_str!("sql/bare.sql");
/// Of the past, in days.
const DAYS: u64 = 180;

/// How large it is. Products and customers are each store's.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub stores: u64,
    /// Sales of past days, of all stores together.
    pub history: u64,
    /// Sales of today, likewise.
    pub today: u64,
    pub products: u64,
    pub customers: u64,
    /// Of 100 sales so many have a customer.
    pub with_customer: u64,
    /// The stock is kept in a ledger; else in batches.
    pub ledger: bool,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale {
            stores: 1,
            history: 200_000,
            today: 1000,
            products: 2000,
            customers: 5000,
            with_customer: 50,
            ledger: true,
        }
    }
}

impl Scale {
    pub fn schemas(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.stores).map(|store| format!("tenant_{store}"))
    }

    /// The probe's own product and customer in the first store.
    pub fn probe_product(&self) -> u64 {
        self.products + 1
    }

    pub fn probe_customer(&self) -> u64 {
        self.customers + 1
    }

    /// Fills in what statements leave open.
    pub fn fill(&self, sql: &str, schema: &str, zone: &str) -> String {
        let numbers = [
            ("{history}", self.history / self.stores),
            ("{today}", self.today / self.stores),
            ("{products}", self.products),
            ("{customers}", self.customers),
            ("{percent}", self.with_customer),
            ("{days}", DAYS),
            ("{product}", self.probe_product()),
            ("{customer}", self.probe_customer()),
        ];
        let text = sql.replace("{schema}", schema).replace("{zone}", zone);
        numbers.iter().fold(text, |text, (name, number)| text.replace(name, &number.to_string()))
    }
}

impl Lab {
    /// Creates the database and everything that happened in it so far.
    pub fn create_world(&self, scale: &Scale) -> Result<()> {
        self.connect_to("postgres", "postgres")?.batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        let mut client = self.connect("postgres")?;
        client.batch_execute(WORLD)?;
        for schema in scale.schemas() {
            client.batch_execute(&pos::store_sql(&schema))?;
            client.batch_execute(&scale.fill(SEED, &schema, &self.zone))?;
            if !scale.ledger {
                client.batch_execute(&format!("DROP TABLE {schema}.products_stock_movement"))?;
            }
        }
        tidy(&mut client)?;
        recycle(&mut client)
    }

    /// Another database with copies of the first one's tables; `bare`: with primary keys and nothing else.
    pub fn create_copies(&self, name: &str, bare: bool) -> Result<()> {
        self.connect_to("postgres", "postgres")?
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {DATABASE}"))?;
        let mut client = self.connect_to(name, "postgres")?;
        if bare {
            client.batch_execute(BARE)?;
        }
        tidy(&mut client)
    }
}

/// Statistics, visibility and hint bits as in a database that has been running for a while.
pub fn tidy(client: &mut Client) -> Result<()> {
    client.batch_execute("VACUUM (ANALYZE)")?;
    Ok(client.batch_execute("CHECKPOINT")?)
}

/// WAL files to be used again, as of a server that has been running for a while: to make a new one takes whoever needs it
/// some thirty milliseconds, and everybody waits.
fn recycle(client: &mut Client) -> Result<()> {
    const FILES: usize = 48;
    for _ in 0..FILES {
        client.batch_execute("SELECT pg_logical_emit_message(false, '', ''); SELECT pg_switch_wal()")?;
    }
    Ok(client.batch_execute("CHECKPOINT")?)
}
