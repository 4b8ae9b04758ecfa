//! The replication connection: the only module that touches it.
//!
//! ```text
//! Stream::open ── session (gated: who is the server? are slot and publication there?) ── START_REPLICATION
//!    next ──> Begin, Change(raw pgoutput), Commit, KeepAlive          confirm(position) ──> the slot
//! ExportedSnapshot::create ── session ── temporary slot ──> snapshot name + the position it stands at
//! ```
//! Every failure is a [`SourceError`], which says from birth whether trying again helps.

pub mod error;
mod session;
pub mod snapshot;
pub mod stream;

pub use error::{SourceError, SourceErrorKind};
pub use session::Identity;
pub use snapshot::ExportedSnapshot;
pub use stream::{Stream, StreamEvent};
