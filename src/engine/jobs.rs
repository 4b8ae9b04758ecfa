//! The timer loop: what is due by the calendar and what commands ask for is run in steps, one at a time between two
//! batches, by the same writer.
//!
//! A step is a transaction of bounded size, so the stream never waits for a whole run (what a step does: `steps.rs`).
//! The record of a job's run is in `{state}.job_run`. A step that fails ends the run as failed: it is due again after a
//! pause.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use chrono::Days;
use serde_json::{Value, json};

use super::clock::Clock;
use super::error::EngineError;
use super::progress::Progress;
use super::steps::{Failed, Run, Step, Went, advance};
use super::stores::{Store, Stores};
use crate::apply::Writer;
use crate::config::{Config, ScheduleConfig};
use crate::domain::{BusinessDay, Instant, TenantId};
use crate::schedule::{Due, Failure, Job, JobState, Timetable, plan};

/// How often a command is told how far its run is.
const TELL_EVERY: Duration = Duration::from_millis(500);

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

/// What can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Job(Job),
    /// All four reports of these local days again; live rows have only one day, today.
    Recalculate {
        from: BusinessDay,
        to: BusinessDay,
    },
}

impl Task {
    fn needs_today(self) -> bool {
        !matches!(self, Task::Job(job) if !job.needs_today())
    }

    fn name(self) -> &'static str {
        match self {
            Task::Job(job) => job.name(),
            Task::Recalculate { .. } => "recalculate",
        }
    }
}

/// An answer to a command that asked for runs.
pub enum Reply {
    /// How far it is.
    Progress(Value),
    End(Result<Value, String>),
}

/// The jobs of all live stores, what is running, and who waits for it.
pub struct Jobs {
    states: Vec<JobState>,
    running: Option<Running>,
    /// Asked for by commands, in the order of asking.
    asked: Vec<Asked>,
    /// Only these run by the calendar (`--once` moves the day on and does nothing else).
    only_rolls: bool,
    /// A run has just ended: there may be more to do at once.
    just_ended: bool,
    progress: Progress,
}

struct Asked {
    request: i64,
    tenants: Vec<TenantId>,
    task: Task,
    at: Instant,
    /// What the runs done for it so far came to.
    runs: Vec<Value>,
    told: Moment,
}

/// A run in progress, and what it is recorded as.
struct Running {
    run: Run,
    record: Option<i64>,
    due: Instant,
    started: Moment,
    scheduled: bool,
    attempt: u32,
}

/// A run about to begin.
struct Next {
    tenant: TenantId,
    task: Task,
    due: Instant,
    oldest: Instant,
    scheduled: bool,
}

impl From<&Due> for Next {
    fn from(due: &Due) -> Next {
        Next { tenant: due.tenant, task: Task::Job(due.job), due: due.due, oldest: due.oldest, scheduled: true }
    }
}

impl Jobs {
    /// The calendar of the live stores and what is recorded of their runs.
    pub async fn load(
        config: &Config,
        writer: &Writer,
        stores: &Stores,
        clock: &Clock,
        progress: Progress,
        only_rolls: bool,
    ) -> Result<Jobs, EngineError> {
        writer.client.execute(writer.sql.text("fail_cut_runs"), &[&clock.now()]).await?;
        let live: Vec<&Store> = stores.iter().filter(|store| store.live).collect();
        let states = states(config, writer, &live, clock).await?;
        let jobs = Jobs { states, running: None, asked: Vec::new(), only_rolls, just_ended: false, progress };
        for job in Job::ALL {
            jobs.tell_last_success(job);
        }
        Ok(jobs)
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

    /// A store is not live any more: nothing is run for it, and what runs for it ends here. Comes back: answers.
    pub async fn abandon(
        &mut self,
        tenant: TenantId,
        writer: &Writer,
        clock: &Clock,
    ) -> Result<Vec<(i64, Result<Value, String>)>, EngineError> {
        const WHY: &str = "the store is not live any more";
        self.states.retain(|state| state.tenant != tenant);
        if let Some(Running { run, record: Some(record), .. }) = self.running.take_if(|r| r.run.tenant == tenant) {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&record, &clock.now(), &run.changed, &run.drifted, &Some(WHY)];
            writer.client.execute(writer.sql.text("finish_run"), &values).await?;
        }
        for asked in &mut self.asked {
            asked.tenants.retain(|asked| *asked != tenant);
        }
        let ended = self.asked.extract_if(.., |asked| asked.tenants.is_empty());
        let answer =
            |runs: Vec<Value>| if runs.is_empty() { Err(WHY.to_string()) } else { Ok(json!({ "runs": runs })) };
        Ok(ended.map(|asked| (asked.request, answer(asked.runs))).collect())
    }

    /// For operators: the store that waits longest for this job tells.
    fn tell_last_success(&self, job: Job) {
        let longest_ago = self.states.iter().filter(|s| s.job == job).filter_map(|s| s.last_due).min();
        if let Some(at) = longest_ago {
            self.progress.job_succeeded(job, at);
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Something is running, or a command waits for a run.
    pub fn is_busy(&self) -> bool {
        self.running.is_some() || !self.asked.is_empty()
    }

    /// A step can be made at once: nothing it has to wait for.
    pub fn has_step(&self) -> bool {
        match &self.running {
            Some(running) => running.run.step.is_ready(),
            None => self.just_ended || !self.asked.is_empty(),
        }
    }

    /// Whether the day of any store has to move on before its rows are right.
    pub fn has_due_roll(&self, now: Instant) -> bool {
        plan(now, &self.states).iter().any(|due| due.job == Job::DayRoll)
    }

    /// Takes up runs that a command asks for.
    pub fn ask(&mut self, request: i64, tenants: Vec<TenantId>, task: Task, at: Instant) {
        self.asked.push(Asked { request, tenants, task, at, runs: Vec::new(), told: Moment::now() });
    }

    /// Starts what is due, or makes one step of what is running. Comes back: answers to commands.
    pub async fn step(
        &mut self,
        config: &Arc<Config>,
        writer: &mut Writer,
        stores: &mut Stores,
        clock: &Clock,
    ) -> Result<Option<(i64, Reply)>, EngineError> {
        self.just_ended = false;
        if self.running.is_none() {
            self.begin(writer, stores, clock).await?;
        }
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let name = stores.get(running.run.tenant).map_or_else(String::new, |s| s.name.clone());
        match advance(&mut running.run, config, writer, stores).await {
            Ok(Went::On(step)) => {
                running.run.step = step;
                let told = self.progress(&running, &name);
                self.running = Some(running);
                Ok(told)
            }
            Ok(Went::Finished) => self.finish(running, name, writer, clock, None).await,
            Err(Failed::Connection(e)) => Err(e.into()),
            Err(Failed::Step(error)) => self.finish(running, name, writer, clock, Some(error)).await,
        }
    }

    /// The next run: what commands ask for first, then the calendar.
    async fn begin(&mut self, writer: &mut Writer, stores: &Stores, clock: &Clock) -> Result<(), EngineError> {
        let now = clock.now();
        let dues = plan(now, &self.states);
        let asked = self.asked.first().and_then(|asked| Some((asked, *asked.tenants.first()?)));
        let next = match asked {
            Some((asked, tenant)) => {
                // The day moves on first, or rows of today would be written to a day that is over.
                let is_roll = |due: &&Due| due.job == Job::DayRoll && due.tenant == tenant;
                match dues.iter().find(is_roll).filter(|_| asked.task.needs_today()) {
                    Some(roll) => roll.into(),
                    None => Next { tenant, task: asked.task, due: asked.at, oldest: asked.at, scheduled: false },
                }
            }
            None => match dues.iter().find(|due| !self.only_rolls || due.job == Job::DayRoll) {
                Some(due) => due.into(),
                None => return Ok(()),
            },
        };
        let Some(store) = stores.get(next.tenant) else { return Ok(()) };
        let local = |at: Instant| at.with_timezone(&store.zone).date_naive();
        let (mut record, mut attempt) = (None, 1);
        if let Task::Job(job) = next.task {
            let statement = if next.scheduled { "begin_run" } else { "begin_requested_run" };
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&store.name, &job.name(), &next.due, &now];
            let row = writer.client.query_one(writer.sql.text(statement), &values).await?;
            record = Some(row.try_get(0)?);
            attempt = u32::try_from(row.try_get::<_, i32>(1)?).unwrap_or(1);
        }
        // The day moves on to what is today, however many nights were missed; a requested run takes its time's word.
        let is_roll = next.task == Task::Job(Job::DayRoll);
        let today = local(if next.scheduled && is_roll { now } else { next.due });
        let (first, last) = match next.task {
            Task::Recalculate { from, to } => (from, to),
            // A run that makes up several nights looks at all their days.
            Task::Job(_) => (local(next.oldest) - Days::new(1), local(next.due) - Days::new(1)),
        };
        let run = Run {
            tenant: next.tenant,
            task: next.task,
            today,
            // A day that was moved on by hand may be moved back, a day that is over may not.
            earliest: store.today.min(local(now)),
            first,
            last,
            step: Step::Begin,
            changed: 0,
            drifted: 0,
        };
        self.running =
            Some(Running { run, record, due: next.due, started: Moment::now(), scheduled: next.scheduled, attempt });
        Ok(())
    }

    /// What to tell the command that waits for the run, from time to time.
    fn progress(&mut self, running: &Running, name: &str) -> Option<(i64, Reply)> {
        let asked = self.asked.first_mut().filter(|asked| asked.told.elapsed() >= TELL_EVERY)?;
        asked.told = Moment::now();
        let told = format!("{} {name}: {}", running.run.task.name().replace('_', "-"), running.run.step);
        Some((asked.request, Reply::Progress(json!({ "progress": told }))))
    }

    async fn finish(
        &mut self,
        running: Running,
        name: String,
        writer: &mut Writer,
        clock: &Clock,
        error: Option<String>,
    ) -> Result<Option<(i64, Reply)>, EngineError> {
        self.just_ended = true;
        let now = clock.now();
        let Running { run, record, due, started, scheduled, attempt } = running;
        if let Some(record) = record {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&record, &now, &run.changed, &run.drifted, &error];
            writer.client.execute(writer.sql.text("finish_run"), &values).await?;
        }
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (job, changed, drifted) = (run.task.name(), run.changed, run.drifted);
        if let Task::Job(job) = run.task {
            self.progress.job_done(job, started.elapsed(), drifted, error.is_some());
        }
        match &error {
            Some(error) => tracing::error!(store = %name, %job, attempt, "job failed: {error}"),
            None if drifted > 0 => {
                tracing::error!(store = %name, %job, changed, drifted, ms, "job found rows that had drifted and put them right");
            }
            None => tracing::info!(store = %name, %job, changed, ms, "job done"),
        }
        if let (true, Task::Job(job)) = (scheduled, run.task) {
            let state = self.states.iter_mut().find(|s| s.tenant == run.tenant && s.job == job);
            if let Some(state) = state {
                state.failure = error.as_ref().map(|_| Failure { attempts: attempt, at: now });
                if error.is_none() {
                    state.last_due = Some(due);
                }
            }
            self.tell_last_success(job);
            return Ok(None);
        }
        let Some(asked) = self.asked.first_mut() else { return Ok(None) };
        asked.tenants.retain(|tenant| *tenant != run.tenant);
        if let Some(error) = error {
            let request = asked.request;
            self.asked.remove(0);
            return Ok(Some((request, Reply::End(Err(format!("{job} of {name}: {error}"))))));
        }
        asked.runs.push(json!({ "tenant": name, "job": job, "rows_changed": changed, "rows_drifted": drifted }));
        if !asked.tenants.is_empty() {
            return Ok(None);
        }
        let asked = self.asked.remove(0);
        Ok(Some((asked.request, Reply::End(Ok(json!({ "runs": asked.runs }))))))
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
