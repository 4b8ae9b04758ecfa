//! What it costs the POS: how many sales it makes and how long they take, alone and with each way of keeping reports.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::Bench;
use crate::lab::{Lab, Running};
use crate::pgbench::{Pace, Sales};
use crate::plot::Plot;
use crate::procs::{CLIENT, DAEMON_BACKENDS, POS_BACKENDS, Usage, WALSENDER, Watch};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::spin::Spin;
use crate::stats::{count, ratios, shown};
use crate::till::GATHERING;
use crate::world::Scale;

const SETTLED: &str = "settled";
const READER: &str = "reader";
/// What follows the POS.
const FOLLOWERS: [&str; 3] = [WALSENDER, CLIENT, DAEMON_BACKENDS];
/// So long sales run in, or as long as they are measured: caches fill, and a page that is written for the first time since the
/// server's start goes into the WAL as a whole, the POS's as well as ours.
const RUN_IN: Duration = Duration::from_secs(8);
/// A chain of some thousand tills.
const PACES: [Pace; 2] = [Pace::Rate(300), Pace::Saturation];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Plain,
    Recvlogical,
    Tillstream,
    /// Given more time to gather what is written together; it takes it only from some 400 sales a second on.
    Gathering,
    Spin,
    Triggers,
    Recompute,
    Ivm,
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Contender::Plain => "the POS alone",
            Contender::Recvlogical => "pg_recvlogical to /dev/null",
            Contender::Tillstream => "tillstream",
            Contender::Gathering => "tillstream, max_delay = 1s",
            Contender::Spin => "a loop as busy as tillstream",
            Contender::Triggers => "row triggers",
            Contender::Recompute => "recompute in the transaction",
            Contender::Ivm => "pg_ivm",
        }
    }

    /// Gets it going; what comes back runs beside the POS.
    fn begin(self, lab: &Lab, scale: &Scale) -> Result<Option<Running>> {
        match self {
            // How busy the loop is depends on the pace.
            Contender::Plain | Contender::Spin => {}
            Contender::Recvlogical => {
                return Ok(Some(lab.spawn("pg_recvlogical", lab.pg_recvlogical(READER, None))?));
            }
            Contender::Tillstream => return Ok(Some(lab.daemon()?)),
            Contender::Gathering => return Ok(Some(lab.daemon_with(GATHERING)?)),
            Contender::Triggers => lab.install_triggers(scale)?,
            Contender::Recompute => lab.install_recompute(scale)?,
            Contender::Ivm => lab.install_ivm(scale)?,
        }
        Ok(None)
    }
}

struct Measured {
    sales: Sales,
    usage: Usage,
    sold: f64,
    /// Processors that what follows the POS kept busy.
    share: f64,
}

pub fn run(bench: &Bench) -> Result<Findings> {
    let scale = Scale { history: bench.sizes.history, ..Scale::default() };
    let mut lab = Lab::start(bench)?;
    say("price: preparing");
    lab.create_world(&scale)?;
    lab.install()?;
    lab.copy_slot(READER)?;
    let has_ivm = lab.has_ivm()?;
    lab.save(SETTLED)?;
    let mut contenders = vec![
        Contender::Plain,
        Contender::Recvlogical,
        Contender::Tillstream,
        Contender::Spin,
        Contender::Gathering,
        Contender::Triggers,
        Contender::Recompute,
    ];
    if has_ivm {
        contenders.push(Contender::Ivm);
    }
    let tillstream = contenders.iter().position(|contender| *contender == Contender::Tillstream);
    // By pace, by contender, by round.
    let mut measured: Vec<Vec<Vec<Measured>>> =
        PACES.iter().map(|_| contenders.iter().map(|_| Vec::new()).collect()).collect();
    let mut wrong: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 1..=bench.rounds {
        for (c, contender) in contenders.iter().enumerate() {
            lab.restore(SETTLED)?;
            let beside = contender.begin(&lab, &scale)?;
            for (pace, measured) in PACES.into_iter().zip(&mut measured) {
                let share = tillstream.and_then(|t| measured.get(t)?.last()).map_or(0.0, |m| m.share);
                let spin = (*contender == Contender::Spin).then(|| Spin::start(share, Duration::MAX));
                let m = measure(&lab, &scale, pace, bench, beside.as_ref().map(Running::pid))?;
                drop(spin);
                say(format!(
                    "price: round {round} of {}, {pace}, {}: {:.0} sales/s, p99 {:.1} ms",
                    bench.rounds,
                    contender.name(),
                    m.sales.per_second,
                    m.sales.p99_ms
                ));
                if let Some(rounds) = measured.get_mut(c) {
                    rounds.push(m);
                }
            }
            if let Some(beside) = beside {
                beside.stop(Signal::SIGTERM)?;
            }
            let rows = match contender {
                Contender::Tillstream | Contender::Gathering => lab.verify().map(|()| 0.0)?,
                Contender::Triggers | Contender::Recompute => lab.wrong_rows(&scale)?,
                Contender::Plain | Contender::Recvlogical | Contender::Spin | Contender::Ivm => continue,
            };
            if let Some(rounds) = wrong.get_mut(c) {
                rounds.push(rows);
            }
        }
    }
    let mut findings = Findings::default();
    for (pace, measured) in PACES.iter().zip(&measured) {
        findings.tables.push(table(*pace, bench, &contenders, measured, &wrong));
    }
    let mut plot =
        Plot::new("price", format!("Sales a second at saturation, {} tills (higher is better)", bench.sizes.clients));
    for (contender, measured) in contenders.iter().zip(measured.last().into_iter().flatten()) {
        let ours = matches!(contender, Contender::Tillstream | Contender::Gathering);
        plot.bar(contender.name(), ours, &each(measured, |m| m.sales.per_second));
    }
    findings.plots.push(plot);
    findings.notes = vec![
        format!(
            "pgbench, {} connections, {} s each after up to {} s to run in; a sale is one transaction of nine row changes. \
             p99: milliseconds from when a sale was due to begin until its commit was acknowledged. {} sales of history, \
             1000 of today.",
            bench.sizes.clients,
            bench.sizes.time.as_secs(),
            RUN_IN.as_secs(),
            count(scale.history)
        ),
        "CPU: milliseconds of processor time for each sale, of the POS's own server processes and of what follows it \
         (walsender, client program, the client's server processes)."
            .into(),
        "A loop as busy as tillstream: nothing but a thread that keeps a processor as busy as tillstream, its server \
         processes and the walsender did at that pace in the same round. What the POS loses beside it is what any work \
         of that size costs it on a machine with so few processors."
            .into(),
        "tillstream with max_delay = 1s: the same, allowed to gather what arrives for up to a second instead of 50 ms. It \
         does so only from some 400 sales a second on; how late a sale shows then is under Freshness."
            .into(),
        "Row triggers add each completed sale to tables of the daily, product and customer reports; recompute in the \
         transaction computes the touched rows of these tables anew, with the index for it. Both keep three reports \
         without the stock, know no refunds, edits, deletions and sliding windows, and recompute loses sales that are \
         completed at the same moment. pg_ivm keeps sums by day, product and customer and nothing else."
            .into(),
        "Wrong rows: of the peer's tables after both paces of a round, against the POS's tables; tillstream's by `tillstream \
         verify`. Aimed at: at 300 a second a p99 within 10 % of the POS alone, at saturation sales within 10 % of those \
         beside pg_recvlogical."
            .into(),
    ];
    if !has_ivm {
        findings.notes.push("pg_ivm is not installed on this server and was not measured.".into());
    }
    Ok(findings)
}

fn measure(lab: &Lab, scale: &Scale, pace: Pace, bench: &Bench, beside: Option<u32>) -> Result<Measured> {
    let run_in = RUN_IN.min(bench.sizes.time);
    let load = lab.load(scale, pace, bench.sizes.clients, run_in + bench.sizes.time)?;
    thread::sleep(run_in);
    let before = lab.sold()?;
    let watch = Watch::start(lab.server.pid(), beside);
    let begun = Instant::now();
    let sales = load.finish(run_in)?;
    let took = begun.elapsed().as_secs_f64();
    let usage = watch.finish();
    let share = FOLLOWERS.iter().map(|role| usage.cpu(role)).sum::<f64>() / took;
    Ok(Measured { sales, usage, sold: lab.sold()? - before, share })
}

fn each(measured: &[Measured], of: impl Fn(&Measured) -> f64) -> Vec<f64> {
    measured.iter().map(of).collect()
}

fn table(pace: Pace, bench: &Bench, contenders: &[Contender], measured: &[Vec<Measured>], wrong: &[Vec<f64>]) -> Table {
    let mut table = Table::new(
        match pace {
            Pace::Rate(rate) => format!("**At {rate} sales a second**"),
            Pace::Saturation => format!("**At saturation, {} tills**", bench.sizes.clients),
        },
        &[
            "kept by",
            "sales/s",
            "÷ alone",
            "÷ pg_recvlogical",
            "p99 ms",
            "p99 ÷ alone",
            "POS CPU ms",
            "other CPU ms",
            "wrong rows",
        ],
    );
    let of = |contender: Contender| {
        let at = contenders.iter().position(|c| *c == contender);
        at.and_then(|at| measured.get(at)).map(Vec::as_slice).unwrap_or_default()
    };
    let speed = |measured: &[Measured]| each(measured, |m| m.sales.per_second);
    let late = |measured: &[Measured]| each(measured, |m| m.sales.p99_ms);
    let (alone, reader) = (of(Contender::Plain), of(Contender::Recvlogical));
    for ((contender, runs), wrong) in contenders.iter().zip(measured).zip(wrong) {
        let cpu = |roles: &[&str]| {
            shown(&each(runs, |m| roles.iter().map(|role| m.usage.cpu(role)).sum::<f64>() * 1000.0 / m.sold.max(1.0)))
        };
        let followed = matches!(contender, Contender::Recvlogical | Contender::Tillstream | Contender::Gathering);
        table.row(&[
            contender.name().to_string(),
            shown(&speed(runs)),
            shown(&ratios(&speed(runs), &speed(alone))),
            shown(&ratios(&speed(runs), &speed(reader))),
            shown(&late(runs)),
            shown(&ratios(&late(runs), &late(alone))),
            cpu(&[POS_BACKENDS]),
            if followed { cpu(&FOLLOWERS) } else { "–".into() },
            shown(wrong),
        ]);
    }
    table
}
