//! The only writer of the target: base facts, report rows and position in one transaction.
//!
//! ```text
//! batch ─> needs ─ load ─> working set ─ fold ─> deltas ─ write ─> facts, sums, report rows ─ position ─> COMMIT
//!                  load.rs               facts/  reports/ write.rs                            writer.rs
//! ```
//! Invariant: the position is moved by the same transaction that writes what happened up to it, and only from where
//! this writer last left it. So a crash anywhere counts nothing twice, and a second writer cannot interleave.

pub mod batch;
pub mod copy;
pub mod load;
pub mod migrate;
pub mod rows;
pub mod statements;
pub mod write;
pub mod writer;

use crate::domain::TenantId;
use crate::facts::exact::Inexact;
use crate::lsn::Lsn;

pub use crate::told::describe;
pub use batch::{Batch, Step};
pub use statements::Statements;
pub use writer::Writer;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The target database refused or was lost.
    #[error("{}", describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// A store's figures cannot be held exactly.
    #[error("{1}")]
    Refused(TenantId, Inexact),
    /// The stored position is not where this writer left it.
    #[error(
        "the stored position is no longer {expected}: another process wrote it; only one daemon may write these reports"
    )]
    Taken { expected: Lsn },
}
