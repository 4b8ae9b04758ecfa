#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::TableKind;

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
[source.tables.payment]
table = "sales_sale"
"#;
    assert_eq!(
        problems(text),
        [
            "daemon.toml:3: [payments] credit: \"coins\" is in cash already",
            "daemon.toml:6: [inventory] signed: \"x\" is in incoming already",
            "daemon.toml:9: [source.tables.sale] refunded_statuses: \"done\" is in completed_statuses already",
            "daemon.toml:11: [source.tables.payment] table: \"sales_sale\" is the table of sale already",
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
