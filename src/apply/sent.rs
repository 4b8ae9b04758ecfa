//! Statements on their way: sent in one go, answered in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant as Moment;

use futures_util::future::{BoxFuture, join_all};
use futures_util::poll;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::ApplyError;
use super::batch::End;
use super::statements::Statements;
use super::write::Call;
use super::writer::Applied;
use crate::lsn::Lsn;

/// The SQLSTATE of `{state}.taken`.
const TAKEN: &str = "TS001";

/// What one call came to; what its statement has to say to somebody it says with an error.
type Answer = BoxFuture<'static, Result<u64, Error>>;

enum Answers {
    Awaited(JoinHandle<Vec<Result<u64, Error>>>),
    Here(Vec<Result<u64, Error>>),
}

impl Answers {
    /// May be dropped while it waits.
    async fn here(&mut self) -> Result<Vec<Result<u64, Error>>, ApplyError> {
        match self {
            // It is never aborted, and it does nothing but wait.
            Answers::Awaited(answers) => answers.await.map_err(|_| ApplyError::Unanswered),
            Answers::Here(answers) => Ok(std::mem::take(answers)),
        }
    }
}

/// A batch that was sent. Dropping it does not take it back.
pub struct Sent {
    /// Of what was sent together, in order.
    answers: VecDeque<Answers>,
    /// What it comes to, if all goes well.
    applied: Applied,
    end: Option<End>,
    began: Moment,
}

impl Sent {
    /// Nothing sent yet. `applied`: what the batch comes to, `applied.position` being where it begins.
    pub(super) fn new(applied: Applied, end: Option<End>, began: Moment) -> Sent {
        Sent { answers: VecDeque::new(), applied, end, began }
    }

    /// Sends calls in order, without waiting for answers; all of them are prepared.
    pub(super) async fn send(&mut self, client: &Arc<Client>, sql: &Statements, calls: Vec<Call>) {
        let pending = calls.into_iter().map(|(name, params)| -> Answer {
            let (client, statement) = (Arc::clone(client), sql.statement(name));
            Box::pin(async move {
                let params: Vec<&(dyn ToSql + Sync)> =
                    params.iter().map(|p| p.as_ref() as &(dyn ToSql + Sync)).collect();
                match statement {
                    Ok(statement) => client.execute(&statement, &params).await,
                    Err(text) => client.execute(text.as_str(), &params).await,
                }
            })
        });
        let mut answers = join_all(pending);
        // The first look at each sends it.
        self.answers.push_back(match poll!(&mut answers) {
            Poll::Ready(answers) => Answers::Here(answers),
            Poll::Pending => Answers::Awaited(tokio::spawn(answers)),
        });
    }

    /// Waits until no more than `left` of what was sent together are unanswered. May be dropped while it waits.
    ///
    /// # Errors
    /// The first; those after it only say that the transaction has failed already.
    pub(super) async fn wait(&mut self, left: usize) -> Result<(), ApplyError> {
        let stood: Lsn = self.applied.position;
        let taken = |e: &Error| e.code().is_some_and(|code| code.code() == TAKEN);
        while self.answers.len() > left
            && let Some(answers) = self.answers.front_mut()
        {
            let answers = answers.here().await?;
            self.answers.pop_front();
            for answer in answers {
                answer.map_err(|e| match taken(&e) {
                    true => ApplyError::Taken { expected: stood },
                    false => ApplyError::Database(e),
                })?;
            }
        }
        Ok(())
    }

    /// Waits until all of it is answered. May be dropped while it waits.
    ///
    /// # Errors
    /// The first; those after it only say that the transaction has failed already.
    pub async fn answered(&mut self) -> Result<Applied, ApplyError> {
        self.wait(0).await?;
        let mut applied = Applied { took: self.began.elapsed(), ..self.applied };
        if let Some(end) = self.end {
            applied.position = end.lsn;
            applied.committed = true;
            applied.committed_at = end.committed_at.filter(|_| applied.transactions > 0);
        }
        Ok(applied)
    }
}
