//! `recalculate`: all four reports of some local days again from the base facts, by the running daemon or here.

use std::sync::Arc;

use anyhow::bail;
use serde_json::{Value, json};

use super::request::ask;
use super::{Outcome, tell};
use crate::cli::RecalculateArgs;
use crate::config::Config;

/// # Errors
/// Where it could not be done.
pub async fn run(config: Config, args: &RecalculateArgs) -> anyhow::Result<Outcome> {
    let (from, to) = (args.date, args.to.unwrap_or(args.date));
    if to < from {
        bail!("--to {to} lies before --date {from}");
    }
    let arguments = json!({ "tenant": args.tenant, "from": from.to_string(), "to": to.to_string() });
    let answer = ask(&Arc::new(config), "recalculate", arguments, true).await?;
    for run in answer.get("runs").and_then(Value::as_array).into_iter().flatten() {
        let tenant = run.get("tenant").and_then(Value::as_str).unwrap_or_default();
        let days = if from == to { from.to_string() } else { format!("{from} to {to}") };
        match run.get("rows_changed").and_then(Value::as_i64).unwrap_or_default() {
            0 => tell(format!("{tenant} {days}: nothing differed")),
            1 => tell(format!("{tenant} {days}: 1 row differed and was put right")),
            rows => tell(format!("{tenant} {days}: {rows} rows differed and were put right")),
        }
    }
    Ok(Outcome::Done)
}
