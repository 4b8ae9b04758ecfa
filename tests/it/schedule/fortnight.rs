//! A fortnight over clock changes in three zones, with trade, stops, kills and clock jumps at random: exactly the runs
//! that were due have run, and every row is right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration as Wait;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tillstream::engine::Mode;
use tokio_postgres::Client;

use super::calendar::{Calendar, Due};
use super::engine::{Engine, Hands};
use crate::harness::{TestDb, tillstream, wait_until};
use crate::live::{compare, kept_costs, rows_of, same, seeds};
use crate::oracle::Rows;
use crate::workload::Workload;

pub const STORES: [(&str, Tz); 3] = [
    ("tenant_berlin", chrono_tz::Europe::Berlin),
    ("tenant_howe", chrono_tz::Australia::Lord_Howe),
    ("tenant_york", chrono_tz::America::New_York),
];
pub const ZONES: &str = "[tenants.time_zones]\ntenant_berlin = 'Europe/Berlin'\n\
                         tenant_howe = 'Australia/Lord_Howe'\ntenant_york = 'America/New_York'\n";
/// Between them, both changes of every zone: Berlin and Lord Howe; Berlin and New York; New York; Lord Howe.
const STARTS: [&str; 4] =
    ["2026-03-24T16:20:00Z", "2026-10-22T05:10:00Z", "2026-02-25T21:00:00Z", "2026-09-24T11:40:00Z"];
const PATIENCE: Wait = Wait::from_secs(30);

/// Three stores, their engine and their clock.
pub struct World {
    db: TestDb,
    pub config: PathBuf,
    pub client: Client,
    pub hands: Hands,
    pub now: DateTime<Utc>,
    pub engine: Option<Engine>,
    calendar: Calendar,
    /// Runs that have succeeded, as far as they must have.
    pub done: BTreeSet<Due>,
    rng: ChaCha8Rng,
    pub seed: u64,
    /// Workloads so far: each has a seed of its own.
    workloads: u64,
    /// Rows of days that are over, by table, store and day.
    history: History,
    /// Rows as they were when the clock moved on, nothing having happened since: history if their day is over.
    noted: History,
}

type History = BTreeMap<(&'static str, &'static str, NaiveDate), Rows>;

impl World {
    /// The stores with some trade behind them, copied as of `start`.
    pub async fn open(seed: u64, start: DateTime<Utc>, days: i64) -> World {
        let db = TestDb::new().await;
        for (schema, _) in STORES {
            db.create_store(schema).await;
        }
        let (config, client, hands) = (db.daemon_toml(ZONES), db.client().await, Hands::default());
        hands.set(start);
        let calendar = Calendar::new(&STORES, start, start + Duration::days(days + 4));
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World {
            db,
            config,
            client,
            hands,
            now: start,
            engine: None,
            calendar,
            done: BTreeSet::new(),
            rng,
            seed,
            workloads: 0,
            history: BTreeMap::new(),
            noted: BTreeMap::new(),
        };
        for (schema, _) in STORES {
            world.trade(schema, 60, true).await;
        }
        tillstream(&world.config, &["init"]).await.expect(0);
        Engine::start(&world.config, &world.hands, Mode::Once).ended().await;
        // The database's clock is not ours to set; what it wrote as the moment the stores came is.
        world.client.execute("UPDATE analytics.tenant SET created_at = $1", &[&start]).await.unwrap();
        world
    }

    pub async fn another_client(&self) -> Client {
        self.db.client().await
    }

    pub fn context(&self) -> String {
        format!("seed {} at {}", self.seed, self.now)
    }

    pub async fn start(&mut self) {
        self.engine = Some(Engine::start(&self.config, &self.hands, Mode::Forever).live().await);
    }

    pub async fn trade(&mut self, schema: &'static str, steps: usize, first: bool) {
        self.workloads += 1;
        let seed = self.seed * 100_000 + self.workloads;
        let (_, zone) = STORES.into_iter().find(|(name, _)| *name == schema).unwrap();
        let mut client = self.db.client().await;
        let mut workload = Workload::new(seed, self.now, zone);
        if first {
            workload.populate(&mut client, schema).await.unwrap();
        }
        for _ in 0..steps {
            workload.step(&mut client, schema).await.unwrap_or_else(|e| panic!("{}: {e:?}", self.context()));
        }
    }

    pub fn set_clock(&mut self, now: DateTime<Utc>) {
        self.now = now;
        self.hands.set(now);
    }

    /// Waits until the engine has written all trade and run all that is due, and checks that it ran nothing else.
    pub async fn settle(&mut self) {
        self.caught_up().await;
        let due = self.calendar.due(self.now, &self.done);
        self.done.extend(due);
        let what = format!("{}: the runs due", self.context());
        wait_until(&what, PATIENCE, async || self.done.is_subset(&self.ran().await)).await;
        assert_eq!(self.ran().await, self.done, "{}", self.context());
    }

    /// Takes note of what was run of all that was due by now, the engine having ended before it was done with it.
    async fn absorb(&mut self) {
        wait_until("the writer's session is gone", PATIENCE, async || {
            let query = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                         WHERE d.datname = current_database() AND l.locktype = 'advisory'";
            self.client.query_one(query, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
        let due: BTreeSet<Due> = self.calendar.due(self.now, &self.done).into_iter().collect();
        let ran = self.ran().await;
        assert!(
            self.done.is_subset(&ran) && ran.difference(&self.done).all(|run| due.contains(run)),
            "{}",
            self.context()
        );
        self.done = ran;
    }

    /// Everything committed so far is in the reports.
    pub async fn caught_up(&self) {
        let engine = self.engine.as_ref().expect("an engine");
        let text: String = self.client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
        let end = text.parse().unwrap();
        // Something after it, so that the position moves on beyond it.
        let touch = "UPDATE tenant_berlin.customers_customer SET notes = notes || '.' WHERE id = (SELECT max(id) FROM tenant_berlin.customers_customer)";
        self.client.execute(touch, &[]).await.unwrap();
        let what = format!("{}: all trade written", self.context());
        wait_until(&what, PATIENCE, async || engine.progress.position() >= end).await;
    }

    /// Runs of the schedule that have succeeded.
    pub async fn ran(&self) -> BTreeSet<Due> {
        let query = "SELECT tenant, job, due FROM analytics_state.job_run \
                     WHERE NOT requested AND finished IS NOT NULL AND error IS NULL";
        let rows = self.client.query(query, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }

    /// Aborts the engine, as soon as a run is under way where there is one to come.
    async fn abort_in_a_run(&mut self) {
        let engine = self.engine.take().expect("an engine");
        let due = self.calendar.due(self.now, &self.done).len();
        let before = self.ran().await.len();
        // In the middle of one of them, or between two.
        let (from, polls) = (self.rng.random_range(0..=due), self.rng.random_range(0..6));
        wait_until("some of the runs due", PATIENCE, async || self.ran().await.len() >= before + from).await;
        for _ in 0..polls {
            self.ran().await;
        }
        engine.abort().await;
        self.absorb().await;
    }

    /// All rows of every store against the oracle, and against `verify` beside the engine.
    pub async fn check(&mut self) {
        for (schema, zone) in STORES {
            let costs = kept_costs(&self.client, schema).await;
            compare(&self.client, schema, zone, self.now, &costs, &self.context()).await;
        }
        tillstream(&self.config, &["verify"]).await.expect(0);
    }

    /// Rows of days that are over are as they were when the day ended, and there are no others.
    async fn check_history(&mut self) {
        for (schema, zone) in STORES {
            let today = self.now.with_timezone(&zone).date_naive();
            let query = "SELECT ARRAY(SELECT DISTINCT period_end FROM analytics.customer_analytics \
                                      WHERE tenant = $1 AND period_end <> $2 ORDER BY 1), \
                                ARRAY(SELECT DISTINCT date FROM analytics.inventory_snapshot WHERE tenant = $1 AND date <> $2)";
            let row = self.client.query_one(query, &[&schema, &today]).await.unwrap();
            let (weeks, days): (Vec<NaiveDate>, Vec<NaiveDate>) = (row.get(0), row.get(1));
            let kept = "SELECT ARRAY(SELECT k.period_end FROM analytics_state.kept_period k JOIN analytics_state.tenant t \
                        ON t.id = k.tenant_id WHERE t.tenant = $1 AND k.period_end <> $2 ORDER BY 1)";
            let kept: Vec<NaiveDate> = self.client.query_one(kept, &[&schema, &today]).await.unwrap().get(0);
            assert_eq!(weeks, kept, "{} {schema}: only the days of weekly runs stay", self.context());
            let weekly =
                self.done.iter().filter(|(store, job, _)| store == schema && job == "customer_analytics").count();
            assert!(kept.len() <= weekly, "{} {schema}: {kept:?}", self.context());
            for (table, column, days) in
                [("customer_analytics", "period_end", weeks), ("inventory_snapshot", "date", days)]
            {
                for day in days {
                    let rows = rows_of(&self.client, schema, table, &format!("{column} = '{day}'")).await;
                    let rows = sorted(rows);
                    let key = (table, schema, day);
                    for before in [self.noted.get(&key), self.history.get(&key)].into_iter().flatten() {
                        same(before, &rows, &format!("{} {schema} {table} of {day} changed later", self.context()));
                    }
                    self.history.insert(key, rows);
                }
            }
        }
    }

    /// The rows of today, which become history as they are if the clock moves on now.
    async fn note_today(&mut self) {
        for (schema, zone) in STORES {
            let today = self.now.with_timezone(&zone).date_naive();
            let kept = "SELECT count(*) FROM analytics_state.kept_period k JOIN analytics_state.tenant t \
                        ON t.id = k.tenant_id WHERE t.tenant = $1 AND k.period_end = $2";
            let is_kept = self.client.query_one(kept, &[&schema, &today]).await.unwrap().get::<_, i64>(0) == 1;
            for (table, column, note) in
                [("customer_analytics", "period_end", is_kept), ("inventory_snapshot", "date", true)]
            {
                if note {
                    let rows = rows_of(&self.client, schema, table, &format!("{column} = '{today}'")).await;
                    self.noted.insert((table, schema, today), sorted(rows));
                }
            }
        }
    }
}

fn sorted(mut rows: Rows) -> Rows {
    rows.sort();
    rows
}

async fn live_through(seed: u64) {
    let start: DateTime<Utc> = STARTS[seed as usize % STARTS.len()].parse().unwrap();
    let end = start + Duration::days(14);
    let mut world = World::open(seed, start, 14).await;
    // A row older than what is kept, for the prune at the first of the month.
    let old = "INSERT INTO analytics.inventory_snapshot SELECT tenant, product_id, date - 370, quantity_on_hand, \
               reserved_quantity, available_quantity, total_cost, total_value, turnover_rate, days_of_stock, \
               is_out_of_stock, is_low_stock, is_overstock FROM analytics.inventory_snapshot";
    assert!(world.client.execute(old, &[]).await.unwrap() > 10);
    world.start().await;
    let (mut stops, mut kills, mut steps) = (0, 0, 0);
    while world.now < end {
        steps += 1;
        if world.engine.is_some() && world.rng.random_bool(0.7) {
            world.settle().await;
            world.check_history().await;
        }
        // What happens while the clock stands.
        for (schema, _) in STORES {
            let count = world.rng.random_range(0..6);
            if count > 0 {
                // Before the roll it may be written to the day that is over.
                world.noted.clear();
                world.trade(schema, count, false).await;
            }
        }
        let up = world.engine.is_some();
        match world.rng.random_range(0..100) {
            0..15 if up => {
                world.engine.take().unwrap().stop().await;
                world.absorb().await;
                stops += 1;
            }
            15..25 if up => {
                world.engine.take().unwrap().abort().await;
                world.absorb().await;
                kills += 1;
            }
            _ if !up && world.rng.random_bool(0.6) => world.start().await,
            _ => {}
        }
        if world.engine.is_some() {
            world.settle().await;
            world.check_history().await;
            world.note_today().await;
        }
        // The clock moves on, to a due time more often than chance would have it.
        let next = world.calendar.next(world.now).unwrap();
        let to = match world.rng.random_range(0..100) {
            0..35 => next,
            35..45 => next - Duration::seconds(1),
            45..85 => world.now + Duration::minutes(world.rng.random_range(1..720)),
            _ => world.now + Duration::minutes(world.rng.random_range(1440..4000)),
        };
        if world.engine.is_some() && world.rng.random_bool(0.1) {
            // Back, with trade meanwhile: nothing runs again.
            let now = world.now;
            let minutes = world.rng.random_range(1..600);
            world.set_clock(now - Duration::minutes(minutes));
            world.caught_up().await;
            assert_eq!(world.ran().await, world.done, "{}", world.context());
            world.set_clock(now);
        }
        world.set_clock(to.max(world.now));
        if world.engine.is_some() && world.rng.random_bool(0.2) {
            world.abort_in_a_run().await;
            kills += 1;
            world.start().await;
        }
        if steps % 12 == 0 && world.engine.is_some() {
            world.settle().await;
            world.check().await;
        }
    }
    if world.engine.is_none() {
        world.start().await;
    }
    world.settle().await;
    world.check_history().await;
    world.check().await;
    prune_and_drift_are_as_they_should(&world).await;
    let runs = world.done.len();
    println!("seed {seed} from {start}: {steps} steps, {stops} stops, {kills} kills, {runs} runs");
    world.engine.take().unwrap().stop().await;
}

/// Nothing dated before the horizon is left, and nothing had drifted: the live path is right.
async fn prune_and_drift_are_as_they_should(world: &World) {
    for (schema, zone) in STORES {
        let pruned = world.done.iter().filter(|(store, job, _)| store == schema && job == "prune");
        let Some(last) = pruned.map(|(.., due)| due.with_timezone(&zone).date_naive()).max() else { continue };
        let horizon = last - Duration::days(365);
        let row =
            world.client.query_one("SELECT horizon FROM analytics_state.tenant WHERE tenant = $1", &[&schema]).await;
        assert_eq!(row.unwrap().get::<_, NaiveDate>(0), horizon, "{} {schema}", world.context());
        for (table, column) in [
            ("daily_sales_report", "date"),
            ("product_performance", "date"),
            ("customer_analytics", "period_end"),
            ("inventory_snapshot", "date"),
        ] {
            let query = format!("SELECT count(*) FROM analytics.{table} WHERE tenant = $1 AND {column} < $2");
            let left: i64 = world.client.query_one(&query, &[&schema, &horizon]).await.unwrap().get(0);
            assert_eq!(left, 0, "{} {schema} {table}", world.context());
        }
        let query = "SELECT sum(rows_changed)::bigint FROM analytics_state.job_run WHERE tenant = $1 AND job = 'prune'";
        let gone: i64 = world.client.query_one(query, &[&schema]).await.unwrap().get(0);
        assert!(gone > 3, "{} {schema}: {gone} rows pruned", world.context());
    }
    let query = "SELECT ARRAY(SELECT concat_ws(' ', tenant, job, due, rows_drifted) FROM analytics_state.job_run \
                              WHERE rows_drifted > 0)";
    let drifted: Vec<String> = world.client.query_one(query, &[]).await.unwrap().get(0);
    assert_eq!(drifted, Vec::<String>::new(), "seed {}", world.seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fortnight_over_clock_changes_runs_exactly_what_was_due() {
    for seed in seeds(2) {
        live_through(seed).await;
    }
}
