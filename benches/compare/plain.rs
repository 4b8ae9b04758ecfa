//! The four reports as plain SQL over the POS's tables, computed once.

use anyhow::Result;
use postgres::Client;

/// By the name of the report's table.
pub const QUERIES: [(&str, &str); 4] = [
    ("daily_sales_report", include_str!("sql/plain/daily_sales_report.sql")),
    ("product_performance", include_str!("sql/plain/product_performance.sql")),
    ("customer_analytics", include_str!("sql/plain/customer_analytics.sql")),
    ("inventory_snapshot", include_str!("sql/plain/inventory_snapshot.sql")),
];

/// A statement that needs every column of every row of `rows` and gives one line: the number of rows and a sum of each
/// column that the report has. Equal lines mean equal contents, as far as sums can tell.
pub fn digest(client: &mut Client, report: &str, rows: &str) -> Result<String> {
    let query = "SELECT column_name::text, data_type::text FROM information_schema.columns \
                 WHERE table_schema = 'analytics' AND table_name = $1 \
                   AND column_name NOT IN ('tenant', 'created_at', 'updated_at') ORDER BY ordinal_position";
    let mut sums = vec!["count(*)".to_string()];
    for row in client.query(query, &[&report])? {
        let (name, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        sums.push(match kind.as_str() {
            "boolean" => format!("count(*) FILTER (WHERE {name})"),
            "date" => format!("sum({name} - date '2000-01-01')"),
            "text" => format!("sum(length({name}))"),
            _ => format!("trim_scale(sum({name}::numeric))"),
        });
    }
    Ok(format!("SELECT concat_ws(' ', {}) FROM {rows} AS rows", sums.join(", ")))
}
