//! A simulated shop: writes the POS tables the way the POS does, sale by sale, with its habits and oddities.
//!
//! ```text
//! run ─ one task a store ─ Till::next ─┬─ checkout (till.rs)   a sale: 11 to 18 small transactions
//!                                      └─ chores  (chores.rs)  refunds, edits, deletions, customers, prices, sessions
//! ```
//! What happens is decided by a seeded generator, so a seed gives the same shop; only the clock differs.

mod chores;
mod goods;
mod past;
mod till;

use std::time::Duration;

use chrono_tz::Tz;
use tokio::sync::watch;
use tokio_postgres::Config;

pub use super::store::Error;
pub use till::Till;

/// One store of the shop; its schema exists already (see [`super::pos::create_store`]).
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub schema: String,
    pub time_zone: Tz,
}

#[derive(Debug, Clone)]
pub struct ShopOptions {
    pub stores: Vec<StoreOptions>,
    pub seed: u64,
    /// Sales a second of every store. It falls behind where the server is slower than that.
    pub sales_per_second: f64,
    pub products: usize,
    pub customers: usize,
    /// Days of past sales to begin with; 0: none.
    pub past_days: u32,
    /// Past sales a day.
    pub past_sales: u32,
}

impl Default for ShopOptions {
    fn default() -> Self {
        ShopOptions {
            stores: Vec::new(),
            seed: 1,
            sales_per_second: 5.0,
            products: 60,
            customers: 80,
            past_days: 100,
            past_sales: 40,
        }
    }
}

/// What the shop has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub sales: u64,
    pub refunds: u64,
    pub cancellations: u64,
    pub edits: u64,
    pub deletions: u64,
    /// Customer payments, price changes, sessions, deliveries, new products and customers.
    pub chores: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.sales += other.sales;
        self.refunds += other.refunds;
        self.cancellations += other.cancellations;
        self.edits += other.edits;
        self.deletions += other.deletions;
        self.chores += other.chores;
    }
}

/// Fills every store with products, customers, an open session and its past.
///
/// # Errors
/// The database cannot be reached, or a statement failed.
pub async fn open(config: &Config, options: &ShopOptions) -> Result<Vec<Till>, Error> {
    let mut tills = Vec::new();
    for (index, store) in (0u64..).zip(&options.stores) {
        // Every store gets a life of its own out of the one seed.
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(index);
        tills.push(Till::open(config, store, options, seed).await?);
    }
    Ok(tills)
}

/// Sells in all stores until `stop` becomes true (or its sender is gone), finishing what is at the till.
///
/// # Errors
/// The first error of any store; the others are stopped then.
pub async fn run(tills: Vec<Till>, options: &ShopOptions, stop: watch::Receiver<bool>) -> Result<Counts, Error> {
    // No rate asks for more than the clock can tick.
    let pause = Duration::try_from_secs_f64(1.0 / options.sales_per_second).unwrap_or(Duration::from_secs(1));
    let pause = pause.max(Duration::from_micros(100));
    let mut tasks = tokio::task::JoinSet::new();
    for till in tills {
        tasks.spawn(sell(till, pause, stop.clone()));
    }
    let mut counts = Counts::default();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(result) => counts += result?,
            // Only a panic ends a task so; it belongs to whoever waits for the shop.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(counts)
}

async fn sell(mut till: Till, pause: Duration, mut stop: watch::Receiver<bool>) -> Result<Counts, Error> {
    let mut clock = tokio::time::interval(pause);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return Ok(till.counts()),
            _ = clock.tick() => till.next().await?,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: nobody will stop us any more, so stop now.
    let _ = stop.wait_for(|stopped| *stopped).await;
}
