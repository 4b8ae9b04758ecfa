//! Statements on their way: sent in one go, answered in order.

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant as Moment;

use futures_util::future::{BoxFuture, join_all};
use futures_util::poll;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

use super::ApplyError;
use super::batch::End;
use super::statements::Statements;
use super::write::Call;
use super::writer::Applied;
use crate::lsn::Lsn;

/// The SQLSTATE of `{state}.taken`.
const TAKEN: &str = "TS001";

/// What one call came to.
type Answer = BoxFuture<'static, Result<Vec<Row>, Error>>;

enum Answers {
    Awaited(JoinHandle<Vec<Result<Vec<Row>, Error>>>),
    Here(Vec<Result<Vec<Row>, Error>>),
}

/// A batch that was sent. Dropping it does not take it back.
pub struct Sent {
    answers: Answers,
    /// What it comes to, if all goes well.
    applied: Applied,
    end: Option<End>,
    began: Moment,
}

impl Sent {
    /// Sends the calls in order, without waiting for answers; all of them are prepared. `applied`: what the batch comes
    /// to, `applied.position` being where it begins.
    pub(super) async fn send(
        client: &Arc<Client>,
        sql: &Statements,
        calls: Vec<Call>,
        applied: Applied,
        end: Option<End>,
        began: Moment,
    ) -> Sent {
        let pending = calls.into_iter().map(|(name, params)| -> Answer {
            let (client, statement) = (Arc::clone(client), sql.statement(name));
            Box::pin(async move {
                let params: Vec<&(dyn ToSql + Sync)> =
                    params.iter().map(|p| p.as_ref() as &(dyn ToSql + Sync)).collect();
                match statement {
                    Ok(statement) => client.query(&statement, &params).await,
                    Err(text) => client.query(text.as_str(), &params).await,
                }
            })
        });
        let mut answers = join_all(pending);
        // The first look at each sends it.
        let answers = match poll!(&mut answers) {
            Poll::Ready(answers) => Answers::Here(answers),
            Poll::Pending => Answers::Awaited(tokio::spawn(answers)),
        };
        Sent { answers, applied, end, began }
    }

    /// Waits until all of it is answered. May be dropped while it waits.
    ///
    /// # Errors
    /// The first; those after it only say that the transaction has failed already.
    pub async fn answered(&mut self) -> Result<Applied, ApplyError> {
        let answers = match &mut self.answers {
            // It is never aborted, and it does nothing but wait.
            Answers::Awaited(answers) => answers.await.map_err(|_| ApplyError::Unanswered)?,
            Answers::Here(answers) => std::mem::take(answers),
        };
        let stood: Lsn = self.applied.position;
        let taken = |e: &Error| e.code().is_some_and(|code| code.code() == TAKEN);
        let mut wal = None;
        for answer in answers {
            let rows = answer.map_err(|e| match taken(&e) {
                true => ApplyError::Taken { expected: stood },
                false => ApplyError::Database(e),
            })?;
            wal = rows.into_iter().next();
        }
        let mut applied = Applied { took: self.began.elapsed(), ..self.applied };
        if let Some(end) = self.end {
            applied.position = end.lsn;
            applied.committed = wal.map(|row| row.try_get(0)).transpose()?;
            applied.committed_at = end.committed_at.filter(|_| applied.transactions > 0);
        }
        Ok(applied)
    }
}
