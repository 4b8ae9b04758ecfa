//! What can be wrong with a pgoutput message.

/// Bytes that are not a message of pgoutput's protocol version 1.
///
/// Nothing of the row's values is in it, so it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("pgoutput {message} message, byte {offset}: expected {expected}")]
    Malformed {
        /// Which message, by its name in the protocol's documentation.
        message: &'static str,
        /// Where in the message, counted from its tag, 0.
        offset: usize,
        expected: &'static str,
    },
    #[error("pgoutput message with the unknown tag {tag:#04x}")]
    UnknownTag { tag: u8 },
    #[error("pgoutput {message} message ({tag:?}) is not part of protocol version 1")]
    NotInVersion1 { message: &'static str, tag: char },
    #[error("empty pgoutput message")]
    Empty,
}
