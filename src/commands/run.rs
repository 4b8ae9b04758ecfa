//! `run`: the daemon, or with `--once` one catching up.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Outcome;
use crate::cli::RunArgs;
use crate::config::Config;
use crate::engine::{self, Clock, Mode, Progress};

/// # Errors
/// What only a person can put right.
pub async fn run(config: Config, args: &RunArgs) -> anyhow::Result<Outcome> {
    let mode = if args.once { Mode::Once } else { Mode::Forever };
    let stop = stop_on_signal()?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), slot = %config.source.slot, "starting");
    let progress = Progress::default();
    engine::run(Arc::new(config), mode, Clock::system(), progress.clone(), stop).await?;
    tracing::info!(changes = progress.changes(), position = %progress.position(), "stopped");
    Ok(Outcome::Done)
}

/// Turns true with the first SIGTERM or SIGINT; the second ends the process as it is.
pub fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send_replace(true) {
                std::process::exit(130);
            }
        }
    });
    Ok(receiver)
}
