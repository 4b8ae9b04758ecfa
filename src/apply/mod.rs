//! The only writer of the target: base facts, report rows and position in one transaction.
//!
//! ```text
//! batch ─> needs ─ load ─> working set ─ fold ─> deltas ─ write ─> facts, sums, report rows ─ position ─> COMMIT
//!                  load.rs               facts/  reports/ write.rs                            writer.rs
//! ```
//! A large batch is folded in parts: the facts of each are written at once, sums and report rows at the end of all. Of a
//! transaction larger than a batch what adds to sales is set aside until its end (staging.rs). A small batch of new sales is
//! one statement (whole.rs).
//!
//! Invariant: the position is moved by the same transaction that writes what happened up to it, and only from where
//! this writer last left it. So a crash anywhere counts nothing twice, and a second writer cannot interleave.

mod apart;
pub mod batch;
mod bulk;
mod cache;
pub mod compat;
pub mod copy;
pub mod keys;
mod known;
pub mod load;
pub mod migrate;
pub mod rows;
mod sent;
mod staging;
pub mod statements;
mod whole;
pub mod write;
pub mod writer;

use tokio_postgres::error::SqlState;

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
    /// A store's figures do not fit their report columns.
    #[error("{1}")]
    Overflow(TenantId, String),
    /// The stored position is not where this writer left it.
    #[error(
        "the stored position is no longer {expected}: another process wrote it; only one daemon may write these reports"
    )]
    Taken { expected: Lsn },
    /// A defect of ours.
    #[error("a change that was set aside: {0}")]
    Staging(postcard::Error),
    /// The program is ending. The position at the next start tells whether it was written.
    #[error("the answer to a batch is not waited for any more")]
    Unanswered,
}

impl ApplyError {
    /// It only says that a statement before it has failed.
    pub fn is_consequence(&self) -> bool {
        matches!(self, ApplyError::Database(e) if e.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION))
    }

    /// Some store's rows are the cause, so that the others can go on without it.
    pub fn is_of_a_store(&self) -> bool {
        match self {
            ApplyError::Refused(..) | ApplyError::Overflow(..) => true,
            ApplyError::Database(e) => does_not_fit(e),
            ApplyError::Taken { .. } | ApplyError::Staging(_) | ApplyError::Unanswered => false,
        }
    }
}

/// A value that its column cannot hold, as against a statement or a server in trouble.
pub fn does_not_fit(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22"))
}
