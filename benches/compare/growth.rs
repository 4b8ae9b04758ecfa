//! Whether anything grows with history, stores or the length of the day.

use std::fmt;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::Bench;
use crate::drain::{self, Backlog, Contender, LOADED};
use crate::fresh;
use crate::lab::Lab;
use crate::pgbench::Pace;
use crate::plot::Plot;
use crate::report::{Findings, Table};
use crate::say::say;
use crate::stats::{count, ratios, shown};
use crate::world::Scale;

const INITIAL: &str = "initial";
const PACE: Pace = Pace::Rate(50);

/// What differs from the others.
struct Size {
    scale: Scale,
    /// `None`: it is measured, and its data have been thrown away.
    lab: Option<Lab>,
    end: String,
    drained: Vec<f64>,
    reader: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    copied: Vec<f64>,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scale { history, stores, today, .. } = self.scale;
        write!(
            f,
            "{} sales of history, {stores} {}, {} today",
            count(history),
            if stores == 1 { "store" } else { "stores" },
            count(today)
        )
    }
}

pub fn run(bench: &Bench) -> Result<Findings> {
    let mut sizes = Vec::new();
    for scale in scales(bench) {
        let mut size = prepare(bench, scale)?;
        measure(bench, &mut size, 1)?;
        // The largest fills a disk.
        size.lab.take_if(|_| bench.rounds == 1);
        sizes.push(size);
    }
    for round in 2..=bench.rounds {
        for size in &mut sizes {
            measure(bench, size, round)?;
        }
    }
    let mut table = Table::new(
        format!(
            "**{} sales waiting; freshness at {PACE}; first copy of everything. Aimed at: flat within 10 %**",
            count(bench.sizes.growth_sales)
        ),
        &[
            "",
            "drain s",
            "÷ first line",
            "÷ pg_recvlogical",
            "p50 ms",
            "p99 ms",
            "copy s",
            "copy µs a sale",
            "÷ first line",
        ],
    );
    let mut plots = [
        ("growth-drain", "Seconds to take over a backlog"),
        ("growth-fresh", "Milliseconds from commit to visible, p50"),
        ("growth-copy", "Microseconds of the first copy for each sale"),
    ]
    .map(|(name, title)| Plot::new(name, format!("{title} (flat is good)")));
    let per_sale = |size: &Size| {
        let sales = (size.scale.history + size.scale.today) as f64;
        size.copied.iter().map(|s| s * 1e6 / sales).collect::<Vec<f64>>()
    };
    let first = sizes.first().map(|size| (size.drained.clone(), per_sale(size))).unwrap_or_default();
    for size in &sizes {
        let copied = per_sale(size);
        table.row(&[
            size.to_string(),
            shown(&size.drained),
            shown(&ratios(&size.drained, &first.0)),
            shown(&ratios(&size.drained, &size.reader)),
            shown(&size.p50),
            shown(&size.p99),
            shown(&size.copied),
            shown(&copied),
            shown(&ratios(&copied, &first.1)),
        ]);
        let label = format!("{} / {} / {}", count(size.scale.history), size.scale.stores, count(size.scale.today));
        for (plot, values) in plots.iter_mut().zip([&size.drained, &size.p50, &copied]) {
            plot.bar(label.clone(), true, values);
        }
    }
    Ok(Findings {
        tables: vec![table],
        notes: vec![
            "Drain, freshness and first copy are measured as in the parts of these names (a single round keeps no copy of the \
             data: pg_recvlogical and tillstream read the same backlog, each from its own slot); each store has 2000 products and \
             5000 customers, sales go to all stores alike, the probe's to the first. The plots name sizes by history, \
             stores and sales of the day."
                .into(),
        ],
        plots: plots.to_vec(),
    })
}

/// The first, and each of the others different from it in one thing.
fn scales(bench: &Bench) -> Vec<Scale> {
    let sizes = &bench.sizes;
    let first = |list: &[u64]| list.first().copied().unwrap_or(1);
    let base = Scale {
        history: first(&sizes.growth_history),
        stores: first(&sizes.growth_stores),
        today: first(&sizes.growth_today),
        ..Scale::default()
    };
    let mut scales = vec![base];
    scales.extend(sizes.growth_history.iter().skip(1).map(|history| Scale { history: *history, ..base }));
    scales.extend(sizes.growth_stores.iter().skip(1).map(|stores| Scale { stores: *stores, ..base }));
    scales.extend(sizes.growth_today.iter().skip(1).map(|today| Scale { today: *today, ..base }));
    scales
}

fn prepare(bench: &Bench, scale: Scale) -> Result<Size> {
    let mut lab = Lab::start(bench)?;
    say(format!("growth: preparing {} sales, {} stores, {} today", scale.history, scale.stores, scale.today));
    lab.create_world(&scale)?;
    lab.run("init", lab.tillstream(&["init"])?)?;
    if bench.rounds > 1 {
        lab.save(INITIAL)?;
        lab.restore(INITIAL)?;
    }
    let (took, _) = lab.copy()?;
    say(format!("growth: first copy {:.1} s", took.as_secs_f64()));
    lab.settle()?;
    let (_, end) = drain::fill_slots(&mut lab, Backlog::Sales(bench.sizes.growth_sales), &scale, &["reader"])?;
    let none = Vec::new;
    let (lab, copied) = (Some(lab), vec![took.as_secs_f64()]);
    Ok(Size { scale, lab, end, drained: none(), reader: none(), p50: none(), p99: none(), copied })
}

/// One round; the first copy of the first one is that of the preparation.
fn measure(bench: &Bench, size: &mut Size, round: usize) -> Result<()> {
    let shown = size.to_string();
    let Some(lab) = &mut size.lab else { return Ok(()) };
    // The largest would not fit twice on a disk; of a single round nothing is needed again.
    let once = bench.rounds == 1;
    if once {
        lab.take_back(LOADED)?
    } else {
        lab.restore(LOADED)?
    }
    size.reader.push(drain::drain(lab, Contender::Recvlogical, &size.end)?.seconds);

    // Each reads from a slot of its own and leaves the other's alone.
    if once {
        lab.restart()?
    } else {
        lab.restore(LOADED)?
    }
    size.drained.push(drain::drain(lab, Contender::Tillstream, &size.end)?.seconds);
    // What the copy has written and what came after it.
    lab.verify()?;
    let daemon = lab.daemon()?;
    let measured = fresh::measure(lab, &size.scale, PACE, bench.sizes.clients, bench.sizes.time)?;
    daemon.stop(Signal::SIGTERM)?;
    size.p50.push(measured.reports.p50()?);
    size.p99.push(measured.reports.p99()?);

    if round > 1 {
        lab.restore(INITIAL)?;
        size.copied.push(lab.copy()?.0.as_secs_f64());
        lab.verify()?;
    }
    lab.stop()?;
    say(format!("growth: round {round} of {}, {shown}", bench.rounds));
    Ok(())
}
