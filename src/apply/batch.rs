//! What the writer takes at a time.

use crate::domain::{Instant, TenantId};
use crate::facts::Change;
use crate::lsn::Lsn;

/// One step of a batch, in WAL order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Change(TenantId, Change),
    /// A source transaction ends here.
    Commit,
}

/// Changes of whole source transactions, or a part of one that is too large for a batch.
#[derive(Debug, Default)]
pub struct Batch {
    pub steps: Vec<Step>,
    /// End of the last source transaction in it and when that was committed. `None`: a part of a transaction, to be
    /// written but not yet made visible.
    pub end: Option<End>,
}

/// Where a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Commit end position, or the position of a keepalive with nothing in flight.
    pub lsn: Lsn,
    /// `None` for a keepalive.
    pub committed_at: Option<Instant>,
}
