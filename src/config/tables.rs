//! `preset` and `[source.tables.KIND]` -> [`Mapping`].

use std::collections::BTreeMap;

use super::InventoryConfig;
use super::columns::{Words, reading};
use super::mapping::TableKind;
use super::reader::{Section, expected, nearest, texts};
use super::reading::{Mapping, RowFilter, TableMapping};
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
                TableKind::ProductName => "",
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
pub(super) fn mapping(tables: Section<'_>, preset: Preset, inventory: &InventoryConfig) -> Mapping {
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
        let counts = match kind {
            TableKind::Sale => &mapping.completed_statuses,
            TableKind::CustomerTransaction => &mapping.transaction_payment_types,
            TableKind::Reservation => &mapping.reservation_active_statuses,
            TableKind::StockMovement => &inventory.signed,
            _ => &Vec::new(),
        };
        let words = Words { counts, incoming: &inventory.incoming, outgoing: &inventory.outgoing };
        if let Some(table) = table(&section, kind, preset, words) {
            mapping.tables.insert(kind, table);
        }
        section.finish();
    }
    tables.finish();
    mapping
}

fn table(section: &Section<'_>, kind: TableKind, preset: Preset, words: Words<'_>) -> Option<TableMapping> {
    let enabled = section.bool("enabled", true);
    let name = section.text("table", preset.table(kind));
    let rows = RowFilter { deleted_at: section.parsed("deleted_at", None, optional_name), only: only(section) };
    let given = section.section("columns");
    let columns = kind.columns().iter().map(|column| (column.name, reading(&given, column, words))).collect();
    given.finish();
    if enabled && !name.is_empty() {
        if let Err(message) = identifier(&name) {
            section.problem("table", message);
        }
        return Some(TableMapping { table: name, columns, rows });
    }
    if !kind.optional() {
        let key = if enabled { "table" } else { "enabled" };
        section.problem(key, format!("no report can do without the {kind} table; name it"));
    }
    None
}

fn optional_name(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() { Ok(None) } else { identifier(text).map(Some) }
}

/// `only = { state = ["Settled", "Authorized"] }`
fn only(section: &Section<'_>) -> BTreeMap<String, Vec<String>> {
    section.get("only", BTreeMap::new(), |value| {
        let table = value.as_table().ok_or_else(|| expected("a table of columns and their words", value))?;
        let column =
            |(name, words): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<toml::de::DeValue<'_>>)| {
                let name = identifier(name.get_ref())?;
                let words = texts(words.get_ref()).map_err(|message| format!("{name}: {message}"))?;
                if words.is_empty() {
                    Err(format!("{name}: lists no word; no row would be there"))
                } else {
                    Ok((name, words))
                }
            };
        table.iter().map(column).collect()
    })
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
