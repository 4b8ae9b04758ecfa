//! What it ran on, and whether that machine had other things to do.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Others using more than this share of the machine make figures doubtful.
const BUSY_PERCENT: f64 = 10.0;
/// How long the machine is watched, with nothing of ours running.
const WATCHED: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub postgres: String,
    pub rustc: String,
    pub tillstream: String,
}

impl Machine {
    pub fn look(server_programs: &Path) -> Machine {
        let said = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output().ok().filter(|o| o.status.success());
            output.map_or("unknown".to_string(), |o| String::from_utf8_lossy(&o.stdout).trim().to_string())
        };
        let field = |file: &str, key: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        Machine {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory.unwrap_or_default() / (1024.0 * 1024.0),
            kernel: said(Path::new("uname"), "-sr"),
            postgres: said(&server_programs.join("postgres"), "--version"),
            rustc: said(Path::new("rustc"), "--version"),
            tillstream: tillstream::version::FULL.to_string(),
        }
    }

    pub fn line(&self) -> String {
        format!(
            "{}, {} cores, {:.0} GiB, {}; {}; {}; tillstream {}",
            self.cpu, self.cores, self.memory_gib, self.kernel, self.postgres, self.rustc, self.tillstream
        )
    }
}

/// How busy the machine is at a moment when nothing of ours runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Busy {
    /// Over 1, 5 and 15 minutes, our own past work included.
    pub load: String,
    /// Share of all cores that others use.
    pub others_percent: f64,
}

impl Busy {
    pub fn look() -> Busy {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        let before = cpu_times();
        thread::sleep(WATCHED);
        let (idle, all) = (cpu_times().0 - before.0, cpu_times().1 - before.1);
        Busy { load, others_percent: if all > 0.0 { (1.0 - idle / all).max(0.0) * 100.0 } else { 0.0 } }
    }

    pub fn is_busy(&self) -> bool {
        self.others_percent > BUSY_PERCENT
    }

    pub fn line(&self) -> String {
        format!("load average {}, others use {:.0} % of the machine", self.load, self.others_percent)
    }
}

/// Idle and all CPU time since the start of the machine, in ticks.
fn cpu_times() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what follows is counted in them.
    let times: Vec<f64> = first.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
    let idle: f64 = times.iter().skip(3).take(2).sum();
    (idle, times.iter().sum())
}
