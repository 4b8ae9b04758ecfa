//! Log lines: fields in the journal where stderr is the journal, else text or JSON on stderr. Never rows of the POS.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::journal::journal_layer;
use crate::config::LogLevel;

/// What of the command line outlives a change of the level.
struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    verbosity: i8,
}

static LOGGING: OnceLock<Logging> = OnceLock::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging for the whole process. `verbosity` counts -v less -q; `service` is the daemon, which tells of its
/// normal work, while a command tells only what is wrong. `RUST_LOG` overrides both.
pub fn init(format: LogFormat, verbosity: i8, service: bool) {
    let usual = if service { LogLevel::Info } else { LogLevel::Warn };
    let (filter, handle) = reload::Layer::new(filter(usual, verbosity));
    let _ = LOGGING.set(Logging { filter: handle, verbosity });
    let stderr = std::io::stderr;
    let lines = match (format, journal_layer()) {
        (LogFormat::Text, Some(journal)) => journal.boxed(),
        (LogFormat::Text, None) => {
            let text = tracing_subscriber::fmt::layer().with_ansi(stderr().is_terminal()).with_target(false);
            text.with_writer(stderr).boxed()
        }
        (LogFormat::Json, _) => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
    };
    // A second initialisation (tests in one process) is not an error worth a panic.
    let _ = tracing_subscriber::registry().with(filter).with(filter_fn(may_speak)).with(lines).try_init();
}

/// Libraries that quote statements, their parameters and messages of the protocol below a warning: rows of the POS and
/// passwords, which no level may show, not even that of `RUST_LOG`.
const TALKATIVE: [&str; 3] = ["tokio_postgres", "pgwire_replication", "postgres_protocol"];

fn may_speak(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN || !TALKATIVE.iter().any(|library| metadata.target().starts_with(library))
}

/// From now on as if the daemon had been started under this level.
pub fn set_level(level: LogLevel) {
    if let Some(logging) = LOGGING.get() {
        // It fails only where the subscriber is gone.
        let _ = logging.filter.reload(filter(level, logging.verbosity));
    }
}

fn filter(usual: LogLevel, verbosity: i8) -> EnvFilter {
    let usual: i8 = match usual {
        LogLevel::Error => -2,
        LogLevel::Warn => -1,
        LogLevel::Info => 0,
        LogLevel::Debug => 1,
        LogLevel::Trace => 2,
    };
    let level = match usual.saturating_add(verbosity) {
        i8::MIN..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2..=i8::MAX => "trace",
    };
    // The transport logs each end of a stream as an error before it hands it to us, who tell of it once.
    let others = if verbosity >= 3 { "debug" } else { "warn,pgwire_replication=off" };
    // Getting a server for the demo takes a while: worth a line unless silence was asked for.
    let fetching = if verbosity < 0 { "" } else { ",tillstream::demo::postgres=info" };
    EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{others},tillstream={level}{fetching}")))
}
