//! What a store's facts were read by: the config's words, and the tables as they stood. Another value than the stored one
//! may mean that the facts have to be read again.
//!
//! The stream tells of rows, not of tables. A rewrite (another column type, a conversion, VACUUM FULL), a column dropped and
//! made again, a label of an enum renamed, a partition attached, detached or truncated by itself, a table rebuilt under the
//! same name or not published for a while: each may have changed rows that nobody sends. All of them leave another number
//! in the catalogue.

use std::collections::BTreeMap;

use postgres_types::Type;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::source::catalog::{StoreColumn, StoreTable, StoreTables};
use crate::source::publication::Drift;
use crate::verify::TenantScope;

/// `drift`: what was published when the tables were looked at.
pub fn definitions(config: &Config, scope: &TenantScope, store: &StoreTables, drift: &Drift) -> String {
    let (mapping, pay, stock) = (&config.mapping, &config.payments, &config.inventory);
    let mapped: BTreeMap<&str, Value> = mapping
        .tables
        .iter()
        .filter(|(kind, _)| scope.has.contains(kind))
        .map(|(kind, table)| (kind.name(), table.definition(*kind)))
        .collect();
    let tables: BTreeMap<&str, Value> = store
        .tables
        .iter()
        .filter_map(|(kind, table)| {
            let mapped = mapping.tables.get(kind)?;
            let logical = kind.columns().iter().map(|c| (mapped.column(c.name), c.name));
            let columns =
                logical.chain(mapped.others()).filter_map(|(name, part)| Some((part, name, table.column(name)?)));
            Some((kind.name(), described(table, columns, drift)))
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
        "publication": drift.generation,
        "tables": tables,
    })
    .to_string()
}

fn described<'a>(
    table: &StoreTable,
    columns: impl Iterator<Item = (&'static str, &'a str, &'a StoreColumn)>,
    drift: &Drift,
) -> Value {
    let (mut numbers, mut labels) = (Map::new(), Map::new());
    for (part, name, column) in columns {
        // Several columns may play one part beside the logical ones.
        let logical = if numbers.contains_key(part) { format!("{part} {name}") } else { part.to_string() };
        // Between these two a column's values stay what they are, without a rewrite.
        let ty = if column.type_oid == Type::VARCHAR.oid() { Type::TEXT.oid() } else { column.type_oid };
        numbers.insert(logical.clone(), json!([column.number, ty]));
        if let Some(of_enum) = &column.labels {
            labels.insert(logical, of_enum.clone());
        }
    }
    let leaves: BTreeMap<String, u32> =
        table.identities.iter().map(|leaf| (leaf.oid.to_string(), leaf.storage)).collect();
    json!({ "columns": numbers, "labels": labels, "leaves": leaves, "published": drift.entries.get(&table.oid) })
}

/// What lies between two definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Facts read by the old one hold by the new one, provided that these partitions, which are new, have no rows: oids.
    Holds { if_empty: Vec<u32> },
    /// They have to be read again. `unpublished`: some changes may not have been sent, and others may still not be.
    Reread { why: String, unpublished: bool },
}

/// Why facts read by `old` do not hold by `new`. `None`: nothing differs.
pub fn difference(old: &str, new: &str) -> Option<Difference> {
    if old == new {
        return None;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (old, new) = (parse(old), parse(new));
    let reread = |why: String| Some(Difference::Reread { why, unpublished: false });
    if old["config"] != new["config"] {
        return reread("the config defines its figures or tables otherwise than before".to_string());
    }
    if old["publication"] != new["publication"] {
        let why = "the publication had other options for a while".to_string();
        return Some(Difference::Reread { why, unpublished: true });
    }
    let none = Map::new();
    let object = |of: &Value| of.as_object().unwrap_or(&none).clone();
    let (before, now) = (object(&old["tables"]), object(&new["tables"]));
    let mut if_empty = Vec::new();
    for (kind, now) in &now {
        let Some(before) = before.get(kind) else { return reread(format!("it has a {kind} table now")) };
        if before["published"] != now["published"] {
            let why = format!("its {kind} table was not published for a while");
            return Some(Difference::Reread { why, unpublished: true });
        }
        if before["columns"] != now["columns"] {
            return reread(format!("its {kind} table has other columns"));
        }
        for (column, labels) in &object(&before["labels"]) {
            if object(labels).iter().any(|(oid, label)| now["labels"][column][oid] != *label) {
                return reread(format!("values of {kind}.{column} were renamed"));
            }
        }
        let (leaves_before, leaves) = (object(&before["leaves"]), object(&now["leaves"]));
        if leaves_before.iter().any(|(oid, storage)| leaves.get(oid) != Some(storage)) {
            return reread(format!("its {kind} table was rewritten, rebuilt or lost a partition"));
        }
        let added = leaves.keys().filter(|oid| !leaves_before.contains_key(*oid));
        if_empty.extend(added.filter_map(|oid| oid.parse::<u32>().ok()));
    }
    if before.keys().any(|kind| !now.contains_key(kind)) {
        return reread("a table of it is gone".to_string());
    }
    Some(Difference::Holds { if_empty })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut Value)) -> String {
        let mut all = json!({
            "config": 1, "publication": "7",
            "tables": { "sale": { "columns": { "id": [1, 20] }, "labels": { "status": { "5": "Done" } },
                                  "leaves": { "100": 1 }, "published": 1 } },
        });
        change(&mut all);
        all.to_string()
    }

    #[test]
    fn says_what_differs() {
        let before = of(|_| {});
        assert_eq!(difference(&before, &before), None);
        let reread = |change: fn(&mut Value)| match difference(&before, &of(change)) {
            Some(Difference::Reread { why, unpublished }) => (why, unpublished),
            other => panic!("{other:?}"),
        };
        assert!(reread(|d| d["config"] = json!(2)).0.contains("config"));
        assert!(reread(|d| d["publication"] = json!("8")).1);
        assert!(reread(|d| d["tables"]["sale"]["published"] = json!(2)).1);
        for (change, word) in [
            ((|d| d["tables"]["sale"]["columns"]["id"] = json!([2, 20])) as fn(&mut Value), "columns"),
            (|d| d["tables"]["sale"]["labels"]["status"]["5"] = json!("Finished"), "renamed"),
            (|d| d["tables"]["sale"]["leaves"]["100"] = json!(2), "rewritten"),
            (|d| d["tables"]["sale"]["leaves"] = json!({ "101": 1 }), "rewritten"),
            (|d| d["tables"]["payment"] = json!({}), "payment table now"),
            (|d| d["tables"] = json!({}), "gone"),
        ] {
            let (why, unpublished) = reread(change);
            assert!(why.contains(word) && !unpublished, "{why}");
        }
        assert!(matches!(difference("", &before), Some(Difference::Reread { .. })));
    }

    #[test]
    fn a_new_partition_holds_if_it_is_empty() {
        let before = of(|_| {});
        let added = difference(&before, &of(|d| d["tables"]["sale"]["leaves"]["101"] = json!(1)));
        assert_eq!(added, Some(Difference::Holds { if_empty: vec![101] }));
        let label = difference(&before, &of(|d| d["tables"]["sale"]["labels"]["status"]["6"] = json!("Back")));
        assert_eq!(label, Some(Difference::Holds { if_empty: Vec::new() }));
    }
}
