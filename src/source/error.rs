//! What can go wrong at the source, sorted by what to do about it.

use std::fmt;

use pgwire_replication::PgWireError;

/// What the caller should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// Connect again, with backoff.
    Transient,
    /// Somebody holds the slot, perhaps our own predecessor whom the server has not given up yet: wait for it.
    SlotInUse,
    SlotMissing,
    PublicationMissing,
    /// The server has removed WAL that the slot needed: the history between is lost.
    SlotInvalidated,
    /// The server knows the user or the password not, or does not let it in from here.
    Auth,
    /// Definite: somebody has to change something.
    Config,
}

impl SourceErrorKind {
    /// Whether the same attempt may succeed later with nobody doing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, SourceErrorKind::Transient | SourceErrorKind::SlotInUse)
    }
}

/// A failure of the replication connection: one line that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    kind: SourceErrorKind,
    sqlstate: Option<String>,
    message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

/// What the session was doing: the server's SQLSTATE alone does not say what is missing, and its text is in the
/// server's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connecting, asking questions.
    Session,
    /// Acquiring the slot.
    Start,
    Streaming,
}

impl SourceError {
    pub(super) fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        SourceError { kind, sqlstate: None, message: message.into() }
    }

    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    /// The server's error code, where it was the server that complained.
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    pub(super) fn classify(error: &PgWireError, phase: Phase) -> Self {
        use SourceErrorKind::{Auth, Config, Transient};
        match error {
            PgWireError::Server(text) => Self::from_server(text, phase),
            PgWireError::Io(e) if phase == Phase::Session => {
                Self::new(Transient, format!("cannot reach the source database: {e}"))
            }
            PgWireError::Io(e) => Self::new(Transient, format!("the replication connection broke: {e}")),
            PgWireError::Task(e) => Self::new(Transient, format!("the replication task ended: {e}")),
            PgWireError::Auth(e) => Self::new(Auth, format!("cannot authenticate at the source: {e}")),
            // A server that stops in the middle of a handshake is no fault of the certificates.
            PgWireError::Tls(e) if is_cut_handshake(e) => Self::new(Transient, format!("the connection broke: {e}")),
            PgWireError::Tls(e) => {
                let said = super::tls::in_words(e);
                Self::new(Config, format!("no encrypted connection to the source, see sslmode and sslrootcert: {said}"))
            }
            other => Self::new(Config, format!("the replication connection failed: {other}")),
        }
    }

    fn from_server(text: &str, phase: Phase) -> Self {
        use SourceErrorKind::{Auth, Config, PublicationMissing, SlotInUse, SlotInvalidated, SlotMissing, Transient};
        let text = one_line(text);
        let (said, code) = split_sqlstate(&text);
        let (kind, message) = match (code.unwrap_or_default(), phase) {
            // Shutdown, crash recovery, restart; broken connection; out of connections or memory.
            ("57P01" | "57P02" | "57P03" | "57P05" | "57014" | "55P03" | "53100" | "53200" | "53300", _) => {
                (Transient, format!("the source database cannot serve now: {said}"))
            }
            (c, _) if ["08", "40"].iter().any(|class| c.starts_with(class)) => {
                (Transient, format!("the source database cannot serve now: {said}"))
            }
            ("55006", _) => {
                (SlotInUse, format!("{said}; stop that process, or name a slot of our own in [source] slot"))
            }
            // Whether the slot is lost the next look at it tells: a walsender that is still on its way to where its slot
            // has moved on meanwhile may find the files gone, too.
            ("58P01", Phase::Streaming) => (Transient, format!("the source database cannot go on reading: {said}")),
            ("42704", Phase::Start) => (SlotMissing, format!("{said}; run `tillstream init`")),
            ("42704", Phase::Streaming) => (PublicationMissing, format!("{said}; {PUBLICATION_ADVICE}")),
            ("55000", _) if says_invalidated(said) => (SlotInvalidated, format!("{said}; {INVALIDATED_ADVICE}")),
            (c, _) if c.starts_with("28") => {
                (Auth, format!("the source database refuses the login, see user, password and pg_hba.conf: {said}"))
            }
            ("3D000", _) => (Config, format!("{said}; see [source] url")),
            ("42501", _) => {
                (Config, format!("{said}; the role needs REPLICATION (`tillstream check` tells what else)"))
            }
            ("53400", _) => (Config, format!("{said}; raise max_replication_slots or drop an unused slot")),
            _ => (Config, format!("the source database refuses: {said}")),
        };
        SourceError { kind, sqlstate: code.map(str::to_string), message }
    }
}

pub(super) const PUBLICATION_ADVICE: &str = "the publication must exist before the slot: run `tillstream init`, then \
                                             `tillstream resync` if the slot is older";
pub(super) const INVALIDATED_ADVICE: &str =
    "what it missed is gone: raise max_slot_wal_keep_size, then run `tillstream resync`";

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The transport hands errors over as `message (SQLSTATE 55006)`. Only an ending of exactly that form counts: a message
/// may quote anything.
fn split_sqlstate(text: &str) -> (&str, Option<&str>) {
    let found = text
        .strip_suffix(')')
        .and_then(|t| t.rsplit_once(" (SQLSTATE "))
        .filter(|(_, code)| code.len() == 5 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()));
    match found {
        Some((said, code)) => (said, Some(code)),
        None => (text, None),
    }
}

/// English only; a server of another language is recognised by `wal_status` before the slot is acquired.
fn says_invalidated(said: &str) -> bool {
    said.contains("can no longer") || said.contains("invalidated")
}

fn is_cut_handshake(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("eof") || text.contains("reset by peer") || text.contains("broken pipe")
}

#[cfg(test)]
mod tests {
    use super::*;
    use SourceErrorKind::*;

    fn server(text: &str, phase: Phase) -> SourceError {
        SourceError::classify(&PgWireError::Server(text.to_string()), phase)
    }

    #[test]
    fn sorts_the_texts_of_real_servers() {
        let cases = [
            (r#"replication slot "nowhere" does not exist (SQLSTATE 42704)"#, Phase::Start, SlotMissing),
            (r#"publication "nowhere" does not exist (SQLSTATE 42704)"#, Phase::Streaming, PublicationMissing),
            ("requested WAL segment 0A has already been removed (SQLSTATE 58P01)", Phase::Streaming, Transient),
            (r#"replication slot "s" is active for PID 12345 (SQLSTATE 55006)"#, Phase::Start, SlotInUse),
            (r#"password authentication failed for user "u" (SQLSTATE 28P01)"#, Phase::Session, Auth),
            (r#"role "u" is not permitted to log in (SQLSTATE 28000)"#, Phase::Session, Auth),
            (r#"database "nowhere" does not exist (SQLSTATE 3D000)"#, Phase::Session, Config),
            (r#"role "nobody" does not exist (SQLSTATE 28000)"#, Phase::Session, Auth),
            ("the database system is starting up (SQLSTATE 57P03)", Phase::Session, Transient),
            ("the database system is shutting down (SQLSTATE 57P03)", Phase::Session, Transient),
            ("terminating connection due to administrator command (SQLSTATE 57P01)", Phase::Streaming, Transient),
            ("sorry, too many clients already (SQLSTATE 53300)", Phase::Session, Transient),
            (
                "number of requested standby connections exceeds max_wal_senders (currently 10) (SQLSTATE 53300)",
                Phase::Session,
                Transient,
            ),
            (r#"can no longer get changes from replication slot "s" (SQLSTATE 55000)"#, Phase::Start, SlotInvalidated),
            (r#"can no longer access replication slot "s" (SQLSTATE 55000)"#, Phase::Start, SlotInvalidated),
            ("logical decoding requires wal_level >= logical (SQLSTATE 55000)", Phase::Start, Config),
            ("must be superuser or replication role to start walsender (SQLSTATE 42501)", Phase::Session, Config),
        ];
        for (text, phase, kind) in cases {
            let error = server(text, phase);
            assert_eq!(error.kind(), kind, "{text}: {error}");
            assert!(!error.to_string().contains('\n') && !error.to_string().contains("SQLSTATE"), "{error}");
        }
    }

    #[test]
    fn takes_the_code_only_from_the_end() {
        let error = server(r#"relation "x (SQLSTATE 57P01)" is odd (SQLSTATE 42P01)"#, Phase::Streaming);
        assert_eq!((error.kind(), error.sqlstate()), (Config, Some("42P01")));
        for text in ["", ")", "x (SQLSTATE )", "x (SQLSTATE 57P0)", "x (SQLSTATE 57P01) then", "x (SQLSTATE 57p01)"] {
            let error = server(text, Phase::Streaming);
            assert_eq!((error.kind(), error.sqlstate()), (Config, None), "{text:?}");
        }
    }

    #[test]
    fn broken_connections_are_transient() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        for (error, kind) in [
            (PgWireError::from(io), Transient),
            (PgWireError::Task("x".into()), Transient),
            (PgWireError::Tls("TLS handshake failed: tls handshake eof".into()), Transient),
            (PgWireError::Tls("TLS handshake failed: invalid peer certificate: Expired".into()), Config),
            (PgWireError::Auth("x".into()), Auth),
            (PgWireError::Protocol("x".into()), Config),
        ] {
            assert_eq!(SourceError::classify(&error, Phase::Session).kind(), kind, "{error}");
        }
    }
}
