//! POS that are not ours, each by the mapping that is shipped for it: random trade as it writes, the daemon killed again and
//! again, then every row held to the oracle and to verify, and what is falsified found.

mod keys;
mod oscar;
mod readings;
mod text_keys;
mod trade;
mod tryton;
mod vendure;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use chrono_tz::Tz;
use tokio_postgres::{Client, Error};

use crate::harness::{TestDb, tillstream, wait_until};
use crate::live::{compare_with, harass, kept_costs, live, rows_of, seeds, setting, verify};
use crate::oracle::Store;
use trade::Trade;

const PATIENCE: Duration = Duration::from_secs(60);
const STORE: &str = "public";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pos {
    Tryton,
    Vendure,
    TextKeys,
}

impl Pos {
    fn schema(self) -> &'static str {
        match self {
            Pos::Tryton => tryton::SCHEMA,
            Pos::Vendure => vendure::SCHEMA,
            Pos::TextKeys => text_keys::SCHEMA,
        }
    }

    fn zone(self) -> Tz {
        match self {
            Pos::Tryton => chrono_tz::Europe::Brussels,
            Pos::Vendure => chrono_tz::Europe::Vienna,
            Pos::TextKeys => chrono_tz::Asia::Kolkata,
        }
    }

    /// The shipped example, with what this test's tables have beside it.
    fn config(self, db: &TestDb) -> PathBuf {
        let example = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples").join(name);
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let (text, more) = match self {
            Pos::Tryton => (
                example("tryton.toml"),
                "[source.tables.stock_limits]\ntable = 'stock-order_point'\n[source.tables.stock_limits.columns]\n\
                 product_id = 'product'\nmin_quantity = 'left'\nmax_quantity = 'right'\ntrack_inventory = ''\n",
            ),
            // The shop's server is far away.
            Pos::Vendure => (
                example("vendure.toml")
                    .replace("time_zone = \"Europe/Vienna\" }", "time_zone = \"America/Sao_Paulo\" }"),
                "",
            ),
            Pos::TextKeys => (text_keys::CONFIG.to_string(), ""),
        };
        let mut table: toml::Table = text.parse().expect("the example is toml");
        let source = table.get_mut("source").and_then(|source| source.as_table_mut()).expect("[source]");
        source.remove("url");
        let tables = source.get_mut("tables").and_then(|tables| tables.as_table_mut()).expect("[source.tables]");
        let more: toml::Table = more.parse().expect("toml");
        if let Some(more) =
            more.get("source").and_then(|source| source.get("tables")).and_then(|tables| tables.as_table())
        {
            tables.extend(more.clone());
        }
        let tenants = table.get_mut("tenants").and_then(|tenants| tenants.as_table_mut()).expect("[tenants]");
        tenants.insert("registry".to_string(), "".into());
        db.daemon_toml(&table.to_string())
    }

    async fn stock_up(self, trade: &mut Trade) -> Result<(), Error> {
        match self {
            Pos::Tryton => tryton::stock_up(trade).await,
            Pos::Vendure => vendure::stock_up(trade).await,
            Pos::TextKeys => text_keys::stock_up(trade).await,
        }
    }

    async fn step(self, trade: &mut Trade) -> Result<(), Error> {
        match self {
            Pos::Tryton => tryton::step(trade).await,
            Pos::Vendure => vendure::step(trade).await,
            Pos::TextKeys => text_keys::step(trade).await,
        }
    }

    async fn load(self, client: &Client) -> Store {
        match self {
            Pos::Tryton => Store::load_tryton(client, self.zone()).await,
            Pos::Vendure => Store::load_vendure(client, vendure::SERVER).await,
            Pos::TextKeys => Store::load_text_keys(client, STORE, self.zone()).await,
        }
        .expect("load")
    }

    async fn trade(self, db: &TestDb, seed: u64, steps: usize) -> u64 {
        let mut trade = Trade::new(db.client().await, seed);
        for _ in 0..steps {
            self.step(&mut trade).await.unwrap_or_else(|e| panic!("seed {seed} {self:?}: {e:?}"));
        }
        trade.committed
    }

    /// Every row of the reports, against the oracle.
    async fn holds(self, client: &Client, context: &str) {
        let setting = setting(client, STORE, self.zone(), Utc::now(), context).await;
        let costs = kept_costs(client, STORE).await;
        let expected = self.load(client).await.reports(setting, &costs);
        for (table, rows) in [("daily", &expected.daily_sales_report), ("products", &expected.product_performance)] {
            assert!(rows.len() > 5, "{context}: {table}: too little to compare");
        }
        compare_with(client, STORE, setting, &expected, context).await;
    }
}

/// A database with the POS in it, something sold already, and `init` run.
async fn open(pos: Pos, seed: u64) -> (TestDb, Client, PathBuf) {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute(pos.schema()).await.expect("create");
    // Sessions show fewer digits than there are, unless they ask for all.
    client.batch_execute(&format!("ALTER DATABASE {} SET extra_float_digits = -3", db.name)).await.expect("set");
    let mut trade = Trade::new(db.client().await, seed * 1000);
    pos.stock_up(&mut trade).await.expect("stock up");
    pos.trade(&db, seed * 1000 + 1, 60).await;
    let config = pos.config(&db);
    let checked = tillstream(&config, &["check"]).await.expect(0);
    assert!(checked.stdout.contains("0 problems"), "{}", checked.stdout);
    tillstream(&config, &["init"]).await.expect(0);
    (db, client, config)
}

async fn prove(pos: Pos) {
    for seed in seeds(1) {
        println!("{pos:?} seed {seed}");
        let (db, client, config) = open(pos, seed).await;
        // From here on it is the stream that brings what happens.
        tillstream(&config, &["run", "--once"]).await.expect(0);
        let done = Arc::new(AtomicBool::new(false));
        let daemon = tokio::spawn({
            let (config, done) = (config.clone(), Arc::clone(&done));
            async move { harass(&config, seed, done).await }
        });
        let traders = (0..2).map(|n| pos.trade(&db, seed * 1000 + 100 + n, 400));
        let committed: u64 = futures_util::future::join_all(traders).await.iter().sum();
        done.store(true, Ordering::Relaxed);
        let (daemon, kills) = daemon.await.expect("harass");
        println!("{pos:?} seed {seed}: {committed} transactions, {kills} kills");
        wait_until("the store is live", PATIENCE, async || live(&client, 1).await).await;
        verify(&config, &client, &daemon, &format!("{pos:?} seed {seed}")).await;
        assert!(daemon.terminate(Duration::from_secs(5)).await.success());
        tillstream(&config, &["run", "--once"]).await.expect(0);
        pos.holds(&client, &format!("{pos:?} seed {seed}")).await;
        falsified(&config, &client).await;
        // The copy reads what the stream has read, to the digit.
        let before = everything(&client).await;
        tillstream(&config, &["resync"]).await.expect(0);
        tillstream(&config, &["run", "--once"]).await.expect(0);
        pos.holds(&client, &format!("{pos:?} seed {seed}, copied")).await;
        let after = everything(&client).await;
        for ((table, before), (_, after)) in before.iter().zip(&after) {
            crate::live::same(before, after, &format!("{pos:?} seed {seed} {table}: copied otherwise than streamed"));
        }
    }
}

/// What does not hang on frozen costs: all of these are the same however they came about.
async fn everything(client: &Client) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let mut all = Vec::new();
    for table in ["daily_sales_report", "customer_analytics", "inventory_snapshot"] {
        all.push((table, rows_of(client, STORE, table, "true").await));
    }
    for (table, id) in [("product", "product_id"), ("customer", "customer_id")] {
        let query = format!(
            "SELECT ARRAY[{id}::text, coalesce(source_key, '')] FROM analytics.{table} WHERE deleted_at IS NULL"
        );
        all.push((table, client.query(&query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()));
    }
    all
}

/// Every kind of row, falsified by hand, is found, and put right.
async fn falsified(config: &Path, client: &Client) {
    let falsify = [
        (
            "UPDATE analytics.daily_sales_report SET total_sales = total_sales + 0.01",
            "daily_sales_report",
            "total_sales",
        ),
        (
            "UPDATE analytics.daily_sales_report SET total_items_sold = total_items_sold - 0.001",
            "daily_sales_report",
            "total_items_sold",
        ),
        (
            "UPDATE analytics.product_performance SET total_revenue = total_revenue + 0.01",
            "product_performance",
            "total_revenue",
        ),
        (
            "UPDATE analytics.inventory_snapshot SET quantity_on_hand = quantity_on_hand + 0.001",
            "inventory_snapshot",
            "quantity_on_hand",
        ),
        ("UPDATE analytics.product SET name = name || '!'", "product", "name"),
    ];
    for (statement, table, _) in falsify {
        let today =
            if table == "inventory_snapshot" { "AND date = (SELECT today FROM analytics_state.tenant)" } else { "" };
        let kept = if table == "product" { "AND deleted_at IS NULL" } else { "" };
        let one =
            format!("{statement} WHERE ctid = (SELECT max(ctid) FROM analytics.{table} WHERE true {today} {kept})");
        assert_eq!(client.execute(&one, &[]).await.unwrap(), 1, "{one}");
    }
    let found = tillstream(config, &["verify"]).await.expect(1);
    for (_, table, column) in falsify {
        let told =
            found.stdout.lines().any(|line| line.starts_with(table) && line.contains(&format!(": {column} expected")));
        assert!(told, "{table} {column}\n{}", found.stdout);
    }
    assert!(found.stdout.contains("5 differences"), "{}", found.stdout);
    let repaired = tillstream(config, &["verify", "--repair"]).await.expect(1);
    assert!(repaired.stdout.contains("all repaired"), "{}", repaired.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_till_of_tryton() {
    prove(Pos::Tryton).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_of_vendure() {
    prove(Pos::Vendure).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_whose_keys_are_text() {
    prove(Pos::TextKeys).await;
}
