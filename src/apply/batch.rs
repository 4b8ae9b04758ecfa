//! What the writer takes at a time.

use crate::domain::{Instant, TenantId};
use crate::facts::{Change, TextKey};
use crate::lsn::Lsn;

/// One step of a batch, in WAL order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Change(TenantId, Change),
    /// A change whose keys the POS keeps as text: their numbers have to be put in first.
    Keyed(TenantId, Box<(Change, Vec<TextKey>)>),
    /// A source transaction ends here.
    Commit,
}

impl Step {
    /// Takes the keys.
    pub fn new(tenant: TenantId, change: Change, keys: &mut Vec<TextKey>) -> Step {
        if keys.is_empty() {
            Step::Change(tenant, change)
        } else {
            Step::Keyed(tenant, Box::new((change, std::mem::take(keys))))
        }
    }

    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Step::Change(tenant, _) | Step::Keyed(tenant, _) => Some(*tenant),
            Step::Commit => None,
        }
    }
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
