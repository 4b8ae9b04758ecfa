//! A snapshot of the source at an exact position of its WAL, for the first copy.
//!
//! # Why the copy and the stream fit without gap or overlap
//! Creating a logical slot reads WAL, record by record, until the server knows of every transaction whether it was
//! running: the *consistent point*, the end of the last record read. The exported snapshot is not an ordinary one, taken
//! from the table of running processes at some instant; it is built from just those records. A transaction is visible in
//! it if its commit record has been read, and a record has been read if it starts before the consistent point. So
//!
//! - `commit_lsn < position`: the commit record was read, the transaction's rows are in the snapshot;
//! - `commit_lsn >= position`: it was not, the rows are not in the snapshot, even where the transaction had long been
//!   running, or its commit reached the client before the snapshot was used.
//!
//! Any other slot that was created before sends each of those transactions with the same `commit_lsn`. A copy made in the
//! snapshot plus the streamed transactions with `commit_lsn >= position` is therefore everything once. As a record is
//! either before or after the point, `end_lsn <= position` says the same as `commit_lsn < position`.
//!
//! One gap is the server's: a backend writes its commit record first and marks its transaction as committed a moment
//! later. A reader who takes over the snapshot within that moment is told that the transaction is over, does not find it
//! committed, takes it for aborted, and misses its rows. So the snapshot is handed out only when no transaction that it
//! takes for finished is still on its way out, which a second session watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgwire_replication::ReplicationConfig;
use tokio::sync::Notify;

use super::error::SourceError;
use super::session::{Identity, Session, quote_literal, quote_name, text, unexpected};
use super::stream::{Stream, configured};
use crate::lsn::Lsn;

/// Slots need different names also within one process.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// How often to look for transactions on their way out.
const SETTLE_POLL: Duration = Duration::from_millis(1);

/// From here on the snapshot option of CREATE_REPLICATION_SLOT stands in parentheses.
const PARENTHESES_SINCE: u32 = 150_000;
/// From here on there is a limit for whole transactions.
const TRANSACTION_TIMEOUT_SINCE: u32 = 170_000;

/// A snapshot that other sessions can take over with `SET TRANSACTION SNAPSHOT` while this value lives. A transaction
/// that has done so keeps it by itself.
pub struct ExportedSnapshot {
    pub name: String,
    /// Transactions with a commit record before this position are in the snapshot, no others.
    pub position: Lsn,
    /// Of the server, from the same session.
    pub identity: Identity,
    /// Holds the snapshot open, which ends with the session's next statement, and the temporary slot, which ends with it.
    session: Session,
    reported: Arc<Notify>,
}

impl ExportedSnapshot {
    /// Creates a temporary slot and exports its snapshot. `cfg` says where to connect; its slot and positions do not
    /// matter, its publication is what a stream of it would follow.
    ///
    /// Waits for every transaction that is running at the source to end, however long that takes: give it up by dropping
    /// the future (the server's side ends once that wait is over).
    ///
    /// # Errors
    /// See [`super::SourceErrorKind`]; `Config` where no slot is free.
    pub async fn create(mut cfg: ReplicationConfig) -> Result<ExportedSnapshot, SourceError> {
        let watcher = cfg.clone();
        let slot = format!("tillstream_copy_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        cfg.slot.clone_from(&slot);
        let (cfg, reported) = configured(cfg, Lsn::ZERO);
        let mut session = Session::connect(cfg).await?;
        let identity = session.identify().await?;
        let version = session.query("SHOW server_version_num").await?;
        let version: u32 = version
            .first()
            .and_then(|row| text(row, 0)?.parse().ok())
            .ok_or_else(|| unexpected("SHOW server_version_num gives no number"))?;
        if version >= TRANSACTION_TIMEOUT_SINCE {
            session.query("SET transaction_timeout = 0").await?;
        }
        let export = if version >= PARENTHESES_SINCE { "(SNAPSHOT 'export')" } else { "EXPORT_SNAPSHOT" };
        let rows = session
            .query(&format!("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput {export}", quote_name(&slot)))
            .await?;
        // Columns: slot_name, consistent_point, snapshot_name, output_plugin.
        let column = |index| rows.first().and_then(|row| text(row, index));
        let position = column(1)
            .and_then(|lsn| lsn.parse().ok())
            .ok_or_else(|| unexpected("CREATE_REPLICATION_SLOT gives no position"))?;
        let name = column(2).ok_or_else(|| unexpected("CREATE_REPLICATION_SLOT gives no snapshot"))?;
        wait_until_settled(Session::connect(watcher).await?, &name).await?;
        Ok(ExportedSnapshot { name, position, identity, session, reported })
    }

    /// Everything that commits at or after the position, from the very slot that the snapshot was made with. Nobody can
    /// take over the snapshot any more.
    ///
    /// # Errors
    /// As [`Stream::open`].
    pub async fn into_stream(self) -> Result<Stream, SourceError> {
        Stream::start(self.session, self.reported, self.position, Lsn::ZERO).await
    }
}

/// Waits until no transaction is on its way out that the snapshot takes for finished.
async fn wait_until_settled(mut watcher: Session, snapshot: &str) -> Result<(), SourceError> {
    watcher.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    watcher.query(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot))).await?;
    let rows = watcher.query("SELECT pg_current_snapshot()").await?;
    let visible =
        rows.first().and_then(|row| text(row, 0)).ok_or_else(|| unexpected("pg_current_snapshot gives no snapshot"))?;
    watcher.query("COMMIT").await?;
    let leaving = leaving_query(&visible).ok_or_else(|| unexpected("pg_current_snapshot gives no snapshot"))?;
    // Mostly none; else until a backend that has written its commit record gets the processor again.
    while !watcher.query(&leaving).await?.is_empty() {
        tokio::time::sleep(SETTLE_POLL).await;
    }
    Ok(())
}

/// Finds the running transactions that a snapshot, `xmin:xmax:xip`, takes for finished.
///
/// Not by `pg_visible_in_snapshot`: where the last transactions before the position were rolled back the snapshot's xmin
/// lies above its xmax, which is sound but which the type's input refuses.
fn leaving_query(snapshot: &str) -> Option<String> {
    let mut parts = snapshot.split(':');
    let (xmin, xmax, xip) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?, parts.next()?);
    if !xip.bytes().all(|b| b.is_ascii_digit() || b == b',') {
        return None;
    }
    let end = xmin.max(xmax);
    Some(format!(
        "SELECT FROM pg_snapshot_xip(pg_current_snapshot()) AS running(xid) \
         WHERE xid < '{end}' AND xid <> ALL ('{{{xip}}}'::xid8[])"
    ))
}

#[cfg(test)]
mod tests {
    use super::leaving_query;

    #[test]
    fn snapshots_may_end_before_they_begin() {
        let query = leaving_query("290594:290580:").unwrap_or_default();
        assert!(query.ends_with("WHERE xid < '290594' AND xid <> ALL ('{}'::xid8[])"), "{query}");
        let query = leaving_query("7:12:8,9").unwrap_or_default();
        assert!(query.ends_with("WHERE xid < '12' AND xid <> ALL ('{8,9}'::xid8[])"), "{query}");
        for bad in ["", "1", "1:2", "a:2:", "1:2:x'"] {
            assert_eq!(leaving_query(bad), None, "{bad}");
        }
    }
}
