//! What happens at the POS during a demo: the simulated shop in two time zones, or a log of real sales in one store.

use chrono_tz::Tz;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Config;

use super::replay::{self, Counts, Log, ReplayOptions};
use super::shop::{self, ShopOptions, StoreOptions, Till};
use crate::domain::Money;

/// Schema, display name and time zone.
pub type Place = (&'static str, &'static str, Tz);

const SHOPS: [Place; 2] =
    [("tenant_central", "Central", chrono_tz::Asia::Tashkent), ("tenant_north", "North", chrono_tz::Europe::Moscow)];
/// Logs say nothing of a time zone; the best known public one is a British shop's.
const REPLAY: [Place; 1] = [("tenant_replay", "Replay", chrono_tz::Europe::London)];
/// Sales of a log in one transaction.
const REPLAY_BATCH: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the shop cannot go on: {0}")]
    Shop(#[from] shop::Error),
    #[error("the replay cannot go on: {0}")]
    Replay(#[from] replay::Error),
    #[error("what happens at the pos broke off: {0}")]
    BrokeOff(#[from] tokio::task::JoinError),
}

/// What is to happen, with everything that stands before it begins.
pub enum Scene {
    Shop(Vec<Till>, ShopOptions),
    Replay(Log, ReplayOptions),
}

impl Scene {
    /// The stores in which a demo of this kind happens.
    pub fn places(replay: bool) -> &'static [Place] {
        if replay { &REPLAY } else { &SHOPS }
    }

    /// Gets everything ready; the stores of [`Scene::places`] exist already. A shop gets its goods, customers and past.
    ///
    /// # Errors
    /// What the database says against it.
    pub async fn set(pos: &Config, log: Option<Log>) -> Result<Scene, Error> {
        if let Some(log) = log {
            let [(schema, _, time_zone)] = REPLAY;
            let options = ReplayOptions { schema: schema.to_string(), time_zone, batch: REPLAY_BATCH };
            return Ok(Scene::Replay(log, options));
        }
        let stores =
            SHOPS.iter().map(|(schema, _, zone)| StoreOptions { schema: schema.to_string(), time_zone: *zone });
        let options = ShopOptions { stores: stores.collect(), seed: rand::random(), ..ShopOptions::default() };
        Ok(Scene::Shop(shop::open(pos, &options).await?, options))
    }

    /// Lets it happen, in the background.
    pub fn begin(self, pos: &Config) -> Running {
        let (close, mut closed) = watch::channel(false);
        let (tell, played) = watch::channel(Counts::default());
        let pos = pos.clone();
        let (sales, task) = match self {
            Scene::Shop(tills, options) => {
                let task = tokio::spawn(async move {
                    let done = shop::run(tills, &options, closed).await?;
                    let said = format!(
                        "shop         {} sales, {} refunds, {} cancellations, {} edits, {} deletions, {} chores (seed {})",
                        done.sales,
                        done.refunds,
                        done.cancellations,
                        done.edits,
                        done.deletions,
                        done.chores,
                        options.seed
                    );
                    Ok(Done { said, takings: None })
                });
                (None, task)
            }
            Scene::Replay(log, options) => {
                let sales = log.invoices.len();
                let heard = played.clone();
                let task = tokio::spawn(async move {
                    let playing = replay::play(&pos, &log, &options, |counts| {
                        tell.send_replace(*counts);
                    });
                    let (counts, takings) = tokio::select! {
                        counts = playing => counts.map(|counts| (counts, Some(counts.takings)))?,
                        // The transaction that was open is rolled back.
                        _ = closed.wait_for(|closed| *closed) => (*heard.borrow(), None),
                    };
                    let said = format!(
                        "replayed     {} of {sales} sales, {} lines, {} products, {} customers; {} lines unreadable",
                        counts.sales, counts.lines, counts.products, counts.customers, counts.rejected
                    );
                    Ok(Done { said, takings })
                });
                (Some(sales), task)
            }
        };
        Running { close, played, sales, task }
    }
}

/// What a scene came to.
#[derive(Debug)]
pub struct Done {
    pub said: String,
    /// What a log that was played to its end took, so what the days of the reports must add up to.
    pub takings: Option<Money>,
}

/// A scene under way.
pub struct Running {
    close: watch::Sender<bool>,
    played: watch::Receiver<Counts>,
    /// Sales in the log.
    sales: Option<usize>,
    task: JoinHandle<Result<Done, Error>>,
}

impl Running {
    /// Tells how far a replay is; empty for the shop, which has no end.
    pub fn heading(&self) -> Box<dyn Fn() -> String> {
        let (played, sales) = (self.played.clone(), self.sales);
        Box::new(move || {
            sales.map_or(String::new(), |n| format!("replay       {} of {n} sales\n", played.borrow().sales))
        })
    }

    /// Lets it go on until it ends by itself or `enough` does, and then brings it to an end in good order.
    ///
    /// # Errors
    /// Why it could not go on.
    pub async fn until(mut self, enough: impl Future<Output = ()>) -> Result<Done, Error> {
        tokio::select! {
            ended = &mut self.task => return ended?,
            () = enough => {}
        }
        self.close.send_replace(true);
        self.task.await?
    }
}
