//! Whoever reads for long holds a lock on each table until the end: a statement that alters one of them waits for us, and
//! everybody who writes waits for that statement. So long readers are watched, and give way.

use std::time::Duration;

use tokio_postgres::{Client, Transaction};

use super::connect::ConnectError;
use crate::config::Config;

const WAITING: &str = "SELECT EXISTS ( \
    SELECT FROM pg_locks w JOIN pg_locks h ON h.locktype = 'relation' AND h.database = w.database AND h.relation = w.relation \
    WHERE h.pid = $1 AND h.granted AND w.locktype = 'relation' AND NOT w.granted AND w.mode = 'AccessExclusiveLock')";

#[derive(Debug, thiserror::Error)]
pub enum CourtesyError {
    /// The reader's session is ended.
    #[error("a statement that changes a table waited for us to have read it")]
    GaveWay,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{}", crate::apply::describe(.0))]
    Database(#[from] tokio_postgres::Error),
}

/// Runs `reading`, which uses `reader`, for as long as nobody waits for its locks.
///
/// # Errors
/// [`CourtesyError::GaveWay`], or that it could not be watched. What `reading` says is inside.
pub async fn giving_way<T>(
    config: &Config,
    reader: &Transaction<'_>,
    reading: impl Future<Output = T>,
) -> Result<T, CourtesyError> {
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    let watcher = config.source.connection.connect("tillstream watch").await?;
    tokio::select! {
        done = reading => Ok(done),
        watched = somebody_waits(&watcher, pid, config.source.lock_timeout / 2) => {
            watched?;
            watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
            Err(CourtesyError::GaveWay)
        }
    }
}

async fn somebody_waits(watcher: &Client, pid: i32, every: Duration) -> Result<(), tokio_postgres::Error> {
    let waiting = watcher.prepare(WAITING).await?;
    while !watcher.query_one(&waiting, &[&pid]).await?.try_get::<_, bool>(0)? {
        tokio::time::sleep(every).await;
    }
    Ok(())
}
