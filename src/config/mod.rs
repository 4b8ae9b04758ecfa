//! daemon.toml: raw toml (unknown keys refused) -> validated [`Config`]. Every problem is told at once.

mod columns;
mod error;
mod libpq;
mod load;
pub mod mapping;
mod reader;
pub mod reading;
mod service;
mod tables;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use rust_decimal::Decimal;

pub use error::{ConfigErrors, ConfigProblem};
pub use libpq::{Env, connection as parse_connection};
pub use mapping::{Absent, Column, ColumnType, TableKind};
pub use reading::{Mapping, Moved, Physical, Reading, RowFilter, TableMapping, Zone};

/// A validated configuration: nothing in it can be wrong by itself any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub source: SourceConfig,
    pub target: TargetConfig,
    pub mapping: Mapping,
    pub tenants: TenantsConfig,
    pub payments: PaymentMethods,
    pub inventory: InventoryConfig,
    pub rfm: RfmConfig,
    pub apply: ApplyConfig,
    pub schedule: ScheduleConfig,
    pub http: HttpConfig,
    pub verify: VerifyConfig,
    pub log: LogConfig,
}

/// How to reach one database: everything libpq would know of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    pub pg: tokio_postgres::Config,
    pub tls: TlsSettings,
}

impl Connection {
    /// The host name or address, or the socket directory.
    pub fn host(&self) -> String {
        match self.pg.get_hosts().first() {
            Some(tokio_postgres::config::Host::Tcp(name)) => name.clone(),
            Some(tokio_postgres::config::Host::Unix(dir)) => dir.display().to_string(),
            None => self.pg.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
        }
    }

    pub fn port(&self) -> u16 {
        self.pg.get_ports().first().copied().unwrap_or(5432)
    }

    pub fn user(&self) -> &str {
        self.pg.get_user().unwrap_or_default()
    }

    pub fn database(&self) -> &str {
        self.pg.get_dbname().unwrap_or_default()
    }
}

/// Names the place and the user, never the password.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("host", &self.host())
            .field("port", &self.port())
            .field("database", &self.database())
            .field("user", &self.user())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub mode: SslMode,
    pub root_cert: Option<std::path::PathBuf>,
    pub client_cert: Option<std::path::PathBuf>,
    pub client_key: Option<std::path::PathBuf>,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    pub connection: Connection,
    pub slot: String,
    pub publication: String,
    pub on_slot_lost: OnSlotLost,
    /// How long a statement of ours may keep the POS's writers waiting before it gives up and tries again later.
    pub lock_timeout: Duration,
    /// WAL kept for the slot that is worth a warning, in bytes.
    pub retained_wal_warning: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSlotLost {
    Stop,
    Resync,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// `None`: the source database.
    pub connection: Option<Connection>,
    /// Report schema, `analytics` by default.
    pub schema: String,
    /// Whether `run` upgrades an older schema by itself; else it refuses and `init` does it.
    pub auto_migrate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantsConfig {
    /// LIKE patterns of schema names.
    pub schemas: Vec<String>,
    pub exclude: Vec<String>,
    pub time_zone: Tz,
    pub time_zones: BTreeMap<String, Tz>,
    pub discover_every: Duration,
    pub registry: Option<Registry>,
}

/// The table in which the POS lists its stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    pub schema: String,
    pub table: String,
    pub schema_column: String,
    pub name_column: String,
}

/// Payment methods by report column; any other is `other_sales`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentMethods {
    pub cash: Vec<String>,
    pub card: Vec<String>,
    pub credit: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryConfig {
    pub stock_source: StockSource,
    pub incoming: Vec<String>,
    pub outgoing: Vec<String>,
    pub signed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockSource {
    /// The ledger where the store has that table, else the batches.
    Auto,
    Movements,
    Batches,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RfmConfig {
    /// Days before `period_end` that count, both ends inclusive.
    pub window_days: u32,
    /// R score 5, 4, 3, 2 at most this many days; ascending.
    pub recency_days: [u32; 4],
    /// F score 5, 4, 3, 2 from this many sales; descending.
    pub frequency: [u64; 4],
    /// M score 5, 4, 3, 2 from this much money; descending.
    pub monetary: [Decimal; 4],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyConfig {
    pub max_batch_rows: usize,
    pub max_delay: Duration,
}

/// Cron expressions in each tenant's time zone; `None` is "off".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleConfig {
    pub day_roll: Option<String>,
    pub daily_sales: Option<String>,
    pub product_performance: Option<String>,
    pub customer_analytics: Option<String>,
    pub inventory_snapshot: Option<String>,
    pub prune: Option<String>,
    pub retention_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// `None`: no HTTP at all.
    pub listen: Option<std::net::SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyConfig {
    /// How old the last verification of a store may get before the daemon verifies it again; `None`: never.
    pub every: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// What the daemon logs without -v and -q.
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl TenantsConfig {
    pub fn zone_of(&self, tenant: &str) -> Tz {
        self.time_zones.get(tenant).copied().unwrap_or(self.time_zone)
    }
}

impl Config {
    /// The connection to the database that holds the reports.
    pub fn target_connection(&self) -> &Connection {
        self.target.connection.as_ref().unwrap_or(&self.source.connection)
    }

    /// `<schema>_state`, where the daemon keeps base facts and its position.
    pub fn state_schema(&self) -> String {
        format!("{}_state", self.target.schema)
    }
}
