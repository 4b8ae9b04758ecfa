//! The tables that verify holds to the POS: their keys, their columns, the query that recomputes them.

use super::sql::{RenderError, identifier, literal, render};
use super::{ReportTable, TenantScope};
use crate::config::Config;

/// How one table is keyed and read.
pub(super) struct Layout {
    /// Column with the product's or customer's id.
    pub id: Option<&'static str>,
    /// Column with the row's day.
    pub day: Option<&'static str>,
    /// What the id is the id of, in messages.
    pub noun: &'static str,
    /// Whether only rows from today on are held to the POS (older ones are history).
    pub from_today: bool,
    /// Whether rows of vanished source rows may stay, flagged by `deleted_at`.
    pub keeps_deleted: bool,
    /// Whether the query says in `required` which rows must be there.
    pub has_required: bool,
    /// Every column that is compared, without the key.
    pub columns: &'static [&'static str],
    template: &'static str,
}

const DAILY_SALES_REPORT: Layout = Layout {
    id: None,
    day: Some("date"),
    noun: "day",
    from_today: false,
    keeps_deleted: false,
    has_required: false,
    columns: &[
        "total_sales",
        "total_sales_count",
        "avg_sale_amount",
        "cash_sales",
        "card_sales",
        "credit_sales",
        "other_sales",
        "total_discount",
        "total_tax",
        "total_items_sold",
        "unique_products_sold",
        "unique_customers",
        "new_customers",
        "refund_count",
        "refund_amount",
        "sessions_opened",
        "sessions_closed",
    ],
    template: include_str!("../../sql/verify/daily_sales_report.sql"),
};

const PRODUCT_PERFORMANCE: Layout = Layout {
    id: Some("product_id"),
    day: Some("date"),
    noun: "product",
    from_today: false,
    keeps_deleted: false,
    has_required: false,
    columns: &[
        "quantity_sold",
        "total_revenue",
        "sales_count",
        "avg_price",
        "avg_discount",
        "total_cost",
        "total_profit",
        "profit_margin",
    ],
    template: include_str!("../../sql/verify/product_performance.sql"),
};

const CUSTOMER_ANALYTICS: Layout = Layout {
    id: Some("customer_id"),
    day: Some("period_end"),
    noun: "customer",
    from_today: true,
    keeps_deleted: false,
    has_required: false,
    columns: &[
        "period_start",
        "recency_days",
        "frequency",
        "monetary",
        "purchases_count",
        "total_spent",
        "avg_purchase_amount",
        "r_score",
        "f_score",
        "m_score",
        "rfm_score",
        "segment",
        "credit_purchases",
        "total_credit_amount",
        "avg_payment_delay_days",
        "credit_outstanding",
        "first_purchase_date",
        "last_purchase_date",
        "lifetime_purchases",
        "lifetime_spent",
    ],
    template: include_str!("../../sql/verify/customer_analytics.sql"),
};

const INVENTORY_SNAPSHOT: Layout = Layout {
    id: Some("product_id"),
    day: Some("date"),
    noun: "product",
    from_today: true,
    keeps_deleted: false,
    has_required: true,
    columns: &[
        "quantity_on_hand",
        "reserved_quantity",
        "available_quantity",
        "total_cost",
        "total_value",
        "turnover_rate",
        "days_of_stock",
        "is_out_of_stock",
        "is_low_stock",
        "is_overstock",
    ],
    template: include_str!("../../sql/verify/inventory_snapshot.sql"),
};

const PRODUCT: Layout = Layout {
    id: Some("product_id"),
    day: None,
    noun: "product",
    from_today: false,
    keeps_deleted: true,
    has_required: false,
    columns: &["name", "sku", "barcode", "is_active", "deleted_at", "source_key"],
    template: include_str!("../../sql/verify/product.sql"),
};

const CUSTOMER: Layout = Layout {
    id: Some("customer_id"),
    day: None,
    noun: "customer",
    from_today: false,
    keeps_deleted: true,
    has_required: false,
    columns: &["full_name", "phone", "customer_type", "is_active", "deleted_at", "source_key"],
    template: include_str!("../../sql/verify/customer.sql"),
};

impl ReportTable {
    pub(super) const fn layout(self) -> &'static Layout {
        match self {
            ReportTable::DailySalesReport => &DAILY_SALES_REPORT,
            ReportTable::ProductPerformance => &PRODUCT_PERFORMANCE,
            ReportTable::CustomerAnalytics => &CUSTOMER_ANALYTICS,
            ReportTable::InventorySnapshot => &INVENTORY_SNAPSHOT,
            ReportTable::Product => &PRODUCT,
            ReportTable::Customer => &CUSTOMER,
        }
    }

    /// The rows that should be there. Yields id, days since 2000-01-01, required, then each column as text.
    pub(super) fn expected_sql(self, scope: &TenantScope, cfg: &Config) -> Result<String, RenderError> {
        let layout = self.layout();
        let flag = if layout.has_required { "required" } else { "true" };
        let rows = render(layout.template, scope, cfg)?;
        Ok(format!("SELECT {} FROM ({rows}) expected ORDER BY {}", layout.outputs(flag), layout.order()))
    }

    /// The rows that are there. Yields id, days since 2000-01-01, not deleted, then each column as text.
    pub(super) fn found_sql(self, scope: &TenantScope, cfg: &Config) -> Result<String, RenderError> {
        let layout = self.layout();
        let flag = if layout.keeps_deleted { "deleted_at IS NULL" } else { "true" };
        let mut filter = format!("tenant = {}", literal(&scope.name)?);
        if let (Some(day), true) = (layout.day, layout.from_today) {
            filter.push_str(&format!(" AND {day} >= DATE '{}'", scope.today));
        }
        let table = format!("{}.{}", identifier(&cfg.target.schema)?, identifier(self.name())?);
        Ok(format!("SELECT {} FROM {table} WHERE {filter} ORDER BY {}", layout.outputs(flag), layout.order()))
    }
}

impl Layout {
    fn outputs(&self, flag: &str) -> String {
        let id = self.id.map_or("0::bigint".to_string(), |c| format!("{c}::bigint"));
        let day = self.day.map_or("0".to_string(), |c| format!("{c} - DATE '2000-01-01'"));
        let columns = self.columns.iter().map(|c| format!(", {c}::text")).collect::<String>();
        format!("{id}, {day}, {flag}{columns}")
    }

    fn order(&self) -> String {
        self.id.into_iter().chain(self.day).collect::<Vec<_>>().join(", ")
    }
}
