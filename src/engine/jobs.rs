//! The timer loop: what is due by the calendar is run in steps, one at a time between two batches, by the same writer.
//!
//! A step is a transaction of bounded size, so the stream never waits for a whole job. One job runs at a time; its
//! record is in `{state}.job_run`. A step that fails ends the run as failed: it is due again after a pause.

use std::sync::Arc;
use std::time::Instant as Moment;

use chrono::Days;
use serde_json::json;
use tokio::task::JoinHandle;

use super::clock::Clock;
use super::error::{EngineError, lost_connection};
use super::stores::{Store, Stores};
use crate::apply::{Statements, Writer, describe};
use crate::config::{Config, ScheduleConfig};
use crate::domain::{BusinessDay, Instant, TenantId};
use crate::schedule::{Due, Failure, Job, JobState, Timetable, plan};

/// Customers a step takes.
const CUSTOMERS: i64 = 2000;
/// Rows a pruning step deletes.
const ROWS: i64 = 5000;

/// Cron expression of a job, if it is not off.
pub fn cron(schedule: &ScheduleConfig, job: Job) -> Option<&str> {
    match job {
        Job::DayRoll => schedule.day_roll.as_deref(),
        Job::DailySales => schedule.daily_sales.as_deref(),
        Job::ProductPerformance => schedule.product_performance.as_deref(),
        Job::CustomerAnalytics => schedule.customer_analytics.as_deref(),
        Job::InventorySnapshot => schedule.inventory_snapshot.as_deref(),
        Job::Prune => schedule.prune.as_deref(),
    }
}

/// The jobs of all live stores, what is running, and who waits for it.
pub struct Jobs {
    states: Vec<JobState>,
    running: Option<Running>,
    /// Asked for by commands, in the order of asking.
    asked: Vec<Asked>,
    /// Only these run by the calendar (`--once` moves the day on and does nothing else).
    only_rolls: bool,
}

struct Asked {
    request: i64,
    tenants: Vec<TenantId>,
    job: Job,
    at: Instant,
    /// What the runs done for it so far came to.
    runs: Vec<serde_json::Value>,
}

/// A run in progress.
struct Running {
    record: i64,
    tenant: TenantId,
    job: Job,
    due: Instant,
    /// Local day of the tenant as of the run.
    today: BusinessDay,
    /// First local day of the missed runs that this one makes up.
    first_day: BusinessDay,
    step: Step,
    changed: i64,
    drifted: i64,
    started: Moment,
    scheduled: bool,
    attempt: u32,
}

/// What comes next of a run.
enum Step {
    Begin,
    /// Customers after this id move on from the old day.
    Roll {
        old: BusinessDay,
        after: i64,
    },
    /// Sums that differ are looked for on a session of their own.
    Look(JoinHandle<Result<Vec<i64>, tokio_postgres::Error>>),
    /// Live rows of customers after this id are recomputed.
    Customers {
        after: i64,
    },
    Inventory,
    /// Which table of those pruned, from which key on.
    Prune {
        table: usize,
        from: i64,
    },
    Done,
}

const PRUNED: [&str; 4] =
    ["prune_product_days", "prune_product_performance", "prune_customer_analytics", "prune_inventory_snapshot"];

/// What became of a step.
enum Went {
    On(Step),
    Finished,
}

impl Jobs {
    /// The calendar of the live stores and what is recorded of their runs.
    pub async fn load(
        config: &Config,
        writer: &Writer,
        stores: &Stores,
        clock: &Clock,
        only_rolls: bool,
    ) -> Result<Jobs, EngineError> {
        let live: Vec<&Store> = stores.iter().filter(|store| store.live).collect();
        let states = states(config, writer, &live, clock).await?;
        Ok(Jobs { states, running: None, asked: Vec::new(), only_rolls })
    }

    /// The calendar of a store that is live from now on.
    pub async fn add(
        &mut self,
        config: &Config,
        writer: &Writer,
        stores: &Stores,
        tenant: TenantId,
        clock: &Clock,
    ) -> Result<(), EngineError> {
        let Some(store) = stores.get(tenant) else { return Ok(()) };
        self.states.retain(|state| state.tenant != tenant);
        self.states.extend(states(config, writer, &[store], clock).await?);
        Ok(())
    }

    /// A store is not live any more: nothing is run for it, and what runs for it ends here. Comes back: whom to tell.
    pub async fn abandon(
        &mut self,
        tenant: TenantId,
        writer: &Writer,
        clock: &Clock,
    ) -> Result<Option<(i64, String)>, EngineError> {
        const WHY: &str = "the store is not live any more";
        self.states.retain(|state| state.tenant != tenant);
        let running = self.running.take_if(|run| run.tenant == tenant);
        if let Some(run) = &running {
            let error = Some(WHY.to_string());
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&run.record, &clock.now(), &run.changed, &run.drifted, &error];
            writer.client.execute(writer.sql.text("finish_run"), &values).await?;
        }
        let requested = running.is_some_and(|run| !run.scheduled);
        for asked in &mut self.asked {
            asked.tenants.retain(|t| *t != tenant);
        }
        let ended = self.asked.iter().position(|asked| asked.tenants.is_empty());
        let ended = ended.map(|at| self.asked.remove(at)).filter(|_| requested || self.running.is_none());
        Ok(ended.map(|asked| (asked.request, WHY.to_string())))
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// A step can be made at once: nothing it has to wait for.
    pub fn has_step(&self) -> bool {
        match &self.running {
            Some(Running { step: Step::Look(task), .. }) => task.is_finished(),
            Some(_) => true,
            None => !self.asked.is_empty(),
        }
    }

    /// Whether the day of any store has to move on before its rows are right.
    pub fn has_due_roll(&self, now: Instant) -> bool {
        plan(now, &self.states).iter().any(|due| due.job == Job::DayRoll)
    }

    /// Takes up a run that a command asks for.
    pub fn ask(&mut self, request: i64, tenants: Vec<TenantId>, job: Job, at: Instant) {
        self.asked.push(Asked { request, tenants, job, at, runs: Vec::new() });
    }

    /// Starts what is due, or makes one step of what is running. Comes back: answers to commands.
    pub async fn step(
        &mut self,
        config: &Arc<Config>,
        writer: &mut Writer,
        stores: &mut Stores,
        clock: &Clock,
    ) -> Result<Vec<(i64, Result<serde_json::Value, String>)>, EngineError> {
        if self.running.is_none() {
            self.begin(writer, stores, clock).await?;
        }
        let Some(mut running) = self.running.take() else { return Ok(Vec::new()) };
        let result = advance(&mut running, config, writer, stores).await;
        match result {
            Ok(Went::On(step)) => {
                running.step = step;
                self.running = Some(running);
                Ok(Vec::new())
            }
            Ok(Went::Finished) => self.finish(running, writer, stores, clock, None).await,
            Err(e) if lost_connection(&e) => Err(e.into()),
            Err(e) => self.finish(running, writer, stores, clock, Some(describe(&e))).await,
        }
    }

    /// The next run: what commands ask for first, then the calendar.
    async fn begin(&mut self, writer: &mut Writer, stores: &Stores, clock: &Clock) -> Result<(), EngineError> {
        let now = clock.now();
        let (tenant, job, due, oldest, scheduled) = match self.asked.first() {
            Some(asked) => match asked.tenants.first() {
                Some(tenant) => (*tenant, asked.job, asked.at, asked.at, false),
                None => return Ok(()),
            },
            None => {
                let dues = plan(now, &self.states);
                let due = dues.iter().find(|due| !self.only_rolls || due.job == Job::DayRoll);
                let Some(Due { tenant, job, due, oldest, .. }) = due.copied() else { return Ok(()) };
                (tenant, job, due, oldest, true)
            }
        };
        let Some(store) = stores.get(tenant) else { return Ok(()) };
        let statement = if scheduled { "begin_run" } else { "begin_requested_run" };
        let row = writer.client.query_one(writer.sql.text(statement), &[&store.name, &job.name(), &due, &now]).await?;
        let attempts: i32 = row.try_get(1)?;
        let local = |at: Instant| at.with_timezone(&store.zone).date_naive();
        // The day moves on to what is today, however many nights were missed; a requested run takes its time's word.
        let today = local(if scheduled && job == Job::DayRoll { now } else { due });
        self.running = Some(Running {
            record: row.try_get(0)?,
            tenant,
            job,
            due,
            today,
            first_day: local(oldest),
            step: Step::Begin,
            changed: 0,
            drifted: 0,
            started: Moment::now(),
            scheduled,
            attempt: u32::try_from(attempts).unwrap_or(1),
        });
        Ok(())
    }

    async fn finish(
        &mut self,
        run: Running,
        writer: &mut Writer,
        stores: &Stores,
        clock: &Clock,
        error: Option<String>,
    ) -> Result<Vec<(i64, Result<serde_json::Value, String>)>, EngineError> {
        let now = clock.now();
        let name = stores.get(run.tenant).map_or_else(String::new, |s| s.name.clone());
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&run.record, &now, &run.changed, &run.drifted, &error];
        writer.client.execute(writer.sql.text("finish_run"), &values).await?;
        let ms = u64::try_from(run.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (job, changed, drifted) = (run.job, run.changed, run.drifted);
        match &error {
            Some(error) => tracing::error!(store = %name, %job, attempt = run.attempt, "job failed: {error}"),
            None if drifted > 0 => {
                tracing::error!(store = %name, %job, changed, drifted, ms, "job found sums that had drifted and put them right");
            }
            None => tracing::info!(store = %name, %job, changed, ms, "job done"),
        }
        if run.scheduled {
            let state = self.states.iter_mut().find(|s| s.tenant == run.tenant && s.job == run.job);
            if let Some(state) = state {
                state.failure = error.as_ref().map(|_| Failure { attempts: run.attempt, at: now });
                if error.is_none() {
                    state.last_due = Some(run.due);
                }
            }
            return Ok(Vec::new());
        }
        let Some(asked) = self.asked.first_mut() else { return Ok(Vec::new()) };
        asked.tenants.retain(|tenant| *tenant != run.tenant);
        if let Some(error) = error {
            let request = asked.request;
            self.asked.remove(0);
            return Ok(vec![(request, Err(format!("{job} of {name}: {error}")))]);
        }
        asked.runs.push(json!({ "tenant": name, "job": job.name(), "rows_changed": changed, "rows_drifted": drifted }));
        if !asked.tenants.is_empty() {
            return Ok(Vec::new());
        }
        let asked = self.asked.remove(0);
        Ok(vec![(asked.request, Ok(json!({ "runs": asked.runs })))])
    }
}

/// The calendar of some stores and what is recorded of their runs.
async fn states(
    config: &Config,
    writer: &Writer,
    stores: &[&Store],
    clock: &Clock,
) -> Result<Vec<JobState>, EngineError> {
    let first_seen = writer.client.query(writer.sql.text("read_first_seen"), &[]).await?;
    let runs = writer.client.query(writer.sql.text("read_runs"), &[]).await?;
    let mut states = Vec::new();
    for store in stores {
        let seen = first_seen.iter().find(|row| row.try_get::<_, i32>(0).is_ok_and(|id| id == store.id.0));
        let seen = seen.map(|row| row.try_get(1)).transpose()?.unwrap_or_else(|| clock.now());
        for job in Job::ALL {
            let Some(cron) = cron(&config.schedule, job) else { continue };
            let timetable = Timetable::new(cron, store.zone)
                .map_err(|e| EngineError::Definite(format!("[schedule] {job}: {e}")))?;
            let mut state =
                JobState { job, tenant: store.id, timetable, first_seen: seen, last_due: None, failure: None };
            for row in &runs {
                let (tenant, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                if tenant == store.name && name == job.name() {
                    state.last_due = row.try_get(2)?;
                    let (attempts, failed): (i32, Option<bool>) = (row.try_get(3)?, row.try_get(4)?);
                    let finished: Option<Instant> = row.try_get(5)?;
                    state.failure = finished
                        .filter(|_| failed == Some(true))
                        .map(|at| Failure { attempts: u32::try_from(attempts).unwrap_or(1), at });
                }
            }
            states.push(state);
        }
    }
    Ok(states)
}

/// Makes one step of a run.
async fn advance(
    run: &mut Running,
    config: &Arc<Config>,
    writer: &mut Writer,
    stores: &mut Stores,
) -> Result<Went, tokio_postgres::Error> {
    let id = run.tenant.0;
    let yesterday = run.today - Days::new(1);
    // A run that makes up several nights looks at all their days.
    let from = run.first_day - Days::new(1);
    let step = std::mem::replace(&mut run.step, Step::Done);
    Ok(match (run.job, step) {
        (Job::DayRoll, Step::Begin) => {
            let old = begin_day(writer, stores, run.tenant, run.today).await?;
            Went::On(Step::Roll { old, after: i64::MIN })
        }
        (Job::DayRoll, Step::Roll { old, after }) => {
            match roll_batch(writer, id, old, after, &mut run.changed).await? {
                Some(last) => Went::On(Step::Roll { old, after: last }),
                None => Went::On(Step::Inventory),
            }
        }
        (Job::DayRoll | Job::InventorySnapshot, Step::Inventory) | (Job::InventorySnapshot, Step::Begin) => {
            run.changed += count(writer, "show_all_inventory", &[&id]).await?;
            Went::Finished
        }
        (Job::DailySales, _) => {
            let (transaction, sql) = writer.bulk().await?;
            run.drifted += drifted(&transaction, sql, "recompute_daily", id, from, yesterday).await?;
            let statement = sql.text("show_days_of_daily_sales");
            run.changed += transaction.query_one(statement, &[&id, &from, &yesterday]).await?.try_get::<_, i64>(0)?;
            transaction.commit().await?;
            Went::Finished
        }
        (Job::ProductPerformance, _) => {
            let (transaction, sql) = writer.bulk().await?;
            run.drifted += drifted(&transaction, sql, "recompute_product_days", id, from, yesterday).await?;
            let statement = sql.text("show_days_of_product_performance");
            run.changed += transaction.query_one(statement, &[&id, &from, &yesterday]).await?.try_get::<_, i64>(0)?;
            transaction.commit().await?;
            Went::Finished
        }
        (Job::CustomerAnalytics, Step::Begin) => Went::On(Step::Look(look(config, writer, id))),
        (Job::CustomerAnalytics, Step::Look(task)) => {
            let Ok(found) = task.await else { return Ok(Went::On(Step::Begin)) };
            let found = found?;
            if !found.is_empty() {
                tracing::warn!(customers = ?&found.get(..found.len().min(20)), "customers whose sums had drifted");
                run.drifted += i64::try_from(found.len()).unwrap_or(i64::MAX);
                let horizon = stores.get(run.tenant).map_or(from, |s| s.horizon);
                let last = BusinessDay::from_ymd_opt(9999, 12, 31).unwrap_or(yesterday);
                let (transaction, sql) = writer.bulk().await?;
                transaction.query(sql.text("recompute_customers"), &[&id, &found]).await?;
                run.drifted += drifted(&transaction, sql, "recompute_daily", id, horizon, last).await?;
                transaction.query_one(sql.text("show_days_of_daily_sales"), &[&id, &horizon, &last]).await?;
                transaction.commit().await?;
            }
            Went::On(Step::Customers { after: i64::MIN })
        }
        (Job::CustomerAnalytics, Step::Customers { after }) => {
            let row = writer.client.query_one(writer.sql.text("roll_batch_end"), &[&id, &after, &CUSTOMERS]).await?;
            match row.try_get::<_, Option<i64>>(0)? {
                Some(last) => {
                    run.changed += count(writer, "show_some_customer_analytics", &[&id, &after, &last]).await?;
                    Went::On(Step::Customers { after: last })
                }
                None => {
                    writer.client.execute(writer.sql.text("keep_period"), &[&id]).await?;
                    Went::Finished
                }
            }
        }
        (Job::Prune, Step::Begin) => {
            let horizon = run.today - Days::new(u64::from(config.schedule.retention_days));
            let row = writer.client.query_one(writer.sql.text("move_horizon"), &[&id, &horizon]).await?;
            let horizon: BusinessDay = row.try_get(0)?;
            writer.horizons.insert(run.tenant, horizon);
            if let Some(store) = stores.get_mut(run.tenant) {
                store.horizon = horizon;
            }
            run.changed += count(writer, "prune_daily", &[&id, &horizon]).await?;
            Went::On(Step::Prune { table: 0, from: i64::MIN })
        }
        (Job::Prune, Step::Prune { table, from }) => {
            let horizon = stores.get(run.tenant).map_or(run.today, |s| s.horizon);
            match PRUNED.get(table) {
                Some(statement) => {
                    let row =
                        writer.client.query_one(writer.sql.text(statement), &[&id, &horizon, &ROWS, &from]).await?;
                    let gone: i64 = row.try_get(0)?;
                    run.changed += gone;
                    match row.try_get::<_, Option<i64>>(1)? {
                        Some(last) if gone == ROWS => Went::On(Step::Prune { table, from: last }),
                        _ => Went::On(Step::Prune { table: table + 1, from: i64::MIN }),
                    }
                }
                None => {
                    let mut gone = 0;
                    for statement in ["prune_products", "prune_customers"] {
                        gone += count(writer, statement, &[&id, &ROWS]).await?;
                    }
                    if gone == 0 { Went::Finished } else { Went::On(Step::Prune { table, from }) }
                }
            }
        }
        (_, _) => Went::Finished,
    })
}

/// The tenant's day is `today` from now on; comes back: the day its live rows are still at.
async fn begin_day(
    writer: &mut Writer,
    stores: &mut Stores,
    tenant: TenantId,
    today: BusinessDay,
) -> Result<BusinessDay, tokio_postgres::Error> {
    let id = tenant.0;
    let known = stores.get(tenant).map_or(today, |s| s.today);
    let old = if known == today {
        // A roll that was cut short: some rows have moved on already.
        let row = writer.client.query_one(writer.sql.text("day_left"), &[&id, &today]).await?;
        row.try_get::<_, Option<BusinessDay>>(0)?.unwrap_or(today - Days::new(1))
    } else {
        known
    };
    writer.client.execute(writer.sql.text("begin_day"), &[&id, &today]).await?;
    if let Some(store) = stores.get_mut(tenant) {
        store.today = today;
    }
    Ok(old)
}

/// Moves the next customers on. `None`: there are no more.
async fn roll_batch(
    writer: &mut Writer,
    id: i32,
    old: BusinessDay,
    after: i64,
    changed: &mut i64,
) -> Result<Option<i64>, tokio_postgres::Error> {
    let row = writer.client.query_one(writer.sql.text("roll_batch_end"), &[&id, &after, &CUSTOMERS]).await?;
    let Some(last) = row.try_get::<_, Option<i64>>(0)? else { return Ok(None) };
    let (transaction, sql) = writer.bulk().await?;
    let unchanged = transaction.query_one(sql.text("roll_unchanged"), &[&id, &old, &after, &last]).await?;
    let moved = transaction.query_one(sql.text("roll_changed"), &[&id, &after, &last]).await?;
    transaction.query_one(sql.text("roll_leave"), &[&id, &old, &after, &last]).await?;
    transaction.commit().await?;
    *changed += unchanged.try_get::<_, i64>(0)? + moved.try_get::<_, i64>(0)?;
    Ok(Some(last))
}

/// Looks for customers whose sums are not those of the facts, on a session of its own.
fn look(config: &Arc<Config>, writer: &Writer, id: i32) -> JoinHandle<Result<Vec<i64>, tokio_postgres::Error>> {
    let config = Arc::clone(config);
    let query = writer.sql.text("differing_customers").to_string();
    tokio::spawn(async move {
        let client = match config.target_connection().connect("tillstream job").await {
            Ok(client) => client,
            // Without a session of its own there is no look; the next week has another.
            Err(e) => {
                tracing::warn!("{e}");
                return Ok(Vec::new());
            }
        };
        client.batch_execute("SET work_mem = '64MB'; SET jit = off").await?;
        client.query(&query, &[&id]).await?.iter().map(|row| row.try_get(0)).collect()
    })
}

async fn count(
    writer: &mut Writer,
    statement: &'static str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<i64, tokio_postgres::Error> {
    let (transaction, sql) = writer.bulk().await?;
    let count = transaction.query_one(sql.text(statement), params).await?.try_get(0)?;
    transaction.commit().await?;
    Ok(count)
}

/// Runs a recompute; says which keys had drifted, and how many.
async fn drifted(
    transaction: &tokio_postgres::Transaction<'_>,
    sql: &Statements,
    statement: &'static str,
    id: i32,
    from: BusinessDay,
    to: BusinessDay,
) -> Result<i64, tokio_postgres::Error> {
    let rows = transaction.query(sql.text(statement), &[&id, &from, &to]).await?;
    for row in rows.iter().take(20) {
        match statement {
            "recompute_daily" => {
                tracing::warn!(day = %row.try_get::<_, BusinessDay>(0)?, "a day's sums had drifted");
            }
            _ => {
                let (product, day): (i64, BusinessDay) = (row.try_get(0)?, row.try_get(1)?);
                tracing::warn!(product, %day, "a product's sums had drifted");
            }
        }
    }
    rows.first().map_or(Ok(0), |row| row.try_get("differing"))
}
