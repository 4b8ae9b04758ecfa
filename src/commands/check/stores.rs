//! The stores: mapping against real tables, replica identities, privileges; and what the publication lacks.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::Findings;
use crate::config::Config;
use crate::facts::Form;
use crate::source::catalog::{StoreTables, discover};
use crate::source::{admin, forms, publication};
use crate::sql::{ident, qualified};

pub(super) async fn check(source: &Client, config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let discovery = discover(source, config).await?;
    for store in &discovery.stores {
        for problem in &store.problems {
            findings.problem(&store.schema, &problem.what, &problem.fix_sql);
        }
        if store.healthy() {
            let missing: Vec<&str> = store.missing_optional.iter().map(|k| k.name()).collect();
            let without = if missing.is_empty() { String::new() } else { format!(", without {}", missing.join(", ")) };
            let tables: BTreeSet<u32> = store.tables.values().map(|table| table.oid).collect();
            let (tables, stock) = (tables.len(), store.stock_source.name());
            findings.ok(&store.schema, format!("{tables} tables, stock from {stock}{without}"));
        }
    }
    for problem in &discovery.problems {
        findings.problem("registry", &problem.what, &problem.fix_sql);
    }
    for schema in &discovery.without_tables {
        let fix = format!("-- leave it out: [tenants] exclude = [{schema:?}]");
        findings.warning(schema, "matches [tenants] schemas and has none of the mapped tables", fix);
    }
    if discovery.stores.is_empty() {
        let what = format!("no schema like {} has any of the mapped tables", config.tenants.schemas.join(" or "));
        findings.problem("stores", what, "-- set [tenants] schemas and [source.tables]");
    }
    check_temporary(source, config, &discovery.stores, findings).await?;
    check_publication(source, config, &discovery.stores, findings).await
}

/// What is kept of keys and items is brought to the source in temporary tables.
async fn check_temporary(
    source: &Client,
    config: &Config,
    stores: &[StoreTables],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let query =
        "SELECT has_database_privilege(current_database(), 'TEMPORARY'), current_database()::text, current_user::text";
    let row = source.query_one(query, &[]).await?;
    let (allowed, database, role): (bool, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if allowed {
        return Ok(());
    }
    let fix = format!("GRANT TEMPORARY ON DATABASE {} TO {};", ident(&database), ident(&role));
    let text = stores.iter().find(|store| forms(config, store).values().any(|form| *form == Form::Text));
    match text {
        Some(store) => {
            let what = format!("may make no temporary tables; copying {} needs one, its keys being text", store.schema);
            findings.problem("role", format!("{role} {what}"), fix);
        }
        None => findings.warning("role", format!("{role} may make no temporary tables, which verify needs"), fix),
    }
    Ok(())
}

async fn check_publication(
    source: &Client,
    config: &Config,
    stores: &[StoreTables],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let name = &config.source.publication;
    let drift = publication::drift(source, config, stores).await?;
    let mut not_ours: Vec<String> = stores
        .iter()
        .filter(|s| s.publishable())
        .flat_map(|s| s.tables.values().filter(|t| !t.owned).map(|t| qualified(&s.schema, &t.name)))
        .collect();
    not_ours.sort();
    if drift.none() {
        findings.ok("publication", format!("{name} has the mapped tables"));
        if !not_ours.is_empty() && admin::available(source, config).await? {
            findings
                .ok("new stores", format!("are admitted and published by the functions in {}", admin::schema(config)));
        } else if !not_ours.is_empty() {
            findings.warning(
                "publication",
                "our role owns no POS tables, so it cannot publish a new store's; such a store waits until somebody does",
                "-- run tillstream init --admin-url URL once: it leaves functions behind that do it",
            );
        }
        return Ok(());
    }
    let statements = drift.statements(name).join("\n");
    let may_create: bool =
        source.query_one("SELECT has_database_privilege(current_database(), 'CREATE')", &[]).await?.try_get(0)?;
    if !drift.exists && not_ours.is_empty() && may_create {
        findings.ok("publication", format!("{name} is not there yet; init makes it"));
    } else if !drift.exists {
        let why = match not_ours.first() {
            Some(table) => format!("our role does not own {table}"),
            None => "our role may not create in this database".to_string(),
        };
        let hint = "-- as an administrator, or: tillstream init --admin-url URL";
        findings.problem("publication", format!("{name} is missing and {why}"), format!("{hint}\n{statements}"));
    } else {
        let what = if drift.too_wide {
            format!("{name} publishes all tables or whole schemas, which could break the POS's own writes")
        } else {
            let options = if drift.options_wrong { ", its options are wrong" } else { "" };
            format!("{name} lacks {} tables and has {} too many{options}", drift.add.len(), drift.drop.len())
        };
        let by = if drift.owned { "-- tillstream init does it" } else { "-- as its owner" };
        let owner = if drift.owned { String::new() } else { format!(" ({})", ident(&drift.owner)) };
        findings.problem("publication", what, format!("{by}{owner}\n{statements}"));
    }
    Ok(())
}
