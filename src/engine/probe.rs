//! Asks the source how far its WAL reaches and what it keeps for the slot, beside the session and never in its way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::progress::Progress;
use crate::lsn::Lsn;
use crate::source::slot;

/// How often the source is asked where its WAL ends.
const EVERY: Duration = Duration::from_secs(2);
/// The slot's state is asked for every so many times.
const SLOT_EVERY: u32 = 8;

/// Where the source's WAL ended, and when that was asked.
pub type End = (Lsn, Instant);

/// Asks for as long as it lives. A source that does not answer ends it quietly: the session finds that out by itself.
pub struct Probe {
    seen: watch::Receiver<Option<End>>,
    task: JoinHandle<()>,
}

impl Probe {
    pub fn start(source: Arc<Client>, slot: String, progress: Progress) -> Probe {
        let (tell, seen) = watch::channel(None);
        let task = tokio::spawn(async move {
            if let Err(e) = ask(&source, &slot, &progress, &tell).await {
                tracing::debug!(error = %crate::told::describe(&e), "the source does not tell its position any more");
            }
        });
        Probe { seen, task }
    }

    /// The last answer; `None` before the first.
    pub fn end(&self) -> Option<End> {
        *self.seen.borrow()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(
    source: &Client,
    slot: &str,
    progress: &Progress,
    tell: &watch::Sender<Option<End>>,
) -> Result<(), tokio_postgres::Error> {
    let statement = source.prepare("SELECT pg_current_wal_flush_lsn()").await?;
    let mut asked = 0_u32;
    loop {
        let at = Instant::now();
        let end: Lsn = source.query_one(&statement, &[]).await?.try_get(0)?;
        tell.send_replace(Some((end, at)));
        if asked.is_multiple_of(SLOT_EVERY) {
            progress.slot(slot::info(source, slot).await?.as_ref());
        }
        asked = asked.wrapping_add(1);
        tokio::time::sleep(EVERY).await;
    }
}
