//! The POS at work: sales by pgbench.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::lab::{DATABASE, Lab, Running};
use crate::stats;
use crate::world::Scale;

pub const SALE: &str = include_str!("sql/sale.pgbench");
pub const SMALL_STEPS: &str = include_str!("sql/small_steps.pgbench");

#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many sales a second, begun at random moments.
    Rate(u32),
    /// As fast as the server lets it.
    Saturation,
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pace::Rate(rate) => write!(f, "{rate}/s"),
            Pace::Saturation => write!(f, "saturation"),
        }
    }
}

/// Sales under way.
pub struct Load<'a> {
    lab: &'a Lab,
    running: Running,
}

/// What they came to, after they have run in.
#[derive(Debug, Clone, Copy)]
pub struct Sales {
    pub per_second: f64,
    /// From when a sale was due to begin until its commit.
    pub p99_ms: f64,
}

impl Lab {
    /// A fixed number of sales, quickly; what comes back is how many.
    pub fn sell(&self, scale: &Scale, script: &str, sales: u64) -> Result<u64> {
        const CLIENTS: u64 = 8;
        let each = sales.div_ceil(CLIENTS);
        let mut command = self.pgbench(scale, script, u32::try_from(CLIENTS)?)?;
        command.args(["-t", &each.to_string()]).env("PGOPTIONS", "-c synchronous_commit=off").arg(DATABASE);
        self.run("pgbench", command)?;
        Ok(each * CLIENTS)
    }

    /// Sales at a pace for a time.
    pub fn load(&self, scale: &Scale, pace: Pace, clients: u32, time: Duration) -> Result<Load<'_>> {
        let mut command = self.pgbench(scale, SALE, clients)?;
        command.args(["-T", &time.as_secs().max(1).to_string(), "-l"]).arg("--log-prefix").arg(self.dir().join(LOG));
        if let Pace::Rate(rate) = pace {
            command.args(["-R", &rate.to_string()]);
        }
        command.arg(DATABASE);
        for old in self.logs()? {
            fs::remove_file(&old)?;
        }
        Ok(Load { lab: self, running: self.spawn("pgbench", command)? })
    }

    /// Sales so far in the first store, by the counter of their ids.
    pub fn sold(&self) -> Result<f64> {
        let query = "SELECT last_value FROM tenant_1.sales_sale_id_seq";
        Ok(self.connect("postgres")?.query_one(query, &[])?.try_get::<_, i64>(0)? as f64)
    }

    fn pgbench(&self, scale: &Scale, script: &str, clients: u32) -> Result<std::process::Command> {
        let file = self.dir().join("script.pgbench");
        fs::write(&file, script).with_context(|| format!("write {}", file.display()))?;
        let mut command = self.tool("pgbench");
        command.arg("-n").arg("-f").arg(file).args(["-c", &clients.to_string(), "-j", "1", "--random-seed=7"]);
        for (name, value) in [("stores", scale.stores), ("products", scale.products), ("customers", scale.customers)] {
            command.args(["-D", &format!("{name}={value}")]);
        }
        Ok(command)
    }

    fn logs(&self) -> Result<Vec<std::path::PathBuf>> {
        let files = fs::read_dir(self.dir())?.filter_map(|entry| entry.ok().map(|e| e.path()));
        let is_log = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{LOG}.")))
        };
        Ok(files.filter(is_log).collect())
    }
}

/// Begins the names of pgbench's logs.
const LOG: &str = "sales";

impl Load<'_> {
    /// Ends it before its time; what it came to is lost.
    pub fn stop(self) -> Result<()> {
        // Not SIGINT: whoever was started in the background of a script ignores it, and so do its children.
        self.running.stop(Signal::SIGTERM)
    }

    /// `run_in`: what was sold in this time from its beginning is not counted.
    pub fn finish(self, run_in: Duration) -> Result<Sales> {
        let said = self.running.finish()?;
        let mut sales = Vec::new();
        for log in self.lab.logs()? {
            // client, number, microseconds taken, script, seconds and microseconds of the end, ...
            for line in fs::read_to_string(&log)?.lines() {
                let field = |n: usize| line.split(' ').nth(n).and_then(|text| text.parse::<f64>().ok());
                if let (Some(took), Some(seconds), Some(micros)) = (field(2), field(4), field(5)) {
                    sales.push((seconds + micros / 1e6, took / 1000.0));
                }
            }
        }
        let ends = stats::sorted(&sales.iter().map(|(end, _)| *end).collect::<Vec<_>>());
        let (Some(first), Some(last)) = (ends.first(), ends.last()) else {
            bail!("pgbench sold nothing:\n{said}");
        };
        let from = first + run_in.as_secs_f64();
        let counted: Vec<f64> = sales.iter().filter(|(end, _)| *end > from).map(|(_, took)| *took).collect();
        let p99 = stats::quantile(&stats::sorted(&counted), 0.99).context("too few sales")?;
        Ok(Sales { per_second: counted.len() as f64 / (last - from), p99_ms: p99 })
    }
}
