//! Arguments -> configuration -> telemetry -> runtime -> command; exit codes.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tillstream::cli::{Cli, Command};
use tillstream::commands::{self, Outcome};
use tillstream::ops::telemetry;
use tillstream::told;

/// It could not run: bad arguments, bad configuration, no connection.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return refuse(&e),
    };
    // The demo shows its own picture; log lines would run through it.
    let service = matches!(cli.command, Command::Run(_));
    telemetry::init(cli.global.log_format, cli.global.verbosity(), service);
    // One thread: the work is one stream into one connection, and a second thread doubles what the kernel charges.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("cannot start the runtime: {e}")),
    };
    let outcome = runtime.block_on(commands::dispatch(cli));
    // A name lookup that nobody answers must not keep us.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::DoesNotHold) => ExitCode::from(1),
        Err(e) if is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => fail(&told::chain(&e)),
    }
}

/// Whoever read our stdout had enough of it.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("tillstream: {message}");
    ExitCode::from(COULD_NOT_RUN)
}

/// Help goes to stdout as it is; anything else is one line.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to tell where stdout is closed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let told: Vec<&str> =
        text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:")).filter(|l| !l.is_empty()).collect();
    let line = told.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    fail(&if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "no command given; see tillstream --help".to_string()
    } else {
        format!("{line}; see tillstream --help")
    })
}
