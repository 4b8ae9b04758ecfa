//! How long after its commit a sale shows: a probe's own sales, and a reader who looks for them.
//!
//! ```text
//! writer: marked sale ─ commit acknowledged, the clock starts ──┐   at random intervals, whatever is shown by then
//! reader: how many marked sales does every report show? ────────┴─ looks every fifth of a millisecond while one is missing
//! ```
//! The marked sales are of one product and one customer of their own and carry the day's only tax, so one query of four
//! keyed look-ups tells their number in each report. It must be the same in all four: they are written by one transaction.
//! What looking costs is told by the same probe on the sales table itself, where a sale shows at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use postgres::{Client, Statement};
use rand::RngExt;

use crate::lab::Lab;
use crate::stats::{quantile, sorted};
use crate::world::Scale;

const MARK: &str = include_str!("sql/mark.sql");
const SHOWN: &str = include_str!("sql/marks_shown.sql");
/// Between two marked sales, on average.
const INTERVAL: Duration = Duration::from_millis(200);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(200);
/// So long the last marked sales are waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the marked sales are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Reports,
    /// The POS's own table: what the probe itself adds.
    Table,
}

/// From acknowledged commit to shown, in milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Freshness(Vec<f64>);

impl Freshness {
    pub fn quantile(&self, q: f64) -> Result<f64> {
        quantile(&sorted(&self.0), q).context("no marked sale was shown")
    }

    pub fn p50(&self) -> Result<f64> {
        self.quantile(0.5)
    }

    pub fn p99(&self) -> Result<f64> {
        self.quantile(0.99)
    }

    pub fn max(&self) -> Result<f64> {
        self.quantile(1.0)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// A probe under way.
pub struct Probe {
    over: Arc<AtomicBool>,
    writer: JoinHandle<Result<()>>,
    reader: JoinHandle<Result<Freshness>>,
}

impl Probe {
    pub fn start(lab: &Lab, scale: &Scale, place: Place) -> Result<Probe> {
        let mut writing = lab.connect("probe")?;
        let mut reading = lab.connect("probe")?;
        let made = "SELECT count(*) FROM tenant_1.sales_sale WHERE receipt_number LIKE 'mark-%'";
        let made: i64 = writing.query_one(made, &[])?.try_get(0)?;
        let mark = writing.prepare(&scale.fill(MARK, "tenant_1", &lab.zone))?;
        let look = match place {
            Place::Reports => reading.prepare(&scale.fill(SHOWN, "tenant_1", &lab.zone))?,
            Place::Table => reading
                .prepare("SELECT count(*) FROM tenant_1.sales_sale WHERE receipt_number = 'mark-' || $1::bigint")?,
        };
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let ended = Arc::clone(&over);
        let writer = thread::spawn(move || write(&mut writing, &mark, made, &ended, &tell));
        let reader = thread::spawn(move || Reader { client: reading, look, place }.read(made, &told));
        Ok(Probe { over, writer, reader })
    }

    /// Ends it, once all marked sales are shown.
    pub fn finish(self) -> Result<Freshness> {
        self.over.store(true, Ordering::Relaxed);
        let died = |_| anyhow!("the probe's thread died");
        self.writer.join().map_err(died)??;
        self.reader.join().map_err(died)?
    }

    /// Lets it run for a time.
    pub fn finish_after(self, time: Duration) -> Result<Freshness> {
        thread::sleep(time);
        self.finish()
    }
}

/// Commits marked sales and tells when each was acknowledged.
fn write(client: &mut Client, mark: &Statement, made: i64, over: &AtomicBool, tell: &Sender<Instant>) -> Result<()> {
    let mut due = Instant::now();
    for number in made + 1.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // At least one, however short it is.
        if over.load(Ordering::Relaxed) && number > made + 1 {
            break;
        }
        // Random, so that nothing periodic hides.
        due += INTERVAL.mul_f64(rand::rng().random_range(0.5..1.5));
        client.execute(mark, &[&number])?;
        if tell.send(Instant::now()).is_err() {
            break;
        }
    }
    Ok(())
}

struct Reader {
    client: Client,
    look: Statement,
    place: Place,
}

impl Reader {
    fn read(mut self, made: i64, told: &Receiver<Instant>) -> Result<Freshness> {
        let mut found = Freshness::default();
        let mut shown = made;
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match told.recv_timeout(PATIENCE) {
                    Ok(at) => waiting.push_back(at),
                    Err(RecvTimeoutError::Disconnected) => return Ok(found),
                    Err(RecvTimeoutError::Timeout) => bail!("the probe's sales are not committed any more"),
                }
            }
            waiting.extend(told.try_iter());
            let now_shown = self.shown(shown)?;
            let now = Instant::now();
            while shown < now_shown
                && let Some(committed) = waiting.pop_front()
            {
                found.0.push(now.saturating_duration_since(committed).as_secs_f64() * 1000.0);
                shown += 1;
            }
            match waiting.front() {
                Some(oldest) if oldest.elapsed() > PATIENCE => bail!("a sale does not show within {PATIENCE:?}"),
                Some(_) => thread::sleep(LOOK),
                None => {}
            }
        }
    }

    /// How many marked sales are shown, after so many.
    fn shown(&mut self, before: i64) -> Result<i64> {
        match self.place {
            Place::Table => {
                let row = self.client.query_one(&self.look, &[&(before + 1)])?;
                Ok(before + row.try_get::<_, i64>(0)?)
            }
            Place::Reports => {
                let row = self.client.query_one(&self.look, &[])?;
                let counts = (0..4).map(|n| row.try_get(n)).collect::<Result<Vec<i64>, _>>()?;
                match counts.as_slice() {
                    [first, rest @ ..] if rest.iter().all(|count| count == first) => Ok(*first),
                    _ => bail!("the reports show different numbers of the probe's sales: {counts:?}"),
                }
            }
        }
    }
}
