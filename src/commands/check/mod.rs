//! `check`: every obstacle at once, each with the statement that mends it. Changes nothing.

mod server;
mod stores;
mod target;

use serde::Serialize;

use super::{Outcome, say};
use crate::cli::ReadArgs;
use crate::config::Config;

const APPLICATION: &str = "tillstream check";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It works, or will.
    Ok,
    /// It works, and may hurt one day.
    Warning,
    /// It does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at: `server`, `slot`, a store, …
    pub about: String,
    pub what: String,
    /// Statements or comments that mend it, one per line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Everything found so far, in the order it was looked at.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &str, what: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Ok, about: about.to_string(), what: what.into(), fix: None });
    }

    fn warning(&mut self, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        let fix = Some(fix.into());
        self.0.push(Finding { severity: Severity::Warning, about: about.to_string(), what: what.into(), fix });
    }

    fn problem(&mut self, about: &str, what: impl Into<String>, fix: impl Into<String>) {
        let fix = Some(fix.into());
        self.0.push(Finding { severity: Severity::Problem, about: about.to_string(), what: what.into(), fix });
    }

    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|f| f.severity == severity).count()
    }
}

/// # Errors
/// Only where there is nothing to look at: no connection.
pub async fn run(config: &Config, args: &ReadArgs) -> anyhow::Result<Outcome> {
    let findings = find(config).await?;
    let problems = findings.count(Severity::Problem);
    if args.json {
        let json = serde_json::json!({
            "ok": problems == 0,
            "problems": problems,
            "warnings": findings.count(Severity::Warning),
            "findings": findings.0,
        });
        say(serde_json::to_string_pretty(&json)?)?;
    } else {
        say(lines(&findings).trim_end())?;
    }
    Ok(if problems == 0 { Outcome::Done } else { Outcome::DoesNotHold })
}

/// Looks at everything.
///
/// # Errors
/// As for [`run`].
pub(super) async fn find(config: &Config) -> anyhow::Result<Findings> {
    let source = config.source.connection.connect(APPLICATION).await?;
    let target = config.target_connection().connect(APPLICATION).await?;
    let mut findings = Findings::default();
    findings.ok("connection", config.source.connection.place());
    server::check(&source, config, &mut findings).await?;
    stores::check(&source, config, &mut findings).await?;
    target::check(&source, &target, config, &mut findings).await?;
    Ok(findings)
}

/// For people: a line per finding, its fix below it, and the count.
pub(super) fn lines(findings: &Findings) -> String {
    let mut text = String::new();
    for finding in &findings.0 {
        let mark = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        };
        text += &format!("{mark:<8} {}: {}\n", finding.about, finding.what);
        for line in finding.fix.iter().flat_map(|fix| fix.lines()) {
            text += &format!("         {line}\n");
        }
    }
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    text += &format!(
        "{}, {}\n",
        plural(findings.count(Severity::Problem), "problem"),
        plural(findings.count(Severity::Warning), "warning")
    );
    text
}
