//! The logical tables and columns: what a POS is to the reports. How each is obtained from the POS's own tables: `reading`.

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
    ProductName,
    Pricing,
    StockLimits,
    StockMovement,
    Batch,
    Reservation,
}

/// What a logical column's value is. Which PostgreSQL types can be read as it: `facts::reading`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// The key of a row of that table.
    Key(TableKind),
    /// An exact number.
    Amount,
    /// A point in time.
    Timestamp,
    /// A local day of the store.
    Day,
    /// A name to show, or a word that a list of the configuration knows.
    Text,
    Bool,
}

/// What stands in for a column that the POS does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nothing does: it has to be there.
    Required,
    /// The same value in every row, as PostgreSQL writes it; `None`: NULL.
    Value(Option<&'static str>),
    /// The first word of the list whose rows count.
    Counts,
    /// It is computed: see [`Reading::Computed`].
    Computed,
}

/// One logical column: what facts need to know about it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub ty: ColumnType,
    /// NULL is a meaningful value (e.g. a sale without a customer). NULL in any other column is read as its zero:
    /// 0, "" or false.
    pub nullable: bool,
    pub absent: Absent,
    /// A POS of which nothing else is said has it, under this name.
    pub usual: bool,
}

impl Column {
    /// Has to be there.
    const fn required(name: &'static str, ty: ColumnType) -> Column {
        Column { name, ty, nullable: false, absent: Absent::Required, usual: true }
    }

    /// May be missing: then every row has this value.
    const fn or(name: &'static str, ty: ColumnType, value: &'static str) -> Column {
        Column { name, ty, nullable: false, absent: Absent::Value(Some(value)), usual: true }
    }

    /// May be missing, and may be NULL.
    const fn or_null(name: &'static str, ty: ColumnType) -> Column {
        Column { name, ty, nullable: true, absent: Absent::Value(None), usual: true }
    }

    const fn absent(self, absent: Absent) -> Column {
        Column { absent, ..self }
    }

    const fn unusual(self) -> Column {
        Column { usual: false, ..self }
    }
}

use ColumnType::{Amount, Bool, Day, Key, Text, Timestamp};

impl TableKind {
    pub const ALL: [TableKind; 13] = [
        TableKind::Sale,
        TableKind::SaleItem,
        TableKind::Payment,
        TableKind::Customer,
        TableKind::CustomerTransaction,
        TableKind::Session,
        TableKind::Product,
        TableKind::ProductName,
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
            TableKind::ProductName => "product_name",
            TableKind::Pricing => "pricing",
            TableKind::StockLimits => "stock_limits",
            TableKind::StockMovement => "stock_movement",
            TableKind::Batch => "batch",
            TableKind::Reservation => "reservation",
        }
    }

    /// The logical columns, the key first. Their order is the order of the decoded values everywhere.
    pub const fn columns(self) -> &'static [Column] {
        use TableKind as Kind;
        const fn key(kind: Kind) -> Column {
            Column::required("id", Key(kind))
        }
        const fn of(name: &'static str, kind: Kind) -> Column {
            Column::required(name, Key(kind))
        }
        const SALE: &[Column] = &[
            key(Kind::Sale),
            Column::required("status", Text).absent(Absent::Counts),
            Column::or_null("customer_id", Key(Kind::Customer)),
            Column::or_null("completed_at", Timestamp).absent(Absent::Required),
            Column::required("total_amount", Amount).absent(Absent::Computed),
            Column::or("discount_amount", Amount, "0"),
            Column::or("tax_amount", Amount, "0"),
            Column::or_null("day", Day).unusual(),
        ];
        const SALE_ITEM: &[Column] = &[
            key(Kind::SaleItem),
            of("sale_id", Kind::Sale),
            of("product_id", Kind::Product),
            Column::or("quantity", Amount, "1"),
            Column::or("unit_price", Amount, "0"),
            Column::required("line_total", Amount).absent(Absent::Computed),
        ];
        const PAYMENT: &[Column] = &[
            key(Kind::Payment),
            of("sale_id", Kind::Sale),
            Column::or("payment_method", Text, ""),
            Column::required("amount", Amount),
        ];
        const CUSTOMER: &[Column] = &[
            key(Kind::Customer),
            Column::or("first_name", Text, ""),
            Column::or("last_name", Text, ""),
            Column::or("middle_name", Text, ""),
            Column::or("customer_type", Text, ""),
            Column::or("company_name", Text, ""),
            Column::or("phone", Text, ""),
            Column::or("is_active", Bool, "true"),
        ];
        const CUSTOMER_TRANSACTION: &[Column] = &[
            key(Kind::CustomerTransaction),
            of("customer_id", Kind::Customer),
            Column::required("transaction_type", Text).absent(Absent::Counts),
            Column::required("amount", Amount),
            Column::required("created_at", Timestamp),
        ];
        const SESSION: &[Column] =
            &[key(Kind::Session), Column::or_null("opened_at", Timestamp), Column::or_null("closed_at", Timestamp)];
        const PRODUCT: &[Column] = &[
            key(Kind::Product),
            Column::or("name", Text, ""),
            Column::or("sku", Text, ""),
            Column::or("barcode", Text, ""),
            Column::or("is_active", Bool, "true"),
            Column::or_null("name_id", Key(Kind::ProductName)).unusual(),
        ];
        const PRODUCT_NAME: &[Column] = &[
            key(Kind::ProductName),
            Column::or_null("product_id", Key(Kind::Product)).unusual(),
            Column::required("name", Text),
        ];
        const PRICING: &[Column] = &[
            key(Kind::Pricing),
            of("product_id", Kind::Product),
            Column::or("cost_price", Amount, "0"),
            Column::or("sale_price", Amount, "0"),
        ];
        const STOCK_LIMITS: &[Column] = &[
            key(Kind::StockLimits),
            of("product_id", Kind::Product),
            Column::or("min_quantity", Amount, "0"),
            Column::or_null("max_quantity", Amount),
            Column::or("track_inventory", Bool, "true"),
        ];
        const STOCK_MOVEMENT: &[Column] = &[
            key(Kind::StockMovement),
            of("product_id", Kind::Product),
            Column::required("movement_type", Text).absent(Absent::Counts),
            Column::required("quantity", Amount),
        ];
        const BATCH: &[Column] = &[
            key(Kind::Batch),
            of("product_id", Kind::Product),
            Column::required("quantity", Amount),
            Column::or("is_active", Bool, "true"),
        ];
        const RESERVATION: &[Column] = &[
            key(Kind::Reservation),
            of("product_id", Kind::Product),
            Column::required("quantity", Amount),
            Column::required("status", Text).absent(Absent::Counts),
        ];
        match self {
            TableKind::Sale => SALE,
            TableKind::SaleItem => SALE_ITEM,
            TableKind::Payment => PAYMENT,
            TableKind::Customer => CUSTOMER,
            TableKind::CustomerTransaction => CUSTOMER_TRANSACTION,
            TableKind::Session => SESSION,
            TableKind::Product => PRODUCT,
            TableKind::ProductName => PRODUCT_NAME,
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
