//! One at a time uses the slot: waiting for a predecessor to be gone, and being gone at once oneself.

use std::time::{Duration, Instant as Moment};

use tokio_postgres::Client;

use super::{PREDECESSOR, PREDECESSOR_LOOK};
use crate::config::Config;
use crate::lsn::Lsn;
use crate::source::{Identity, STREAM_APPLICATION, SourceError, SourceErrorKind, Stream, slot};

/// How long it may take to free the slot. Where it fails, whoever comes next waits for [`PREDECESSOR`].
const RELEASE: Duration = Duration::from_millis(300);

/// Opens the stream of everything that commits at or after `start`. Waits a little for whoever held the slot last and is
/// gone already.
///
/// # Errors
/// As [`Stream::open`].
pub async fn open_stream(config: &Config, start: Lsn) -> Result<(Stream, Identity), SourceError> {
    let source = &config.source;
    let settings = source.connection.replication(&source.slot, &source.publication, STREAM_APPLICATION);
    let since = Moment::now();
    loop {
        match Stream::open(settings.clone(), start).await {
            Err(e) if e.kind() == SourceErrorKind::SlotInUse && since.elapsed() < PREDECESSOR => {
                tokio::time::sleep(PREDECESSOR_LOOK).await;
            }
            other => return other,
        }
    }
}

/// Ends the stream such that the slot is free afterwards, also of a walsender that is busy and has not noticed. Takes
/// 1.3 s at most.
pub async fn end_stream(config: &Config, source: &Client, stream: &mut Stream) {
    stream.end().await;
    if let Some(walsender) = stream.walsender() {
        let released = tokio::time::timeout(RELEASE, slot::release(source, &config.source.slot, walsender)).await;
        if let Ok(Err(e)) = released {
            tracing::debug!("the slot could not be freed: {e}");
        }
    }
}
