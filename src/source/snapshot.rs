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

use std::sync::atomic::{AtomicU32, Ordering};

use pgwire_replication::ReplicationConfig;

use super::error::SourceError;
use super::session::{Identity, Session, quote_name, text, unexpected};
use crate::lsn::Lsn;

/// Slots need different names also within one process.
static COUNTER: AtomicU32 = AtomicU32::new(0);

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
    /// Holds the snapshot open: it ends with the session, or its next statement, and the temporary slot with it.
    _session: Session,
}

impl ExportedSnapshot {
    /// Creates a temporary slot and exports its snapshot. `cfg` says where to connect; its slot, publication and positions
    /// do not matter.
    ///
    /// Waits for every transaction that is running at the source to end, however long that takes: give it up by dropping
    /// the future (the server's side ends once that wait is over).
    ///
    /// # Errors
    /// See [`super::SourceErrorKind`]; `Config` where no slot is free.
    pub async fn create(cfg: ReplicationConfig) -> Result<ExportedSnapshot, SourceError> {
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
        let slot = format!("tillstream_copy_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
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
        Ok(ExportedSnapshot { name, position, identity, _session: session })
    }
}
