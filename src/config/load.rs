//! The text of daemon.toml -> [`Config`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::config::ChannelBinding;
use toml::de::{DeTable, DeValue};

use super::error::ConfigErrors;
use super::libpq::{self, Env};
use super::reader::{Doc, Section, integer};
use super::tables::{Preset, mapping, refuse_overlap};
use super::{
    ApplyConfig, Config, Connection, HttpConfig, InventoryConfig, LogConfig, LogLevel, OnSlotLost, PaymentMethods,
    Registry, RfmConfig, ScheduleConfig, SourceConfig, StockSource, TargetConfig, TenantsConfig, VerifyConfig, values,
};

const DEFAULT_URL: &str = "postgresql://tillstream@localhost:5432/pos";
/// The inventory looks at sales of the last 30 days and today: with less history it would be wrong.
const MIN_RETENTION_DAYS: u32 = 31;

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigErrors::one(&file, format!("cannot read the configuration: {e}")))?;
        Config::parse(&file, &text, &|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    /// The same for a text; `file` is how messages call it, `env` looks up environment variables.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn parse(file: &str, text: &str, env: Env<'_>) -> Result<Config, ConfigErrors> {
        let doc = Doc::new(file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            doc.problem(error.span().map(|s| doc.line_at(s.start)), error.message().replace('\n', "; "));
        }
        if !errors.is_empty() {
            return Err(ConfigErrors { problems: doc.into_problems() });
        }
        let config = read(Section::root(&doc, table.get_ref()), env);
        let problems = doc.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors { problems }),
        }
    }
}

/// `None` only where a problem was recorded.
pub(super) fn read(root: Section<'_>, env: Env<'_>) -> Option<Config> {
    let source = root.section("source");
    let preset = source.parsed("preset", Preset::DjangoPos, Preset::parse);
    let inventory = read_inventory(root.section("inventory"));
    let mapping = mapping(source.section("tables"), preset, &inventory);
    let source = read_source(source, env);
    let target = read_target(root.section("target"), env);
    let tenants = read_tenants(root.section("tenants"));
    let payments = read_payments(root.section("payments"));
    let rfm = read_rfm(root.section("rfm"));
    let apply = read_apply(root.section("apply"));
    let schedule = read_schedule(root.section("schedule"));
    let http = read_http(root.section("http"));
    let verify = read_verify(root.section("verify"));
    let log = read_log(root.section("log"));
    root.finish();
    let source = source?;
    Some(Config { source, target, mapping, tenants, payments, inventory, rfm, apply, schedule, http, verify, log })
}

fn read_connection(section: &Section<'_>, default_url: Option<&str>, env: Env<'_>) -> Option<Connection> {
    let password_file = section.optional("password_file", |v| super::reader::text(v).map(str::to_string));
    let url = section.text("url", default_url.unwrap_or(""));
    // Under systemd a credential needs no key, so the same file serves the service and commands typed by hand, to which the
    // credential is not shown.
    let credential = || {
        let name = if default_url.is_some() { "source-password" } else { "target-password" };
        let file = std::path::Path::new(&env("CREDENTIALS_DIRECTORY")?).join(name);
        file.exists().then(|| file.display().to_string())
    };
    let password =
        password_file.filter(|file| !file.is_empty()).or_else(credential).and_then(
            |file| match std::fs::read_to_string(&file) {
                Ok(text) => Some(text.trim_end_matches(['\n', '\r']).to_string()),
                Err(e) => {
                    section.problem("password_file", format!("cannot read {file}: {e}"));
                    None
                }
            },
        );
    if url.is_empty() {
        if default_url.is_some() {
            section.problem("url", "must name the database");
        }
        return None;
    }
    libpq::connection(&url, password, env).map_err(|message| section.problem("url", message)).ok()
}

fn read_source(section: Section<'_>, env: Env<'_>) -> Option<SourceConfig> {
    let connection = read_connection(&section, Some(DEFAULT_URL), env);
    if connection.as_ref().is_some_and(|c| c.pg.get_channel_binding() == ChannelBinding::Require) {
        section.problem(
            "url",
            "channel_binding=require: the replication connection cannot bind; leave it at prefer, and let \
             sslmode=verify-full tell the server from a stranger",
        );
    }
    let slot = section.parsed("slot", "tillstream".to_string(), values::slot);
    let publication = section.parsed("publication", "tillstream".to_string(), values::identifier);
    let on_slot_lost = section.parsed("on_slot_lost", OnSlotLost::Stop, |v| match v {
        "stop" => Ok(OnSlotLost::Stop),
        "resync" => Ok(OnSlotLost::Resync),
        other => Err(format!("expected \"stop\" or \"resync\", found {other:?}")),
    });
    let lock_timeout =
        section.parsed("lock_timeout", Duration::from_millis(200), |v| values::duration_within(v, "1ms", "60s"));
    let retained_wal_warning = section.parsed("retained_wal_warning", 1 << 30, values::bytes);
    section.finish();
    let connection = connection?;
    Some(SourceConfig { connection, slot, publication, on_slot_lost, lock_timeout, retained_wal_warning })
}

fn read_target(section: Section<'_>, env: Env<'_>) -> TargetConfig {
    let connection = read_connection(&section, None, env);
    let schema = section.parsed("schema", "analytics".to_string(), values::report_schema);
    let auto_migrate = section.bool("auto_migrate", true);
    section.finish();
    TargetConfig { connection, schema, auto_migrate }
}

fn read_tenants(section: Section<'_>) -> TenantsConfig {
    let schemas = section.texts("schemas", &["tenant_%"]);
    if schemas.is_empty() {
        section.problem("schemas", "must name at least one schema or pattern");
    }
    let exclude = section.texts("exclude", &[]);
    for (key, patterns) in [("schemas", &schemas), ("exclude", &exclude)] {
        if patterns.iter().any(|p| p.replace("\\\\", "").ends_with('\\')) {
            section.problem(key, "a pattern must not end with a backslash");
        }
    }
    let time_zone = section.parsed("time_zone", chrono_tz::Asia::Tashkent, values::time_zone);
    let discover_every =
        section.parsed("discover_every", Duration::from_secs(10), |v| values::duration_within(v, "100ms", "1d"));
    let table =
        section.parsed("registry", None, |v| if v.is_empty() { Ok(None) } else { values::qualified(v).map(Some) });
    let schema_column = section.parsed("registry_schema_column", "schema_name".to_string(), values::identifier);
    let name_column = section.parsed("registry_name_column", "name".to_string(), values::identifier);
    let registry = table.map(|(schema, table)| Registry { schema, table, schema_column, name_column });
    let zones = section.section("time_zones");
    let mut time_zones = BTreeMap::new();
    for (tenant, zone) in zones.free_texts() {
        match values::time_zone(&zone) {
            Ok(zone) => {
                time_zones.insert(tenant, zone);
            }
            Err(message) => section.section("time_zones").problem(&tenant, message),
        }
    }
    section.finish();
    TenantsConfig { schemas, exclude, time_zone, time_zones, discover_every, registry }
}

fn read_payments(section: Section<'_>) -> PaymentMethods {
    let cash = section.texts("cash", &["cash"]);
    let card = section.texts("card", &["card"]);
    let credit = section.texts("credit", &["credit"]);
    refuse_overlap(&section, &[("cash", &cash), ("card", &card), ("credit", &credit)]);
    section.finish();
    PaymentMethods { cash, card, credit }
}

fn read_inventory(section: Section<'_>) -> InventoryConfig {
    let stock_source = section.parsed("stock_source", StockSource::Auto, |v| match v {
        "auto" => Ok(StockSource::Auto),
        "movements" => Ok(StockSource::Movements),
        "batches" => Ok(StockSource::Batches),
        other => Err(format!("expected \"auto\", \"movements\" or \"batches\", found {other:?}")),
    });
    let incoming = section.texts("incoming", &["purchase", "return", "transfer_in"]);
    let outgoing = section.texts("outgoing", &["sale", "write_off", "transfer_out"]);
    let signed = section.texts("signed", &["adjustment"]);
    refuse_overlap(&section, &[("incoming", &incoming), ("outgoing", &outgoing), ("signed", &signed)]);
    section.finish();
    InventoryConfig { stock_source, incoming, outgoing, signed }
}

fn small(value: &DeValue<'_>, min: u64, max: u32) -> Result<u32, String> {
    integer(value, min, u64::from(max)).map(|n| u32::try_from(n).unwrap_or(max))
}

fn read_rfm(section: Section<'_>) -> RfmConfig {
    let rfm = RfmConfig {
        window_days: section.get("window_days", 90, |v| small(v, 1, 36_500)),
        recency_days: section.get("recency_days", [7, 30, 60, 90], values::ascending_days),
        frequency: section.get("frequency", [20, 10, 5, 2], values::descending_counts),
        monetary: section.get(
            "monetary",
            [5_000_000, 2_000_000, 1_000_000, 500_000].map(rust_decimal::Decimal::from),
            values::descending_money,
        ),
    };
    section.finish();
    rfm
}

fn read_apply(section: Section<'_>) -> ApplyConfig {
    let rows = section.get("max_batch_rows", 20_000, |v| small(v, 1, 10_000_000));
    let max_delay =
        section.parsed("max_delay", Duration::from_millis(50), |v| values::duration_within(v, "1ms", "10m"));
    section.finish();
    ApplyConfig { max_batch_rows: usize::try_from(rows).unwrap_or(usize::MAX), max_delay }
}

fn read_schedule(section: Section<'_>) -> ScheduleConfig {
    let cron = |key: &str, default: &str| section.parsed(key, Some(default.to_string()), values::cron);
    let schedule = ScheduleConfig {
        day_roll: cron("day_roll", "0 0 * * *"),
        daily_sales: cron("daily_sales", "30 0 * * *"),
        product_performance: cron("product_performance", "0 1 * * *"),
        customer_analytics: cron("customer_analytics", "0 2 * * 0"),
        inventory_snapshot: cron("inventory_snapshot", "50 23 * * *"),
        prune: cron("prune", "0 3 1 * *"),
        retention_days: section.parsed("retention", 365, |v| values::days(v, MIN_RETENTION_DAYS)),
    };
    section.finish();
    schedule
}

fn read_http(section: Section<'_>) -> HttpConfig {
    let default = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 9187)));
    let listen = section.parsed("listen", default, |v| match v {
        "" => Ok(None),
        address => address
            .parse()
            .map(Some)
            .map_err(|_| format!("{address:?} is not an address and port; write e.g. \"127.0.0.1:9187\" or \"\"")),
    });
    section.finish();
    HttpConfig { listen }
}

fn read_verify(section: Section<'_>) -> VerifyConfig {
    let day = Some(Duration::from_secs(24 * 3600));
    let every = section.parsed("every", day, |v| match v {
        "" | "off" => Ok(None),
        v => values::duration_within(v, "1s", "365d").map(Some),
    });
    section.finish();
    VerifyConfig { every }
}

fn read_log(section: Section<'_>) -> LogConfig {
    let level = section.parsed("level", LogLevel::Info, |v| match v {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        other => Err(format!("expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\", found {other:?}")),
    });
    section.finish();
    LogConfig { level }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
