//! pgoutput, protocol version 1, as PostgreSQL 14 to 18 send it: bytes in, messages out.
//!
//! ```text
//! &[u8] ── decode ──> Message ─┬─ Relation ──> RelationCache (column names and types, by oid)
//!                              └─ Insert/Update/Delete ──> Tuple ──> Value ── value.rs ──> i64, Decimal, Instant, …
//! ```
//! Nothing here allocates for a change: a [`Tuple`] borrows the message, is checked as a whole when it is decoded, and
//! so can be iterated without errors. Nothing here panics, whatever the bytes, and nothing knows of sockets or clocks.

mod error;
mod float;
mod numeric;
mod reader;
mod relation;
#[cfg(test)]
mod tests;
mod tuple;
mod value;
#[cfg(test)]
mod value_tests;

pub use error::DecodeError;
pub use relation::{Relation, RelationCache, RelationChange, RelationColumn, ReplicaIdentity};
pub use tuple::{Tuple, Value, Values};
pub use value::{ValueError, instant_from_micros};

use crate::domain::Instant;
use crate::lsn::Lsn;
use reader::Reader;

/// One message of the stream. `'a` is the message's buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    Begin {
        /// Where the transaction's commit record starts.
        final_lsn: Lsn,
        commit_time: Instant,
        xid: u32,
    },
    Commit {
        /// Where the commit record starts.
        commit_lsn: Lsn,
        /// The byte after the commit record: what to store and confirm.
        end_lsn: Lsn,
        commit_time: Instant,
    },
    /// The transaction was itself replicated from elsewhere.
    Origin {
        commit_lsn: Lsn,
        name: &'a str,
    },
    Relation(Relation),
    /// A type that is not built in; its changes are of no interest here.
    Type {
        oid: u32,
        namespace: &'a str,
        name: &'a str,
    },
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        /// Only where the replica identity changed, or is FULL.
        old: Option<OldRow<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        old: OldRow<'a>,
    },
    Truncate {
        relations: Oids<'a>,
        cascade: bool,
        restart_identity: bool,
    },
    /// `pg_logical_emit_message`.
    Logical {
        transactional: bool,
        lsn: Lsn,
        prefix: &'a str,
        content: &'a [u8],
    },
}

/// The row before an UPDATE or DELETE, as far as the replica identity has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldRow<'a> {
    /// As wide as the relation, but only the key columns are filled; the others are NULL and mean nothing.
    Key(Tuple<'a>),
    Full(Tuple<'a>),
}

impl<'a> OldRow<'a> {
    /// The tuple, in which at least the key columns can be trusted.
    pub fn tuple(&self) -> Tuple<'a> {
        match *self {
            OldRow::Key(tuple) | OldRow::Full(tuple) => tuple,
        }
    }
}

/// The relations of a TRUNCATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oids<'a>(&'a [u8]);

impl<'a> Oids<'a> {
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.chunks_exact(4).filter_map(|chunk| chunk.first_chunk().map(|oid| u32::from_be_bytes(*oid)))
    }
}

/// Decodes one message: the payload of one XLogData.
///
/// # Errors
/// Bytes that are short, too many, out of range, of an unknown tag or of a newer protocol version. The error names the
/// message and the offset, never a value.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let &tag = bytes.first().ok_or(DecodeError::Empty)?;
    let name = match tag {
        b'B' => "Begin",
        b'C' => "Commit",
        b'O' => "Origin",
        b'R' => "Relation",
        b'Y' => "Type",
        b'I' => "Insert",
        b'U' => "Update",
        b'D' => "Delete",
        b'T' => "Truncate",
        b'M' => "Message",
        _ => return Err(foreign(tag)),
    };
    let mut reader = Reader::new(name, bytes, 1);
    let r = &mut reader;
    let message = match tag {
        b'B' => Message::Begin { final_lsn: lsn(r)?, commit_time: time(r)?, xid: r.u32("a transaction id")? },
        b'C' => {
            if r.u8("flags")? != 0 {
                return Err(r.expected_at(1, "no flags"));
            }
            Message::Commit { commit_lsn: lsn(r)?, end_lsn: lsn(r)?, commit_time: time(r)? }
        }
        b'O' => Message::Origin { commit_lsn: lsn(r)?, name: r.string("an origin name")? },
        b'R' => Message::Relation(Relation::read(r)?),
        b'Y' => Message::Type {
            oid: r.u32("a type oid")?,
            namespace: r.string("a schema name")?,
            name: r.string("a type name")?,
        },
        b'I' => {
            let relation = r.u32("a relation oid")?;
            let at = r.offset();
            match r.u8("a new tuple (N)")? {
                b'N' => Message::Insert { relation, new: Tuple::read(r, bytes)? },
                _ => return Err(r.expected_at(at, "a new tuple (N)")),
            }
        }
        b'U' => {
            let relation = r.u32("a relation oid")?;
            let (old, at, kind) = match old_row(r, bytes)? {
                Ok(old) => (Some(old), r.offset(), r.u8("a new tuple (N)")?),
                Err((at, kind)) => (None, at, kind),
            };
            match kind {
                b'N' => Message::Update { relation, old, new: Tuple::read(r, bytes)? },
                _ => return Err(r.expected_at(at, "a key (K), an old row (O) or a new tuple (N)")),
            }
        }
        b'D' => {
            let relation = r.u32("a relation oid")?;
            let old = old_row(r, bytes)?.map_err(|(at, _)| r.expected_at(at, "a key (K) or an old row (O)"))?;
            Message::Delete { relation, old }
        }
        b'T' => {
            let count = r.count32("a number of relations")?;
            let at = r.offset();
            let options = r.u8("truncate options")?;
            if options & !3 != 0 {
                return Err(r.expected_at(at, "known truncate options"));
            }
            let relations = Oids(r.bytes(count.saturating_mul(4), "as many oids as the number says")?);
            Message::Truncate { relations, cascade: options & 1 != 0, restart_identity: options & 2 != 0 }
        }
        _ => {
            let transactional = match r.u8("flags")? {
                0 => false,
                1 => true,
                _ => return Err(r.expected_at(1, "flags 0 or 1")),
            };
            let lsn = lsn(r)?;
            let prefix = r.string("a message prefix")?;
            let length = r.count32("a content length")?;
            let content = r.bytes(length, "as many content bytes as the length says")?;
            Message::Logical { transactional, lsn, prefix, content }
        }
    };
    reader.end()?;
    Ok(message)
}

/// A key or old row; or else what stands there instead, with its offset.
fn old_row<'a>(r: &mut Reader<'a>, whole: &'a [u8]) -> Result<Result<OldRow<'a>, (usize, u8)>, DecodeError> {
    let at = r.offset();
    Ok(match r.u8("a tuple kind")? {
        b'K' => Ok(OldRow::Key(Tuple::read(r, whole)?)),
        b'O' => Ok(OldRow::Full(Tuple::read(r, whole)?)),
        other => Err((at, other)),
    })
}

fn lsn(r: &mut Reader<'_>) -> Result<Lsn, DecodeError> {
    r.u64("a WAL position").map(Lsn)
}

fn time(r: &mut Reader<'_>) -> Result<Instant, DecodeError> {
    let at = r.offset();
    instant_from_micros(r.i64("a commit time")?).ok_or_else(|| r.expected_at(at, "a commit time within range"))
}

/// Tags that version 1 never sends: of streamed and two-phase transactions, or of nothing known.
fn foreign(tag: u8) -> DecodeError {
    let message = match tag {
        b'S' => "Stream Start",
        b'E' => "Stream Stop",
        b'c' => "Stream Commit",
        b'A' => "Stream Abort",
        b'b' => "Begin Prepare",
        b'P' => "Prepare",
        b'K' => "Commit Prepared",
        b'r' => "Rollback Prepared",
        b'p' => "Stream Prepare",
        _ => return DecodeError::UnknownTag { tag },
    };
    DecodeError::NotInVersion1 { message, tag: char::from(tag) }
}
