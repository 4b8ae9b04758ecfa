//! The SQL of the write path: named statements from sql/, rendered for one pair of schemas, prepared once a session.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::sql::ident;

const FILES: [&str; 12] = [
    include_str!("../../sql/apply/load.sql"),
    include_str!("../../sql/apply/facts.sql"),
    include_str!("../../sql/apply/source_keys.sql"),
    include_str!("../../sql/apply/sums.sql"),
    include_str!("../../sql/apply/position.sql"),
    include_str!("../../sql/apply/control.sql"),
    include_str!("../../sql/rebuild/sums.sql"),
    include_str!("../../sql/rebuild/tenant.sql"),
    include_str!("../../sql/rebuild/days.sql"),
    include_str!("../../sql/rebuild/roll.sql"),
    include_str!("../../sql/rebuild/prune.sql"),
    include_str!("../../sql/apply/jobs.sql"),
];
const SHOW: &str = include_str!("../../sql/apply/show.sql");
const KEYS: &str = include_str!("../../sql/apply/keys.sql");

/// (statement of show.sql, key query of keys.sql, name of the two together)
const SHOWN: [(&str, &str, &str); 10] = [
    ("show_daily_sales", "batch_daily_sales", "show_daily_sales"),
    ("show_product_performance", "batch_product_performance", "show_product_performance"),
    ("show_customer_analytics", "batch_customer_analytics", "show_customer_analytics"),
    ("show_inventory", "batch_inventory", "show_inventory"),
    ("show_daily_sales", "days_daily_sales", "show_days_of_daily_sales"),
    ("show_product_performance", "days_product_performance", "show_days_of_product_performance"),
    ("show_customer_analytics", "all_customer_analytics", "show_all_customer_analytics"),
    ("show_customer_analytics", "some_customer_analytics", "show_some_customer_analytics"),
    ("show_inventory", "all_inventory", "show_all_inventory"),
    ("show_inventory", "some_inventory", "show_some_inventory"),
];

/// Fills in the two schema names.
pub fn render(sql: &str, reports: &str, state: &str) -> String {
    sql.replace("{reports}", &ident(reports)).replace("{state}", &ident(state))
}

/// Splits a file into its `-- name: x` statements, comments dropped.
pub fn named(file: &'static str) -> impl Iterator<Item = (&'static str, String)> {
    file.split("-- name: ").skip(1).filter_map(|part| {
        let (name, body) = part.split_once('\n')?;
        let lines: Vec<&str> = body.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        Some((name.trim(), lines.join("\n").trim().to_string()))
    })
}

/// Statement texts by name, and those prepared on the current session.
#[derive(Debug)]
pub struct Statements {
    texts: HashMap<&'static str, String>,
    prepared: HashMap<&'static str, Statement>,
}

impl Statements {
    pub fn new(reports: &str, state: &str) -> Statements {
        let mut texts: HashMap<&'static str, String> = FILES.into_iter().flat_map(named).collect();
        let show: HashMap<_, _> = named(SHOW).collect();
        let keys: HashMap<_, _> = named(KEYS).collect();
        for (statement, key, name) in SHOWN {
            if let (Some(text), Some(key)) = (show.get(statement), keys.get(key)) {
                texts.insert(name, text.replace("{keys}", key));
            }
        }
        for text in texts.values_mut() {
            *text = render(text, reports, state);
        }
        Statements { texts, prepared: HashMap::new() }
    }

    /// The statement's text; an unknown name is a statement that PostgreSQL refuses by name.
    pub fn text(&self, name: &'static str) -> &str {
        self.texts.get(name).map_or(name, String::as_str)
    }

    /// Prepares what is not prepared yet, all in one go.
    pub async fn prepare(&mut self, client: &Client, names: &[&'static str]) -> Result<(), tokio_postgres::Error> {
        for name in names {
            if !self.prepared.contains_key(name) {
                let statement = client.prepare(self.text(name)).await?;
                self.prepared.insert(name, statement);
            }
        }
        Ok(())
    }

    /// Runs a statement: prepared where it is, else as text.
    pub async fn query(
        &self,
        client: &Client,
        name: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match self.prepared.get(name) {
            Some(statement) => client.query(statement, params).await,
            None => client.query(self.text(name), params).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_found_and_filled_in() {
        let statements = Statements::new("analytics", "analytics_state");
        assert!(statements.texts.len() > 50, "{}", statements.texts.len());
        for (name, text) in &statements.texts {
            assert!(!text.is_empty() && !text.contains("{keys}") && !text.contains("{state}"), "{name}: {text}");
        }
        for (_, _, name) in SHOWN {
            assert!(statements.texts.contains_key(name), "{name}");
        }
    }
}
