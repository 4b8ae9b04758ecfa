//! `recalculate`: all four reports of some local days again from the base facts, by the running daemon or here.

use std::sync::Arc;

use anyhow::bail;
use serde_json::{Value, json};

use super::Outcome;
use super::request::ask;
use crate::cli::RecalculateArgs;
use crate::config::Config;

/// Days taken at a time: the stream goes on between two of them.
const DAYS: u64 = 7;

/// # Errors
/// Where it could not be done.
pub async fn run(config: Config, args: &RecalculateArgs) -> anyhow::Result<Outcome> {
    let config = Arc::new(config);
    let to = args.to.unwrap_or(args.date);
    if to < args.date {
        bail!("--to {to} lies before --date {}", args.date);
    }
    let (mut from, mut changed) = (args.date, 0);
    while from <= to {
        let last = to.min(from + chrono::Days::new(DAYS - 1));
        let arguments = json!({ "tenant": args.tenant, "from": from.to_string(), "to": last.to_string() });
        let answer = ask(&config, "recalculate", arguments).await?;
        let rows = answer.get("changed").and_then(Value::as_i64).unwrap_or_default();
        println!("{from} to {last}: {rows} rows differed and were put right");
        changed += rows;
        from = last + chrono::Days::new(1);
    }
    if changed == 0 {
        println!("nothing differed");
    }
    Ok(Outcome::Done)
}
