//! The heavy jobs, and how fresh the reports are while they run.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::Bench;
use crate::lab::Lab;
use crate::pgbench::Pace;
use crate::plot::Plot;
use crate::probe::{Freshness, Place, Probe};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::stats::{count, shown};
use crate::world::Scale;

const SETTLED: &str = "settled";
const PACE: Pace = Pace::Rate(50);
/// Sales go on for longer than any job takes; whoever measures ends them.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// In the order in which they are due.
const NIGHT: [&str; 6] =
    ["inventory-snapshot", "day-roll", "daily-sales", "product-performance", "customer-analytics", "prune"];

/// Commands run one after the other, measured as one thing. Where they say `{tomorrow}` it is the next midnight.
struct Step {
    title: String,
    commands: Vec<Vec<&'static str>>,
    seconds: Vec<f64>,
    fresh: Vec<Freshness>,
    /// How many MiB the customers' report has grown by.
    grown: Vec<f64>,
}

impl Step {
    fn new(title: impl Into<String>, commands: &[&[&'static str]]) -> Step {
        let commands = commands.iter().map(|command| command.to_vec()).collect();
        Step { title: title.into(), commands, seconds: Vec::new(), fresh: Vec::new(), grown: Vec::new() }
    }
}

pub fn run(bench: &Bench) -> Result<Findings> {
    let sizes = &bench.sizes;
    // Every customer has bought once, so every customer has a live row.
    let large = Scale {
        history: sizes.job_customers,
        customers: sizes.job_customers,
        today: 0,
        with_customer: 100,
        ..Scale::default()
    };
    let mut steps = vec![
        Step::new("nothing else", &[]),
        Step::new(format!("verify of {} sales", count(large.history)), &[&["verify"]]),
        Step::new(
            format!("day-roll of {} customers", count(large.customers)),
            &[&["jobs", "run", "day-roll", "--at", "{tomorrow}"]],
        ),
    ];
    measure(bench, &large, &mut steps)?;
    let night = Scale { history: sizes.night_customers, customers: sizes.night_customers, products: 5000, ..large };
    let jobs: Vec<Vec<&'static str>> = NIGHT.iter().map(|job| vec!["jobs", "run", job, "--at", "{tomorrow}"]).collect();
    let mut jobs: Vec<&[&'static str]> = jobs.iter().map(Vec::as_slice).collect();
    if let Some(first) = jobs.first_mut() {
        // The last job of the day before: of today.
        *first = &["jobs", "run", "inventory-snapshot"];
    }
    let title = format!("a night's six jobs, {} customers, {} products", count(night.customers), count(night.products));
    steps.push(Step::new(title, &jobs));
    measure(bench, &night, steps.get_mut(3..).unwrap_or_default())?;
    findings(&steps)
}

fn measure(bench: &Bench, scale: &Scale, steps: &mut [Step]) -> Result<()> {
    let mut lab = Lab::start(bench)?;
    say(format!("jobs: preparing {} customers and sales", scale.customers));
    lab.create_world(scale)?;
    lab.install()?;
    lab.save(SETTLED)?;
    for round in 1..=bench.rounds {
        lab.restore(SETTLED)?;
        let daemon = lab.daemon()?;
        let load = lab.load(scale, PACE, bench.sizes.clients, LONG)?;
        let tomorrow = tomorrow(&lab)?;
        for step in &mut *steps {
            let size = size_of_report(&lab)?;
            let probe = Probe::start(&lab, scale, Place::Reports)?;
            let begun = Instant::now();
            if step.commands.is_empty() {
                std::thread::sleep(bench.sizes.time);
            }
            for command in &step.commands {
                let words: Vec<&str> =
                    command.iter().map(|word| if *word == "{tomorrow}" { tomorrow.as_str() } else { word }).collect();
                let begun = Instant::now();
                lab.run("job", lab.tillstream(&words)?)?;
                say(format!("jobs: {}: {:.2} s", words.join(" "), begun.elapsed().as_secs_f64()));
            }
            let took = begun.elapsed().as_secs_f64();
            let fresh = probe.finish()?;
            say(format!(
                "jobs: round {round} of {}, {}: {took:.2} s, p50 {:.2} ms, p99 {:.1} ms, highest {:.1} ms",
                bench.rounds,
                step.title,
                fresh.p50()?,
                fresh.p99()?,
                fresh.max()?
            ));
            step.seconds.push(took);
            step.fresh.push(fresh);
            step.grown.push(size_of_report(&lab)? - size);
        }
        load.stop()?;
        daemon.stop(Signal::SIGTERM)?;
    }
    Ok(())
}

fn findings(steps: &[Step]) -> Result<Findings> {
    let mut table = Table::new(
        format!("**Milliseconds from commit to visible at {PACE}, while there runs**"),
        &["", "seconds", "p50", "p99", "highest", "sales probed", "customer_analytics grew by MiB"],
    );
    let mut plot = Plot::new("jobs", "Milliseconds from commit to visible while a job runs, p99");
    for step in steps {
        let all = |of: &dyn Fn(&Freshness) -> Result<f64>| step.fresh.iter().map(of).collect::<Result<Vec<f64>>>();
        let p99 = all(&Freshness::p99)?;
        table.row(&[
            step.title.clone(),
            shown(&step.seconds),
            shown(&all(&Freshness::p50)?),
            shown(&p99),
            shown(&all(&Freshness::max)?),
            step.fresh.iter().map(Freshness::count).sum::<usize>().to_string(),
            shown(&step.grown),
        ]);
        plot.bar(step.title.clone(), true, &p99);
    }
    Ok(Findings {
        tables: vec![table],
        notes: vec![
            "The commands are `tillstream verify` and `tillstream jobs run`, with `--at` the next midnight for those after \
             it, run beside the daemon, from start to end. Freshness as in the part of that name. Aimed at: every sale \
             of the night within a second, the roll of a million customers well under a minute."
                .into(),
        ],
        plots: vec![plot],
    })
}

/// Of the customers' report, in MiB: a roll writes every live row again.
fn size_of_report(lab: &Lab) -> Result<f64> {
    let query = "SELECT pg_table_size('analytics.customer_analytics')::float8 / 1048576";
    Ok(lab.connect("postgres")?.query_one(query, &[])?.try_get(0)?)
}

fn tomorrow(lab: &Lab) -> Result<String> {
    let query = "SELECT to_char(((now() AT TIME ZONE $1)::date + 1)::timestamp AT TIME ZONE $1 AT TIME ZONE 'UTC', \
                                'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    Ok(lab.connect("postgres")?.query_one(query, &[&lab.zone])?.try_get(0)?)
}
