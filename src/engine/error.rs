//! Why a session of the engine ended, sorted by whether trying again helps.

use crate::apply::copy::CopyError;
use crate::apply::migrate::MigrateError;
use crate::apply::{self, ApplyError};
use crate::ops::metrics::ReconnectCause;
use crate::source::connect::ConnectError;
use crate::source::publication::PublicationError;
use crate::source::slot::SlotError;
use crate::source::{SourceError, SourceErrorKind};

use super::assembler::StreamError;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error(transparent)]
    Publication(#[from] PublicationError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("{}", apply::describe(.0))]
    Database(#[from] tokio_postgres::Error),
    /// Another process holds the writer's lock, and this one is not to wait for it.
    #[error("another tillstream writes these reports")]
    Busy,
    /// What we are connected to cannot be followed before it is promoted.
    #[error("the source is a standby: waiting until it is promoted, or until [source] url leads to the primary")]
    Standby,
    /// The slot is no longer where it was found to be: what to do is decided anew.
    #[error("{0}")]
    Moved(String),
    /// A database that is connected says nothing any more.
    #[error("the {whom} database has not answered for {} s", .limit.as_secs())]
    Silent { whom: &'static str, limit: std::time::Duration },
    /// Only a person can put it right; the message says how.
    #[error("{0}")]
    Definite(String),
}

impl EngineError {
    /// Whether to connect again by itself. Everything else ends the program with the message.
    pub fn is_transient(&self) -> bool {
        match self {
            EngineError::Connect(e) => e.is_transient(),
            // What a slot that is gone means is decided before the next stream is opened.
            EngineError::Source(e) => {
                let gone = matches!(e.kind(), SourceErrorKind::SlotMissing | SourceErrorKind::SlotInvalidated);
                gone || e.kind().is_retryable()
            }
            EngineError::Apply(ApplyError::Database(e)) | EngineError::Database(e) => lost_connection(e),
            EngineError::Copy(e) => e.is_transient(),
            EngineError::Publication(PublicationError::Server { source, .. })
            | EngineError::Slot(SlotError::Server(source)) => lost_connection(source),
            EngineError::Publication(PublicationError::Locked { .. })
            | EngineError::Slot(SlotError::InUse { .. })
            | EngineError::Standby
            | EngineError::Moved(_)
            | EngineError::Silent { .. } => true,
            EngineError::Migrate(MigrateError::Server { source, .. }) => lost_connection(source),
            _ => false,
        }
    }

    /// The slot cannot be read on, and never will be: its WAL goes through a time without the publication.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, EngineError::Source(e) if e.kind() == SourceErrorKind::PublicationMissing)
    }

    /// A label for metrics and logs: why the connection has to be made anew.
    pub fn reconnect_cause(&self) -> ReconnectCause {
        let answered = |e: &tokio_postgres::Error| match e.as_db_error() {
            Some(_) => ReconnectCause::Server,
            None => ReconnectCause::Lost,
        };
        match self {
            EngineError::Connect(e) if e.is_busy() => ReconnectCause::Server,
            EngineError::Connect(_) => ReconnectCause::Unreachable,
            EngineError::Source(e) => match e.kind() {
                SourceErrorKind::SlotInUse => ReconnectCause::SlotInUse,
                SourceErrorKind::Auth => ReconnectCause::Refused,
                _ if e.sqlstate().is_some() => ReconnectCause::Server,
                _ => ReconnectCause::Lost,
            },
            EngineError::Silent { .. } => ReconnectCause::Silent,
            EngineError::Apply(ApplyError::Database(e)) if e.as_db_error().is_some() => ReconnectCause::Target,
            EngineError::Apply(ApplyError::Database(e)) | EngineError::Database(e) => answered(e),
            EngineError::Slot(SlotError::InUse { .. }) => ReconnectCause::SlotInUse,
            EngineError::Slot(SlotError::Server(source))
            | EngineError::Publication(PublicationError::Server { source, .. })
            | EngineError::Migrate(MigrateError::Server { source, .. }) => answered(source),
            _ => ReconnectCause::Other,
        }
    }
}

/// The server went away, is stopping or starting, a standby still, or asks to try again; not a statement that will fail again, nor an
/// answer that we cannot read.
pub fn lost_connection(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    error.is_closed()
        || cause.is_some_and(|cause| cause.is::<std::io::Error>())
        || error
            .code()
            .is_some_and(|c| ["08", "40", "53", "57", "55P03", "25006"].iter().any(|class| c.code().starts_with(class)))
}
