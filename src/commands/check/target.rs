//! The target: whether our role may have its schemas there, and their version; whether position and slot agree.

use std::cmp::Ordering;

use tokio_postgres::Client;

use super::Findings;
use crate::apply::migrate;
use crate::config::Config;
use crate::source::slot;
use crate::sql::ident;

const SCHEMA: &str = "SELECT pg_has_role(nspowner, 'USAGE') OR (has_schema_privilege(oid, 'CREATE') AND \
                      has_schema_privilege(oid, 'USAGE')) FROM pg_namespace WHERE nspname = $1";
const MAY_CREATE: &str = "SELECT has_database_privilege(current_database(), 'CREATE'), current_user::text";

pub(super) async fn check(
    source: &Client,
    target: &Client,
    config: &Config,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let row = target.query_one(MAY_CREATE, &[]).await?;
    let (may_create, role): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    let mut usable = true;
    for schema in [config.target.schema.clone(), config.state_schema()] {
        let owned: Option<bool> = target.query_opt(SCHEMA, &[&schema]).await?.map(|r| r.try_get(0)).transpose()?;
        match owned {
            Some(true) => {}
            None if may_create => {}
            Some(false) => {
                usable = false;
                let fix = format!("ALTER SCHEMA {} OWNER TO {};", ident(&schema), ident(&role));
                findings.problem("report schema", format!("{schema} belongs to another role"), fix);
            }
            None => {
                usable = false;
                let fix = format!("CREATE SCHEMA {} AUTHORIZATION {};", ident(&schema), ident(&role));
                findings.problem("report schema", format!("{role} may not create {schema}"), fix);
            }
        }
    }
    if !usable {
        return Ok(());
    }
    let schema = &config.target.schema;
    let (found, known) = (migrate::version(target, schema).await?, migrate::latest());
    match found.cmp(&known) {
        _ if found == 0 => {
            findings.ok("report schema", format!("{schema} is not there yet; init makes it"));
            return Ok(());
        }
        Ordering::Less => {
            let what = format!("{schema} is at version {found}, this program needs {known}");
            findings.problem("report schema", what, "-- run: tillstream init");
        }
        Ordering::Greater => {
            let what = format!("{schema} is at version {found}, this program knows {known}");
            findings.problem("report schema", what, "-- install the newer program");
        }
        Ordering::Equal => findings.ok("report schema", format!("{schema} is at version {found}")),
    }
    let query = format!("SELECT slot, lsn::text FROM {}.position", ident(&config.state_schema()));
    if found >= 2
        && let Some(row) = target.query_opt(&query, &[]).await?
        && !slot::exists(source, &config.source.slot).await?
    {
        let lsn: String = row.try_get(1)?;
        let what = format!(
            "{} is gone while the reports stand at {lsn}; what happened since cannot be read",
            config.source.slot
        );
        findings.problem("slot", what, "-- run: tillstream resync");
    }
    Ok(())
}
