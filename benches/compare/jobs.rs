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

pub fn run(bench: &Bench) -> Result<Findings> {
    let customers = bench.sizes.job_customers;
    // Every customer has bought once, so every customer has a live row.
    let scale = Scale { history: customers, customers, today: 0, with_customer: 100, ..Scale::default() };
    let mut lab = Lab::start(bench)?;
    say(format!("jobs: preparing {customers} customers and sales"));
    lab.create_world(&scale)?;
    lab.install()?;
    lab.save(SETTLED)?;
    let titles = [
        "nothing else".to_string(),
        format!("verify of {} sales", count(scale.history)),
        format!("day-roll of {} customers", count(customers)),
    ];
    let mut measured: [Vec<(f64, Freshness)>; 3] = Default::default();
    for round in 1..=bench.rounds {
        lab.restore(SETTLED)?;
        let daemon = lab.daemon()?;
        let load = lab.load(&scale, PACE, bench.sizes.clients, LONG)?;
        let tomorrow = tomorrow(&lab)?;
        let commands: [&[&str]; 3] = [&[], &["verify"], &["jobs", "run", "day-roll", "--at", &tomorrow]];
        for ((command, title), measured) in commands.into_iter().zip(&titles).zip(&mut measured) {
            let probe = Probe::start(&lab, &scale, Place::Reports)?;
            let begun = Instant::now();
            if command.is_empty() {
                std::thread::sleep(bench.sizes.time);
            } else {
                lab.run("job", lab.tillstream(command)?)?;
            }
            let took = begun.elapsed().as_secs_f64();
            let fresh = probe.finish()?;
            say(format!(
                "jobs: round {round} of {}, {title}: {took:.2} s, p50 {:.2} ms, p99 {:.1} ms",
                bench.rounds,
                fresh.p50()?,
                fresh.p99()?
            ));
            measured.push((took, fresh));
        }
        load.stop()?;
        daemon.stop(Signal::SIGTERM)?;
    }
    let mut table = Table::new(
        format!("**Milliseconds from commit to visible at {PACE}, while there runs**"),
        &["", "seconds", "p50", "p99", "highest", "sales probed"],
    );
    let mut plot = Plot::new("jobs", "Milliseconds from commit to visible while a job runs, p99");
    for (title, runs) in titles.iter().zip(&measured) {
        let all = |of: &dyn Fn(&Freshness) -> Result<f64>| {
            runs.iter().map(|(_, fresh)| of(fresh)).collect::<Result<Vec<f64>>>()
        };
        let p99 = all(&|fresh| fresh.p99())?;
        table.row(&[
            title.clone(),
            shown(&runs.iter().map(|(took, _)| *took).collect::<Vec<_>>()),
            shown(&all(&|fresh| fresh.p50())?),
            shown(&p99),
            shown(&all(&|fresh| fresh.max())?),
            runs.iter().map(|(_, fresh)| fresh.count()).sum::<usize>().to_string(),
        ]);
        plot.bar(title.clone(), true, &p99);
    }
    Ok(Findings {
        tables: vec![table],
        notes: vec![
            "The commands are `tillstream verify` and `tillstream jobs run day-roll --at` the next midnight, run beside the \
             daemon, from start to end. Freshness as in the part of that name."
                .into(),
        ],
        plots: vec![plot],
    })
}

fn tomorrow(lab: &Lab) -> Result<String> {
    let query = "SELECT to_char(((now() AT TIME ZONE $1)::date + 1)::timestamp AT TIME ZONE $1 AT TIME ZONE 'UTC', \
                                'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    Ok(lab.connect("postgres")?.query_one(query, &[&lab.zone])?.try_get(0)?)
}
