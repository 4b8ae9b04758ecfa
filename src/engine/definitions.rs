//! What a store's facts were read by: the config's words, and the tables as they stood. Another value than the stored one
//! means that the facts have to be read again.
//!
//! The stream tells of rows, not of tables. A rewrite (another column type, a conversion, VACUUM FULL), a partition that
//! was attached, detached or truncated by itself, a table rebuilt under the same name or left out of the publication for a
//! while: each may have changed rows that nobody sends. All of them leave another number in the catalogue.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::Config;
use crate::source::catalog::StoreTables;
use crate::verify::TenantScope;

/// `entries`: publication entries by table oid, see [`crate::source::publication::Drift`].
pub fn definitions(config: &Config, scope: &TenantScope, store: &StoreTables, entries: &BTreeMap<u32, u32>) -> String {
    let (mapping, pay, stock) = (&config.mapping, &config.payments, &config.inventory);
    let of_kind = |kind| mapping.tables.get(kind);
    let mapped: BTreeMap<&str, Value> = mapping
        .tables
        .iter()
        .filter(|(kind, _)| scope.has.contains(kind))
        .map(|(kind, table)| (kind.name(), json!({ "table": table.table, "columns": table.columns })))
        .collect();
    let tables: BTreeMap<&str, Value> = store
        .tables
        .iter()
        .map(|(kind, table)| {
            let physical = |logical: &str| of_kind(kind).and_then(|mapped| table.column(mapped.column(logical)));
            let types: BTreeMap<&str, &str> = kind
                .columns()
                .iter()
                .filter_map(|column| Some((column.name, physical(column.name)?.type_name.as_str())))
                .collect();
            let storage: Vec<u32> = table.identities.iter().map(|leaf| leaf.storage).collect();
            (kind.name(), json!({ "types": types, "storage": storage, "published": entries.get(&table.oid) }))
        })
        .collect();
    json!({
        "config": {
            "zone": scope.zone.name(),
            "tables": mapped,
            "statuses": [mapping.completed_statuses, mapping.refunded_statuses, mapping.reservation_active_statuses,
                         mapping.transaction_payment_types, mapping.company_types],
            "payments": [pay.cash, pay.card, pay.credit],
            "movements": [stock.incoming, stock.outgoing, stock.signed],
        },
        "tables": tables,
    })
    .to_string()
}

/// Why facts read by `old` do not hold by `new`; `None`: they do.
pub fn difference(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (old, new) = (parse(old), parse(new));
    if old["config"] != new["config"] {
        return Some("the config defines its figures or tables otherwise than before".to_string());
    }
    let none = serde_json::Map::new();
    let tables = |of: &Value| of["tables"].as_object().unwrap_or(&none).clone();
    let (old, new) = (tables(&old), tables(&new));
    for (kind, now) in &new {
        let Some(before) = old.get(kind) else { return Some(format!("it has a {kind} table now")) };
        for (key, what) in [
            ("types", "has other column types"),
            ("published", "was not published for a while"),
            ("storage", "was rewritten, rebuilt or partitioned anew"),
        ] {
            if before[key] != now[key] {
                return Some(format!("its {kind} table {what}"));
            }
        }
    }
    Some("a table of it is gone".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_differs() {
        let of = |config: i32, tables: Value| json!({ "config": config, "tables": tables }).to_string();
        let sale = |types: &str, storage: u32, published: u32| json!({ "sale": { "types": types, "storage": [storage], "published": published } });
        let before = of(1, sale("a", 1, 1));
        assert_eq!(difference(&before, &before), None);
        for (after, word) in [
            (of(2, sale("a", 1, 1)), "config"),
            (of(1, sale("b", 1, 1)), "types"),
            (of(1, sale("a", 2, 1)), "rewritten"),
            (of(1, sale("a", 1, 2)), "published"),
            (of(1, json!({})), "gone"),
        ] {
            assert!(difference(&before, &after).is_some_and(|why| why.contains(word)), "{word}");
        }
        assert!(difference("", &before).is_some());
    }
}
