//! Log lines: fields in the journal where stderr is the journal, else text or JSON on stderr. Never rows of the POS.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::journal::journal_layer;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging for the whole process. `verbosity` counts -v less -q; `service` is the daemon, which tells of its
/// normal work, while a command tells only what is wrong. `RUST_LOG` overrides both.
pub fn init(format: LogFormat, verbosity: i8, service: bool) {
    let usual: i8 = if service { 0 } else { -1 };
    let level = match usual.saturating_add(verbosity) {
        i8::MIN..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2..=i8::MAX => "trace",
    };
    let others = if verbosity >= 3 { "debug" } else { "warn" };
    // Getting a server for the demo takes a while: worth a line unless silence was asked for.
    let fetching = if verbosity < 0 { "" } else { ",tillstream::demo::postgres=info" };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{others},tillstream={level}{fetching}")));
    if format == LogFormat::Text
        && let Some(journal) = journal_layer()
    {
        let _ = tracing_subscriber::registry().with(journal).with(filter).try_init();
        return;
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second initialisation (tests in one process) is not an error worth a panic.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
    };
}
