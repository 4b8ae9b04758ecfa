//! The writer while it has batches in hand: the next one is folded and sent while the one before is being written.
//!
//! ```text
//! start ─> fold, send (a task: it may have to read) ─> sent, in order ─> answered ─> next
//! ```
//! A batch that was refused takes those sent after it along: the position that they follow from is not there.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::error::EngineError;
use crate::apply::writer::{Applied, Sent};
use crate::apply::{ApplyError, Batch, Writer};

/// Batches sent and not answered. With two the server never waits for us to fold.
const SENT: usize = 2;

/// A batch that left the writer's hands.
enum Handed {
    Sent(Sent),
    /// Written store by store, which is waited for.
    Applied(Applied),
}

type Folding = JoinHandle<(Writer, Result<Handed, ApplyError>)>;

pub struct Press {
    /// At home while no batch is being folded.
    writer: Option<Writer>,
    folding: Option<Folding>,
    sent: VecDeque<Sent>,
    /// The first thing that went wrong, and not only in consequence; what was sent after it comes to nothing.
    failed: Option<ApplyError>,
    /// The last batch that was written.
    written: Option<Applied>,
}

impl Press {
    pub fn new(writer: Writer) -> Press {
        Press { writer: Some(writer), folding: None, sent: VecDeque::new(), failed: None, written: None }
    }

    /// Another batch can be started.
    pub fn has_room(&self) -> bool {
        self.writer.is_some() && self.failed.is_none() && self.sent.len() < SENT
    }

    /// Starts a batch; `apart`: store by store, to find out whose part is refused. Nothing is started where there is no
    /// room.
    pub fn start(&mut self, batch: Batch, apart: bool) {
        let Some(mut writer) = self.writer.take() else { return };
        self.folding = Some(tokio::spawn(async move {
            let handed = match apart {
                true => writer.apply_apart(batch).await.map(Handed::Applied),
                false => writer.send(batch).await.map(Handed::Sent),
            };
            (writer, handed)
        }));
    }

    /// Waits for the next batch that is written, or (`None`) until there is room for another. May be dropped while it
    /// waits.
    ///
    /// # Errors
    /// A defect of ours. That a batch was refused is told at the end.
    pub async fn next(&mut self) -> Result<Option<Applied>, EngineError> {
        let answered = match (self.sent.front_mut(), &mut self.folding) {
            (Some(sent), Some(folding)) => tokio::select! {
                biased;
                answered = sent.answered() => answered,
                folded = folding => return self.folded(folded),
            },
            (Some(sent), None) => sent.answered().await,
            (None, Some(folding)) => {
                let folded = folding.await;
                return self.folded(folded);
            }
            (None, None) => return Ok(None),
        };
        self.sent.pop_front();
        match answered {
            Ok(applied) => {
                self.written = Some(applied).filter(|applied| applied.committed).or(self.written);
                return Ok(Some(applied));
            }
            Err(e) => self.fail(e),
        }
        Ok(None)
    }

    fn fail(&mut self, error: ApplyError) {
        if self.failed.as_ref().is_none_or(ApplyError::is_consequence) {
            self.failed = Some(error);
        }
    }

    fn folded(
        &mut self,
        folded: Result<(Writer, Result<Handed, ApplyError>), tokio::task::JoinError>,
    ) -> Result<Option<Applied>, EngineError> {
        self.folding = None;
        // It is not aborted while it is waited for, so it panicked.
        let (writer, handed) =
            folded.map_err(|e| EngineError::Definite(format!("a defect in writing a batch: {e}")))?;
        self.writer = Some(writer);
        match handed {
            Ok(Handed::Sent(sent)) => self.sent.push_back(sent),
            Ok(Handed::Applied(applied)) => return Ok(Some(applied)),
            Err(e) => self.fail(e),
        }
        Ok(None)
    }

    /// Nothing is in hand any more.
    pub fn is_done(&self) -> bool {
        self.writer.is_some() && self.sent.is_empty()
    }

    /// The writer, once nothing is in hand, and what went wrong.
    pub fn end(mut self) -> (Option<Writer>, Option<ApplyError>) {
        let (mut writer, failed) = (self.writer.take(), self.failed.take());
        if let (Some(writer), Some(applied)) = (&mut writer, &self.written) {
            writer.acknowledged(applied);
        }
        if let (Some(writer), Some(_)) = (&mut writer, &failed) {
            writer.failed();
        }
        (writer, failed)
    }
}

impl Drop for Press {
    fn drop(&mut self) {
        if let Some(folding) = &self.folding {
            folding.abort();
        }
    }
}
