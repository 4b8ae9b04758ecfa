//! What processes cost: CPU time and memory, read from /proc while they run. Elsewhere than on Linux nothing is read, and
//! the tables show dashes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A process that ends between two looks loses at most this much of its CPU time.
const LOOK: Duration = Duration::from_millis(20);
/// /proc counts CPU time in hundredths of a second, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// The program that is measured.
pub const CLIENT: &str = "client";
/// Sends the decoded WAL.
pub const WALSENDER: &str = "walsender";
/// Of a native subscription.
pub const APPLY_WORKER: &str = "apply worker";
/// Server processes of tillstream's connections.
pub const DAEMON_BACKENDS: &str = "tillstream's backends";
/// Server processes of the POS's connections.
pub const POS_BACKENDS: &str = "POS backends";

/// CPU seconds by role, and the client's resident memory.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    pub cpu: BTreeMap<&'static str, f64>,
    pub rss_peak_mib: f64,
    pub rss_mean_mib: f64,
}

impl Usage {
    pub fn cpu(&self, role: &str) -> f64 {
        self.cpu.get(role).copied().unwrap_or_default()
    }
}

/// Looking, until [`finish`](Watch::finish).
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// What the server's processes and the client use from now on.
    pub fn start(server: Option<u32>, client: Option<u32>) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let mut seen = Seen { server, client, ..Seen::default() };
        seen.look();
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                seen.look();
            }
            // A client that has ended but was not waited for still tells what it used.
            seen.look();
            seen
        });
        Watch { over, thread }
    }

    pub fn finish(self) -> Usage {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map(|seen| seen.usage()).unwrap_or_default()
    }
}

#[derive(Default)]
struct Seen {
    server: Option<u32>,
    client: Option<u32>,
    looked: bool,
    /// Role, CPU ticks when first and when last seen.
    processes: HashMap<u32, (&'static str, u64, u64)>,
    rss_peak_kib: u64,
    rss_sum_kib: u64,
    rss_looks: u64,
}

impl Seen {
    fn look(&mut self) {
        for pid in self.server.map(children).unwrap_or_default() {
            if let (Some(role), Some(ticks)) = (role_of(pid), ticks(pid)) {
                self.note(pid, role, ticks);
            }
        }
        if let Some(client) = self.client {
            if let Some(ticks) = ticks(client) {
                self.note(client, CLIENT, ticks);
            }
            if let Some((now, peak)) = resident_kib(client) {
                self.rss_peak_kib = self.rss_peak_kib.max(peak);
                self.rss_sum_kib += now;
                self.rss_looks += 1;
            }
        }
        self.looked = true;
    }

    fn note(&mut self, pid: u32, role: &'static str, ticks: u64) {
        // Who was there before counts from now on, who comes later from its beginning.
        let first = if self.looked { 0 } else { ticks };
        let entry = self.processes.entry(pid).or_insert((role, first, ticks));
        (entry.0, entry.2) = (role, ticks);
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage { rss_peak_mib: self.rss_peak_kib as f64 / 1024.0, ..Usage::default() };
        if self.rss_looks > 0 {
            usage.rss_mean_mib = self.rss_sum_kib as f64 / self.rss_looks as f64 / 1024.0;
        }
        for (role, first, last) in self.processes.values() {
            *usage.cpu.entry(role).or_default() += last.saturating_sub(*first) as f64 / TICKS_PER_SECOND;
        }
        usage
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// User and system time of a process with all its threads.
fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; what follows it are numbers.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Resident memory now and at its highest.
fn resident_kib(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((value("VmRSS:")?, value("VmHWM:")?))
}

/// By the title that the server gives its processes.
fn role_of(pid: u32) -> Option<&'static str> {
    let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let title = String::from_utf8_lossy(&title);
    let title = title.strip_prefix("postgres: ")?;
    Some(if title.starts_with("walsender") {
        WALSENDER
    } else if title.starts_with("logical replication") && title.contains("worker") {
        APPLY_WORKER
    } else if title.starts_with("tillstream ") {
        DAEMON_BACKENDS
    } else if title.starts_with("postgres ") {
        POS_BACKENDS
    } else if title.starts_with("probe ") {
        "probe"
    } else {
        "rest of the server"
    })
}
