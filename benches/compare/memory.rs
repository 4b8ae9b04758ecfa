//! How much memory the daemon takes, idle and in everything that could make it take much.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::Bench;
use crate::drain::{self, Backlog, CHANGES_PER_SALE, Contender, LOADED};
use crate::lab::Lab;
use crate::pgbench::Pace;
use crate::plot::Plot;
use crate::procs::{Usage, Watch};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::stats::{count, shown};
use crate::world::Scale;

const INITIAL: &str = "initial";
const SETTLED: &str = "settled";

pub fn run(bench: &Bench) -> Result<Findings> {
    let sizes = &bench.sizes;
    let scale = Scale { history: sizes.copy_sales, ..Scale::default() };
    let mut lab = Lab::start(bench)?;
    say("memory: preparing");
    lab.create_world(&scale)?;
    lab.run("init", lab.tillstream(&["init"])?)?;
    lab.save(INITIAL)?;
    lab.restore(INITIAL)?;
    lab.install()?;
    lab.save(SETTLED)?;
    lab.restore(SETTLED)?;
    say(format!("memory: writing a transaction of {} changes", sizes.big_changes));
    let backlog = Backlog::OneTransaction(sizes.big_changes / CHANGES_PER_SALE);
    let (_, end) = drain::fill_slots(&mut lab, backlog, &scale, &[])?;

    let titles = [
        "idle".to_string(),
        format!("at saturation, {} tills", sizes.clients),
        format!("first copy of {} sales", count(scale.history)),
        format!("a transaction of {} changes", count(sizes.big_changes)),
    ];
    let mut measured: [Vec<Usage>; 4] = Default::default();
    let [idle, busy, copying, big] = &mut measured;
    for round in 1..=bench.rounds {
        lab.restore(SETTLED)?;
        let daemon = lab.daemon()?;
        let watch = Watch::start(lab.server.pid(), Some(daemon.pid()));
        thread::sleep(sizes.time);
        idle.push(watch.finish());
        let watch = Watch::start(lab.server.pid(), Some(daemon.pid()));
        lab.load(&scale, Pace::Saturation, sizes.clients, sizes.time)?.finish(Duration::ZERO)?;
        busy.push(watch.finish());
        daemon.stop(Signal::SIGTERM)?;
        lab.verify()?;

        lab.restore(INITIAL)?;
        copying.push(lab.run_measured("first-copy", lab.tillstream(&["run", "--once"])?)?.1);

        lab.restore(LOADED)?;
        big.push(drain::drain(&lab, Contender::Tillstream, &end)?.usage);
        lab.verify()?;
        let peaks = [&*idle, &*busy, &*copying, &*big].map(|runs| runs.last().map_or(0.0, |usage| usage.rss_peak_mib));
        say(format!("memory: round {round} of {}, highest MiB {peaks:.1?}", bench.rounds));
    }

    let mut table = Table::new(
        "**Resident memory of the daemon, MiB. Aimed at: at most 64 in all of them**",
        &["", "mean", "highest"],
    );
    let mut plot = Plot::new("memory", "Highest resident memory, MiB (lower is better)");
    for (title, runs) in titles.into_iter().zip(&measured) {
        let peaks: Vec<f64> = runs.iter().map(|usage| usage.rss_peak_mib).collect();
        table.row(&[
            title.clone(),
            shown(&runs.iter().map(|usage| usage.rss_mean_mib).collect::<Vec<_>>()),
            shown(&peaks),
        ]);
        plot.bar(title, true, &peaks);
    }
    Ok(Findings {
        tables: vec![table],
        notes: vec![
            "VmRSS and VmHWM of the process, read every 20 ms. Idle and at saturation it is one daemon, first the one and \
             then the other; the other two are processes of their own."
                .into(),
        ],
        plots: vec![plot],
    })
}
