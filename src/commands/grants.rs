//! What an administrator runs once, so that a role of few privileges is enough for the daemon.

use crate::config::Config;
use crate::source::catalog::StoreTables;
use crate::sql::{ident, qualified};

/// Lets the role read the mapped tables of these stores, and the registry.
pub fn read_grants(config: &Config, stores: &[StoreTables], role: &str) -> Vec<String> {
    let role = ident(role);
    let mut statements = Vec::new();
    for store in stores {
        let mut tables: Vec<String> = store.tables.values().map(|t| qualified(&store.schema, &t.name)).collect();
        // One that plays several parts is named once.
        let mut named = std::collections::HashSet::new();
        tables.retain(|name| named.insert(name.clone()));
        if !tables.is_empty() {
            statements.push(format!("GRANT USAGE ON SCHEMA {} TO {role};", ident(&store.schema)));
            statements.push(format!("GRANT SELECT ON {} TO {role};", tables.join(", ")));
        }
    }
    if let Some(registry) = &config.tenants.registry {
        statements.push(format!("GRANT USAGE ON SCHEMA {} TO {role};", ident(&registry.schema)));
        statements.push(format!("GRANT SELECT ON {} TO {role};", qualified(&registry.schema, &registry.table)));
    }
    statements
}

/// Makes both schemas for the role, where they are not there yet.
pub fn own_schemas(config: &Config, role: &str) -> Vec<String> {
    [config.target.schema.clone(), config.state_schema()]
        .iter()
        .map(|schema| format!("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {};", ident(schema), ident(role)))
        .collect()
}
