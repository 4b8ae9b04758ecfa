//! What an operator and the machinery around the daemon see of it: metrics, health, notifications, logs.
//!
//! The engine writes into [`health::Health`] and [`metrics::Metrics`]; two threads of their own only read them: one answers
//! HTTP ([`http`]), one tells systemd ([`systemd`]). Neither ever waits for the engine, so both speak when it is stuck.

pub mod health;
pub mod http;
pub mod journal;
pub mod log_throttle;
pub mod metrics;
pub mod systemd;
pub mod telemetry;

#[cfg(test)]
mod deploy_tests;
