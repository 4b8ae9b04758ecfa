//! Measures tillstream side by side with what would be used instead.
//!
//! ```text
//! main ─> part (drain, fresh, …) ─> Findings ─> report: OUT/bench/PART.json, *.svg, OUT/bench.md
//!           ├ lab       a PostgreSQL whose state can be put aside and brought back; programs run and measured
//!           ├ world     the POS's tables with a past of a given size        ├ till     tillstream and other consumers
//!           ├ pgbench   sales at a pace                                     └ probe    commit to visible
//!           └ procs     CPU and memory from /proc
//! ```

mod copy;
mod drain;
mod fresh;
mod growth;
mod jobs;
mod lab;
mod machine;
mod memory;
mod peers;
mod pgbench;
mod plain;
mod plot;
mod price;
mod probe;
mod procs;
mod profile;
mod report;
mod say;
mod sizes;
mod spin;
mod stats;
mod till;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::{Timelike, Utc};
use clap::{Parser, ValueEnum};

use lab::Lab;
use machine::{Busy, Machine};
use report::{Findings, Section};
use say::say;
use sizes::{Overrides, Sizes};

/// tillstream side by side with what would be used instead.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench compare --", max_term_width = 100)]
struct Arguments {
    /// What to measure [default: everything]
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// How often everything is measured, contenders in turn [default: 5; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,
    /// Small and short: shows that the benchmark works
    #[arg(long)]
    quick: bool,
    /// Also the sizes that take hours
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Where bench.md and bench/ go [default: docs; quick: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// What cargo adds by itself
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A waiting backlog taken over
    Drain,
    /// From a commit until the reports show it
    Fresh,
    /// What the POS pays for it
    Price,
    /// The first copy
    Copy,
    /// What the daemon takes
    Memory,
    /// Whether any of that grows with what is there
    Growth,
    /// The heavy jobs, and the stream meanwhile
    Jobs,
    /// Where the time goes, by process and by statement
    Profile,
    /// Nothing is measured: page and plots are written anew from what lies there
    Page,
}

const PARTS: [Part; 8] =
    [Part::Drain, Part::Fresh, Part::Price, Part::Copy, Part::Memory, Part::Growth, Part::Jobs, Part::Profile];

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Drain => "drain",
            Part::Fresh => "fresh",
            Part::Price => "price",
            Part::Copy => "copy",
            Part::Memory => "memory",
            Part::Growth => "growth",
            Part::Jobs => "jobs",
            Part::Profile => "profile",
            Part::Page => "page",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Part::Drain => "Catching up: a backlog in the slot",
            Part::Fresh => "Freshness: from commit to visible",
            Part::Price => "The POS's price",
            Part::Copy => "The first copy",
            Part::Memory => "Memory",
            Part::Growth => "Growth",
            Part::Jobs => "Jobs",
            Part::Profile => "Where the time goes",
            Part::Page => "",
        }
    }

    fn run(self, bench: &Bench) -> Result<Findings> {
        match self {
            Part::Drain => drain::run(bench),
            Part::Fresh => fresh::run(bench),
            Part::Price => price::run(bench),
            Part::Copy => copy::run(bench),
            Part::Memory => memory::run(bench),
            Part::Growth => growth::run(bench),
            Part::Jobs => jobs::run(bench),
            Part::Profile => profile::run(bench),
            Part::Page => Ok(Findings::default()),
        }
    }
}

/// What every part is told.
pub struct Bench {
    pub rounds: usize,
    pub quick: bool,
    pub sizes: Sizes,
    /// Where the stores are: somewhere on earth where it is night, see [`quiet_zone`].
    pub zone: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let quick = arguments.quick;
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(if quick { "target/bench" } else { "docs" }));
    let bench = Bench {
        rounds: arguments.rounds.unwrap_or(if quick { 1 } else { 5 }).max(1),
        quick,
        sizes: Sizes::new(quick, arguments.full, &arguments.overrides),
        zone: quiet_zone(Utc::now().hour()),
    };
    let parts = if arguments.parts.is_empty() { PARTS.to_vec() } else { arguments.parts.clone() };
    let names = PARTS.map(Part::name);
    if parts != [Part::Page] {
        // Also tells what is missing before hours have passed.
        let machine = Machine::look(Lab::start(&bench)?.programs());
        say(machine.line());
        for part in parts.into_iter().filter(|part| *part != Part::Page) {
            measure(part, &bench, &machine, &out).with_context(|| format!("measuring {}", part.name()))?;
            report::write_page(&out, &names)?;
        }
    }
    report::write_page(&out, &names)?;
    say(format!("written: {}", out.join("bench.md").display()));
    Ok(())
}

fn measure(part: Part, bench: &Bench, machine: &Machine, out: &std::path::Path) -> Result<()> {
    let before = Busy::look();
    say(format!("{}: {}", part.name(), before.line()));
    if before.is_busy() {
        say("warning: the machine has other work to do; ratios may hold, times will not");
    }
    let findings = part.run(bench)?;
    let after = Busy::look();
    say(format!("{}: {}", part.name(), after.line()));
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").collect::<Vec<_>>().join(" ");
    let section = Section {
        part: part.name().to_string(),
        title: part.title().to_string(),
        date: Utc::now().format("%Y-%m-%d").to_string(),
        arguments,
        rounds: bench.rounds,
        quick: bench.quick,
        machine: machine.clone(),
        settings: lab::SETTINGS.map(|(key, value)| format!("`{key} = {value}`")).join(", "),
        before,
        after,
        findings,
    };
    section.save(out)
}

/// A time zone in which it is past one o'clock at night: for the next twenty-two hours no midnight makes one round's work
/// differ from another's.
fn quiet_zone(utc_hour: u32) -> String {
    let east = (1 + 24 - i64::from(utc_hour)) % 24;
    let east = if east > 14 { east - 24 } else { east };
    // POSIX counts them the other way round.
    match east {
        0 => "Etc/UTC".to_string(),
        east if east > 0 => format!("Etc/GMT-{east}"),
        east => format!("Etc/GMT+{}", -east),
    }
}
