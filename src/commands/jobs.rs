//! `jobs`: last and next run of each job; `jobs run`: one now.

use std::sync::Arc;

use chrono::Utc;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::request::ask;
use super::{Outcome, say, tell};
use crate::cli::{JobRunArgs, JobsAction, JobsArgs};
use crate::config::Config;
use crate::domain::Instant;
use crate::engine::jobs::cron;
use crate::schedule::{Job, Timetable};
use crate::sql::ident;

/// # Errors
/// Where it could not be done, or the job failed.
pub async fn run(config: Config, args: JobsArgs) -> anyhow::Result<Outcome> {
    match args.action {
        Some(JobsAction::Run(args)) => run_one(Arc::new(config), &args).await,
        None => {
            let target = config.target_connection().connect("tillstream jobs").await?;
            crate::apply::migrate::require_latest(&target, &config.target.schema).await?;
            let jobs = list(&config, &target).await?;
            if args.json {
                say(Value::Array(jobs))?;
            } else {
                say(table(&jobs).trim_end())?;
            }
            Ok(Outcome::Done)
        }
    }
}

async fn run_one(config: Arc<Config>, args: &JobRunArgs) -> anyhow::Result<Outcome> {
    let at = args.at.map(|at| at.with_timezone(&Utc).to_rfc3339());
    let answer = ask(&config, "job", json!({ "job": args.name, "tenant": args.tenant, "at": at }), !args.json).await?;
    if args.json {
        tell(answer);
        return Ok(Outcome::Done);
    }
    for run in answer.get("runs").and_then(Value::as_array).into_iter().flatten() {
        let number = |key: &str| run.get(key).and_then(Value::as_i64).unwrap_or_default();
        let tenant = run.get("tenant").and_then(Value::as_str).unwrap_or_default();
        let (changed, drifted) = (number("rows_changed"), number("rows_drifted"));
        tell(format!("{} {tenant}: {changed} rows changed, {drifted} had drifted", args.name));
    }
    Ok(Outcome::Done)
}

/// Every job of every store: when it ran last and how that went, when it runs next.
///
/// # Errors
/// What the server says.
pub async fn list(config: &Config, target: &Client) -> anyhow::Result<Vec<Value>> {
    let query = format!(
        "SELECT t.tenant, t.time_zone, r.job, r.due, r.finished, r.rows_changed, r.rows_drifted, r.error, r.state, \
                r.requested \
         FROM {0}.tenant t LEFT JOIN {0}.job_runs r ON r.tenant = t.tenant \
         WHERE t.state = 'live' ORDER BY t.tenant, r.started DESC",
        ident(&config.target.schema)
    );
    let rows = target.query(&query, &[]).await?;
    let now = Utc::now();
    let mut tenants: Vec<String> = Vec::new();
    for row in &rows {
        let tenant: String = row.try_get(0)?;
        if tenants.last() != Some(&tenant) {
            tenants.push(tenant);
        }
    }
    let mut jobs = Vec::new();
    for tenant in &tenants {
        for job in Job::ALL {
            let zone = config.tenants.zone_of(tenant);
            let next = match cron(&config.schedule, job) {
                Some(cron) => Timetable::new(cron, zone)?.next_after(now),
                None => None,
            };
            let ran = rows.iter().find(|row| {
                row.try_get::<_, String>(0).is_ok_and(|t| t == *tenant)
                    && row.try_get::<_, Option<String>>(2).is_ok_and(|j| j.as_deref() == Some(job.name()))
            });
            let local = |at: Option<Instant>| at.map(|at| at.with_timezone(&zone).to_rfc3339());
            let mut entry = json!({ "tenant": tenant, "job": job.name().replace('_', "-"), "next": local(next) });
            if let (Some(row), Some(entry)) = (ran, entry.as_object_mut()) {
                entry.insert("last_due".into(), json!(local(row.try_get(3)?)));
                entry.insert("finished".into(), json!(local(row.try_get(4)?)));
                entry.insert("rows_changed".into(), json!(row.try_get::<_, Option<i64>>(5)?));
                entry.insert("rows_drifted".into(), json!(row.try_get::<_, Option<i64>>(6)?));
                entry.insert("error".into(), json!(row.try_get::<_, Option<String>>(7)?));
                entry.insert("state".into(), json!(row.try_get::<_, Option<String>>(8)?));
                entry.insert("requested".into(), json!(row.try_get::<_, Option<bool>>(9)?));
            }
            jobs.push(entry);
        }
    }
    Ok(jobs)
}

fn table(jobs: &[Value]) -> String {
    use std::fmt::Write;
    let mut out = format!(
        "{:<24} {:<20} {:<26} {:<8} {:>8} {:>8}  next\n",
        "store", "job", "last due", "state", "changed", "drifted"
    );
    for job in jobs {
        let text = |key: &str| job.get(key).and_then(Value::as_str).unwrap_or("-");
        let number = |key: &str| job.get(key).and_then(Value::as_i64).map_or("-".to_string(), |n| n.to_string());
        let _ = writeln!(
            out,
            "{:<24} {:<20} {:<26} {:<8} {:>8} {:>8}  {}",
            text("tenant"),
            text("job"),
            text("last_due"),
            text("state"),
            number("rows_changed"),
            number("rows_drifted"),
            text("next")
        );
        if let Some(error) = job.get("error").and_then(Value::as_str) {
            let _ = writeln!(out, "  failed: {error}");
        }
    }
    out
}
