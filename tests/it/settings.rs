//! The default configuration, put together by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use tillstream::config::*;

/// The defaults, with reports in `analytics`; connections are left empty.
pub fn default_config() -> Config {
    let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    let zone = chrono_tz::Asia::Tashkent;
    Config {
        source: SourceConfig {
            connection: Connection { pg: tokio_postgres::Config::new(), tls: TlsSettings::default() },
            slot: "tillstream".into(),
            publication: "tillstream".into(),
            on_slot_lost: OnSlotLost::Stop,
            lock_timeout: Duration::from_secs(2),
        },
        target: TargetConfig { connection: None, schema: "analytics".into(), auto_migrate: true },
        mapping: Mapping {
            tables: TableKind::ALL.into_iter().map(|kind| (kind, django(kind))).collect(),
            completed_statuses: words(&["completed"]),
            refunded_statuses: words(&["refunded"]),
            reservation_active_statuses: words(&["active"]),
            transaction_payment_types: words(&["payment"]),
            company_types: words(&["company"]),
        },
        tenants: TenantsConfig {
            schemas: words(&["tenant_%"]),
            exclude: vec![],
            time_zone: zone,
            time_zones: BTreeMap::new(),
            discover_every: Duration::from_secs(10),
            registry: None,
        },
        payments: PaymentMethods { cash: words(&["cash"]), card: words(&["card"]), credit: words(&["credit"]) },
        inventory: InventoryConfig {
            stock_source: StockSource::Auto,
            incoming: words(&["purchase", "return", "transfer_in"]),
            outgoing: words(&["sale", "write_off", "transfer_out"]),
            signed: words(&["adjustment"]),
        },
        rfm: RfmConfig {
            window_days: 90,
            recency_days: [7, 30, 60, 90],
            frequency: [20, 10, 5, 2],
            monetary: [5_000_000, 2_000_000, 1_000_000, 500_000].map(Into::into),
        },
        apply: ApplyConfig { max_batch_rows: 20_000, max_delay: Duration::from_millis(50) },
        schedule: ScheduleConfig {
            day_roll: None,
            daily_sales: None,
            product_performance: None,
            customer_analytics: None,
            inventory_snapshot: None,
            prune: None,
            retention_days: 365,
        },
        http: HttpConfig { listen: None },
        verify: VerifyConfig { every: None },
        log: LogConfig { level: LogLevel::Info },
    }
}

fn django(kind: TableKind) -> TableMapping {
    let table = match kind {
        TableKind::Sale => "sales_sale",
        TableKind::SaleItem => "sales_sale_item",
        TableKind::Payment => "sales_payment",
        TableKind::Customer => "customers_customer",
        TableKind::CustomerTransaction => "customers_transaction",
        TableKind::Session => "sales_cashier_session",
        TableKind::Product => "products_product",
        TableKind::Pricing => "products_product_pricing",
        TableKind::StockLimits => "products_product_inventory",
        TableKind::StockMovement => "products_stock_movement",
        TableKind::Batch => "products_product_batch",
        TableKind::Reservation => "products_stock_reservation",
    };
    let columns = kind.columns().iter().map(|c| (c.name, c.name.to_string())).collect();
    TableMapping { table: table.into(), columns }
}
