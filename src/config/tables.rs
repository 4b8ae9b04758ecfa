//! `preset` and `[source.tables.KIND]` -> [`Mapping`].

use std::collections::BTreeMap;

use super::mapping::{Mapping, TableKind, TableMapping};
use super::reader::{Section, nearest};
use super::values::identifier;

/// A POS whose table names are known. Its columns bear our logical names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    DjangoPos,
    /// Nothing is known: every table is named in the file.
    None,
}

impl Preset {
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "django-pos" => Ok(Preset::DjangoPos),
            "none" => Ok(Preset::None),
            other => {
                let hint = nearest(other, ["django-pos", "none"].into_iter()).unwrap_or("none");
                Err(format!("unknown preset {other:?}; did you mean \"{hint}\"?"))
            }
        }
    }

    /// Empty: the preset does not know such a table.
    fn table(self, kind: TableKind) -> &'static str {
        match self {
            Preset::None => "",
            Preset::DjangoPos => match kind {
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
            },
        }
    }
}

/// Reads `[source.tables]`.
pub(super) fn mapping(tables: Section<'_>, preset: Preset) -> Mapping {
    let mut mapping = Mapping {
        tables: BTreeMap::new(),
        completed_statuses: Vec::new(),
        refunded_statuses: Vec::new(),
        reservation_active_statuses: Vec::new(),
        transaction_payment_types: Vec::new(),
        company_types: Vec::new(),
    };
    for kind in TableKind::ALL {
        let section = tables.section(kind.name());
        match kind {
            TableKind::Sale => {
                mapping.completed_statuses = section.texts("completed_statuses", &["completed"]);
                mapping.refunded_statuses = section.texts("refunded_statuses", &["refunded"]);
                if mapping.completed_statuses.is_empty() {
                    section.problem("completed_statuses", "must not be empty; no sale would count");
                }
                let lists = [
                    ("completed_statuses", &mapping.completed_statuses),
                    ("refunded_statuses", &mapping.refunded_statuses),
                ];
                refuse_overlap(&section, &lists);
            }
            TableKind::Reservation => {
                mapping.reservation_active_statuses = section.texts("active_statuses", &["active"]);
            }
            TableKind::CustomerTransaction => {
                mapping.transaction_payment_types = section.texts("payment_types", &["payment"]);
            }
            TableKind::Customer => mapping.company_types = section.texts("company_types", &["company"]),
            _ => {}
        }
        if let Some(table) = table(&section, kind, preset) {
            let same = mapping.tables.iter().find(|(_, t)| t.table == table.table).map(|(kind, _)| *kind);
            if let Some(other) = same {
                section.problem("table", format!("{:?} is the table of {other} already", table.table));
            }
            mapping.tables.insert(kind, table);
        }
        section.finish();
    }
    tables.finish();
    mapping
}

fn table(section: &Section<'_>, kind: TableKind, preset: Preset) -> Option<TableMapping> {
    let enabled = section.bool("enabled", true);
    let name = section.text("table", preset.table(kind));
    let given = section.section("columns");
    let mut columns = BTreeMap::new();
    for column in kind.columns() {
        columns.insert(column.name, given.parsed(column.name, column.name.to_string(), identifier));
    }
    given.finish();
    if enabled && !name.is_empty() {
        if let Err(message) = identifier(&name) {
            section.problem("table", message);
        }
        return Some(TableMapping { table: name, columns });
    }
    if !kind.optional() {
        let key = if enabled { "table" } else { "enabled" };
        section.problem(key, format!("no report can do without the {kind} table; name it"));
    }
    None
}

/// A word that stands in two lists would mean two things.
pub(super) fn refuse_overlap(section: &Section<'_>, lists: &[(&str, &Vec<String>)]) {
    for (i, (later, words)) in lists.iter().enumerate() {
        for (earlier, others) in lists.iter().take(i) {
            for word in words.iter().filter(|word| others.contains(word)) {
                section.problem(later, format!("{word:?} is in {earlier} already"));
            }
        }
    }
}
