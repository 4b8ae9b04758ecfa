//! The view kept on the screen while something else happens.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use tokio_postgres::Client;

use super::daemon::{self, Daemon};
use super::meter::Meter;
use super::view::{self, Pace, Screen};
use crate::engine::Progress;
use crate::lsn::Lsn;

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(250);
/// Over how long the rate of changes is taken.
const WINDOW: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    #[error("cannot read the reports: {0}")]
    Reports(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

pub struct Show {
    client: Client,
    schema: String,
    daemon: Daemon,
    pub meter: Meter,
    screen: Screen,
    began: Instant,
    /// When so many changes had been written.
    counted: VecDeque<(Instant, u64)>,
    /// Shown above the figures, where it is not empty.
    heading: Box<dyn Fn() -> String>,
}

impl Show {
    /// `client` may read the report schema.
    pub fn new(client: Client, schema: &str, daemon: Daemon, meter: Meter, heading: Box<dyn Fn() -> String>) -> Show {
        let screen = Screen::stdout();
        let schema = schema.to_string();
        Show { client, schema, daemon, meter, screen, began: Instant::now(), counted: VecDeque::new(), heading }
    }

    /// Shows the view again and again until `work` is done.
    ///
    /// # Errors
    /// The daemon ended, the reports cannot be read, or nobody reads the output any more.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let mut ticks = tokio::time::interval(REDRAW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                error = self.daemon.failed() => return Err(error.into()),
                _ = ticks.tick() => {
                    let pace = self.pace().await?;
                    if self.screen.is_due() {
                        let text = self.text(&pace).await?;
                        self.screen.show(&text)?;
                    }
                }
            }
        }
    }

    /// Shows the view once more, whole and to stay, and gives back the daemon.
    ///
    /// # Errors
    /// As [`Show::during`].
    pub async fn end(mut self) -> Result<Daemon, Error> {
        let pace = self.pace().await?;
        let text = self.text(&pace).await?;
        self.screen.finish(&text)?;
        Ok(self.daemon)
    }

    async fn text(&self, pace: &Pace) -> Result<String, tokio_postgres::Error> {
        let rows = view::query(&self.client, &self.schema).await?;
        let heading = (self.heading)();
        let gap = if heading.is_empty() { "" } else { "\n" };
        Ok(format!("{heading}{gap}{}", view::render(&rows, pace)))
    }

    async fn pace(&mut self) -> Result<Pace, tokio_postgres::Error> {
        let written: Lsn = self.client.query_one("SELECT pg_current_wal_lsn()", &[]).await?.try_get(0)?;
        let progress: &Progress = &self.daemon.progress;
        let position = progress.position();
        let now = Instant::now();
        self.counted.push_back((now, progress.changes()));
        while self.counted.len() > 2 && self.counted.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.counted.pop_front();
        }
        Ok(Pace {
            lag_bytes: (position > Lsn::ZERO).then(|| written.bytes_since(position)),
            lag: self.meter.lag(),
            changes_per_second: rate(&self.counted),
            running: self.began.elapsed(),
        })
    }
}

/// Changes a second between the first and the last count.
fn rate(counted: &VecDeque<(Instant, u64)>) -> Option<u64> {
    let ((from, before), (to, after)) = (counted.front()?, counted.back()?);
    let millis = u64::try_from((*to - *from).as_millis()).ok().filter(|ms| *ms > 0)?;
    Some((after - before) * 1000 / millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_needs_two_moments() {
        let now = Instant::now();
        let mut counted = VecDeque::from([(now, 100)]);
        assert_eq!(rate(&counted), None);
        counted.push_back((now + Duration::from_millis(500), 150));
        counted.push_back((now + Duration::from_millis(2000), 400));
        assert_eq!(rate(&counted), Some(150));
    }
}
