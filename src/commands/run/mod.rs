//! `run`: the daemon, or with `--once` one catching up.

mod proof;
mod reload;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Outcome;
use crate::cli::RunArgs;
use crate::config::Config;
use crate::engine::{self, Clock, Mode, Ops, Progress};
use crate::ops::health::Health;
use crate::ops::http::Server;
use crate::ops::metrics::Metrics;
use crate::ops::systemd::Notifier;
use crate::ops::telemetry;
use crate::version;

/// `file` is where `config` was read, to be read again on SIGHUP.
///
/// # Errors
/// What only a person can put right.
pub async fn run(config: Config, file: PathBuf, args: &RunArgs) -> anyhow::Result<Outcome> {
    telemetry::set_level(config.log.level);
    let mode = if args.once { Mode::Once } else { Mode::Forever };
    let stop = stop_on_signal()?;
    tracing::info!(version = version::FULL, slot = %config.source.slot, "starting");
    let config = Arc::new(config);
    let progress = match mode {
        Mode::Forever => daemon(config, file, stop).await?,
        Mode::Once | Mode::UpTo(_) => {
            let progress = Progress::default();
            engine::run(config, mode, Clock::system(), progress.clone(), stop).await?;
            progress
        }
    };
    tracing::info!(changes = progress.changes(), position = %progress.position(), "stopped");
    Ok(Outcome::Done)
}

/// The engine with everything that watches it, until told to stop.
async fn daemon(config: Arc<Config>, file: PathBuf, stop: watch::Receiver<bool>) -> anyhow::Result<Progress> {
    let ops = Ops {
        metrics: Metrics::new(version::NUMBER, version::COMMIT)?,
        health: Health::default(),
        notifier: Notifier::from_env(),
    };
    // Whoever asks is answered from the beginning, also while the databases are away. The server ends with its value.
    let _server = match config.http.listen {
        Some(address) => {
            let server = Server::start(address, ops.health.clone(), ops.metrics.clone());
            let server = server.with_context(|| format!("cannot listen on {address}; see [http] listen"))?;
            tracing::info!(address = %server.address(), "answering /healthz, /readyz and /metrics");
            Some(server)
        }
        None => None,
    };
    let _watchdog = ops.notifier.watch(ops.health.clone()).context("cannot start the watchdog's thread")?;
    ops.notifier.status("starting");
    let progress = Progress::watched(ops.clone());
    let (configs, current) = watch::channel(config);
    let reloading = tokio::spawn(reload::on_hangup(file, configs, ops.clone()));
    let proving = proof::start(current.clone(), ops.clone(), stop.clone()).context("cannot start a thread")?;
    let stopping = tokio::spawn(say_stopping(ops.notifier.clone(), stop.clone()));
    let result = engine::run_reloading(current, Mode::Forever, Clock::system(), progress.clone(), stop).await;
    ops.notifier.stopping();
    reloading.abort();
    stopping.abort();
    drop(proving);
    result?;
    Ok(progress)
}

/// The service manager is told as soon as the stop is asked for, not when the batch in hand is done.
async fn say_stopping(notifier: Notifier, mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_ok() {
        notifier.stopping();
        notifier.status("stopping: finishing the batch in hand");
    }
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
