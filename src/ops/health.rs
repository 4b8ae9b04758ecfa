//! Is the daemon alive, and is it ready? Plain atomics, written by the engine, read by threads that must not wait for it.
//!
//! Alive (`/healthz`, the watchdog): the engine's loop turns over, and work it has in hand moves on. A shop that sells
//! nothing and a source that is away leave no work in hand, so neither is ever a reason to restart.
//! Ready (`/readyz`): alive, the stream is live, and the lag is within its limit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What counts as stuck or late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The engine's loop must turn over at least this often.
    pub turn: Duration,
    /// Work in hand must move on at least this often.
    pub stall: Duration,
    /// A greater lag is not ready. Can be changed while running: [`Health::set_lag_limit`].
    pub lag: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // One statement of a big batch may wait for a checkpoint or a lock: minutes, not seconds, are a stall.
        Limits { turn: Duration::from_secs(30), stall: Duration::from_secs(300), lag: Duration::from_secs(60) }
    }
}

/// A measured lag is believed this long; then it grows with its age, since nobody measures while the engine is stuck.
const LAG_BELIEVED_FOR: Duration = Duration::from_secs(15);
/// "No lag measured yet", as milliseconds.
const UNKNOWN: u64 = u64::MAX;

/// Why the daemon is not alive, or not ready. Its text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The engine's loop has not turned over for this long.
    NotTurning(Duration),
    /// The work in hand has not moved on for this long.
    Stalled(Duration),
    /// Starting, copying, or reconnecting.
    NotLive,
    /// Live, but no lag was measured yet.
    LagUnknown,
    Late {
        lag: Duration,
        limit: Duration,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotTurning(age) => write!(f, "the engine has not turned over for {} s", age.as_secs()),
            Trouble::Stalled(age) => write!(f, "the work in hand has not moved on for {} s", age.as_secs()),
            Trouble::NotLive => f.write_str("the stream is not live"),
            Trouble::LagUnknown => f.write_str("the lag is not known yet"),
            Trouble::Late { lag, limit } => {
                write!(f, "the reports are {} s behind, the limit is {} s", lag.as_secs(), limit.as_secs())
            }
        }
    }
}

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Health(Arc<State>);

/// Times are milliseconds since `started`, a monotonic clock: a jump of the wall clock restarts nobody.
#[derive(Debug)]
struct State {
    started: Instant,
    turn_limit: Duration,
    stall_limit: Duration,
    lag_limit_ms: AtomicU64,
    stream_live: AtomicBool,
    work_in_hand: AtomicBool,
    turned_ms: AtomicU64,
    moved_ms: AtomicU64,
    lag_ms: AtomicU64,
    lag_measured_ms: AtomicU64,
}

impl Health {
    /// Begins with a turn just made, no work in hand, the stream not live and the lag unknown.
    pub fn new(limits: Limits) -> Self {
        Health(Arc::new(State {
            started: Instant::now(),
            turn_limit: limits.turn,
            stall_limit: limits.stall,
            lag_limit_ms: AtomicU64::new(millis(limits.lag)),
            stream_live: AtomicBool::new(false),
            work_in_hand: AtomicBool::new(false),
            turned_ms: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
            lag_ms: AtomicU64::new(UNKNOWN),
            lag_measured_ms: AtomicU64::new(0),
        }))
    }

    /// The heartbeat: the engine's loop came round once more, with or without anything to do. Call it at least every few
    /// seconds, also while a long write is awaited (from the same `select!`, not from a task of its own).
    pub fn turned(&self) {
        self.0.turned_ms.store(self.now_ms(), Relaxed);
    }

    /// Work is now in hand, and the time in which it must move on starts: changes to be written, a job.
    /// Waiting for a database that is away is not work in hand.
    pub fn work_begins(&self) {
        self.moved();
        self.0.work_in_hand.store(true, Relaxed);
    }

    /// Something was achieved: a batch committed, a step done.
    fn moved(&self) {
        self.0.moved_ms.store(self.now_ms(), Relaxed);
    }

    /// Nothing is in hand any more.
    pub fn work_ends(&self) {
        self.0.work_in_hand.store(false, Relaxed);
        self.moved();
    }

    /// Whether changes arrive: false while starting, copying and reconnecting.
    pub fn set_stream_live(&self, live: bool) {
        self.0.stream_live.store(live, Relaxed);
    }

    pub fn stream_live(&self) -> bool {
        self.0.stream_live.load(Relaxed)
    }

    /// The lag as measured now. Measure every few seconds, also when idle: an old measurement is not believed.
    pub fn set_lag(&self, lag: Duration) {
        self.0.lag_measured_ms.store(self.now_ms(), Relaxed);
        self.0.lag_ms.store(millis(lag).min(UNKNOWN - 1), Relaxed);
    }

    pub fn set_lag_limit(&self, limit: Duration) {
        self.0.lag_limit_ms.store(millis(limit), Relaxed);
    }

    /// The lag, grown by the age of its measurement if that is old; `None` before the first.
    pub fn lag(&self) -> Option<Duration> {
        self.lag_at(Instant::now())
    }

    /// Time since work last moved on.
    pub fn since_moved(&self) -> Duration {
        self.age(&self.0.moved_ms, Instant::now())
    }

    /// # Errors
    /// The reason to restart the daemon.
    pub fn alive(&self) -> Result<(), Trouble> {
        self.alive_at(Instant::now())
    }

    /// # Errors
    /// The reason not to rely on the reports being fresh.
    pub fn ready(&self) -> Result<(), Trouble> {
        self.ready_at(Instant::now())
    }

    fn alive_at(&self, now: Instant) -> Result<(), Trouble> {
        let turned = self.age(&self.0.turned_ms, now);
        if turned > self.0.turn_limit {
            return Err(Trouble::NotTurning(turned));
        }
        let moved = self.age(&self.0.moved_ms, now);
        if self.0.work_in_hand.load(Relaxed) && moved > self.0.stall_limit {
            return Err(Trouble::Stalled(moved));
        }
        Ok(())
    }

    fn ready_at(&self, now: Instant) -> Result<(), Trouble> {
        self.alive_at(now)?;
        if !self.stream_live() {
            return Err(Trouble::NotLive);
        }
        let lag = self.lag_at(now).ok_or(Trouble::LagUnknown)?;
        let limit = Duration::from_millis(self.0.lag_limit_ms.load(Relaxed));
        if lag > limit { Err(Trouble::Late { lag, limit }) } else { Ok(()) }
    }

    fn lag_at(&self, now: Instant) -> Option<Duration> {
        let measured = match self.0.lag_ms.load(Relaxed) {
            UNKNOWN => return None,
            ms => Duration::from_millis(ms),
        };
        let age = self.age(&self.0.lag_measured_ms, now);
        Some(if age > LAG_BELIEVED_FOR { measured.saturating_add(age) } else { measured })
    }

    fn age(&self, at_ms: &AtomicU64, now: Instant) -> Duration {
        now.saturating_duration_since(self.0.started).saturating_sub(Duration::from_millis(at_ms.load(Relaxed)))
    }

    fn now_ms(&self) -> u64 {
        millis(self.0.started.elapsed())
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new(Limits::default())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { turn: Duration::from_secs(30), stall: Duration::from_secs(300), lag: Duration::from_secs(60) };

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// A loop that turned over just before the moment asked for, however far ahead that is.
    fn turning_at(health: &Health, now: Instant) -> Instant {
        health.0.turned_ms.store(millis(now.duration_since(health.0.started)), Relaxed);
        now
    }

    #[test]
    fn an_idle_shop_is_alive_for_ever() {
        let health = Health::new(LIMITS);
        let now = turning_at(&health, after(86_400));
        assert_eq!(health.alive_at(now), Ok(()));
    }

    #[test]
    fn a_loop_that_stops_turning_is_not_alive() {
        let health = Health::new(LIMITS);
        assert_eq!(health.alive_at(after(29)), Ok(()));
        assert!(matches!(health.alive_at(after(32)), Err(Trouble::NotTurning(_))));
    }

    #[test]
    fn a_turning_loop_with_stuck_work_is_not_alive() {
        let health = Health::new(LIMITS);
        health.work_begins();
        let now = turning_at(&health, after(299));
        assert_eq!(health.alive_at(now), Ok(()));
        let now = turning_at(&health, after(302));
        assert!(matches!(health.alive_at(now), Err(Trouble::Stalled(_))));
        health.work_ends();
        assert_eq!(health.alive_at(now), Ok(()));
    }

    #[test]
    fn work_that_moves_on_may_take_hours() {
        let health = Health::new(LIMITS);
        health.work_begins();
        let now = turning_at(&health, after(7200));
        health.0.moved_ms.store(millis(now.duration_since(health.0.started)) - 1000, Relaxed);
        assert_eq!(health.alive_at(now), Ok(()));
    }

    #[test]
    fn work_begun_after_a_long_rest_has_its_full_time() {
        let health = Health::new(LIMITS);
        health.0.moved_ms.store(0, Relaxed);
        health.work_begins();
        assert_eq!(health.alive_at(Instant::now()), Ok(()));
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let health = Health::new(LIMITS);
        assert_eq!(health.ready(), Err(Trouble::NotLive));
        health.set_stream_live(true);
        assert_eq!(health.ready(), Err(Trouble::LagUnknown));
        health.set_lag(Duration::from_secs(61));
        let late = Trouble::Late { lag: Duration::from_secs(61), limit: Duration::from_secs(60) };
        assert_eq!(health.ready(), Err(late));
        assert_eq!(late.to_string(), "the reports are 61 s behind, the limit is 60 s");
        health.set_lag_limit(Duration::from_secs(61));
        assert_eq!(health.ready(), Ok(()));
        health.set_stream_live(false);
        assert_eq!(health.ready(), Err(Trouble::NotLive));
    }

    #[test]
    fn a_lag_nobody_measures_any_more_grows() {
        let health = Health::new(LIMITS);
        assert_eq!(health.lag(), None);
        health.set_lag(Duration::ZERO);
        assert_eq!(health.lag_at(after(10)), Some(Duration::ZERO));
        assert!(health.lag_at(after(100)).is_some_and(|lag| lag >= Duration::from_secs(99)));
    }

    #[test]
    fn the_greatest_durations_do_not_overflow() {
        let health = Health::new(Limits { turn: Duration::MAX, stall: Duration::MAX, lag: Duration::MAX });
        health.set_lag(Duration::MAX);
        health.set_stream_live(true);
        health.work_begins();
        assert_eq!(health.alive_at(after(1_000_000)), Ok(()));
        assert!(health.lag_at(after(1_000_000)).is_some());
    }
}
