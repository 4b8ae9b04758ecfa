//! The daemon inside the demo's process: the same engine as `run`, on a thread and a runtime of its own, so that what
//! the shop and the view do does not slow it down.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::config::Config;
use crate::engine::{self, Clock, EngineError, Mode, Progress};

/// How often the start looks whether the stream is followed.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start the daemon's thread: {0}")]
    Thread(std::io::Error),
    #[error("the daemon gave up: {0}")]
    Engine(#[from] EngineError),
    #[error("the daemon ended by itself")]
    Ended,
}

/// A running daemon. Dropping it stops it and waits for its end.
pub struct Daemon {
    pub progress: Progress,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// # Errors
    /// The system gives no thread.
    pub fn start(config: Arc<Config>) -> Result<Daemon, Error> {
        let progress = Progress::default();
        let (stop, stopped) = watch::channel(false);
        let (tell, ended) = oneshot::channel();
        let seen = progress.clone();
        let body = move || {
            let result =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread).and_then(
                    |runtime| {
                        Ok(runtime.block_on(engine::run(config, Mode::Forever, Clock::system(), seen, stopped))?)
                    },
                );
            // Nobody listens where the demo itself is at its end.
            let _ = tell.send(result);
        };
        let thread = thread::Builder::new().name("daemon".into()).spawn(body).map_err(Error::Thread)?;
        Ok(Daemon { progress, stop, ended, thread: Some(thread) })
    }

    /// Waits until the stores are copied and the stream is followed.
    ///
    /// # Errors
    /// The daemon ended instead.
    pub async fn live(&mut self) -> Result<(), Error> {
        while !self.progress.is_settled() {
            if let Ok(ended) = tokio::time::timeout(LOOK, &mut self.ended).await {
                return Err(why(ended));
            }
        }
        Ok(())
    }

    /// Waits for an end that nobody asked for, and gives its reason.
    pub async fn failed(&mut self) -> Error {
        why((&mut self.ended).await)
    }

    /// Stops it in good order: what it has in hand is written and confirmed.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => Err(Error::Ended),
        }
    }
}

fn why(ended: Result<Result<(), Error>, oneshot::error::RecvError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => Error::Ended,
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
