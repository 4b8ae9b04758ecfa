//! One file per command. A command returns what it found out; only `main` knows exit codes.

pub mod check;
pub mod demo;
mod doctor;
pub mod drop;
pub mod grant;
pub mod grants;
pub mod init;
pub mod jobs;
mod man;
pub mod recalculate;
mod request;
pub mod resync;
pub mod run;
pub mod status;
pub mod verify;

use anyhow::anyhow;
use clap::CommandFactory;

use crate::apply::compat;
use crate::cli::{Cli, Command, Global};
use crate::config::{Config, Connection};

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It ran, and what it checks does not hold.
    DoesNotHold,
}

/// Writes a line to stdout. `println!` would panic when whoever reads has enough (`| head`).
///
/// # Errors
/// What the system says; `main` takes a closed pipe for the end of a good run.
pub fn say(line: impl std::fmt::Display) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")
}

/// The same for a command that changes something: that nobody reads on is no reason to stop half-way.
pub fn tell(line: impl std::fmt::Display) {
    let _ = say(line);
}

/// Runs the command.
///
/// # Errors
/// Why it could not run, to be shown on one line (a bad configuration: one line per problem).
pub async fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let global = &cli.global;
    match cli.command {
        Command::Init(args) => init::run(&config(global)?, &args).await,
        Command::Check(args) => check::run(&config(global)?, &args).await,
        Command::Grant(args) => readers(&config(global)?, &args, grant::Change::Grant).await,
        Command::Revoke(args) => readers(&config(global)?, &args, grant::Change::Revoke).await,
        Command::Compat(action) => stand_in(&config(global)?, action).await,
        Command::Drop(args) => drop::run(&config(global)?, &args).await,
        Command::Run(args) => run::run(config(global)?, global.config_file().unwrap_or_default(), &args).await,
        Command::Status(args) => status::run(config(global)?, &args).await,
        Command::Doctor => doctor::run(global).await,
        Command::Verify(args) => verify::run(config(global)?, &args).await,
        Command::Recalculate(args) => recalculate::run(config(global)?, &args).await,
        Command::Resync(args) => resync::run(config(global)?, &args).await,
        Command::Jobs(args) => jobs::run(config(global)?, args).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Man { folder: None } => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
            Ok(Outcome::Done)
        }
        Command::Man { folder: Some(folder) } => man::write(&folder),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tillstream", &mut std::io::stdout());
            Ok(Outcome::Done)
        }
    }
}

/// A session where the reports are, as the daemon's role or as an administrator.
async fn reports_session(config: &Config, admin_url: Option<&str>) -> anyhow::Result<tokio_postgres::Client> {
    let client = match admin_url {
        None => config.target_connection().connect("tillstream").await?,
        Some(url) => admin(url)?.connect("tillstream").await?,
    };
    crate::apply::migrate::require_latest(&client, &config.target.schema).await?;
    Ok(client)
}

/// What `--admin-url` names.
fn admin(url: &str) -> anyhow::Result<Connection> {
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    crate::config::parse_connection(url, None, &environment).map_err(|e| anyhow!("--admin-url: {e}"))
}

async fn readers(config: &Config, args: &crate::cli::GrantArgs, change: grant::Change) -> anyhow::Result<Outcome> {
    let client = reports_session(config, args.admin_url.as_deref()).await?;
    let access = grant::run(&client, config, &args.login, &args.tenants, change).await?;
    if args.json {
        tell(serde_json::to_string(&access)?);
    } else {
        let stores = match (access.all_stores, access.stores.is_empty()) {
            (true, _) => "every store".to_string(),
            (false, true) => "nothing".to_string(),
            (false, false) => access.stores.join(", "),
        };
        tell(format!("{} reads {stores}", access.login));
    }
    Ok(Outcome::Done)
}

async fn stand_in(config: &Config, action: crate::cli::CompatAction) -> anyhow::Result<Outcome> {
    let (action, args) = match action {
        crate::cli::CompatAction::Install(args) => (compat::Action::Install, args),
        crate::cli::CompatAction::Remove(args) => (compat::Action::Remove, args),
    };
    let client = reports_session(config, args.admin_url.as_deref()).await?;
    for change in compat::run(&client, config, action, &args.tenants).await? {
        tell(format!("{}: views {}; tables {}", change.tenant, change.views.join(", "), change.tables.join(", ")));
    }
    Ok(Outcome::Done)
}

/// The configuration the command line asks for.
fn config(global: &Global) -> anyhow::Result<Config> {
    let file = global.config_file().map_err(|message| anyhow!(message))?;
    Ok(Config::load(&file)?)
}
