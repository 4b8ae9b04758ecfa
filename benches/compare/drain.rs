//! A backlog in the slot: how long until the reports hold it, beside a reader that throws it away (the limit that decoding
//! sets) and beside PostgreSQL's own subscription, which only copies.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::Bench;
use crate::lab::{DATABASE, Lab};
use crate::pgbench::{SALE, SMALL_STEPS};
use crate::plot::Plot;
use crate::procs::{APPLY_WORKER, CLIENT, DAEMON_BACKENDS, Usage, WALSENDER, Watch};
use crate::report::{Findings, Table};
use crate::say::say;
use crate::spin::Spin;
use crate::stats::{count, ratios, shown};
use crate::till::SLOT;
use crate::world::Scale;

const ONE_TRANSACTION: &str = include_str!("sql/one_transaction.sql");
/// Of one sale in `sale.pgbench` and `one_transaction.sql`.
pub const CHANGES_PER_SALE: u64 = 9;
/// Of one sale in `small_steps.pgbench`.
const SMALL_STEPS_PER_SALE: u64 = 18;
/// The state with a backlog in the slots.
pub const LOADED: &str = "loaded";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Tillstream,
    Recvlogical,
    /// The same beside a loop that uses as much of the processors as tillstream's own work did in the same round.
    RecvlogicalBusy,
    /// PostgreSQL's own subscription with this `synchronous_commit`.
    Subscription(Copies, &'static str),
}

/// What a subscription writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// Tables as the POS has them: what `pg_dump --schema-only` makes.
    Whole,
    /// As light to write as they can be.
    Bare,
}

impl Copies {
    const ALL: [Copies; 2] = [Copies::Whole, Copies::Bare];

    /// Of the database, the subscription in it and its slot.
    fn name(self) -> &'static str {
        match self {
            Copies::Whole => "whole",
            Copies::Bare => "bare",
        }
    }
}

const CONTENDERS: [Contender; 6] = [
    Contender::Tillstream,
    Contender::Recvlogical,
    Contender::RecvlogicalBusy,
    Contender::Subscription(Copies::Whole, "off"),
    Contender::Subscription(Copies::Bare, "off"),
    Contender::Subscription(Copies::Whole, "on"),
];

impl Contender {
    fn only_reads(self) -> bool {
        matches!(self, Contender::Recvlogical | Contender::RecvlogicalBusy)
    }
}

impl std::fmt::Display for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Contender::Tillstream => write!(f, "tillstream"),
            Contender::Recvlogical => write!(f, "pg_recvlogical to /dev/null"),
            Contender::RecvlogicalBusy => write!(f, "pg_recvlogical beside a loop as busy as tillstream"),
            Contender::Subscription(Copies::Whole, commit) => write!(f, "subscription, synchronous_commit {commit}"),
            Contender::Subscription(Copies::Bare, commit) => {
                write!(f, "subscription to tables with primary keys alone, synchronous_commit {commit}")
            }
        }
    }
}

/// Without the last, which would commit every small step to the disk: minutes for each round.
const WITHOUT_SYNCHRONOUS: &[Contender] = CONTENDERS.split_at(CONTENDERS.len() - 1).0;

/// What waits in the slot.
#[derive(Debug, Clone, Copy)]
pub enum Backlog {
    /// So many sales, a transaction each.
    Sales(u64),
    /// So many sales, all in one transaction.
    OneTransaction(u64),
    /// So many sales, each in many small transactions.
    SmallSteps(u64),
}

pub fn run(bench: &Bench) -> Result<Findings> {
    let sizes = &bench.sizes;
    let ledger = Scale { history: sizes.history, ..Scale::default() };
    let mut findings = Findings::default();
    let mut plot = Plot::new("drain", "Seconds to take over a waiting backlog (lower is better)");
    let batches = Scale { ledger: false, ..ledger };
    let in_one = Backlog::OneTransaction(sizes.transaction_changes / CHANGES_PER_SALE);
    for (backlog, scale, title, contenders) in [
        (Backlog::Sales(sizes.sales), ledger, "a transaction each", CONTENDERS.as_slice()),
        (in_one, ledger, "all in one transaction", CONTENDERS.as_slice()),
        (Backlog::SmallSteps(sizes.small_step_sales), batches, "in 18 transactions each", WITHOUT_SYNCHRONOUS),
    ] {
        let (table, runs) = one_backlog(bench, backlog, &scale, title, contenders)?;
        findings.tables.push(table);
        plot.group();
        for (contender, runs) in &runs {
            let seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
            let ours = *contender == Contender::Tillstream;
            let label = if ours { format!("tillstream, sales {title}") } else { contender.to_string() };
            plot.bar(label, ours, &seconds);
        }
    }
    findings.plots.push(plot);
    findings.notes = vec![
        "tillstream: `tillstream run --once` from its start to its end, reports, own copy of the facts and position \
         committed; after it, outside the time, `tillstream verify` found every row right."
            .into(),
        "pg_recvlogical: decoded, sent and thrown away, with the same slot position, publication and options (protocol 1, \
         binary) as tillstream's."
            .into(),
        "Beside a loop as busy as tillstream: the same, while a thread that does nothing else uses as many seconds of \
         processor time as tillstream and its server processes did in the same round beyond what pg_recvlogical itself \
         used. Decoding takes that long on this machine when so much other work goes on beside it, whatever the work."
            .into(),
        "subscription: PostgreSQL's own, binary, from `ALTER SUBSCRIPTION … ENABLE` until the last row shows, applying to \
         copies of the tables in another database of the same server. They have the POS's indexes and constraints, as \
         `pg_dump --schema-only` makes them, of which foreign keys are not checked by a subscription; or their primary \
         keys alone. It computes no report."
            .into(),
        "CPU: seconds of processor time, of the walsender; of the server process that writes (tillstream's connections, the \
         apply worker); of the client program."
            .into(),
        "Aimed at, for sales in a transaction each: at most 1.3 × pg_recvlogical's time, at most 0.8 × the subscription's with \
         synchronous_commit off."
            .into(),
        format!("{} sales of history, 2000 products, 5000 customers, one store.", count(sizes.history)),
    ];
    Ok(findings)
}

/// One contender's way through the backlog.
#[derive(Debug, Clone)]
pub struct Drained {
    pub seconds: f64,
    pub usage: Usage,
}

/// What tillstream uses of the processors beyond what pg_recvlogical does, in one round.
#[derive(Default)]
struct Beside {
    cpu: f64,
    seconds: f64,
}

impl Beside {
    fn note(&mut self, contender: Contender, drained: &Drained) {
        let client = drained.usage.cpu(CLIENT);
        match contender {
            Contender::Tillstream => {
                self.cpu += client + drained.usage.cpu(DAEMON_BACKENDS);
                self.seconds = drained.seconds;
            }
            Contender::Recvlogical => self.cpu -= client,
            Contender::RecvlogicalBusy | Contender::Subscription(..) => {}
        }
    }

    fn start(&self) -> Spin {
        Spin::start(self.cpu / self.seconds, Duration::from_secs_f64(self.seconds))
    }
}

type Runs = Vec<(Contender, Vec<Drained>)>;

fn one_backlog(
    bench: &Bench,
    backlog: Backlog,
    scale: &Scale,
    title: &str,
    contenders: &[Contender],
) -> Result<(Table, Runs)> {
    let mut lab = Lab::start(bench)?;
    say(format!("drain: preparing sales {title}"));
    lab.create_world(scale)?;
    for copies in Copies::ALL {
        lab.create_copies(copies.name(), copies == Copies::Bare)?;
    }
    lab.install()?;
    for copies in Copies::ALL {
        subscribe(&lab, copies)?;
    }
    let (changes, end) = fill_slots(&mut lab, backlog, scale, &["reader"])?;
    let mut runs: Runs = contenders.iter().map(|contender| (*contender, Vec::new())).collect();
    for round in 1..=bench.rounds {
        let mut beside = Beside::default();
        for (contender, runs) in &mut runs {
            lab.restore(LOADED)?;
            let spin = (*contender == Contender::RecvlogicalBusy).then(|| beside.start());
            let drained = drain(&lab, *contender, &end)?;
            drop(spin);
            beside.note(*contender, &drained);
            say(format!(
                "drain: sales {title}, round {round} of {}: {contender} {:.2} s",
                bench.rounds, drained.seconds
            ));
            runs.push(drained);
            if *contender == Contender::Tillstream {
                lab.verify()?;
            }
        }
    }
    let sales = match backlog {
        Backlog::Sales(n) | Backlog::OneTransaction(n) | Backlog::SmallSteps(n) => n,
    };
    let mut table = Table::new(
        format!("**{} row changes waiting: {} sales {title}**", count(changes), count(sales)),
        &[
            "consumer",
            "seconds",
            "1000 changes/s",
            "walsender CPU",
            "writer CPU",
            "client CPU",
            "client RSS MiB",
            "tillstream's time ÷ its time",
        ],
    );
    let seconds = |runs: &[Drained]| runs.iter().map(|run| run.seconds).collect::<Vec<_>>();
    let ours = runs.first().map(|(_, runs)| seconds(runs)).unwrap_or_default();
    for (contender, runs) in &runs {
        let took = seconds(runs);
        let rates: Vec<f64> = took.iter().map(|s| changes as f64 / s / 1000.0).collect();
        let cpu = |roles: &[&str]| {
            let of = |run: &Drained| roles.iter().map(|role| run.usage.cpu(role)).sum::<f64>();
            shown(&runs.iter().map(of).collect::<Vec<_>>())
        };
        let is_client = !matches!(contender, Contender::Subscription(..));
        let client = |text: String| if is_client { text } else { "–".to_string() };
        table.row(&[
            contender.to_string(),
            shown(&took),
            shown(&rates),
            cpu(&[WALSENDER]),
            if contender.only_reads() { "–".into() } else { cpu(&[DAEMON_BACKENDS, APPLY_WORKER]) },
            client(cpu(&[CLIENT])),
            client(shown(&runs.iter().map(|run| run.usage.rss_peak_mib).collect::<Vec<_>>())),
            if *contender == Contender::Tillstream { "1".into() } else { shown(&ratios(&ours, &took)) },
        ]);
    }
    Ok((table, runs))
}

/// Makes slots beside tillstream's, lets the backlog run up in all of them and keeps that state as [`LOADED`]. What comes
/// back: the number of row changes, and a position after them.
pub fn fill_slots(lab: &mut Lab, backlog: Backlog, scale: &Scale, slots: &[&str]) -> Result<(u64, String)> {
    for slot in slots {
        lab.copy_slot(slot)?;
    }
    let changes = match backlog {
        Backlog::Sales(sales) => lab.sell(scale, SALE, sales)? * CHANGES_PER_SALE,
        Backlog::SmallSteps(sales) => lab.sell(scale, SMALL_STEPS, sales)? * SMALL_STEPS_PER_SALE,
        Backlog::OneTransaction(sales) => {
            one_transaction(lab, scale, sales)?;
            sales * CHANGES_PER_SALE
        }
    };
    let mut client = lab.connect("postgres")?;
    client.batch_execute("UPDATE tenant_1.products_product SET barcode = 'the end' WHERE id = 1")?;
    let end = client.query_one("SELECT pg_current_wal_lsn()::text", &[])?.try_get(0)?;
    drop(client);
    lab.save(LOADED)?;
    Ok((changes, end))
}

pub fn one_transaction(lab: &Lab, scale: &Scale, sales: u64) -> Result<()> {
    let sql = scale.fill(&ONE_TRANSACTION.replace("{sales}", &sales.to_string()), "tenant_1", &lab.zone);
    Ok(lab.connect("postgres")?.batch_execute(&sql)?)
}

pub fn drain(lab: &Lab, contender: Contender, end: &str) -> Result<Drained> {
    let (took, usage) = match contender {
        Contender::Tillstream => {
            let run = lab.run_measured("once", lab.tillstream(&["run", "--once"])?)?;
            if !shows_end(lab, DATABASE, "analytics.product")? {
                bail!("the reports do not hold the end of the backlog");
            }
            run
        }
        Contender::Recvlogical | Contender::RecvlogicalBusy => {
            let run = lab.run_measured("pg_recvlogical", lab.pg_recvlogical("reader", Some(end)))?;
            let query =
                "SELECT confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots WHERE slot_name = 'reader'";
            if !lab.connect("postgres")?.query_one(query, &[&end])?.try_get::<_, bool>(0)? {
                bail!("pg_recvlogical ended before the end of the backlog");
            }
            run
        }
        Contender::Subscription(copies, commit) => subscription(lab, copies, commit)?,
    };
    Ok(Drained { seconds: took.as_secs_f64(), usage })
}

fn shows_end(lab: &Lab, database: &str, table: &str) -> Result<bool> {
    let query = format!("SELECT EXISTS (SELECT FROM {table} WHERE barcode = 'the end')");
    Ok(lab.connect_to(database, "postgres")?.query_one(&query, &[])?.try_get(0)?)
}

/// A subscription that begins where tillstream's slot stands, and is not enabled yet.
fn subscribe(lab: &Lab, copies: Copies) -> Result<()> {
    let name = copies.name();
    lab.copy_slot(name)?;
    let address = format!("host={} port={} user=postgres dbname={DATABASE}", lab.dir().display(), lab.server.port());
    Ok(lab.connect_to(name, "postgres")?.batch_execute(&format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{address}' PUBLICATION {SLOT} \
         WITH (enabled = false, create_slot = false, slot_name = '{name}', copy_data = false, binary = true)"
    ))?)
}

fn subscription(lab: &Lab, copies: Copies, commit: &str) -> Result<(Duration, Usage)> {
    const LOOK: Duration = Duration::from_millis(5);
    const PATIENCE: Duration = Duration::from_secs(3600);
    let name = copies.name();
    let mut client = lab.connect_to(name, "probe")?;
    client.batch_execute(&format!("ALTER SUBSCRIPTION {name} SET (synchronous_commit = {commit})"))?;
    // The end comes last: where it shows, everything does.
    let end = client.prepare("SELECT barcode = 'the end' FROM tenant_1.products_product WHERE id = 1")?;
    let watch = Watch::start(lab.server.pid(), None);
    let begun = Instant::now();
    client.batch_execute(&format!("ALTER SUBSCRIPTION {name} ENABLE"))?;
    while !client.query_one(&end, &[])?.try_get::<_, bool>(0)? {
        if begun.elapsed() > PATIENCE {
            bail!("the subscription does not get to the end; the server says:\n{}", lab.server.log_tail());
        }
        thread::sleep(LOOK);
    }
    let took = begun.elapsed();
    let usage = watch.finish();
    let count = "SELECT count(*) FROM tenant_1.sales_sale";
    let copied: i64 = client.query_one(count, &[])?.try_get(0)?;
    let sold: i64 = lab.connect("postgres")?.query_one(count, &[])?.try_get(0)?;
    if copied != sold {
        bail!("the subscription copied {copied} of {sold} sales");
    }
    Ok((took, usage))
}
