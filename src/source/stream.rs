//! The replication stream: one START_REPLICATION, its events in order, the way back for confirmed positions.
//!
//! ```text
//! socket ── transport's task ── channel (8192 events) ── next / try_next ──> engine
//!                 ^───────────────── confirm(position), sent within 25 ms <──────┘
//! ```
//! The transport's task keeps answering the server while the engine is busy; once the channel is full it stops reading,
//! and the server holds back.
//!
//! # A silent server
//! A connection whose peer is gone without a word (power cut, dropped NAT entry) stays open for a quarter of an hour. So
//! silence has to mean something: the session sets `wal_sender_timeout` to 30 s, after half of which without a word
//! from us the server asks for one; and the transport repeats an unchanged position only every 20 s, lest the server
//! never has a reason to ask. A living server is heard at least every 15 s; 60 s of silence is a dead one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pgwire_replication::{FeedbackObserver, Publication, ReplicationConfig, ReplicationEvent};
use tokio::sync::Notify;
use tokio::time::Instant as Clock;

use super::error::{Phase, SourceError, SourceErrorKind};
use super::reader;
use super::session::{Identity, Session, quote_name};
use crate::domain::Instant;
use crate::lsn::Lsn;
use crate::pgoutput::instant_from_micros;

/// Connecting, the questions before the start, and the start itself. Acquiring a slot does not wait for transactions.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A confirmed position is sent at the latest this long after the one before it; at the end it is waited for.
const STATUS_INTERVAL: Duration = Duration::from_millis(25);
/// An unchanged position is repeated this often; more than half of wal_sender_timeout, see above.
const IDLE_STATUS_INTERVAL: Duration = Duration::from_secs(20);
/// Nothing at all for so long: the server is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Events between the socket and the engine; the transport reserves room for them only as needed.
const BUFFERED_EVENTS: usize = 8192;
/// How long an orderly end may take: first the last confirmed position goes out, then the end of the copy.
const CLOSE_FEEDBACK_TIMEOUT: Duration = Duration::from_millis(700);
const CLOSE_END_TIMEOUT: Duration = Duration::from_millis(300);

/// What comes out of the stream, in WAL order of the commits.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    Begin {
        /// Where the transaction's commit record starts.
        final_lsn: Lsn,
        xid: u32,
        commit_time: Instant,
    },
    /// A pgoutput message of the transaction, for [`crate::pgoutput::decode`]; Begin, Commit and Message come as events
    /// of their own.
    Change(Bytes),
    Commit {
        /// Where the commit record starts.
        commit_lsn: Lsn,
        /// The byte after the commit record: what to store and confirm.
        end_lsn: Lsn,
        commit_time: Instant,
    },
    /// The server has sent everything that lies before `wal_end`. With nothing received and not yet stored it may be
    /// confirmed, and on an idle source it must be, or the slot keeps WAL that holds nothing for us, and the server's
    /// shutdown waits. The transport has answered already where a reply was requested.
    KeepAlive { wal_end: Lsn, reply_requested: bool },
    /// `pg_logical_emit_message`. A transactional one stands between the Begin and Commit of its transaction.
    LogicalMessage { transactional: bool, lsn: Lsn, prefix: String, content: Bytes },
}

/// What every stream's session is connected with, and what tells when a position was reported to the server.
pub(super) fn configured(mut cfg: ReplicationConfig, start: Lsn) -> (ReplicationConfig, Arc<Notify>) {
    let reported = Arc::new(Notify::new());
    let notify = Arc::clone(&reported);
    cfg.publication = cfg.publication.names().iter().map(|name| quote_name(name)).collect::<Publication>();
    cfg.slot = quote_name(&cfg.slot);
    cfg.start_lsn = start.into();
    // Nothing yet, see Stream::reached.
    cfg.ack_lsn = Some(Lsn::ZERO.into());
    cfg.stop_at_lsn = None;
    cfg.binary = true;
    cfg.status_interval = STATUS_INTERVAL;
    cfg.idle_wakeup_interval = IDLE_STATUS_INTERVAL;
    cfg.buffer_events = BUFFERED_EVENTS;
    cfg.feedback_observer = Some(FeedbackObserver::new(move |_| notify.notify_one()));
    (cfg, reported)
}

/// An open replication stream. Dropping it cuts the connection; [`Stream::end`] is the orderly end.
pub struct Stream {
    session: Session,
    /// The server process that serves it, where it was opened on a slot that outlives it.
    walsender: Option<i32>,
    /// The transport has reported a newer position to the server.
    reported: Arc<Notify>,
    /// The furthest position that the server is known to have. Confirming one beyond it would be accepted, and would
    /// make the server skip what it then writes there.
    seen: Lsn,
    /// Where it started, until that is confirmed.
    start: Lsn,
    /// When there was last nothing left to read.
    heard: Clock,
    /// Something was received since `heard`; saves reading the clock for every event.
    heard_since: bool,
}

impl Stream {
    /// Connects and streams all transactions that commit at or after `start`, the stored end position of the last one
    /// taken over; `start` itself is confirmed once the server has read that far, nothing beyond it. [`Lsn::ZERO`]: from
    /// where the slot stands.
    ///
    /// Slot and publication names are those of the catalogue, unquoted; what `cfg` says of positions, intervals and
    /// buffers is replaced. A slot that stands beyond `start` is not noticed here: the server silently starts there.
    ///
    /// # Errors
    /// See [`SourceErrorKind`]; after 30 s [`SourceErrorKind::Transient`].
    pub async fn open(cfg: ReplicationConfig, start: Lsn) -> Result<(Stream, Identity), SourceError> {
        tokio::time::timeout(OPEN_TIMEOUT, Self::open_unlimited(cfg, start)).await.unwrap_or_else(|_| {
            let message = format!("the source database did not answer within {} s", OPEN_TIMEOUT.as_secs());
            Err(SourceError::new(SourceErrorKind::Transient, message))
        })
    }

    async fn open_unlimited(cfg: ReplicationConfig, start: Lsn) -> Result<(Stream, Identity), SourceError> {
        let slot = cfg.slot.clone();
        let publications = cfg.publication.names().to_vec();
        let (cfg, reported) = configured(cfg, start);

        let mut session = Session::connect(cfg).await?;
        let identity = session.identify().await?;
        session.check_slot(&slot, &identity.database).await?;
        for name in &publications {
            session.check_publication(name).await?;
        }
        if start > identity.flushed {
            let message = format!(
                "the stored position {start} is ahead of the server's WAL, which ends at {}: the server was restored to an \
                 earlier state; run `tillstream resync`",
                identity.flushed
            );
            return Err(SourceError::new(SourceErrorKind::Config, message));
        }
        let walsender = session.backend_pid().await?;
        let stream = Self::start(session, reported, identity.flushed, start).await?;
        Ok((Stream { walsender: Some(walsender), ..stream }, identity))
    }

    /// Starts the stream of a session that was connected with what [`configured`] gives.
    pub(super) async fn start(
        mut session: Session,
        reported: Arc<Notify>,
        seen: Lsn,
        start: Lsn,
    ) -> Result<Stream, SourceError> {
        let client = &mut session.client;
        client.start().await.map_err(|e| SourceError::classify(&e, Phase::Start))?;
        client.wait_started().await.map_err(|e| SourceError::classify(&e, Phase::Start))?;
        Ok(Stream { session, walsender: None, reported, seen, start, heard: Clock::now(), heard_since: false })
    }

    /// The next event; waits for one. May be dropped while it waits: no event is lost.
    ///
    /// # Errors
    /// The end of the stream, whoever ended it; then open a new one. [`SourceErrorKind::Transient`] after 60 s without a
    /// sign of life.
    pub async fn next(&mut self) -> Result<StreamEvent, SourceError> {
        if let Some(event) = self.try_next()? {
            return Ok(event);
        }
        if std::mem::take(&mut self.heard_since) {
            self.heard = Clock::now();
        }
        match tokio::time::timeout_at(self.heard + SILENCE_LIMIT, self.session.client.recv()).await {
            Ok(received) => self.take(received),
            Err(_) => {
                let message = format!("nothing heard from the source database for {} s", SILENCE_LIMIT.as_secs());
                Err(SourceError::new(SourceErrorKind::Transient, message))
            }
        }
    }

    /// An event that has arrived already, or `None`.
    ///
    /// # Errors
    /// As [`Stream::next`].
    pub fn try_next(&mut self) -> Result<Option<StreamEvent>, SourceError> {
        // One poll, outside of the task's budget: with that spent the channel would look empty.
        match tokio::task::coop::unconstrained(self.session.client.recv()).now_or_never() {
            Some(received) => self.take(received).map(Some),
            None => Ok(None),
        }
    }

    fn take(
        &mut self,
        received: pgwire_replication::Result<Option<ReplicationEvent>>,
    ) -> Result<StreamEvent, SourceError> {
        self.heard_since = true;
        let ended = || SourceError::new(SourceErrorKind::Transient, "the replication stream has ended");
        let event = match received {
            Ok(Some(event)) => event,
            Ok(None) => return Err(ended()),
            // The transport's answer to a question after the end; the reason itself was told, or went with a dropped
            // `next` in the instant between the channel's end and the task's.
            Err(pgwire_replication::PgWireError::Internal(_)) => return Err(ended()),
            Err(e) => return Err(SourceError::classify(&e, Phase::Streaming)),
        };
        let time = |micros: i64| {
            instant_from_micros(micros).ok_or_else(|| {
                SourceError::new(SourceErrorKind::Config, "the source sent a commit time that is out of range")
            })
        };
        Ok(match event {
            ReplicationEvent::XLogData { data, .. } => StreamEvent::Change(data),
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                StreamEvent::Begin { final_lsn: final_lsn.into(), xid, commit_time: time(commit_time_micros)? }
            }
            ReplicationEvent::Commit { lsn, end_lsn, commit_time_micros } => {
                self.reached(end_lsn.into());
                StreamEvent::Commit {
                    commit_lsn: lsn.into(),
                    end_lsn: end_lsn.into(),
                    commit_time: time(commit_time_micros)?,
                }
            }
            ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } => {
                self.reached(wal_end.into());
                StreamEvent::KeepAlive { wal_end: wal_end.into(), reply_requested }
            }
            ReplicationEvent::Message { transactional, lsn, prefix, content } => {
                StreamEvent::LogicalMessage { transactional, lsn: lsn.into(), prefix, content }
            }
            // Never asked for.
            ReplicationEvent::StoppedAt { .. } => return Err(ended()),
        })
    }

    /// The server has read up to here. Only now may it hear where we started: the slot may move on by that, to what it has
    /// kept in mind since its last reader, and a checkpoint then takes away WAL that this one still has to read.
    fn reached(&mut self, position: Lsn) {
        self.seen = self.seen.max(position);
        if self.start != Lsn::ZERO && position >= self.start {
            self.session.client.update_applied_lsn(std::mem::replace(&mut self.start, Lsn::ZERO).into());
        }
    }

    /// Tells the server that everything before `position` is stored durably, so that it need not keep the WAL. Sent
    /// within 25 ms, also on an idle stream; a position before the last one confirmed changes nothing.
    ///
    /// A position that this server has not been seen to reach is not sent, but logged: it would be believed.
    pub fn confirm(&self, position: Lsn) {
        if position > self.seen {
            tracing::error!(%position, seen = %self.seen, "refusing to confirm a position beyond the server's wal");
            return;
        }
        self.session.client.update_applied_lsn(position.into());
    }

    /// The process id of the server's end.
    pub fn walsender(&self) -> Option<i32> {
        self.walsender
    }

    /// So long what arrives is left to be read with what comes after it. Of every stream of this process.
    pub fn set_pause(&self, pause: Duration) {
        reader::set_pause(pause);
    }

    /// Sends the last confirmed position, ends the copy and the session; takes 1 s at most. Nothing can be read from it any
    /// more.
    pub async fn end(&mut self) {
        let _ = tokio::time::timeout(CLOSE_FEEDBACK_TIMEOUT, self.flush()).await;
        if tokio::time::timeout(CLOSE_END_TIMEOUT, self.session.client.shutdown()).await.is_err() {
            self.session.client.abort();
        }
    }

    /// Waits until the server has been sent the last confirmed position, throwing away what else arrives.
    async fn flush(&mut self) {
        while self.session.client.feedback_pending_since().is_some() {
            tokio::select! {
                () = self.reported.notified() => {}
                received = self.session.client.recv() => if !matches!(received, Ok(Some(_))) { return },
            }
        }
    }
}
