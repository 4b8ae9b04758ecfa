//! The first copy, beside plain SQL that computes the four reports once from the same tables.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::Bench;
use crate::lab::Lab;
use crate::plain::{QUERIES, digest};
use crate::plot::Plot;
use crate::procs::{CLIENT, DAEMON_BACKENDS, Usage};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::stats::{count, ratios, shown};
use crate::world::Scale;

const INITIAL: &str = "initial";

pub fn run(bench: &Bench) -> Result<Findings> {
    let scale = Scale { history: bench.sizes.copy_sales, today: 0, ..Scale::default() };
    let mut lab = Lab::start(bench)?;
    say(format!("copy: preparing {} sales", scale.history));
    lab.create_world(&scale)?;
    lab.run("init", lab.tillstream(&["init"])?)?;
    lab.save(INITIAL)?;
    let mut ours: Vec<(f64, Usage)> = Vec::new();
    // By query, by round.
    let mut plain: Vec<Vec<f64>> = QUERIES.iter().map(|_| Vec::new()).collect();
    for round in 1..=bench.rounds {
        lab.restore(INITIAL)?;
        let (took, usage) = lab.copy()?;
        lab.verify()?;
        say(format!("copy: round {round} of {}, tillstream {:.2} s", bench.rounds, took.as_secs_f64()));
        ours.push((took.as_secs_f64(), usage));
        let kept = digests(&lab, None)?;

        lab.restore(INITIAL)?;
        let computed = digests(&lab, Some((&scale, &mut plain)))?;
        say(format!("copy: round {round} of {}, plain SQL {:.2} s", bench.rounds, last_sum(&plain)));
        for (((report, _), kept), computed) in QUERIES.iter().zip(&kept).zip(&computed) {
            if kept != computed {
                bail!("{report} is {kept} and plain SQL finds {computed}: they do not mean the same");
            }
        }
    }
    let took: Vec<f64> = ours.iter().map(|(seconds, _)| *seconds).collect();
    let sums: Vec<f64> = (0..bench.rounds).map(|r| plain.iter().filter_map(|rounds| rounds.get(r)).sum()).collect();
    let mut table = Table::new(
        format!(
            "**{0} sales with {1} items and {0} payments. Aimed at: at most 2.5 × plain SQL**",
            count(scale.history),
            count(3 * scale.history)
        ),
        &["", "seconds", "1000 rows/s", "÷ plain SQL", "writer CPU", "client CPU", "client RSS MiB"],
    );
    let rates = |took: &[f64]| shown(&took.iter().map(|s| 5.0 * scale.history as f64 / s / 1000.0).collect::<Vec<_>>());
    let used = |of: &dyn Fn(&Usage) -> f64| shown(&ours.iter().map(|(_, usage)| of(usage)).collect::<Vec<_>>());
    table.row(&[
        "tillstream's first copy".into(),
        shown(&took),
        rates(&took),
        shown(&ratios(&took, &sums)),
        used(&|usage| usage.cpu(DAEMON_BACKENDS)),
        used(&|usage| usage.cpu(CLIENT)),
        used(&|usage| usage.rss_peak_mib),
    ]);
    let dash = || "–".to_string();
    table.row(&["plain SQL, the four reports".into(), shown(&sums), rates(&sums), "1".into(), dash(), dash(), dash()]);
    for ((report, _), seconds) in QUERIES.iter().zip(&plain) {
        table.row(&[format!("of that {report}"), shown(seconds), dash(), dash(), dash(), dash(), dash()]);
    }
    let mut plot =
        Plot::new("copy", format!("Seconds for the reports of {} past sales (lower is better)", count(scale.history)));
    plot.bar("tillstream's first copy", true, &took);
    plot.bar("plain SQL, computed once", false, &sums);
    Ok(Findings {
        tables: vec![table],
        notes: vec![
            "tillstream: `tillstream run --once` on a database that was only prepared with `tillstream init`: it reads the \
             tables, keeps its own copy of the facts, writes the reports and catches up. Outside the time `tillstream \
             verify` found every row right."
                .into(),
            "plain SQL: the four reports queried once, one after the other, with PostgreSQL's own settings (parallel \
             workers among them); every column of every row is computed, nothing is stored. Number of rows and sums of \
             all columns were the same as in tillstream's tables."
                .into(),
        ],
        plots: vec![plot],
    })
}

/// Of the report tables; or, timed, of the plain queries.
fn digests(lab: &Lab, plain: Option<(&Scale, &mut Vec<Vec<f64>>)>) -> Result<Vec<String>> {
    let mut client = lab.connect("postgres")?;
    let mut plain = plain;
    let mut found = Vec::new();
    for (n, (report, query)) in QUERIES.iter().enumerate() {
        let rows = match &plain {
            Some((scale, _)) => format!("({})", scale.fill(query, "tenant_1", &lab.zone)),
            None => format!("analytics.{report}"),
        };
        let statement = digest(&mut client, report, &rows)?;
        let begun = Instant::now();
        found.push(client.query_one(&statement, &[])?.try_get(0)?);
        if let Some(rounds) = plain.as_mut().and_then(|(_, seconds)| seconds.get_mut(n)) {
            rounds.push(begun.elapsed().as_secs_f64());
        }
    }
    Ok(found)
}

fn last_sum(plain: &[Vec<f64>]) -> f64 {
    plain.iter().filter_map(|rounds| rounds.last()).sum()
}
