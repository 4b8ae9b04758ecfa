//! Asks the source how far its WAL reaches and what it keeps for the slot, beside the session and never in its way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::progress::Progress;
use crate::config::Config;
use crate::lsn::Lsn;
use crate::ops::log_throttle::{Say, Throttle};
use crate::source::slot::{self, SlotInfo};

/// How often the source is asked where its WAL ends.
const EVERY: Duration = Duration::from_secs(2);
/// The slot's state is asked for every so many times.
const SLOT_EVERY: u32 = 8;

/// After how long it is told again, at first, that the slot keeps much.
const REMIND: Duration = Duration::from_secs(600);

/// Where the source's WAL ended, and when that was asked.
pub type End = (Lsn, Instant);

/// Asks for as long as it lives. A source that does not answer ends it quietly: the session finds that out by itself.
pub struct Probe {
    seen: watch::Receiver<Option<End>>,
    task: JoinHandle<()>,
}

impl Probe {
    pub fn start(source: Arc<Client>, config: Arc<Config>, progress: Progress) -> Probe {
        let (tell, seen) = watch::channel(None);
        let task = tokio::spawn(async move {
            if let Err(e) = ask(&source, &config, &progress, &tell).await {
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
    config: &Config,
    progress: &Progress,
    tell: &watch::Sender<Option<End>>,
) -> Result<(), tokio_postgres::Error> {
    let statement = source.prepare("SELECT pg_current_wal_flush_lsn()").await?;
    let mut asked = 0_u32;
    let mut kept = Throttle::new(REMIND);
    loop {
        let at = Instant::now();
        let end: Lsn = source.query_one(&statement, &[]).await?.try_get(0)?;
        tell.send_replace(Some((end, at)));
        if asked.is_multiple_of(SLOT_EVERY) {
            let info = slot::info(source, &config.source.slot).await?;
            progress.slot(info.as_ref());
            if let Some(info) = &info {
                watch_kept(info, config.source.retained_wal_warning, &mut kept);
            }
        }
        asked = asked.wrapping_add(1);
        tokio::time::sleep(EVERY).await;
    }
}

/// A slot that keeps more and more fills the source's disk, or is lost where the server has a limit.
fn watch_kept(slot: &SlotInfo, limit: i64, kept: &mut Throttle) {
    let bytes = slot.retained_bytes.unwrap_or_default();
    let about_to_be_lost = slot.wal_status.as_deref() == Some("unreserved");
    if bytes <= limit && !about_to_be_lost {
        kept.well();
        return;
    }
    let megabytes = bytes >> 20;
    match kept.failed(if about_to_be_lost { "lost" } else { "much" }) {
        Say::Nothing => {}
        _ if about_to_be_lost => {
            tracing::error!(
                megabytes,
                "the server is about to give up wal that the slot needs; raise max_slot_wal_keep_size"
            );
        }
        _ => tracing::warn!(
            megabytes,
            "the source keeps much wal for the slot: look for a transaction that is open for long, a copy that takes long, \
             or a daemon that cannot keep up"
        ),
    }
}
