//! How far the reports are behind: from the acknowledged commit of a sale until every report shows it.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::Bench;
use crate::lab::Lab;
use crate::pgbench::Pace;
use crate::plot::Plot;
use crate::probe::{Freshness, Place, Probe};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::stats::shown;
use crate::till::GATHERING;
use crate::world::Scale;

const SETTLED: &str = "settled";
/// With lines of configuration besides.
const PACES: [(Pace, &str); 5] = [
    (Pace::Rate(1), ""),
    (Pace::Rate(50), ""),
    (Pace::Rate(300), ""),
    (Pace::Saturation, ""),
    (Pace::Saturation, GATHERING),
];
/// Sales go on for so long before anything is measured, and after.
const MARGIN: Duration = Duration::from_secs(2);

/// What one pace came to in one round.
pub struct Measured {
    pub sold_per_second: f64,
    pub reports: Freshness,
    pub floor: Freshness,
}

pub fn run(bench: &Bench) -> Result<Findings> {
    let scale = Scale { history: bench.sizes.history, ..Scale::default() };
    let mut lab = Lab::start(bench)?;
    say("fresh: preparing");
    lab.create_world(&scale)?;
    lab.install()?;
    lab.save(SETTLED)?;
    let mut measured: Vec<Vec<Measured>> = PACES.iter().map(|_| Vec::new()).collect();
    for round in 1..=bench.rounds {
        for ((pace, more), measured) in PACES.into_iter().zip(&mut measured) {
            lab.restore(SETTLED)?;
            let daemon = lab.daemon_with(more)?;
            let m = measure(&lab, &scale, pace, bench.sizes.clients, bench.sizes.time)?;
            daemon.stop(Signal::SIGTERM)?;
            lab.verify()?;
            say(format!(
                "fresh: round {round} of {}, {}: p50 {:.2} ms, p99 {:.1} ms",
                bench.rounds,
                name(pace, more),
                m.reports.p50()?,
                m.reports.p99()?
            ));
            measured.push(m);
        }
    }
    let mut table = Table::new(
        "**Milliseconds from the acknowledged commit until all four reports show the sale. Aimed at for 300 a second: p50 at \
         most 3, p99 at most 15**",
        &["sales a second", "reached", "p50", "p99", "highest", "sales probed", "floor p50", "floor p99"],
    );
    let mut plot = Plot::new("fresh", "Milliseconds from commit to visible in all reports (logarithmic)");
    plot.logarithmic = true;
    for ((pace, more), measured) in PACES.into_iter().zip(&measured) {
        let all = |of: &dyn Fn(&Measured) -> Result<f64>| measured.iter().map(of).collect::<Result<Vec<f64>>>();
        let (p50, p99, max) = (all(&|m| m.reports.p50())?, all(&|m| m.reports.p99())?, all(&|m| m.reports.max())?);
        table.row(&[
            name(pace, more),
            shown(&all(&|m| Ok(m.sold_per_second))?),
            shown(&p50),
            shown(&p99),
            shown(&max),
            measured.iter().map(|m| m.reports.count()).sum::<usize>().to_string(),
            shown(&all(&|m| m.floor.p50())?),
            shown(&all(&|m| m.floor.p99())?),
        ]);
        plot.group();
        plot.bar(format!("{}, p50", name(pace, more)), true, &p50);
        plot.bar("p99", true, &p99);
        plot.bar("highest", true, &max);
    }
    Ok(Findings {
        tables: vec![table],
        notes: vec![
            "A probe commits marked sales, five a second on average at random moments, whatever is shown by then, and \
             another connection asks all four reports with one statement of four keyed look-ups, every 0.2 ms while a \
             marked sale is missing. The clock runs from the acknowledgement of the commit."
                .into(),
            "Floor: the same probe under the same load on the POS's own table, where a sale shows at once: what looking \
             itself takes."
                .into(),
            format!(
                "The load comes from pgbench with {} connections beside the probe; at saturation they sell as fast as the \
                 server lets them, and server, daemon and load share the machine. After each run `tillstream verify` found \
                 every row right.",
                bench.sizes.clients
            ),
            "With max_delay = 1s tillstream may gather what arrives for up to a second instead of 50 ms. It does so only from \
             some 400 sales a second on."
                .into(),
        ],
        plots: vec![plot],
    })
}

fn name(pace: Pace, more: &str) -> String {
    if more.is_empty() { pace.to_string() } else { format!("{pace}, max_delay = 1s") }
}

/// The daemon runs; sales come at a pace.
pub fn measure(lab: &Lab, scale: &Scale, pace: Pace, clients: u32, time: Duration) -> Result<Measured> {
    let floor_time = time / 4;
    let clients = if matches!(pace, Pace::Rate(1)) { 1 } else { clients };
    let load = lab.load(scale, pace, clients, time + floor_time + 2 * MARGIN)?;
    thread::sleep(MARGIN);
    let floor = Probe::start(lab, scale, Place::Table)?.finish_after(floor_time)?;
    let reports = Probe::start(lab, scale, Place::Reports)?.finish_after(time)?;
    let sales = load.finish(MARGIN)?;
    Ok(Measured { sold_per_second: sales.per_second, reports, floor })
}
