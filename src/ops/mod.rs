//! Running it as a service: telemetry, and what else an operator needs.

pub mod telemetry;
