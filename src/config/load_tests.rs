#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::{Physical, Reading, TableKind, Zone};

const SHIPPED: &str = include_str!("../../daemon.toml");

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse("daemon.toml", text, &|_| None)
}

fn problems(text: &str) -> Vec<String> {
    parse(text).expect_err(text).to_string().lines().map(str::to_string).collect()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_eq!(parse(SHIPPED).unwrap(), parse("").unwrap());
}

#[test]
fn the_shipped_file_names_every_key() {
    let doc = Doc::new("daemon.toml", SHIPPED);
    let table = DeTable::parse(SHIPPED).unwrap();
    read(Section::root(&doc, table.get_ref()), &|_| None).unwrap();
    let mut section = String::new();
    let mut named = std::collections::BTreeSet::new();
    for line in SHIPPED.lines() {
        let line = line.trim_start_matches("# ");
        if let Some((name, _)) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
            section = name.to_string();
        } else if let Some((key, _)) = line.split_once(" = ") {
            named.insert(format!("{section}.{key}"));
        }
    }
    let known = doc.known_keys();
    let missing: Vec<_> = known.difference(&named).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(known.len() > 120, "{}", known.len());
}

#[test]
fn unknown_keys_name_the_nearest_and_everything_is_told_at_once() {
    let text = r#"sauce = 1
[source]
slott = "x"
slot = "Upper"
preset = "django"
[source.tables.sale]
tabel = "sales"
[source.tables.sale.columns]
total = "sum"
[source.tables.sales]
table = "x"
[tenants]
time_zone = "Asia/Tashkant"
discover_every = "10"
[tenants.time_zones]
tenant_a = "Europe/Mosow"
[rfm]
recency_days = [7, 30, 20, 90]
monetary = [1.5, 1, 1, 1]
window_days = "90"
[schedule]
prune = "0 3 1 *"
retention = "30d"
[http]
listen = "localhost"
"#;
    assert_eq!(
        problems(text),
        [
            "daemon.toml:1: unknown key \"sauce\"; did you mean \"source\"?",
            "daemon.toml:3: unknown key \"slott\" in [source]; did you mean \"slot\"?",
            "daemon.toml:4: [source] slot: a slot name holds only lower case letters, digits and underscores",
            "daemon.toml:5: [source] preset: unknown preset \"django\"; did you mean \"django-pos\"?",
            "daemon.toml:7: unknown key \"tabel\" in [source.tables.sale]; did you mean \"table\"?",
            "daemon.toml:9: unknown key \"total\" in [source.tables.sale.columns]; did you mean \"total_amount\"?",
            "daemon.toml:10: unknown key \"sales\" in [source.tables]; did you mean \"sale\"?",
            "daemon.toml:13: [tenants] time_zone: unknown time zone \"Asia/Tashkant\"; did you mean \"Asia/Tashkent\"?",
            "daemon.toml:14: [tenants] discover_every: \"10\" is not a duration; write a number and a unit, e.g. \"50ms\", \"10s\", \"365d\"",
            "daemon.toml:16: [tenants.time_zones] tenant_a: unknown time zone \"Europe/Mosow\"; did you mean \"Europe/Moscow\"?",
            "daemon.toml:18: [rfm] recency_days: the four values must ascend (the first earns score 5)",
            "daemon.toml:19: [rfm] monetary: expected an amount as a string, e.g. \"500000\", found float",
            "daemon.toml:20: [rfm] window_days: expected a whole number, found string",
            "daemon.toml:22: [schedule] prune: \"0 3 1 *\" has 4 fields; write five (minute hour day month weekday), e.g. \"30 0 * * *\", or \"off\"",
            "daemon.toml:23: [schedule] retention: \"30d\" is not within 31d to 36500d",
            "daemon.toml:25: [http] listen: \"localhost\" is not an address and port; write e.g. \"127.0.0.1:9187\" or \"\"",
        ]
    );
}

#[test]
fn words_in_two_lists_are_refused() {
    let text = r#"[payments]
cash = ["cash", "coins"]
credit = ["coins"]
[inventory]
incoming = ["in", "x"]
signed = ["x"]
[source.tables.sale]
completed_statuses = ["done"]
refunded_statuses = ["back", "done"]
"#;
    assert_eq!(
        problems(text),
        [
            "daemon.toml:3: [payments] credit: \"coins\" is in cash already",
            "daemon.toml:6: [inventory] signed: \"x\" is in incoming already",
            "daemon.toml:9: [source.tables.sale] refunded_statuses: \"done\" is in completed_statuses already",
        ]
    );
}

#[test]
fn tables_can_be_renamed_and_left_out() {
    let text = r#"[source.tables]
session = { enabled = false }
batch = { table = "" }
[source.tables.sale]
table = "Receipts"
columns = { total_amount = "Sum Total" }
"#;
    let mapping = parse(text).unwrap().mapping;
    assert!(!mapping.tables.contains_key(&TableKind::Session) && !mapping.tables.contains_key(&TableKind::Batch));
    let sale = &mapping.tables[&TableKind::Sale];
    assert_eq!((sale.table.as_str(), sale.column("total_amount"), sale.column("id")), ("Receipts", "Sum Total", "id"));
    assert_eq!(
        problems("[source.tables.sale]\nenabled = false"),
        ["daemon.toml:2: [source.tables.sale] enabled: no report can do without the sale table; name it"]
    );
}

#[test]
fn columns_are_named_read_or_stood_in_for() {
    let text = r#"[source.tables.sale]
deleted_at = "deletedAt"
only = { channel = ["pos", 7, true] }
[source.tables.sale.columns]
status = ""
customer_id = ""
completed_at = { column = "placedAt", time_zone = "Europe/Vienna" }
total_amount = ""
tax_amount = { column = "tax", scale = 2, round = 1 }
day = "date"
[source.tables.sale_item.columns]
quantity = { value = 1 }
line_total = { round = 3 }
[source.tables.payment.columns]
payment_method = { value = "cash" }
[source.tables.stock_movement.columns]
movement_type = { from = "from_location", to = "to_location", inside = ["5"] }
[source.tables.reservation]
active_statuses = []
columns = { status = "" }
"#;
    let mapping = parse(text).unwrap().mapping;
    let (sale, item) = (&mapping.tables[&TableKind::Sale], &mapping.tables[&TableKind::SaleItem]);
    let constant = |text: &str| Reading::Constant(Some(text.to_string()));
    assert_eq!(*sale.reading("status"), constant("completed"));
    assert_eq!(*sale.reading("customer_id"), Reading::Constant(None));
    assert_eq!(*sale.reading("total_amount"), Reading::Computed { round: 2 });
    let zone = Some(Zone::Named(chrono_tz::Europe::Vienna));
    let placed = Physical { name: "placedAt".into(), zone, ..Physical::default() };
    assert_eq!(*sale.reading("completed_at"), Reading::Column(placed));
    let tax = Physical { name: "tax".into(), scale: 2, round: Some(1), zone: None };
    assert_eq!(*sale.reading("tax_amount"), Reading::Column(tax));
    assert_eq!((sale.column("day"), sale.column("id")), ("date", "id"));
    assert_eq!(sale.rows.deleted_at.as_deref(), Some("deletedAt"));
    assert_eq!(sale.rows.only["channel"], ["pos", "7", "true"]);
    assert_eq!(
        (item.reading("quantity"), item.reading("line_total")),
        (&constant("1"), &Reading::Computed { round: 3 })
    );
    assert_eq!(*mapping.tables[&TableKind::Payment].reading("payment_method"), constant("cash"));
    assert_eq!(*mapping.tables[&TableKind::Reservation].reading("status"), constant(""));
    assert!(matches!(mapping.tables[&TableKind::StockMovement].reading("movement_type"),
                     Reading::Moved(moved) if moved.incoming == "purchase" && moved.outgoing == "sale"));
    assert!(mapping.totals_from_items() && !parse("").unwrap().mapping.totals_from_items());
    // Facts that were read by the mapping of a version that knew less hold still.
    let usual = parse("").unwrap().mapping.tables[&TableKind::Sale].definition(TableKind::Sale).to_string();
    assert_eq!(
        usual,
        "{\"columns\":{\"completed_at\":\"completed_at\",\"customer_id\":\"customer_id\",\"discount_amount\":\"discount_amount\",\
         \"id\":\"id\",\"status\":\"status\",\"tax_amount\":\"tax_amount\",\"total_amount\":\"total_amount\"},\"table\":\"sales_sale\"}"
    );
}

#[test]
fn what_a_column_cannot_be_is_told_with_its_line() {
    let text = r#"[source.tables.sale]
only = { state = [] }
[source.tables.sale.columns]
id = ""
status = { column = "state", scale = 2 }
completed_at = { column = "at", timezone = "UTC" }
total_amount = { scale = 2 }
tax_amount = { column = "tax", value = "0" }
discount_amount = 7
[source.tables.sale_item.columns]
line_total = { column = "total", scale = "2" }
unit_price = { from = "a", to = "b", inside = ["c"] }
quantity = { value = "one" }
[source.tables.sale_item.columns.sale_id]
column = "sale"
scael = 2
[source.tables.stock_movement.columns]
movement_type = { from = "a" }
[source.tables.session.columns]
opened_at = { column = "o", time_zone = "Europe/Vienna " }
"#;
    assert_eq!(
        problems(text),
        [
            "daemon.toml:2: [source.tables.sale] only: state: lists no word; no row would be there",
            "daemon.toml:4: [source.tables.sale.columns] id: nothing can stand in for it; name a column",
            "daemon.toml:5: unknown key \"scale\" in [source.tables.sale.columns.status]; did you mean \"value\"?",
            "daemon.toml:6: unknown key \"timezone\" in [source.tables.sale.columns.completed_at]; did you mean \"time_zone\"?",
            "daemon.toml:7: [source.tables.sale.columns] total_amount: must name a column: { column = \"...\" }",
            "daemon.toml:8: [source.tables.sale.columns] tax_amount: either a column or a value, not both",
            "daemon.toml:9: [source.tables.sale.columns] discount_amount: expected a name or a table, found integer",
            "daemon.toml:11: [source.tables.sale_item.columns.line_total] scale: expected a whole number, found string",
            "daemon.toml:12: [source.tables.sale_item.columns] unit_price: from and to are for movement_type",
            "daemon.toml:13: [source.tables.sale_item.columns.quantity] value: \"one\" is not an amount; write e.g. \"0.5\"",
            "daemon.toml:16: unknown key \"scael\" in [source.tables.sale_item.columns.sale_id]; did you mean \"column\"?",
            "daemon.toml:18: [source.tables.stock_movement.columns] movement_type: inside must list the places whose goods are the store's stock",
            "daemon.toml:18: [source.tables.stock_movement.columns] movement_type: needs both from and to, the columns with the places a movement links",
            "daemon.toml:20: [source.tables.session.columns.opened_at] time_zone: unknown time zone \"Europe/Vienna \"; did you mean \"Europe/Vienna\"?",
        ]
    );
}

#[test]
fn without_a_preset_the_required_tables_must_be_named() {
    let text = "[source]\npreset = \"none\"\n[source.tables.product]\ntable = \"goods\"\n";
    assert_eq!(problems(text).len(), 2);
    let text = "[source]\npreset = \"none\"\n[source.tables]\nproduct.table = \"goods\"\nsale.table = \"s\"\nsale_item.table = \"i\"\n";
    assert_eq!(parse(text).unwrap().mapping.tables.len(), 3);
}

#[test]
fn syntax_errors_have_lines() {
    let told = problems("[source]\nslot = \n[target\n");
    assert!(told[0].starts_with("daemon.toml:2: "), "{told:?}");
}

#[test]
fn the_password_file_is_read_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pw");
    std::fs::write(&file, "s3cret\n").unwrap();
    let config = parse(&format!("[source]\npassword_file = {:?}\n", file.display().to_string())).unwrap();
    assert_eq!(config.source.connection.pg.get_password(), Some("s3cret".as_bytes()));
    assert!(!format!("{config:?}").contains("s3cret"));
    let told = problems("[source]\npassword_file = \"/does/not/exist\"\n");
    assert!(told[0].starts_with("daemon.toml:2: [source] password_file: cannot read /does/not/exist"), "{told:?}");
}

#[test]
fn a_service_credential_needs_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let password = |text: &str| {
        let env = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| dir.path().display().to_string());
        let config = Config::parse("daemon.toml", text, &env).unwrap();
        config.source.connection.pg.get_password().map(|p| String::from_utf8_lossy(p).into_owned())
    };
    assert_eq!(password(""), None, "a credential that was not given is passed over");
    std::fs::write(dir.path().join("source-password"), "from systemd\n").unwrap();
    std::fs::write(dir.path().join("other"), "from the key").unwrap();
    assert_eq!(password("").as_deref(), Some("from systemd"));
    let key = format!("[source]\npassword_file = {:?}\n", dir.path().join("other").display().to_string());
    assert_eq!(password(&key).as_deref(), Some("from the key"));
}

#[test]
fn what_the_replication_connection_cannot_keep_is_not_promised() {
    let parse = |text: &str| Config::parse("daemon.toml", text, &|_| None);
    let refused = parse("[source]\nurl = 'postgresql://till@db/pos?channel_binding=require'").unwrap_err();
    assert!(refused.to_string().contains("verify-full"), "{refused}");
    parse("[target]\nurl = 'postgresql://till@db/reports?channel_binding=require'").unwrap();
}
