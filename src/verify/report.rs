//! What verify found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use chrono::NaiveDate;
use serde::{Serialize, Serializer};

/// A table that verify holds to the POS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportTable {
    DailySalesReport,
    ProductPerformance,
    CustomerAnalytics,
    InventorySnapshot,
    Product,
    Customer,
}

impl ReportTable {
    pub const ALL: [ReportTable; 6] = [
        ReportTable::DailySalesReport,
        ReportTable::ProductPerformance,
        ReportTable::CustomerAnalytics,
        ReportTable::InventorySnapshot,
        ReportTable::Product,
        ReportTable::Customer,
    ];

    /// The table's name in the report schema.
    pub const fn name(self) -> &'static str {
        match self {
            ReportTable::DailySalesReport => "daily_sales_report",
            ReportTable::ProductPerformance => "product_performance",
            ReportTable::CustomerAnalytics => "customer_analytics",
            ReportTable::InventorySnapshot => "inventory_snapshot",
            ReportTable::Product => "product",
            ReportTable::Customer => "customer",
        }
    }
}

impl fmt::Display for ReportTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ReportTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One thing that is not as the POS tables say: a missing row, a row too many, or a column that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub table: ReportTable,
    /// The row, to be read: `tenant_central 2026-11-22 product 17`.
    pub key: String,
    /// The row, to be used: its day (`date`, for customer_analytics `period_end`) …
    pub date: Option<NaiveDate>,
    /// … and its `product_id` or `customer_id`.
    pub id: Option<i64>,
    /// The column that differs; `None`: the whole row is missing or too many.
    pub column: Option<&'static str>,
    /// What should be there, a whole row as `column=value, …`; `None`: NULL, or no row.
    pub expected: Option<String>,
    /// What is there, likewise.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |v: &Option<String>| v.clone().unwrap_or_else(|| "null".to_string());
        write!(f, "{} {}: ", self.table, self.key)?;
        match (self.column, &self.expected, &self.found) {
            (Some(column), expected, found) => {
                write!(f, "{column} expected {}, found {}", shown(expected), shown(found))
            }
            (None, Some(expected), _) => write!(f, "row missing, expected {expected}"),
            (None, None, found) => write!(f, "row should not be there, found {}", shown(found)),
        }
    }
}

/// Counts of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TableCount {
    /// Rows looked at: keys that are expected, found, or both.
    pub rows: u64,
    /// Rows that are missing, too many, or differ in at least one column.
    pub differing_rows: u64,
    /// Differences reported: one for each missing or extra row, one for each differing column.
    pub differences: u64,
}

impl std::ops::AddAssign for TableCount {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.differing_rows += other.differing_rows;
        self.differences += other.differences;
    }
}

/// What comparing one store came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TenantResult {
    pub tables: BTreeMap<ReportTable, TableCount>,
}

impl TenantResult {
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|c| c.rows).sum()
    }

    pub fn differences(&self) -> u64 {
        self.tables.values().map(|c| c.differences).sum()
    }

    pub fn holds(&self) -> bool {
        self.differences() == 0
    }

    /// Adds another store's counts, for a total.
    pub fn add(&mut self, other: &TenantResult) {
        for (table, count) in &other.tables {
            *self.tables.entry(*table).or_default() += *count;
        }
    }
}

/// A count per table, one line each, then the verdict.
impl fmt::Display for TenantResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, count) in &self.tables {
            let TableCount { rows, differing_rows, differences } = count;
            write!(f, "{:<20} {rows:>10} rows", table.name())?;
            match differing_rows {
                0 => writeln!(f, ", all right")?,
                _ => writeln!(f, ", {differing_rows} differ ({differences} differences)")?,
            }
        }
        if self.holds() {
            write!(f, "verified: {} rows, no difference", self.rows())
        } else {
            write!(f, "{} differences in {} rows", self.differences(), self.rows())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn difference(column: Option<&'static str>, expected: Option<&str>, found: Option<&str>) -> Difference {
        Difference {
            table: ReportTable::ProductPerformance,
            key: "tenant_central 2026-11-22 product 17".into(),
            date: NaiveDate::from_ymd_opt(2026, 11, 22),
            id: Some(17),
            column,
            expected: expected.map(String::from),
            found: found.map(String::from),
        }
    }

    #[test]
    fn says_what_is_wrong_with_which_row() {
        let key = "product_performance tenant_central 2026-11-22 product 17";
        for (difference, text) in [
            (difference(Some("total_cost"), Some("1.00"), Some("2.00")), "total_cost expected 1.00, found 2.00"),
            (difference(None, Some("a=1"), None), "row missing, expected a=1"),
            (difference(None, None, Some("a=1")), "row should not be there, found a=1"),
        ] {
            assert_eq!(difference.to_string(), format!("{key}: {text}"));
        }
    }

    #[test]
    fn json_names_tables_as_the_database_does() {
        let json = serde_json::to_value(difference(Some("total_cost"), None, Some("2.00"))).unwrap();
        assert_eq!(json["table"], "product_performance");
        assert_eq!(json["date"], "2026-11-22");
        let mut result = TenantResult::default();
        result.tables.insert(ReportTable::Product, TableCount { rows: 2, differing_rows: 1, differences: 3 });
        let json = serde_json::to_value(&result).unwrap();
        assert_eq!(json["tables"]["product"]["differences"], 3);
    }

    #[test]
    fn counts_add_up() {
        let count = TableCount { rows: 2, differing_rows: 1, differences: 3 };
        let mut total = TenantResult::default();
        let one = TenantResult { tables: [(ReportTable::Product, count)].into() };
        total.add(&one);
        total.add(&one);
        assert_eq!((total.rows(), total.differences(), total.holds()), (4, 6, false));
        assert!(total.to_string().contains("2 differ (6 differences)"));
    }
}
