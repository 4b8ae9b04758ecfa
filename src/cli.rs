//! The command line.

use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, NaiveDate};
use clap::{Args, Parser, Subcommand};

use crate::ops::telemetry::LogFormat;

/// Where the configuration is looked for when `--config` is not given.
pub const CONFIG_FILES: [&str; 2] = ["./daemon.toml", "/etc/tillstream/daemon.toml"];

const EXAMPLES: &str = "Examples:
  tillstream demo                      everything on a throwaway PostgreSQL, live in the terminal
  tillstream check                     what stands in the way, with the statements that mend it
  tillstream init && tillstream run    set up, then follow the POS until stopped
  tillstream verify --tenant tenant_central

Exit status: 0 done; 1 it ran and what it checks does not hold; 2 could not run.";

/// Live, exactly-once sales reports beside a PostgreSQL point-of-sale database.
#[derive(Debug, Parser)]
#[command(name = "tillstream", version = crate::version::FULL, after_help = EXAMPLES, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Configuration file [default: ./daemon.toml, then /etc/tillstream/daemon.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How log lines on stderr are written
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Log more; twice: even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log less; twice: only errors
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,
}

impl Global {
    /// How far above (or below) the usual to log.
    pub fn verbosity(&self) -> i8 {
        let count = |n: u8| i8::try_from(n).unwrap_or(i8::MAX);
        count(self.verbose).saturating_sub(count(self.quiet))
    }

    /// The file to read: the one named, else the first default that exists.
    ///
    /// # Errors
    /// A line that says which files were looked for.
    pub fn config_file(&self) -> Result<PathBuf, String> {
        if let Some(file) = &self.config {
            return Ok(file.clone());
        }
        let found = CONFIG_FILES.iter().map(Path::new).find(|p| p.exists());
        found.map(Path::to_path_buf).ok_or_else(|| {
            format!("no configuration: neither {} exists; name one with --config FILE", CONFIG_FILES.join(" nor "))
        })
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or upgrade the report schema, the publication and the slot
    Init(InitArgs),
    /// Find every obstacle at once, with the statement that mends it; changes nothing
    Check(ReadArgs),
    /// Follow the POS: first copy if needed, then its log and the schedule, until stopped
    Run(RunArgs),
    /// Phase, position, lag, stores and jobs; answers also when the daemon is down
    Status(ReadArgs),
    /// Collect on stdout what a bug report needs; secrets are left out
    Doctor,
    /// Recompute every report row from the POS tables at one position and compare
    Verify(VerifyArgs),
    /// Recompute all four reports for some days
    Recalculate(RecalculateArgs),
    /// Throw away what is kept of a store, or of all, and copy it again
    Resync(ResyncArgs),
    /// Last and next run of each job, or run one now
    Jobs(JobsArgs),
    /// Let a login read the reports of all stores, or of some
    Grant(GrantArgs),
    /// Take back what a login may read
    Revoke(GrantArgs),
    /// Views in place of the application's own report tables
    #[command(subcommand)]
    Compat(CompatAction),
    /// Remove slot and publication, so that the POS keeps no log for us
    Drop(DropArgs),
    /// A simulated shop on a throwaway PostgreSQL with live reports in the terminal
    Demo(DemoArgs),
    /// Write the manual page to stdout, or all manual pages into a folder
    #[command(hide = true)]
    Man { folder: Option<PathBuf> },
    /// Write a completion script to stdout
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  tillstream init
  tillstream init --print-sql                                show what would be done
  tillstream init --admin-url postgresql://postgres@/pos     role, grants and publication as an administrator")]
pub struct InitArgs {
    /// Show the SQL instead of running it
    #[arg(long)]
    pub print_sql: bool,
    /// Do what the daemon's role may not as this user: create the role, grant, create its schemas, publish
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Catch up with the log position at start, write everything, exit
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit status: 0 every row is right; 1 some row differs (with --repair: differed); 2 could not run."
)]
pub struct VerifyArgs {
    /// Only this store
    #[arg(long)]
    pub tenant: Option<String>,
    /// Put the rows right
    #[arg(long)]
    pub repair: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  tillstream recalculate --date 2026-03-01 --to 2026-03-07 --tenant tenant_central")]
pub struct RecalculateArgs {
    /// Local date, YYYY-MM-DD
    #[arg(long)]
    pub date: NaiveDate,
    /// Last local date, inclusive [default: --date]
    #[arg(long)]
    pub to: Option<NaiveDate>,
    /// Only this store
    #[arg(long)]
    pub tenant: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  tillstream resync --tenant tenant_central            copy it again, exactly; the other stores go on
  tillstream resync --tenant tenant_closed --purge     remove a store that is gone, with all its reports")]
pub struct ResyncArgs {
    /// Only this store
    #[arg(long)]
    pub tenant: Option<String>,
    /// Do not copy: remove everything of a store whose schema is gone or excluded
    #[arg(long, requires = "tenant")]
    pub purge: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  tillstream grant analyst                            every store, new ones too
  tillstream grant anna --tenant tenant_north         only this one
  tillstream revoke anna")]
pub struct GrantArgs {
    /// Login role
    pub login: String,
    /// Only this store; may be given several times
    #[arg(long = "tenant", value_name = "TENANT")]
    pub tenants: Vec<String>,
    /// As this user instead of the daemon's role
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CompatAction {
    /// Rename the application's report tables aside and put views with right numbers in their place
    Install(CompatArgs),
    /// Drop the views and bring the application's own tables back
    Remove(CompatArgs),
}

#[derive(Debug, Clone, Args)]
pub struct CompatArgs {
    /// Only this store; may be given several times
    #[arg(long = "tenant", value_name = "TENANT")]
    pub tenants: Vec<String>,
    /// As this user instead of the daemon's role: the application's tables have to be its own
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  tillstream jobs
  tillstream jobs run daily-sales --tenant tenant_central --at 2026-03-01T00:30:00+05:00"
)]
pub struct JobsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(subcommand)]
    pub action: Option<JobsAction>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum JobsAction {
    /// Run one job now
    Run(JobRunArgs),
}

#[derive(Debug, Clone, Args)]
pub struct JobRunArgs {
    /// day-roll, daily-sales, product-performance, customer-analytics, inventory-snapshot or prune
    #[arg(value_parser = ["day-roll", "daily-sales", "product-performance", "customer-analytics", "inventory-snapshot", "prune"])]
    pub name: String,
    /// Only this store
    #[arg(long)]
    pub tenant: Option<String>,
    /// As if it were then: RFC 3339, e.g. 2026-03-01T00:30:00+05:00
    #[arg(long, value_name = "TIMESTAMP")]
    pub at: Option<DateTime<FixedOffset>>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct DropArgs {
    /// Also drop the report schema and the daemon's own, with everything in them
    #[arg(long)]
    pub reports: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Drop the publication as this user: it belongs to whom init made it as
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  tillstream demo
  tillstream demo --seconds 30
  tillstream demo --replay online_retail.csv.gz")]
pub struct DemoArgs {
    /// Stop after so many seconds and verify
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// Play a transaction log (CSV: date, customer, product, quantity, unit price) through the POS tables
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_documented_command_line_is_understood() {
        for line in [
            "init --print-sql",
            "init --admin-url postgresql://postgres@/pos",
            "--config x.toml check --json",
            "check --config x.toml -v --log-format json",
            "run --once",
            "status --json -q",
            "doctor --config x.toml",
            "verify --tenant t --repair --json",
            "recalculate --date 2026-03-01 --to 2026-03-07 --tenant t",
            "resync --tenant t",
            "resync --tenant t --purge",
            "jobs --json",
            "jobs run day-roll --tenant t --at 2026-03-01T00:30:00+05:00",
            "drop --reports --yes",
            "drop --yes --admin-url postgresql://postgres@/pos",
            "demo --seconds 5 --replay f.csv",
            "man",
            "man target/man",
            "completions bash",
        ] {
            let args = std::iter::once("tillstream").chain(line.split(' '));
            assert!(Cli::try_parse_from(args).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(["tillstream", "recalculate"]).is_err());
        assert!(Cli::try_parse_from(["tillstream", "jobs", "run", "nothing"]).is_err());
    }
}
