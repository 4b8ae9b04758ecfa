//! The steps of a run: transactions of bounded size on the writer's session; the stream goes on between two of them.
//! What has to be looked for over everything that is kept is looked for on a session beside it.

use std::fmt;
use std::sync::Arc;

use chrono::Days;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;

use super::jobs::Task;
use super::stores::Stores;
use crate::apply::{Statements, Writer, describe};
use crate::config::Config;
use crate::domain::{BusinessDay, TenantId};
use crate::schedule::Job;

/// Customers a step takes.
const CUSTOMERS: i64 = 2000;
/// Products a step takes.
const PRODUCTS: i64 = 1000;
/// Rows a pruning step deletes.
const ROWS: i64 = 5000;
/// Keys of drifted sums that are logged one by one.
const NAMED: usize = 20;

const PRUNED: [&str; 4] =
    ["prune_product_days", "prune_product_performance", "prune_customer_analytics", "prune_inventory_snapshot"];

/// A run in progress.
pub(super) struct Run {
    pub tenant: TenantId,
    pub task: Task,
    /// Local day of the tenant as of the run.
    pub today: BusinessDay,
    /// A roll goes back no further than this.
    pub earliest: BusinessDay,
    /// The local days looked at.
    pub first: BusinessDay,
    pub last: BusinessDay,
    pub step: Step,
    /// Rows written.
    pub changed: i64,
    /// Of sums or rows that differed from what the facts say.
    pub drifted: i64,
}

/// What comes next of a run.
pub(super) enum Step {
    Begin,
    /// Customers after this id move on from the days left.
    Roll {
        left: Vec<BusinessDay>,
        after: i64,
    },
    /// Daily and product rows of this local day are recomputed.
    Day(BusinessDay),
    /// Customers, or products, whose sums differ are looked for.
    Look(Look),
    /// Live rows of customers after this id are recomputed.
    Customers {
        after: i64,
    },
    /// Today's rows of products after this id are written.
    Inventory {
        after: i64,
    },
    /// Which table of those pruned, from which key on.
    Prune {
        table: usize,
        from: i64,
    },
    Done,
}

impl Step {
    /// Nothing has to be waited for.
    pub fn is_ready(&self) -> bool {
        !matches!(self, Step::Look(look) if !look.task.is_finished())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Begin | Step::Done => f.write_str("beginning"),
            Step::Roll { after: i64::MIN, .. } | Step::Customers { after: i64::MIN } => f.write_str("customers"),
            Step::Inventory { after: i64::MIN } => f.write_str("products"),
            Step::Roll { after, .. } | Step::Customers { after } => write!(f, "customers up to {after}"),
            Step::Day(day) => write!(f, "at {day}"),
            Step::Look(look) => write!(f, "looking for {} that differ", look.what),
            Step::Inventory { after } => write!(f, "products up to {after}"),
            Step::Prune { table, .. } => write!(f, "table {} of {}", table + 1, PRUNED.len()),
        }
    }
}

/// A question to everything kept of a store, asked on a session of its own.
pub(super) struct Look {
    what: &'static str,
    task: JoinHandle<Result<Vec<i64>, String>>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What became of a step.
pub(super) enum Went {
    On(Step),
    Finished,
}

pub(super) enum Failed {
    /// The writer's session is gone, and with it everything else.
    Connection(tokio_postgres::Error),
    /// This step could not be done.
    Step(String),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Failed {
        let cause = std::error::Error::source(&error);
        let gone = error.is_closed()
            || cause.is_some_and(|cause| cause.is::<std::io::Error>())
            || error.code().is_some_and(|c| c.code().starts_with("08") || c.code().starts_with("57P"));
        if gone { Failed::Connection(error) } else { Failed::Step(describe(&error)) }
    }
}

/// Makes one step of a run.
pub(super) async fn advance(
    run: &mut Run,
    config: &Arc<Config>,
    writer: &mut Writer,
    stores: &mut Stores,
) -> Result<Went, Failed> {
    let id = run.tenant.0;
    let step = std::mem::replace(&mut run.step, Step::Done);
    Ok(match step {
        Step::Begin => begin(run, config, writer, stores).await?,
        Step::Roll { left, after } => match roll(run, writer, &left, after).await? {
            Some(last) => Went::On(Step::Roll { left, after: last }),
            None => {
                writer.client.execute(writer.sql.text("end_day"), &[&id]).await?;
                Went::On(Step::Inventory { after: i64::MIN })
            }
        },
        Step::Day(day) => {
            let (daily, products) = match run.task {
                Task::Job(job) => (job == Job::DailySales, job == Job::ProductPerformance),
                Task::Recalculate { .. } => (true, true),
            };
            if products {
                recompute_day(run, writer, "recompute_product_days", "show_days_of_product_performance", day).await?;
            }
            if daily {
                recompute_day(run, writer, "recompute_daily", "show_days_of_daily_sales", day).await?;
            }
            match day.succ_opt().filter(|next| *next <= run.last) {
                Some(next) => Went::On(Step::Day(next)),
                None if matches!(run.task, Task::Recalculate { .. }) => {
                    Went::On(Step::Look(look(config, writer, id, "customers", "differing_customers")))
                }
                None => Went::Finished,
            }
        }
        Step::Look(mut look) => {
            let what = look.what;
            let found = (&mut look.task).await.map_err(|e| Failed::Step(e.to_string()))?.map_err(Failed::Step)?;
            if !found.is_empty() {
                tracing::warn!(keys = ?&found.get(..found.len().min(NAMED)), "{what} whose sums had drifted");
            }
            match what {
                "stock" => {
                    if !found.is_empty() {
                        let (transaction, sql) = writer.bulk().await?;
                        let rows = transaction.query(sql.text("recompute_stock"), &[&id]).await?;
                        transaction.commit().await?;
                        run.drifted += rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>("differing"))?;
                    }
                    Went::On(Step::Inventory { after: i64::MIN })
                }
                _ => {
                    if !found.is_empty() {
                        run.drifted += i64::try_from(found.len()).unwrap_or(i64::MAX);
                        let horizon = stores.get(run.tenant).map_or(run.first, |s| s.horizon);
                        repair_customers(run, writer, &found, horizon).await?;
                    }
                    Went::On(Step::Customers { after: i64::MIN })
                }
            }
        }
        Step::Customers { after } => {
            let (last, more) = part(writer, "customers_end", id, after, CUSTOMERS).await?;
            let changed = count(writer, "show_some_customer_analytics", &[&id, &after, &last]).await?;
            if changed > 0 {
                tracing::warn!(rows = changed, after, last, "live customer rows that were not those of their sums");
            }
            run.changed += changed;
            // A customer whose sums had drifted is not counted again for the row.
            run.drifted = run.drifted.max(run.changed);
            match (more, run.task) {
                (true, _) => Went::On(Step::Customers { after: last }),
                (false, Task::Recalculate { .. }) => Went::On(Step::Look(look_at_stock(config, writer, id))),
                (false, Task::Job(_)) => {
                    writer.client.execute(writer.sql.text("keep_period"), &[&id]).await?;
                    Went::Finished
                }
            }
        }
        Step::Inventory { after } => {
            let (last, more) = part(writer, "products_end", id, after, PRODUCTS).await?;
            run.changed += count(writer, "show_some_inventory", &[&id, &after, &last]).await?;
            if more { Went::On(Step::Inventory { after: last }) } else { Went::Finished }
        }
        Step::Prune { table, from } => {
            let horizon = stores.get(run.tenant).map_or(run.today, |s| s.horizon);
            prune(run, writer, horizon, table, from).await?
        }
        Step::Done => Went::Finished,
    })
}

async fn begin(run: &mut Run, config: &Arc<Config>, writer: &mut Writer, stores: &mut Stores) -> Result<Went, Failed> {
    let id = run.tenant.0;
    let live_day = stores.get(run.tenant).map_or(run.today, |s| s.today);
    Ok(match run.task {
        Task::Job(Job::DayRoll) if run.today < run.earliest => {
            tracing::warn!(day = %run.today, today = %run.earliest, "a day that is over does not come back: nothing to do");
            Went::Finished
        }
        Task::Job(Job::DayRoll) => {
            let (transaction, sql) = writer.bulk().await?;
            for shift in ["shift_customers", "shift_inventory"] {
                transaction.execute(sql.text(shift), &[&id, &run.today]).await?;
            }
            let row = transaction.query_one(sql.text("begin_day"), &[&id, &run.today]).await?;
            transaction.commit().await?;
            if let Some(store) = stores.get_mut(run.tenant) {
                store.today = run.today;
                writer.calendar.entry(run.tenant).or_default().today = run.today;
            }
            Went::On(Step::Roll { left: row.try_get(0)?, after: i64::MIN })
        }
        Task::Job(Job::DailySales | Job::ProductPerformance) => Went::On(Step::Day(run.first)),
        Task::Job(job @ (Job::CustomerAnalytics | Job::InventorySnapshot)) => {
            if live_day != run.today {
                tracing::warn!(%job, asked = %run.today, day = %live_day, "live rows have only one day: that one is written");
            }
            match job {
                Job::CustomerAnalytics => {
                    Went::On(Step::Look(look(config, writer, id, "customers", "differing_customers")))
                }
                _ => Went::On(Step::Look(look_at_stock(config, writer, id))),
            }
        }
        Task::Job(Job::Prune) => {
            let horizon = run.today - Days::new(u64::from(config.schedule.retention_days));
            let row = writer.client.query_one(writer.sql.text("move_horizon"), &[&id, &horizon]).await?;
            let horizon: BusinessDay = row.try_get(0)?;
            writer.calendar.entry(run.tenant).or_default().horizon = horizon;
            if let Some(store) = stores.get_mut(run.tenant) {
                store.horizon = horizon;
            }
            run.changed += count(writer, "prune_daily", &[&id, &horizon]).await?;
            Went::On(Step::Prune { table: 0, from: i64::MIN })
        }
        Task::Recalculate { .. } => {
            // Days that no row can have are not worth a step each.
            let last: BusinessDay = writer.client.query_one(writer.sql.text("last_day"), &[&id]).await?.try_get(0)?;
            run.last = run.last.min(last);
            run.first = run.first.max(stores.get(run.tenant).map_or(run.first, |s| s.horizon));
            if run.first <= run.last {
                Went::On(Step::Day(run.first))
            } else {
                Went::On(Step::Look(look(config, writer, id, "customers", "differing_customers")))
            }
        }
    })
}

/// Moves the next customers on. `None`: there are no more.
async fn roll(
    run: &mut Run,
    writer: &mut Writer,
    left: &[BusinessDay],
    after: i64,
) -> Result<Option<i64>, tokio_postgres::Error> {
    let id = run.tenant.0;
    let (last, more) = part(writer, "customers_end", id, after, CUSTOMERS).await?;
    let (transaction, sql) = writer.part().await?;
    let row = transaction.query_one(sql.text("show_some_customer_analytics"), &[&id, &after, &last]).await?;
    run.changed += row.try_get::<_, i64>(0)?;
    if !left.is_empty() {
        transaction.query_one(sql.text("roll_leave"), &[&id, &left, &after, &last]).await?;
    }
    transaction.commit().await?;
    Ok(more.then_some(last))
}

/// One day's sums and report rows again; says which keys had drifted.
async fn recompute_day(
    run: &mut Run,
    writer: &mut Writer,
    recompute: &'static str,
    show: &'static str,
    day: BusinessDay,
) -> Result<(), tokio_postgres::Error> {
    let id = run.tenant.0;
    let (transaction, sql) = writer.bulk().await?;
    let sums = drifted(&transaction, sql, recompute, id, day, day).await?;
    let changed: i64 = transaction.query_one(sql.text(show), &[&id, &day, &day]).await?.try_get(0)?;
    transaction.commit().await?;
    if changed > 0 {
        tracing::warn!(%day, rows = changed, table = show.trim_start_matches("show_days_of_"), "report rows had drifted");
    }
    run.changed += changed;
    run.drifted += changed.max(sums);
    Ok(())
}

/// The sums of these customers anew; whose first day moved is new on another day.
async fn repair_customers(
    run: &mut Run,
    writer: &mut Writer,
    customers: &[i64],
    horizon: BusinessDay,
) -> Result<(), tokio_postgres::Error> {
    let id = run.tenant.0;
    let last = BusinessDay::from_ymd_opt(9999, 12, 31).unwrap_or(run.today);
    let (transaction, sql) = writer.bulk().await?;
    transaction.query(sql.text("recompute_customers"), &[&id, &customers]).await?;
    run.drifted += drifted(&transaction, sql, "recompute_daily", id, horizon, last).await?;
    let row = transaction.query_one(sql.text("show_days_of_daily_sales"), &[&id, &horizon, &last]).await?;
    run.changed += row.try_get::<_, i64>(0)?;
    transaction.commit().await
}

/// Deletes the next rows of a table; names that no row needs any more come last.
async fn prune(
    run: &mut Run,
    writer: &mut Writer,
    horizon: BusinessDay,
    table: usize,
    from: i64,
) -> Result<Went, tokio_postgres::Error> {
    let id = run.tenant.0;
    let Some(statement) = PRUNED.get(table) else {
        let mut gone = 0;
        for statement in ["prune_products", "prune_customers"] {
            gone += count(writer, statement, &[&id, &ROWS]).await?;
        }
        return Ok(if gone == 0 { Went::Finished } else { Went::On(Step::Prune { table, from }) });
    };
    let row = writer.client.query_one(writer.sql.text(statement), &[&id, &horizon, &ROWS, &from]).await?;
    let gone: i64 = row.try_get(0)?;
    run.changed += gone;
    Ok(Went::On(match row.try_get::<_, Option<i64>>(1)? {
        Some(last) if gone == ROWS => Step::Prune { table, from: last },
        _ => Step::Prune { table: table + 1, from: i64::MIN },
    }))
}

/// Where the next part of at most `limit` keys ends, and whether there are more after it. The last part has no end, so
/// that it takes in rows that belong to nobody.
async fn part(
    writer: &Writer,
    statement: &'static str,
    id: i32,
    after: i64,
    limit: i64,
) -> Result<(i64, bool), tokio_postgres::Error> {
    let row = writer.client.query_one(writer.sql.text(statement), &[&id, &after, &limit]).await?;
    let (last, found): (Option<i64>, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(last.filter(|_| found == limit).map_or((i64::MAX, false), |last| (last, true)))
}

fn look_at_stock(config: &Arc<Config>, writer: &Writer, id: i32) -> Look {
    look(config, writer, id, "stock", "differing_stock")
}

/// Facts and sums are committed together, so any moment's snapshot will do; what is found is recomputed by the writer.
fn look(config: &Arc<Config>, writer: &Writer, id: i32, what: &'static str, statement: &'static str) -> Look {
    let config = Arc::clone(config);
    let query = writer.sql.text(statement).to_string();
    let task = tokio::spawn(async move {
        let client = config.target_connection().connect("tillstream job").await.map_err(|e| e.to_string())?;
        let found = async {
            client
                .batch_execute("SET work_mem = '64MB'; SET jit = off; SET max_parallel_workers_per_gather = 0")
                .await?;
            client.query(&query, &[&id]).await?.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()
        };
        found.await.map_err(|e| describe(&e))
    });
    Look { what, task }
}

async fn count(
    writer: &mut Writer,
    statement: &'static str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<i64, tokio_postgres::Error> {
    let (transaction, sql) = writer.part().await?;
    let count = transaction.query_one(sql.text(statement), params).await?.try_get(0)?;
    transaction.commit().await?;
    Ok(count)
}

/// Runs a recompute; says which keys had drifted, and how many.
async fn drifted(
    transaction: &tokio_postgres::Client,
    sql: &Statements,
    statement: &'static str,
    id: i32,
    from: BusinessDay,
    to: BusinessDay,
) -> Result<i64, tokio_postgres::Error> {
    let rows = transaction.query(sql.text(statement), &[&id, &from, &to]).await?;
    for row in rows.iter().take(NAMED) {
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
