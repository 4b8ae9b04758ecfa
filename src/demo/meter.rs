//! Measures how far the reports are behind the POS, by asking as a person would: change something in the POS, look
//! until the reports show it.
//!
//! The change is a product's new barcode, in a transaction of its own. The stream is in order of commits, so once it
//! shows, everything that was committed before it shows too: that also tells when the daemon has caught up.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::pos::quoted;

/// Between two measurements.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two looks at the reports.
const LOOK: Duration = Duration::from_millis(1);

/// A measurement under way in the background; it ends when this is dropped.
pub struct Meter {
    beats: watch::Receiver<Beat>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Beat {
    finished: u64,
    lag: Option<Duration>,
    /// When the change that is waited for was committed.
    waiting: Option<Instant>,
}

/// The POS or the reports could not be asked any more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the reports cannot be watched any more")]
pub struct Gone;

impl Meter {
    /// `client` may write the store's tables and read the report schema. A store without products is asked again until
    /// it has one.
    pub fn start(client: Client, store: &str, reports: &str) -> Meter {
        let (tell, beats) = watch::channel(Beat::default());
        let probe = Probe::new(client, store, reports);
        let task = tokio::spawn(async move {
            if let Err(error) = measure(probe, &tell).await {
                tracing::debug!(%error, "measuring ended");
            }
        });
        Meter { beats, task }
    }

    /// From a commit at the POS until it showed in the reports, the last time; longer already where one still waits.
    pub fn lag(&self) -> Option<Duration> {
        let beat = *self.beats.borrow();
        beat.lag.max(beat.waiting.map(|since| since.elapsed()))
    }

    /// Waits until everything that was committed before this call is in the reports.
    ///
    /// # Errors
    /// A database is gone.
    pub fn caught_up(&self) -> impl Future<Output = Result<(), Gone>> + use<> {
        let mut beats = self.beats.clone();
        let now = beats.borrow().finished;
        // The one under way may have begun before the last commit, the next one has not.
        async move { beats.wait_for(|beat| beat.finished >= now + 2).await.map(|_| ()).map_err(|_| Gone) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn measure(probe: Probe, tell: &watch::Sender<Beat>) -> Result<(), tokio_postgres::Error> {
    for number in 1.. {
        let lag = match probe.change(number).await? {
            None => None,
            Some(product) => {
                let since = Instant::now();
                tell.send_modify(|beat| beat.waiting = Some(since));
                while !probe.shows(product, number).await? {
                    tokio::time::sleep(LOOK).await;
                }
                Some(since.elapsed())
            }
        };
        tell.send_replace(Beat { finished: number, lag, waiting: None });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

struct Probe {
    client: Client,
    store: String,
    change: String,
    look: String,
}

impl Probe {
    fn new(client: Client, store: &str, reports: &str) -> Probe {
        let table = format!("{}.products_product", quoted(store));
        Probe {
            client,
            store: store.to_string(),
            change: format!("UPDATE {table} SET barcode = $1 WHERE id = (SELECT min(id) FROM {table}) RETURNING id"),
            look: format!(
                "SELECT EXISTS (SELECT FROM {}.product WHERE tenant = $1 AND product_id = $2 AND barcode = $3)",
                quoted(reports)
            ),
        }
    }

    fn barcode(number: u64) -> String {
        format!("47810{number:08}")
    }

    /// `None`: the store has no product.
    async fn change(&self, number: u64) -> Result<Option<i64>, tokio_postgres::Error> {
        let row = self.client.query_opt(&self.change, &[&Self::barcode(number)]).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    async fn shows(&self, product: i64, number: u64) -> Result<bool, tokio_postgres::Error> {
        self.client.query_one(&self.look, &[&self.store, &product, &Self::barcode(number)]).await?.try_get(0)
    }
}
