//! A role of few privileges owns no table of the POS, so it can neither publish those of a store that appears later nor
//! read them. PostgreSQL has no privilege for that short of ownership (or superuser, for whole schemas), so an administrator
//! leaves a few functions behind that do it with its own rights, and nothing else: sql/admin/functions.sql.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::catalog::StoreTables;
use super::publication::OPTIONS;
use crate::config::Config;
use crate::sql::{ident, literal};

/// Where the functions are: a schema of their own for each publication, and nobody's but the administrator's.
pub fn schema(config: &Config) -> String {
    format!("{}_admin", config.source.publication)
}

/// What the administrator runs; again after the patterns or the mapping have changed.
pub fn statements(config: &Config, role: &str) -> String {
    let array = |texts: &mut dyn Iterator<Item = &str>| {
        let texts: Vec<String> = texts.map(literal).collect();
        format!("ARRAY[{}]::text[]", texts.join(", "))
    };
    let (tenants, publication) = (&config.tenants, &config.source.publication);
    include_str!("../../sql/admin/functions.sql")
        .replace("{admin}", &ident(&schema(config)))
        .replace("{admin_name}", &literal(&schema(config)))
        .replace("{role}", &ident(role))
        .replace("{role_name}", &literal(role))
        .replace("{publication}", &ident(publication))
        .replace("{publication_name}", &literal(publication))
        .replace("{options}", OPTIONS)
        .replace("{schemas}", &array(&mut tenants.schemas.iter().map(String::as_str)))
        .replace("{exclude}", &array(&mut tenants.exclude.iter().map(String::as_str)))
        .replace("{tables}", &array(&mut config.mapping.tables.values().map(|t| t.table.as_str())))
        .replace("{reports}", &literal(&config.target.schema))
        .replace("{state}", &literal(&config.state_schema()))
}

/// Whether the functions are there for our role.
///
/// # Errors
/// What the server says.
pub async fn available(client: &Client, config: &Config) -> Result<bool, tokio_postgres::Error> {
    let query = "SELECT coalesce(has_schema_privilege(to_regnamespace(quote_ident($1)), 'USAGE'), false)";
    client.query_one(query, &[&schema(config)]).await?.try_get(0)
}

/// Has the store's tables made readable for our role. False: that is not for it to have done.
///
/// # Errors
/// What the server says.
pub async fn admit(client: &Client, config: &Config, store: &StoreTables) -> Result<bool, tokio_postgres::Error> {
    let tables: Vec<&str> = store.tables.values().map(|t| t.name.as_str()).collect();
    let call = format!("SELECT {}.admit($1, $2)", ident(&schema(config)));
    match client.execute(&call, &[&store.schema, &tables]).await {
        Ok(_) => Ok(true),
        Err(e) if not_ours(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A statement that has one of the functions do something.
pub(super) fn call(config: &Config, function: &str, argument: Option<&str>) -> String {
    format!("SELECT {}.{function}({});", ident(&schema(config)), argument.map(literal).unwrap_or_default())
}

/// The functions are not there, not ours to call, or do not take this for a table of a store.
pub(super) fn not_ours(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION];
    error.code().is_some_and(|code| codes.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn names_are_quoted_wherever_they_stand() {
        let text = "[source]\nurl = 'postgresql://u@h/d'\npublication = 'It''s'\n[tenants]\nschemas = [\"o'%\"]\n"
            .replace("'It''s'", "\"It's\"");
        let config = Config::parse("daemon.toml", &text, &|_| None).unwrap();
        let sql = statements(&config, "Role \"x\"");
        assert!(!sql.contains("{admin") && !sql.contains("{role") && !sql.contains("{tables}"), "{sql}");
        for part in ["\"It's_admin\".publish", "'It''s'", "ARRAY['o''%']::text[]", "\"Role \"\"x\"\"\"", "'sales_sale'"]
        {
            assert!(sql.contains(part), "{part} is not in\n{sql}");
        }
    }
}
