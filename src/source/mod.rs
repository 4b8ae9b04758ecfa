//! Everything about the POS's server: connections, the catalogue of stores, publication and slot, and the replication
//! connection, which no other module touches.
//!
//! ```text
//! Stream::open ── session (gated: who is the server? are slot and publication there?) ── START_REPLICATION
//!    next ──> Begin, Change(raw pgoutput), Commit, KeepAlive          confirm(position) ──> the slot
//! ExportedSnapshot::create ── session ── temporary slot ──> snapshot name + the position it stands at
//! ```
//! Every failure of the stream is a [`SourceError`], which says from birth whether trying again helps.

pub mod admin;
pub mod catalog;
pub mod connect;
mod courtesy;
pub mod error;
pub mod identity;
mod mapped;
pub mod publication;
mod reader;
mod session;
pub mod slot;
pub mod snapshot;
pub mod stream;
mod tls;

/// What the replication connection calls itself at the server.
pub const STREAM_APPLICATION: &str = "tillstream stream";

pub use courtesy::{CourtesyError, giving_way};
pub use error::{SourceError, SourceErrorKind};
pub use mapped::{filled, forms};
pub use session::{Fork, Identity, timeline_history};
pub use snapshot::ExportedSnapshot;
pub use stream::{Stream, StreamEvent};
