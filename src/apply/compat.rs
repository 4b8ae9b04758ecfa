//! `compat install|remove`: views in each store's schema with the names and columns of the report tables that the
//! application keeps by itself, so that its pages go on working. Tables found there are renamed aside and come back.
//!
//! The views belong to the owner of the reports and read them with its rights; the application's roles get rights on
//! the views alone. Writes are accepted and dropped (`{state}.compat_ignore`): a sale must not fail because of us.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::config::Config;
use crate::sql::{ident, literal, qualified};

/// View name and the query that it stands for.
const VIEWS: [(&str, &str); 4] = [
    ("analytics_daily_sales", include_str!("../../sql/compat/analytics_daily_sales.sql")),
    ("analytics_product_performance", include_str!("../../sql/compat/analytics_product_performance.sql")),
    ("analytics_customer", include_str!("../../sql/compat/analytics_customer.sql")),
    ("analytics_inventory_snapshot", include_str!("../../sql/compat/analytics_inventory_snapshot.sql")),
];

/// Comment on a view by which we know it for ours, with nobody's table taken for one.
const MARK: &str = "tillstream compat: live report in the shape of the application's own table";
const ASIDE: &str = "_before_tillstream";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Install,
    Remove,
}

/// What was done in one store's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreChange {
    pub tenant: String,
    /// Views made (install) or dropped (remove).
    pub views: Vec<String>,
    /// Tables renamed aside (install) or brought back (remove), by their own names.
    pub tables: Vec<String>,
}

/// Installs or removes the views in these stores, in all where none is named; all includes stores to come.
///
/// # Errors
/// A store is not known, its schema is not in this database, or the role of `client` lacks a right in it; stores before
/// the one that failed stay done, and running it again goes on from there.
pub async fn run(
    client: &Client,
    config: &Config,
    action: Action,
    tenants: &[String],
) -> anyhow::Result<Vec<StoreChange>> {
    let stores = chosen(client, config, tenants).await?;
    remember(client, config, action, tenants).await?;
    let mut changes = Vec::new();
    for tenant in stores {
        let change = match action {
            Action::Install => install(client, config, &tenant).await,
            Action::Remove => remove(client, config, &tenant).await,
        };
        changes.push(change.with_context(|| format!("store {tenant}"))?);
    }
    Ok(changes)
}

/// For a store that has just appeared: gives it the views if they were asked for everywhere.
///
/// # Errors
/// As [`run`]. The store's reports do not depend on it: log it and go on.
pub async fn install_for_new_store(
    client: &Client,
    config: &Config,
    tenant: &str,
) -> anyhow::Result<Option<StoreChange>> {
    let wanted = format!(
        "SELECT c.installed FROM {}.compat c WHERE c.tenant IN ($1, '*') ORDER BY c.tenant = '*' LIMIT 1",
        ident(&config.state_schema())
    );
    match client.query_opt(&wanted, &[&tenant]).await? {
        Some(row) if row.try_get(0)? => install(client, config, tenant).await.map(Some),
        _ => Ok(None),
    }
}

async fn chosen(client: &Client, config: &Config, tenants: &[String]) -> anyhow::Result<Vec<String>> {
    let query = format!(
        "SELECT t.tenant, to_regnamespace(quote_ident(t.tenant)) IS NOT NULL FROM {}.tenant t ORDER BY 1",
        ident(&config.target.schema)
    );
    let mut known = Vec::new();
    for row in client.query(&query, &[]).await? {
        known.push((row.try_get::<_, String>(0)?, row.try_get::<_, bool>(1)?));
    }
    let mut stores = Vec::new();
    for tenant in tenants {
        match known.iter().find(|(name, _)| name == tenant) {
            Some((_, true)) => stores.push(tenant.clone()),
            Some((_, false)) => bail!(
                "store {tenant} has no schema in this database: the views go where both the application's tables and \
                 the reports are, so [target] must be the POS database"
            ),
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
                bail!("no such store: {tenant}; known are: {}", names.join(", "))
            }
        }
    }
    if tenants.is_empty() {
        if !known.is_empty() && known.iter().all(|(_, here)| !here) {
            bail!("no store has its schema in this database: [target] must be the POS database");
        }
        // A store that is gone from the POS is no reason to refuse the others.
        stores = known.into_iter().filter(|(_, here)| *here).map(|(name, _)| name).collect();
    }
    Ok(stores)
}

async fn remember(client: &Client, config: &Config, action: Action, tenants: &[String]) -> anyhow::Result<()> {
    let compat = qualified(&config.state_schema(), "compat");
    let installed = action == Action::Install;
    if tenants.is_empty() {
        // What was said of single stores before is overruled.
        let all = format!(
            "WITH gone AS (DELETE FROM {compat} WHERE tenant <> '*') \
             INSERT INTO {compat} VALUES ('*', $1) ON CONFLICT (tenant) DO UPDATE SET installed = excluded.installed"
        );
        client.execute(&all, &[&installed]).await?;
    } else {
        let some = format!(
            "INSERT INTO {compat} SELECT DISTINCT t, $2::boolean FROM unnest($1::text[]) AS t \
             ON CONFLICT (tenant) DO UPDATE SET installed = excluded.installed"
        );
        client.execute(&some, &[&tenants, &installed]).await?;
    }
    Ok(())
}

async fn install(client: &Client, config: &Config, tenant: &str) -> anyhow::Result<StoreChange> {
    let mut change = StoreChange { tenant: tenant.to_string(), views: Vec::new(), tables: Vec::new() };
    let roles = application_roles(client, tenant).await?;
    let owner = reports_owner(client, config).await?;
    let mut sql = String::new();
    for (name, query) in VIEWS {
        let view = qualified(tenant, name);
        match found(client, tenant, name).await? {
            Found::Nothing => {}
            Found::Ours => sql += &format!("DROP VIEW {view};\n"),
            Found::Theirs => {
                if !matches!(found(client, tenant, &aside(name)).await?, Found::Nothing) {
                    bail!("both {name} and {} exist; drop the one that is not needed", aside(name));
                }
                // Also for a view: ALTER TABLE renames any kind of relation.
                sql += &format!("ALTER TABLE {view} RENAME TO {};\n", ident(&aside(name)));
                change.tables.push(name.to_string());
            }
        }
        sql += &format!(
            "CREATE VIEW {view} WITH (security_barrier) AS\n{};\n\
             COMMENT ON VIEW {view} IS {};\n\
             CREATE TRIGGER compat_ignore INSTEAD OF INSERT OR UPDATE OR DELETE ON {view} \
             FOR EACH ROW EXECUTE FUNCTION {}.compat_ignore();\n",
            fill(query, config, tenant),
            literal(MARK),
            ident(&config.state_schema()),
        );
        if !roles.is_empty() {
            sql += &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {view} TO {};\n", roles.join(", "));
        }
        if let Some(owner) = &owner {
            sql += &format!("ALTER VIEW {view} OWNER TO {};\n", ident(owner));
        }
        change.views.push(name.to_string());
    }
    apply(client, config, tenant, &sql).await?;
    Ok(change)
}

async fn remove(client: &Client, config: &Config, tenant: &str) -> anyhow::Result<StoreChange> {
    let mut change = StoreChange { tenant: tenant.to_string(), views: Vec::new(), tables: Vec::new() };
    let mut sql = String::new();
    for (name, _) in VIEWS {
        let now = found(client, tenant, name).await?;
        if matches!(now, Found::Ours) {
            sql += &format!("DROP VIEW {};\n", qualified(tenant, name));
            change.views.push(name.to_string());
        }
        let kept = !matches!(found(client, tenant, &aside(name)).await?, Found::Nothing);
        if kept && !matches!(now, Found::Theirs) {
            sql += &format!("ALTER TABLE {} RENAME TO {};\n", qualified(tenant, &aside(name)), ident(name));
            change.tables.push(name.to_string());
        }
    }
    apply(client, config, tenant, &sql).await?;
    Ok(change)
}

fn aside(name: &str) -> String {
    format!("{name}{ASIDE}")
}

fn fill(query: &str, config: &Config, tenant: &str) -> String {
    let query = query.replace("{reports}", &ident(&config.target.schema));
    query
        .replace("{state}", &ident(&config.state_schema()))
        .replace("{tenant}", &literal(tenant))
        .trim_end()
        .to_string()
}

/// All of it or nothing, and without making a sale wait for a lock longer than the configuration allows.
async fn apply(client: &Client, config: &Config, tenant: &str, sql: &str) -> anyhow::Result<()> {
    if sql.is_empty() {
        return Ok(());
    }
    let timeout = config.source.lock_timeout.max(Duration::from_millis(1)).as_millis();
    let result = client.batch_execute(&format!("BEGIN;\nSET LOCAL lock_timeout = '{timeout}ms';\n{sql}COMMIT;")).await;
    let Err(error) = result else { return Ok(()) };
    // The failed statement left the transaction open; it holds locks on the application's tables.
    client.batch_execute("ROLLBACK").await.context("rolling back")?;
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => bail!(
            "{}; it takes the owner of the schema's tables (or a superuser), and for the owner of the reports: \
             GRANT CREATE, USAGE ON SCHEMA {} TO it",
            crate::apply::describe(&error),
            ident(tenant)
        ),
        Some(&SqlState::LOCK_NOT_AVAILABLE) => bail!("a table was in use for more than {timeout} ms; run it again"),
        _ => bail!(crate::apply::describe(&error)),
    }
}

enum Found {
    Nothing,
    Ours,
    Theirs,
}

async fn found(client: &Client, schema: &str, name: &str) -> anyhow::Result<Found> {
    let query = "SELECT c.relkind = 'v' AND coalesce(obj_description(c.oid, 'pg_class') = $3, false) \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname::text = $1 AND c.relname::text = $2";
    Ok(match client.query_opt(query, &[&schema, &name, &MARK]).await? {
        None => Found::Nothing,
        Some(row) if row.try_get(0)? => Found::Ours,
        Some(_) => Found::Theirs,
    })
}

/// Who works with the store's tables: owners of the schema and its tables, and everyone with a right to read one of the
/// application's report tables or our views. Quoted, ready for GRANT.
async fn application_roles(client: &Client, tenant: &str) -> anyhow::Result<Vec<String>> {
    let query = "
        SELECT DISTINCT CASE WHEN w.role = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
        FROM (SELECT n.nspowner AS role FROM pg_namespace n WHERE n.nspname::text = $1
              UNION SELECT c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname::text = $1 AND c.relkind IN ('r', 'p')
              UNION SELECT acl.grantee FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) acl
                    WHERE n.nspname::text = $1 AND c.relname::text = ANY ($2) AND acl.privilege_type = 'SELECT') w
        LEFT JOIN pg_roles r ON r.oid = w.role
        WHERE w.role = 0 OR r.rolname IS NOT NULL ORDER BY 1";
    let names: Vec<&str> = VIEWS.iter().map(|(name, _)| *name).collect();
    let rows = client.query(query, &[&tenant, &names]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// The owner of the reports where that is not who we are: an administrator may run this for the daemon.
async fn reports_owner(client: &Client, config: &Config) -> anyhow::Result<Option<String>> {
    let query = "SELECT r.rolname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 JOIN pg_roles r ON r.oid = c.relowner \
                 WHERE n.nspname::text = $1 AND c.relname = 'daily_sales_report' AND r.rolname <> current_user";
    let row = client.query_opt(query, &[&config.target.schema]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
