//! Which POS table and column plays which part: logical names (ours) to physical names (theirs).

use std::collections::BTreeMap;
use std::fmt;

/// The logical tables a POS can have. `sales_sale` of the Django POS plays `Sale`, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    Sale,
    SaleItem,
    Payment,
    Customer,
    CustomerTransaction,
    Session,
    Product,
    Pricing,
    StockLimits,
    StockMovement,
    Batch,
    Reservation,
}

/// How a logical column's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// int2, int4 or int8
    Key,
    /// numeric or any integer
    Amount,
    /// timestamptz
    Timestamp,
    /// text, varchar, char, enum
    Text,
    /// boolean
    Bool,
}

/// One logical column: what facts need to know about it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub ty: ColumnType,
    /// NULL is a meaningful value (e.g. a sale without a customer). NULL in any other column is read as its zero:
    /// 0, "" or false.
    pub nullable: bool,
}

const fn c(name: &'static str, ty: ColumnType) -> Column {
    Column { name, ty, nullable: false }
}

const fn n(name: &'static str, ty: ColumnType) -> Column {
    Column { name, ty, nullable: true }
}

use ColumnType::{Amount, Bool, Key, Text, Timestamp};

impl TableKind {
    pub const ALL: [TableKind; 12] = [
        TableKind::Sale,
        TableKind::SaleItem,
        TableKind::Payment,
        TableKind::Customer,
        TableKind::CustomerTransaction,
        TableKind::Session,
        TableKind::Product,
        TableKind::Pricing,
        TableKind::StockLimits,
        TableKind::StockMovement,
        TableKind::Batch,
        TableKind::Reservation,
    ];

    /// The name used in `[source.tables.NAME]`, messages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            TableKind::Sale => "sale",
            TableKind::SaleItem => "sale_item",
            TableKind::Payment => "payment",
            TableKind::Customer => "customer",
            TableKind::CustomerTransaction => "customer_transaction",
            TableKind::Session => "session",
            TableKind::Product => "product",
            TableKind::Pricing => "pricing",
            TableKind::StockLimits => "stock_limits",
            TableKind::StockMovement => "stock_movement",
            TableKind::Batch => "batch",
            TableKind::Reservation => "reservation",
        }
    }

    /// The logical columns, the key first. Their order is the order of the decoded values everywhere.
    pub const fn columns(self) -> &'static [Column] {
        const SALE: &[Column] = &[
            c("id", Key),
            c("status", Text),
            n("customer_id", Key),
            n("completed_at", Timestamp),
            c("total_amount", Amount),
            c("discount_amount", Amount),
            c("tax_amount", Amount),
        ];
        const SALE_ITEM: &[Column] = &[
            c("id", Key),
            c("sale_id", Key),
            c("product_id", Key),
            c("quantity", Amount),
            c("unit_price", Amount),
            c("line_total", Amount),
        ];
        const PAYMENT: &[Column] = &[c("id", Key), c("sale_id", Key), c("payment_method", Text), c("amount", Amount)];
        const CUSTOMER: &[Column] = &[
            c("id", Key),
            c("first_name", Text),
            c("last_name", Text),
            c("middle_name", Text),
            c("customer_type", Text),
            c("company_name", Text),
            c("phone", Text),
            c("is_active", Bool),
        ];
        const CUSTOMER_TRANSACTION: &[Column] = &[
            c("id", Key),
            c("customer_id", Key),
            c("transaction_type", Text),
            c("amount", Amount),
            c("created_at", Timestamp),
        ];
        const SESSION: &[Column] = &[c("id", Key), n("opened_at", Timestamp), n("closed_at", Timestamp)];
        const PRODUCT: &[Column] =
            &[c("id", Key), c("name", Text), c("sku", Text), c("barcode", Text), c("is_active", Bool)];
        const PRICING: &[Column] =
            &[c("id", Key), c("product_id", Key), c("cost_price", Amount), c("sale_price", Amount)];
        const STOCK_LIMITS: &[Column] = &[
            c("id", Key),
            c("product_id", Key),
            c("min_quantity", Amount),
            n("max_quantity", Amount),
            c("track_inventory", Bool),
        ];
        const STOCK_MOVEMENT: &[Column] =
            &[c("id", Key), c("product_id", Key), c("movement_type", Text), c("quantity", Amount)];
        const BATCH: &[Column] = &[c("id", Key), c("product_id", Key), c("quantity", Amount), c("is_active", Bool)];
        const RESERVATION: &[Column] = &[c("id", Key), c("product_id", Key), c("quantity", Amount), c("status", Text)];
        match self {
            TableKind::Sale => SALE,
            TableKind::SaleItem => SALE_ITEM,
            TableKind::Payment => PAYMENT,
            TableKind::Customer => CUSTOMER,
            TableKind::CustomerTransaction => CUSTOMER_TRANSACTION,
            TableKind::Session => SESSION,
            TableKind::Product => PRODUCT,
            TableKind::Pricing => PRICING,
            TableKind::StockLimits => STOCK_LIMITS,
            TableKind::StockMovement => STOCK_MOVEMENT,
            TableKind::Batch => BATCH,
            TableKind::Reservation => RESERVATION,
        }
    }

    /// A store without this table still has reports: the figures that need it are zero.
    pub const fn optional(self) -> bool {
        !matches!(self, TableKind::Sale | TableKind::SaleItem | TableKind::Product)
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where one logical table is kept in every store's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMapping {
    /// Physical table name, unquoted, as in `pg_class.relname`.
    pub table: String,
    /// Logical column name -> physical column name, for every column of [`TableKind::columns`].
    pub columns: BTreeMap<&'static str, String>,
}

impl TableMapping {
    /// The physical name of a logical column.
    pub fn column(&self, logical: &str) -> &str {
        self.columns.get(logical).map_or("", String::as_str)
    }
}

/// The whole mapping. A kind without an entry is one that this POS does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub tables: BTreeMap<TableKind, TableMapping>,
    pub completed_statuses: Vec<String>,
    pub refunded_statuses: Vec<String>,
    /// Status of a reservation that holds stock back (default `active`).
    pub reservation_active_statuses: Vec<String>,
    /// Type of a customer transaction that pays off credit (default `payment`).
    pub transaction_payment_types: Vec<String>,
    /// `customer_type` of customers that are shown by company name (default `company`).
    pub company_types: Vec<String>,
}
