//! How a session is: how far behind, in which states its stores are, whether the databases still answer.

use std::time::{Duration, Instant as Moment};

use super::error::EngineError;
use super::progress::Progress;
use super::session::Session;
use crate::apply::Writer;
use crate::config::Config;

/// How often the service manager is told how it goes.
const SAY: Duration = Duration::from_secs(5);
/// Nothing has come of whatever is under way for so long: somebody should look whether the databases are still there.
const LONG: Duration = Duration::from_secs(10);
/// How long a database may take to answer what a living one answers at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

impl Session {
    /// How far behind the reports are, and a word on it. Also while a write takes long.
    pub(super) fn measure(&mut self) {
        let now = Moment::now();
        if let Some((end, at)) = self.probe.end() {
            self.lag.probed(end, at);
        }
        let unwritten = self.press.is_some() || self.writer.as_ref().is_none_or(Writer::is_open);
        let idle = self.assembler.idle_position().filter(|_| !unwritten);
        let covered = idle.unwrap_or_default().max(self.progress.position());
        let Some((bytes, time)) = self.lag.behind(covered, now) else { return };
        self.progress.behind(bytes, time);
        if self.said.is_none_or(|said| said.elapsed() >= SAY) {
            self.said = Some(now);
            let (live, all) = self.assembler.stores.iter().fold((0, 0), |n, s| (n.0 + usize::from(s.live), n.1 + 1));
            let behind = if time < SAY { "up to date".to_string() } else { format!("{} s behind", time.as_secs()) };
            self.progress.says(&format!("live: {live} of {all} stores, {behind}"));
        }
    }

    /// For operators: how many stores are in which state.
    pub(super) async fn count_stores(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        self.counted = Some(Moment::now());
        let rows = writer.client.query(writer.sql.text("count_stores"), &[]).await?;
        let count =
            |row: &tokio_postgres::Row| Ok((row.try_get(0)?, usize::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0)));
        let counts = rows.iter().map(count).collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
        self.progress.stores(&counts);
        Ok(())
    }
}

/// A question that a living server answers at once. Nothing else ends the wait where the network is cut without a word.
pub(super) async fn answer<T, E: Into<EngineError>>(
    whom: &'static str,
    question: impl Future<Output = Result<T, E>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_LIMIT, question).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(EngineError::Silent { whom, limit: ANSWER_LIMIT }),
    }
}

/// Ends when a database does not answer any more. A batch, a step of a job or anything else at the start or between two
/// batches may wait for a lock, or for an answer that will never come, as where the network is cut without a word:
/// another connection tells which.
pub(super) async fn silence(config: &Config, progress: &Progress) -> EngineError {
    loop {
        tokio::time::sleep(LONG.saturating_sub(progress.quiet_for())).await;
        if progress.quiet_for() < LONG {
            continue;
        }
        for (whom, database) in [("source", &config.source.connection), ("target", config.target_connection())] {
            match answer(whom, database.connect("tillstream look")).await {
                // It is there, also where it turns us away.
                Err(EngineError::Connect(e)) if !e.is_unreachable() => {}
                Err(e) if progress.quiet_for() >= LONG => return e,
                _ => {}
            }
        }
        progress.heard();
    }
}
