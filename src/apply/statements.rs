//! The SQL of the write path: named statements from sql/, rendered for one pair of schemas, prepared once a session.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use crate::sql::ident;

const FILES: [&str; 16] = [
    include_str!("../../sql/apply/load.sql"),
    include_str!("../../sql/apply/facts.sql"),
    include_str!("../../sql/apply/staging.sql"),
    include_str!("../../sql/apply/source_keys.sql"),
    include_str!("../../sql/apply/sums.sql"),
    include_str!("../../sql/apply/show.sql"),
    include_str!("../../sql/apply/whole.sql"),
    include_str!("../../sql/apply/position.sql"),
    include_str!("../../sql/apply/control.sql"),
    include_str!("../../sql/apply/jobs.sql"),
    include_str!("../../sql/rebuild/sums.sql"),
    include_str!("../../sql/rebuild/show.sql"),
    include_str!("../../sql/rebuild/tenant.sql"),
    include_str!("../../sql/rebuild/days.sql"),
    include_str!("../../sql/rebuild/roll.sql"),
    include_str!("../../sql/rebuild/prune.sql"),
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

/// Replaces `{+part rows +n}` by the named part, with its `{rows}` replaced by the word after its name, and its parameters
/// counted from n. Parts have parts.
fn assemble(text: &str, parts: &HashMap<&'static str, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{+") {
        out.push_str(before);
        let (name, left) = after.split_once('}').unwrap_or((after, ""));
        let mut words = name.split(' ');
        let part = words.next().unwrap_or(name);
        let (mut rows, mut before) = ("", 0);
        for word in words {
            match word.strip_prefix('+').and_then(|count| count.parse().ok()) {
                Some(count) => before = count,
                None => rows = word,
            }
        }
        // A part that is not there stays as it is named: PostgreSQL refuses it, and so does the test below.
        let part = parts.get(part).map_or(part, String::as_str);
        out.push_str(&after_parameters(before, &assemble(&part.replace("{rows}", rows), parts)));
        rest = left;
    }
    out.push_str(rest);
    out
}

/// `$1` becomes `$4` where three parameters come before it.
fn after_parameters(before: usize, text: &str) -> String {
    let mut pieces = text.split('$');
    let mut out = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        let (number, rest) = piece.split_at(piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len()));
        let moved = number.parse::<usize>().map_or(number.to_string(), |number| (number + before).to_string());
        out.extend(["$", &moved, rest]);
    }
    out
}

impl Statements {
    pub fn new(reports: &str, state: &str) -> Statements {
        let parts: HashMap<&'static str, String> = FILES.into_iter().flat_map(named).collect();
        let texts = parts.iter().map(|(name, text)| (*name, render(&assemble(text, &parts), reports, state)));
        Statements { texts: texts.collect(), prepared: HashMap::new() }
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

    /// The prepared statement, else its text.
    pub fn statement(&self, name: &'static str) -> Result<Statement, String> {
        self.prepared.get(name).cloned().ok_or_else(|| self.text(name).to_string())
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
    use super::super::whole::WHOLE;
    use super::*;

    #[test]
    fn every_statement_is_found_and_filled_in() {
        let statements = Statements::new("analytics", "analytics_state");
        assert!(statements.texts.len() > 50, "{}", statements.texts.len());
        for (name, text) in &statements.texts {
            assert!(!text.is_empty() && !text.contains("{+") && !text.contains("{state}"), "{name}: {text}");
        }
        let text = statements.text("add_customers");
        assert!(text.contains("FROM settled u CROSS JOIN LATERAL (SELECT t.tenant"), "{text}");
    }

    #[test]
    fn parts_are_put_together() {
        let part = |name, text: &str| (name, text.to_string());
        let parts = HashMap::from([part("outer", "<{+inner {rows}} of {rows}>"), part("inner", "[{rows}]")]);
        assert_eq!(assemble("a {+outer u} b {+inner v}", &parts), "a <[u] of u> b [v]");
    }

    #[test]
    fn parameters_are_counted_on() {
        let part = |name, text: &str| (name, text.to_string());
        let parts = HashMap::from([part("outer", "$1 {+inner +1} {rows}"), part("inner", "($1, $12::date)")]);
        assert_eq!(assemble("$1, {+outer u +9}, {+inner}$2", &parts), "$1, $10 ($11, $22::date) u, ($1, $12::date)$2");
    }

    #[test]
    fn a_whole_batch_takes_the_parameters_of_its_parts() {
        let statements = Statements::new("analytics", "analytics_state");
        let count = |name| {
            let text = statements.text(name);
            let numbers = text.split('$').skip(1).map(|piece| piece.split(|c: char| !c.is_ascii_digit()).next());
            numbers.flatten().filter_map(|number| number.parse::<usize>().ok()).max().unwrap_or(0)
        };
        for (name, parameters) in WHOLE {
            assert_eq!(count(name), parameters, "{name}");
        }
        assert_eq!(count("write_whole"), WHOLE.iter().map(|(_, parameters)| parameters).sum::<usize>());
    }
}
