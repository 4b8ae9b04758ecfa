//! A replication session before it streams: settings, who the server is, whether slot and publication are there.

use bytes::Bytes;
use pgwire_replication::client::QueryRow;
use pgwire_replication::{ReplicationClient, ReplicationConfig};

use super::error::{INVALIDATED_ADVICE, PUBLICATION_ADVICE, Phase, SourceError, SourceErrorKind};
use super::reader::reader;
use crate::lsn::Lsn;

/// Which server a position belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Of the cluster, from initdb; copies of its files share it. Decimal text.
    pub system_identifier: String,
    /// Counts on with every promotion and point-in-time recovery.
    pub timeline: u32,
    /// Where the server's durable WAL ended when asked.
    pub flushed: Lsn,
    pub database: String,
    /// How its timeline came about, oldest first; empty where nobody asked.
    pub history: Vec<Fork>,
}

/// Where a timeline was left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    pub timeline: u32,
    pub at: Lsn,
}

/// How the server's timeline came about, oldest first.
///
/// # Errors
/// See [`SourceErrorKind`].
pub async fn timeline_history(cfg: ReplicationConfig, timeline: u32) -> Result<Vec<Fork>, SourceError> {
    if timeline <= 1 {
        return Ok(Vec::new());
    }
    let mut session = Session::connect(cfg).await?;
    let history = session.client.timeline_history(timeline).await;
    let history = history.map_err(|e| SourceError::classify(&e, Phase::Session))?;
    Ok(forks(&String::from_utf8_lossy(&history.content)))
}

/// Reads a history file: a line per fork, the timeline left, the position, and a word on it. Comments begin with #.
fn forks(file: &str) -> Vec<Fork> {
    let fork = |line: &str| {
        let mut words = line.split_whitespace();
        Some(Fork { timeline: words.next()?.parse().ok()?, at: words.next()?.parse().ok()? })
    };
    file.lines().filter_map(fork).collect()
}

/// Session settings, for every replication session:
/// - text forms of values that do not depend on the server's configuration;
/// - no timeouts: a slot is created when the running transactions have ended, and its snapshot's session idles in a
///   transaction for as long as the first copy takes;
/// - the server asks for a sign of life after half of `wal_sender_timeout` (see stream.rs), whatever its configuration.
const OPTIONS: &str = "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC -c extra_float_digits=1 \
                       -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                       -c idle_session_timeout=0 -c wal_sender_timeout=30s";

/// A replication connection, gated: authenticated, not streaming, until its client is started.
pub(super) struct Session {
    pub client: ReplicationClient,
}

/// An abandoned session closes its socket at once, whatever it is waiting for; the client alone would wait on in the
/// background, for a dead peer a quarter of an hour.
impl Drop for Session {
    fn drop(&mut self) {
        self.client.abort();
    }
}

impl Session {
    /// Starts to connect; the first question waits for the connection and gets its errors.
    pub async fn connect(mut cfg: ReplicationConfig) -> Result<Self, SourceError> {
        cfg.options = Some(match cfg.options.take() {
            Some(own) => format!("{OPTIONS} {own}"),
            None => OPTIONS.to_string(),
        });
        let thread = |e: String| SourceError::new(SourceErrorKind::Transient, format!("no thread for the stream: {e}"));
        let connecting = reader().map_err(|e| thread(e.to_string()))?.spawn(ReplicationClient::connect_gated(cfg));
        let client = connecting.await.map_err(|e| thread(e.to_string()))?;
        Ok(Session { client: client.map_err(|e| SourceError::classify(&e, Phase::Session))? })
    }

    pub async fn query(&mut self, sql: &str) -> Result<Vec<QueryRow>, SourceError> {
        self.client.simple_query(sql).await.map_err(|e| SourceError::classify(&e, Phase::Session))
    }

    pub async fn identify(&mut self) -> Result<Identity, SourceError> {
        let system = self.client.identify_system().await.map_err(|e| SourceError::classify(&e, Phase::Session))?;
        Ok(Identity {
            system_identifier: system.system_id,
            timeline: system.timeline,
            flushed: system.xlogpos.into(),
            database: system.dbname.ok_or_else(|| unexpected("IDENTIFY_SYSTEM names no database"))?,
            history: Vec::new(),
        })
    }

    /// The process id of the server's end.
    pub async fn backend_pid(&mut self) -> Result<i32, SourceError> {
        let rows = self.query("SELECT pg_backend_pid()").await?;
        let pid = rows.first().and_then(|row| text(row, 0)).and_then(|pid| pid.parse().ok());
        pid.ok_or_else(|| unexpected("the server names no process"))
    }

    /// Refuses a slot that is missing, of another database or kind, or invalidated.
    ///
    /// Asked of the catalogue rather than taken from START_REPLICATION's errors, which are in the server's language.
    pub async fn check_slot(&mut self, slot: &str, database: &str) -> Result<(), SourceError> {
        let rows = self
            .query(&format!(
                "SELECT database, plugin, wal_status FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
                quote_literal(slot)
            ))
            .await?;
        let Some(row) = rows.first() else {
            let message = format!("replication slot {slot:?} does not exist; run `tillstream init`");
            return Err(SourceError::new(SourceErrorKind::SlotMissing, message));
        };
        let column = |index: usize| text(row, index);
        match (column(0).as_deref(), column(1).as_deref()) {
            (Some(of), Some("pgoutput")) if of == database => {}
            (Some(of), Some("pgoutput")) => {
                let message = format!(
                    "replication slot {slot:?} belongs to database {of:?}, not {database:?}; see [source] url and slot"
                );
                return Err(SourceError::new(SourceErrorKind::Config, message));
            }
            _ => {
                let message = format!(
                    "replication slot {slot:?} is not a logical slot of pgoutput; name another in [source] slot"
                );
                return Err(SourceError::new(SourceErrorKind::Config, message));
            }
        }
        if column(2).as_deref() == Some("lost") {
            let message = format!("the server has invalidated replication slot {slot:?}; {INVALIDATED_ADVICE}");
            return Err(SourceError::new(SourceErrorKind::SlotInvalidated, message));
        }
        Ok(())
    }

    /// Refuses a publication that is missing. From PostgreSQL 18 on the stream itself would only warn, and stay empty.
    pub async fn check_publication(&mut self, name: &str) -> Result<(), SourceError> {
        let rows = self
            .query(&format!("SELECT FROM pg_catalog.pg_publication WHERE pubname = {}", quote_literal(name)))
            .await?;
        if rows.is_empty() {
            let message = format!("publication {name:?} does not exist; {PUBLICATION_ADVICE}");
            return Err(SourceError::new(SourceErrorKind::PublicationMissing, message));
        }
        Ok(())
    }
}

/// One column of a row as text; `None` for NULL and for a column that is not there.
pub(super) fn text(row: &[Option<Bytes>], index: usize) -> Option<String> {
    row.get(index)?.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

pub(super) fn unexpected(what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Config, format!("the source database gave an unexpected answer: {what}"))
}

/// `"name"`, as an SQL or replication command takes it. Unquoted names are down-cased.
pub(super) fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`; an E string where a backslash could mean something.
pub(super) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_history_files() {
        let file = "1\t0/3000060\tno recovery target specified\n\n# a comment\n2 0/5000000 x\nrubbish\n";
        let fork = |timeline, at| Fork { timeline, at: Lsn(at) };
        assert_eq!(forks(file), [fork(1, 0x300_0060), fork(2, 0x500_0000)]);
    }

    #[test]
    fn quotes_names_and_literals() {
        assert_eq!(quote_name("till"), r#""till""#);
        assert_eq!(quote_name(r#"Odd "one", two"#), r#""Odd ""one"", two""#);
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'b"), r" E'a\\''b'");
    }
}
