//! What an error says to people and to the log: one line, and of a server's message never the part that holds a row.
//!
//! PostgreSQL puts rows into the details of an error ("Failing row contains (…)") and, where a value does not fit a type,
//! the value into the message. Both stay out.

use std::error::Error;

use tokio_postgres::error::DbError;

/// SQLSTATE class of data exceptions, whose messages quote the value.
const DATA_EXCEPTION: &str = "22";

/// What the server said.
pub fn server(error: &DbError) -> String {
    let message = error.message().replace('\n', "; ");
    if error.code().code().starts_with(DATA_EXCEPTION) { unquoted(&message) } else { message }
}

/// A database error with what the server said, not just "db error".
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", server(db), db.code().code()),
        None => error.to_string(),
    }
}

/// The error and its causes on one line, each said once: some name their cause in their own text already. A
/// configuration's problems keep a line each.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(one) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

fn one(error: &(dyn Error + 'static)) -> String {
    if let Some(db) = error.downcast_ref::<DbError>() {
        return server(db);
    }
    match error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error) {
        Some(db) => server(db),
        None => error.to_string(),
    }
}

/// `value "12" is out of range` -> `value "..." is out of range`
fn unquoted(message: &str) -> String {
    let mut parts = message.split('"');
    let mut text = parts.next().unwrap_or_default().to_string();
    // Every other part was between two quotes, or after one that was never closed.
    while parts.next().is_some() {
        text += "\"...\"";
        text += parts.next().unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_quotes_stays_out() {
        for (message, told) in [
            ("division by zero", "division by zero"),
            ("invalid input syntax for type numeric: \"48151623\"", "invalid input syntax for type numeric: \"...\""),
            ("value \"48\" is out of range for type integer", "value \"...\" is out of range for type integer"),
            ("malformed \"a \"b\" c\"", "malformed \"...\"b\"...\""),
            ("never closed: \"48151623", "never closed: \"...\""),
        ] {
            assert_eq!(unquoted(message), told);
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let inner = anyhow::anyhow!("the disk is full");
        let error = inner.context("writing: the disk is full").context("copying");
        assert_eq!(chain(&error), "copying: writing: the disk is full");
    }
}
