//! Where the time goes: processor time by process, and the server's time by statement, as `pg_stat_statements` counts it.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::Bench;
use crate::drain::{self, Backlog, CHANGES_PER_SALE, Contender, LOADED};
use crate::lab::Lab;
use crate::pgbench::Pace;
use crate::procs::{CLIENT, DAEMON_BACKENDS, POS_BACKENDS, Usage, WALSENDER, Watch};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::stats::{count, number};
use crate::world::Scale;

const MODULE: &str = "pg_stat_statements";
const PACES: [Pace; 2] = [Pace::Rate(300), Pace::Saturation];
const INITIAL: &str = "initial";
const SETTLED: &str = "settled";
/// Statements that take less of the whole are shown together.
const SMALL: f64 = 0.02;
/// Of tillstream's connections, the most expensive first. Times in milliseconds.
const STATEMENTS: &str = "SELECT s.query, s.calls, s.total_exec_time FROM pg_stat_statements s \
    JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid \
    WHERE r.rolname = 'tillstream' AND d.datname = current_database() ORDER BY s.total_exec_time DESC";

struct Statement {
    query: String,
    calls: i64,
    ms: f64,
}

pub fn run(bench: &Bench) -> Result<Findings> {
    let sizes = &bench.sizes;
    let scale = Scale { history: sizes.history, ..Scale::default() };
    if !is_installed(bench)? {
        let notes = vec![format!("{MODULE} is not installed on this server: nothing was measured.")];
        return Ok(Findings { notes, ..Findings::default() });
    }
    let mut lab = world(bench, &scale)?;
    lab.run("init", lab.tillstream(&["init"])?)?;
    lab.save(INITIAL)?;
    let mut tables = Vec::new();

    lab.restore(INITIAL)?;
    reset(&lab)?;
    let usage = lab.copy()?.1;
    tables.push(table(&lab, &format!("First copy of {} sales", count(scale.history)), scale.history as f64, &usage)?);
    lab.settle()?;
    lab.save(SETTLED)?;

    for pace in PACES {
        say(format!("profile: {pace}"));
        lab.restore(SETTLED)?;
        let daemon = lab.daemon()?;
        // Its statements are planned, the pages at hand.
        lab.load(&scale, pace, sizes.clients, sizes.time / 3)?.finish(Duration::ZERO)?;
        reset(&lab)?;
        let before = lab.sold()?;
        let watch = Watch::start(lab.server.pid(), Some(daemon.pid()));
        lab.load(&scale, pace, sizes.clients, sizes.time)?.finish(Duration::ZERO)?;
        let usage = watch.finish();
        tables.push(table(&lab, &format!("Following, {pace}"), lab.sold()? - before, &usage)?);
        daemon.stop(Signal::SIGTERM)?;
    }

    let in_one = sizes.transaction_changes / CHANGES_PER_SALE;
    for (backlog, sales, title) in [
        (Backlog::Sales(sizes.sales), sizes.sales, "a transaction each"),
        (Backlog::OneTransaction(in_one), in_one, "all in one transaction"),
    ] {
        say(format!("profile: a backlog, {title}"));
        lab.restore(SETTLED)?;
        let (_, end) = drain::fill_slots(&mut lab, backlog, &scale, &[])?;
        lab.restore(LOADED)?;
        reset(&lab)?;
        let usage = drain::drain(&lab, Contender::Tillstream, &end)?.usage;
        tables.push(table(&lab, &format!("A backlog of {} sales, {title}", count(sales)), sales as f64, &usage)?);
    }
    drop(lab);
    if let Some(stores) = sizes.growth_stores.last().copied().filter(|stores| *stores > 1) {
        tables.push(many_stores(bench, &Scale { stores, ..scale })?);
    }
    Ok(Findings {
        tables,
        notes: vec![
            format!(
                "µs of each sale. A process's line: its processor time. A statement's line, named by the tables that it writes \
                 or reads: its time from {MODULE}, which begins when it runs and ends with its last row; to make it ready, \
                 read its parameters and commit is in the last line, what those server processes took besides. Each \
                 measured once; {MODULE} itself takes a few per cent."
            ),
            format!(
                "{} sales of history, 2000 products and 5000 customers in each store, one store where no number is named.",
                count(scale.history)
            ),
        ],
        ..Findings::default()
    })
}

/// The backlog of the part "growth", in as many stores as there.
fn many_stores(bench: &Bench, scale: &Scale) -> Result<Table> {
    let (stores, sales) = (scale.stores, bench.sizes.growth_sales);
    let mut lab = world(bench, scale)?;
    lab.install()?;
    let (_, end) = drain::fill_slots(&mut lab, Backlog::Sales(sales), scale, &[])?;
    lab.take_back(LOADED)?;
    reset(&lab)?;
    let usage = drain::drain(&lab, Contender::Tillstream, &end)?.usage;
    let title = format!("A backlog of {} sales, a transaction each, in {} stores", count(sales), count(stores));
    table(&lab, &title, sales as f64, &usage)
}

fn world(bench: &Bench, scale: &Scale) -> Result<Lab> {
    let lab = Lab::with(bench, &[("shared_preload_libraries", MODULE)])?;
    say(format!("profile: preparing, {} stores", scale.stores));
    lab.create_world(scale)?;
    lab.connect("postgres")?.batch_execute(&format!("CREATE EXTENSION {MODULE}"))?;
    Ok(lab)
}

fn is_installed(bench: &Bench) -> Result<bool> {
    let lab = Lab::start(bench)?;
    let query = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1::text::name)";
    Ok(lab.connect_to("postgres", "postgres")?.query_one(query, &[&MODULE])?.try_get(0)?)
}

fn reset(lab: &Lab) -> Result<()> {
    Ok(lab.connect("postgres")?.batch_execute("SELECT pg_stat_statements_reset()")?)
}

fn table(lab: &Lab, title: &str, sales: f64, usage: &Usage) -> Result<Table> {
    let statements = lab
        .connect("postgres")?
        .query(STATEMENTS, &[])?
        .iter()
        .map(|row| Ok(Statement { query: row.try_get(0)?, calls: row.try_get(1)?, ms: row.try_get(2)? }))
        .collect::<Result<Vec<_>>>()?;
    let mut table = Table::new(format!("**{title}**"), &["", "calls", "µs a sale"]);
    let mut line = |name: String, calls: i64, ms: f64| {
        let calls = if calls == 0 { "–".to_string() } else { count(calls.unsigned_abs()) };
        table.row(&[name, calls, number(ms * 1000.0 / sales.max(1.0))]);
    };
    for role in [POS_BACKENDS, WALSENDER, CLIENT, DAEMON_BACKENDS] {
        let name = if role == CLIENT { "tillstream itself" } else { role };
        line(name.to_string(), 0, usage.cpu(role) * 1000.0);
    }
    let whole: f64 = statements.iter().map(|statement| statement.ms).sum();
    let (large, small): (Vec<_>, Vec<_>) = statements.iter().partition(|statement| statement.ms >= whole * SMALL);
    for statement in large {
        line(format!("— {}", subject(&statement.query)), statement.calls, statement.ms);
    }
    line("— other statements".into(), small.iter().map(|s| s.calls).sum(), small.iter().map(|s| s.ms).sum());
    line("— between statements".into(), 0, (usage.cpu(DAEMON_BACKENDS) * 1000.0 - whole).max(0.0));
    Ok(table)
}

/// The tables that a statement writes, else the first that it reads.
fn subject(query: &str) -> String {
    let words: Vec<&str> = query.split_whitespace().collect();
    let after = |verbs: &[&str]| {
        let mut tables: Vec<&str> = Vec::new();
        for pair in words.windows(2) {
            let [verb, table] = pair else { continue };
            let table = table.trim_end_matches([',', ')', '(']);
            let Some((schema, name)) = table.split_once('.').filter(|_| verbs.contains(verb)) else { continue };
            let name = name.trim_matches('"');
            if schema.starts_with('"') && !tables.contains(&name) {
                tables.push(name);
            }
        }
        tables
    };
    let written = after(&["INTO", "UPDATE", "COPY", "ANALYZE"]);
    match (written.is_empty(), after(&["FROM", "JOIN"]).first()) {
        (false, _) => written.join(", "),
        (true, Some(table)) => format!("reads {table}"),
        (true, None) => words.iter().take(4).copied().collect::<Vec<_>>().join(" "),
    }
}
