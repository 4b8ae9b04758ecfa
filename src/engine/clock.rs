//! The one clock of the engine, so that tests can hold it.

use std::sync::Arc;

use crate::domain::Instant;

/// Tells the time of day.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Clock {
    /// The system's.
    pub fn system() -> Clock {
        Clock(Arc::new(chrono::Utc::now))
    }

    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    pub fn now(&self) -> Instant {
        (self.0)()
    }
}
