//! Nights on which something is wrong: a job fails, sums have drifted, a roll is cut short.

use std::time::Duration as Wait;

use chrono::{DateTime, Duration, NaiveDate, Utc};

use super::fortnight::World;
use crate::harness::wait_until;

const PATIENCE: Wait = Wait::from_secs(30);
const BERLIN: &str = "tenant_berlin";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Attempts and error of a run of the schedule; none yet: 0.
async fn run_of(world: &World, job: &str, due: &str) -> (i32, Option<String>) {
    let query = "SELECT attempts, error FROM analytics_state.job_run WHERE tenant = $1 AND job = $2 AND due = $3 AND finished IS NOT NULL";
    let row = world.client.query_opt(query, &[&BERLIN, &job, &at(due)]).await.unwrap();
    row.map_or((0, None), |row| (row.get(0), row.get(1)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_job_is_tried_again_with_pauses_while_the_stream_goes_on() {
    let mut world = World::open(31, at("2026-06-05T21:00:00Z"), 3).await;
    world.start().await;
    world.settle().await;
    // Only rolls and the weekly run read it.
    world.client.batch_execute("ALTER TABLE analytics_state.kept_period RENAME TO lent").await.unwrap();
    let midnight = "2026-06-05T22:00:00Z";
    for (attempt, seconds) in [(1, 0), (2, 1), (3, 3)] {
        // Between two attempts nothing happens before the pause is over: 1 s, 2 s, 4 s.
        world.set_clock(at(midnight) + Duration::seconds(seconds));
        let what = format!("attempt {attempt}");
        wait_until(&what, PATIENCE, async || run_of(&world, "day_roll", midnight).await.0 == attempt).await;
        let (_, error) = run_of(&world, "day_roll", midnight).await;
        assert!(error.is_some_and(|e| e.contains("kept_period")));
        world.trade(BERLIN, 5, false).await;
        world.caught_up().await;
        assert_eq!(run_of(&world, "day_roll", midnight).await.0, attempt, "it waits");
    }
    // A restart does not forget that it failed, nor how often.
    world.engine.take().unwrap().stop().await;
    world.start().await;
    world.caught_up().await;
    assert_eq!(run_of(&world, "day_roll", midnight).await.0, 3);
    // What does not need the new day does not wait for it.
    world.set_clock(at("2026-06-05T22:30:00Z"));
    wait_until("daily sales", PATIENCE, async || {
        run_of(&world, "daily_sales", "2026-06-05T22:30:00Z").await == (1, None)
    })
    .await;
    world.client.batch_execute("ALTER TABLE analytics_state.lent RENAME TO kept_period").await.unwrap();
    world.set_clock(at("2026-06-05T22:36:00Z"));
    world.settle().await;
    let (attempts, error) = run_of(&world, "day_roll", midnight).await;
    assert!(attempts >= 4 && error.is_none(), "{attempts} {error:?}");
    world.check().await;
    world.engine.take().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drifted_sums_are_found_counted_and_put_right_by_the_job_that_recomputes_them() {
    // A Saturday: the weekly run comes next night.
    let mut world = World::open(32, at("2026-06-06T11:00:00Z"), 3).await;
    world.start().await;
    let today = "(SELECT today FROM analytics_state.tenant t WHERE t.tenant = 'tenant_berlin')";
    let tenant = "(SELECT id FROM analytics_state.tenant t WHERE t.tenant = 'tenant_berlin')";
    // Something of today to be wrong about.
    for _ in 0..20 {
        world.trade(BERLIN, 20, false).await;
        world.settle().await;
        let query =
            format!("SELECT count(*) FROM analytics_state.product_day WHERE tenant_id = {tenant} AND day = {today}");
        if world.client.query_one(&query, &[]).await.unwrap().get::<_, i64>(0) > 1 {
            break;
        }
    }
    let one = |table: &str, condition: &str| {
        format!("ctid = (SELECT min(ctid) FROM analytics_state.{table} WHERE tenant_id = {tenant} AND {condition})")
    };
    for (table, change, condition) in [
        ("product_day", "revenue = revenue + 1", format!("day = {today}")),
        ("daily", "cash = cash - 0.01", format!("day = {today}")),
        ("customer_day", "spent = spent + 5", format!("day < {today}")),
        ("inventory", "on_hand = on_hand + 7, sold = sold + 1", "true".to_string()),
    ] {
        let sql = format!("UPDATE analytics_state.{table} SET {change} WHERE {}", one(table, &condition));
        assert_eq!(world.client.execute(&sql, &[]).await.unwrap(), 1, "{sql}");
    }
    // And a report row that is not that of its sums, which are right.
    let sql = format!(
        "DELETE FROM analytics.product_performance WHERE ctid = (SELECT max(ctid) FROM analytics.product_performance \
         WHERE tenant = 'tenant_berlin' AND date = {today})"
    );
    assert_eq!(world.client.execute(&sql, &[]).await.unwrap(), 1, "{sql}");
    // 23:50, midnight, 00:30, 01:00 and 02:00 in Berlin.
    for time in ["06T21:50", "06T22:00", "06T22:30", "06T23:00", "07T00:00"] {
        world.set_clock(at(&format!("2026-06-{time}:00Z")));
        world.settle().await;
    }
    let query = "SELECT ARRAY(SELECT concat_ws(' ', tenant, job, rows_drifted) FROM analytics_state.job_run \
                 WHERE rows_drifted > 0 ORDER BY due)";
    let drifted: Vec<String> = world.client.query_one(query, &[]).await.unwrap().get(0);
    let expected = [
        "tenant_berlin inventory_snapshot 1",
        "tenant_berlin daily_sales 1",
        "tenant_berlin product_performance 1",
        "tenant_berlin customer_analytics 1",
    ];
    assert_eq!(drifted, expected);
    world.check().await;
    world.engine.take().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_cut_short_before_nights_that_are_missed_leaves_no_false_history() {
    let mut world = World::open(33, at("2026-06-09T20:00:00Z"), 6).await;
    world.start().await;
    world.settle().await;
    for midnight in ["2026-06-09T22:00:00Z", "2026-06-10T22:00:00Z"] {
        // The day has begun, but no row gets there.
        let locker = world.another_client().await;
        locker.batch_execute("BEGIN; LOCK TABLE analytics.customer_analytics IN ACCESS EXCLUSIVE MODE").await.unwrap();
        world.set_clock(at(midnight));
        if world.engine.is_none() {
            world.start().await;
        }
        let day: NaiveDate = (at(midnight) + Duration::hours(2)).date_naive();
        let query = "SELECT today = $2 AND days_left <> '{}' FROM analytics_state.tenant WHERE tenant = $1";
        wait_until("the day has begun", PATIENCE, async || {
            world.client.query_one(query, &[&BERLIN, &day]).await.unwrap().get(0)
        })
        .await;
        world.engine.take().unwrap().abort().await;
        locker.batch_execute("ROLLBACK").await.unwrap();
    }
    world.done = world.ran().await;
    world.set_clock(at("2026-06-13T12:00:00Z"));
    world.start().await;
    world.settle().await;
    let query = "SELECT count(*) FROM analytics.customer_analytics r JOIN analytics_state.tenant t USING (tenant) \
                 WHERE r.period_end <> t.today OR t.days_left <> '{}'";
    assert_eq!(world.client.query_one(query, &[]).await.unwrap().get::<_, i64>(0), 0);
    world.check().await;
    world.engine.take().unwrap().stop().await;
}
