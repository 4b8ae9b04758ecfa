//! Errors that repeat are counted, not repeated.
//!
//! One [`Throttle`] per thing that can fail again and again (the source connection, the target's writes, one store's copy).
//! It decides only; the caller logs:
//! ```text
//! match throttle.failed("connection refused") {
//!     Say::First => warn!(%error, "cannot reach the source"),
//!     Say::Again(repeats) => warn!(%error, %repeats, "cannot reach the source"),   // still failing, 37 times since 12:03
//!     Say::Nothing => {}
//! }
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The longest silence about something that still fails.
const EVERY_AT_MOST: Duration = Duration::from_secs(3600);
/// Kinds remembered in one episode. More than these are counted but not told apart.
const KINDS: usize = 8;

/// What to log about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// A kind not seen in this episode: the whole message.
    First,
    /// The count so far; its text is "still failing, 37 times since 12:03".
    Again(Repeats),
    Nothing,
}

/// How often something failed, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeats {
    pub times: u64,
    pub since: DateTime<Utc>,
    pub lasted: Duration,
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The time alone says enough within a day.
        let since = if self.lasted < Duration::from_secs(20 * 3600) {
            self.since.format("%H:%M").to_string()
        } else {
            self.since.format("%Y-%m-%d %H:%M").to_string()
        };
        write!(f, "still failing, {} times since {since} UTC", self.times)
    }
}

/// Counts the failures of one thing, from the first until it is well again.
#[derive(Debug)]
pub struct Throttle {
    every: Duration,
    episode: Option<Episode>,
}

#[derive(Debug)]
struct Episode {
    kinds: Vec<String>,
    times: u64,
    since: DateTime<Utc>,
    begun: Instant,
    said: Instant,
    pause: Duration,
}

impl Throttle {
    /// The first reminder comes after `every`; each silence is twice the one before, up to an hour.
    pub fn new(every: Duration) -> Self {
        Throttle { every, episode: None }
    }

    /// It failed. `kind` is what makes two failures the same: an SQLSTATE or a fixed text, not a message with numbers in it.
    pub fn failed(&mut self, kind: &str) -> Say {
        self.failed_at(kind, Instant::now(), Utc::now())
    }

    /// It works. The end of an episode is told once, with its count; otherwise `None`.
    pub fn well(&mut self) -> Option<Repeats> {
        self.well_at(Instant::now())
    }

    /// Whether it fails at present.
    pub fn is_failing(&self) -> bool {
        self.episode.is_some()
    }

    fn failed_at(&mut self, kind: &str, now: Instant, clock: DateTime<Utc>) -> Say {
        let Some(episode) = &mut self.episode else {
            self.episode = Some(Episode {
                kinds: vec![kind.to_owned()],
                times: 1,
                since: clock,
                begun: now,
                said: now,
                pause: self.every,
            });
            return Say::First;
        };
        episode.times += 1;
        if !episode.kinds.iter().any(|known| known == kind) && episode.kinds.len() < KINDS {
            episode.kinds.push(kind.to_owned());
            episode.said = now;
            return Say::First;
        }
        if now.saturating_duration_since(episode.said) < episode.pause {
            return Say::Nothing;
        }
        episode.said = now;
        episode.pause = (episode.pause * 2).min(EVERY_AT_MOST.max(self.every));
        Say::Again(episode.repeats(now))
    }

    fn well_at(&mut self, now: Instant) -> Option<Repeats> {
        self.episode.take().map(|episode| episode.repeats(now))
    }
}

impl Episode {
    fn repeats(&self, now: Instant) -> Repeats {
        Repeats { times: self.times, since: self.since, lasted: now.saturating_duration_since(self.begun) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn noon() -> DateTime<Utc> {
        "2024-05-01T12:03:00Z".parse().unwrap()
    }

    #[test]
    fn a_long_outage_is_a_handful_of_lines() {
        let mut throttle = Throttle::new(MINUTE);
        let begun = Instant::now();
        let mut lines = Vec::new();
        for second in 0..86_400 {
            match throttle.failed_at("refused", begun + Duration::from_secs(second), noon()) {
                Say::First => lines.push("first".to_owned()),
                Say::Again(repeats) => lines.push(repeats.to_string()),
                Say::Nothing => {}
            }
        }
        assert_eq!(lines.first().unwrap(), "first");
        assert_eq!(lines.get(1).unwrap(), "still failing, 61 times since 12:03 UTC");
        assert!(lines.len() < 35, "{lines:?}");
        assert!(lines.last().unwrap().contains("since 2024-05-01 12:03 UTC"), "{lines:?}");
    }

    #[test]
    fn another_kind_is_told_at_once_but_alternating_ones_only_once_each() {
        let mut throttle = Throttle::new(MINUTE);
        let now = Instant::now();
        assert_eq!(throttle.failed_at("refused", now, noon()), Say::First);
        assert_eq!(throttle.failed_at("password", now, noon()), Say::First);
        assert_eq!(throttle.failed_at("refused", now, noon()), Say::Nothing);
        assert_eq!(throttle.failed_at("password", now, noon()), Say::Nothing);
    }

    #[test]
    fn ever_new_kinds_do_not_grow_without_bound() {
        let mut throttle = Throttle::new(MINUTE);
        let now = Instant::now();
        let told = (0..1000).filter(|n| throttle.failed_at(&n.to_string(), now, noon()) == Say::First).count();
        assert_eq!(told, KINDS);
        assert_eq!(throttle.well_at(now).unwrap().times, 1000);
    }

    #[test]
    fn recovery_is_told_once_and_the_next_failure_is_a_first() {
        let mut throttle = Throttle::new(MINUTE);
        let now = Instant::now();
        assert_eq!(throttle.well_at(now), None);
        for _ in 0..37 {
            throttle.failed_at("refused", now, noon());
        }
        assert!(throttle.is_failing());
        let repeats = throttle.well_at(now + MINUTE).unwrap();
        assert_eq!((repeats.times, repeats.since, repeats.lasted), (37, noon(), MINUTE));
        assert_eq!(throttle.well_at(now), None);
        assert_eq!(throttle.failed_at("refused", now, noon()), Say::First);
    }

    #[test]
    fn no_time_passing_and_clocks_going_back_say_nothing() {
        let mut throttle = Throttle::new(MINUTE);
        let now = Instant::now() + MINUTE;
        throttle.failed_at("refused", now, noon());
        assert_eq!(throttle.failed_at("refused", now - MINUTE, noon()), Say::Nothing);
    }
}
