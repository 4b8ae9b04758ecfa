//! `init`: report schema, publication, slot. Running it again changes nothing that is right already.

use anyhow::{Context, bail};
use tokio_postgres::Client;

use super::{Outcome, grants, say, tell};
use crate::apply::migrate;
use crate::cli::InitArgs;
use crate::config::{Config, Connection};
use crate::source::catalog::{Discovery, discover};
use crate::source::{self, publication, slot};
use crate::sql::{ident, literal};

const APPLICATION: &str = "tillstream init";
/// The first with `publish_via_partition_root`, binary pgoutput and everything else we ask of it.
pub const MIN_SERVER_VERSION: i32 = 140_000;

/// # Errors
/// What could not be set up, and what to do about it.
pub async fn run(config: &Config, args: &InitArgs) -> anyhow::Result<Outcome> {
    let admin = match &args.admin_url {
        Some(url) => Some(super::admin(url)?.connect(APPLICATION).await?),
        None => None,
    };
    if args.print_sql {
        print_sql(config, admin.as_ref()).await?;
        return Ok(Outcome::Done);
    }
    if let Some(admin) = &admin {
        prepare(config, admin).await?;
    }
    let source = config.source.connection.connect(APPLICATION).await?;
    refuse_unfit(&source).await?;
    let mut target = config.target_connection().connect(APPLICATION).await?;

    let migrated = migrate::migrate(&mut target, &config.target.schema).await?;
    match (migrated.from, migrated.to) {
        (from, to) if from == to => tell(format!("schema       {} is at version {to}", config.target.schema)),
        (0, to) => tell(format!("schema       {} created, version {to}", config.target.schema)),
        (from, to) => tell(format!("schema       {} upgraded from version {from} to {to}", config.target.schema)),
    }
    let publisher = admin.as_ref().unwrap_or(&source);
    let stores = discover(publisher, config).await.context("cannot read the catalogue")?;
    let changes = publication::ensure(publisher, config, &stores.stores).await?;
    let name = &config.source.publication;
    match (changes.created, changes.added.len(), changes.dropped.len()) {
        (true, tables, _) => tell(format!("publication  {name} created with {tables} tables")),
        (false, 0, 0) => tell(format!("publication  {name} is right")),
        (false, added, dropped) => tell(format!("publication  {name}: {added} tables added, {dropped} dropped")),
    }
    let name = &config.source.slot;
    if ensure_slot(config, &source, &target).await? {
        tell(format!("slot         {name} created"));
    } else {
        tell(format!("slot         {name} is there"));
    }
    let healthy = stores.stores.iter().filter(|s| s.healthy()).count();
    tell(format!("stores       {healthy} of {} can be followed", stores.stores.len()));
    warn_of(&stores);
    Ok(Outcome::Done)
}

/// Stores that stay out are no reason to stop the others; they are told of.
fn warn_of(discovery: &Discovery) {
    for store in &discovery.stores {
        for problem in &store.problems {
            eprintln!("warning: store {}: {}; {}", store.schema, problem.what, problem.fix_sql);
        }
    }
    for problem in &discovery.problems {
        eprintln!("warning: {}; {}", problem.what, problem.fix_sql);
    }
    if discovery.stores.is_empty() {
        eprintln!("warning: no schema that [tenants] schemas matches has any of the mapped tables");
    }
}

async fn refuse_unfit(source: &Client) -> anyhow::Result<()> {
    let query = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                 current_setting('wal_level'), pg_is_in_recovery()";
    let row = source.query_one(query, &[]).await?;
    if row.try_get::<_, i32>(0)? < MIN_SERVER_VERSION {
        bail!("PostgreSQL {} is too old; 14 or newer is needed", row.try_get::<_, String>(1)?);
    }
    let wal_level: String = row.try_get(2)?;
    if wal_level != "logical" {
        bail!(
            "wal_level is {wal_level}, logical is needed; run ALTER SYSTEM SET wal_level = logical; and restart PostgreSQL"
        );
    }
    if row.try_get(3)? {
        bail!("the source is a standby; connect to the primary");
    }
    Ok(())
}

/// Whether the slot had to be made.
async fn ensure_slot(config: &Config, source: &Client, target: &Client) -> anyhow::Result<bool> {
    let name = &config.source.slot;
    if let Some(info) = slot::info(source, name).await? {
        if info.plugin.as_deref() != Some("pgoutput")
            || info.database.as_deref() != Some(config.source.connection.database())
        {
            bail!("slot {name:?} is another program's (plugin or database differ); set [source] slot to another name");
        }
        if info.lost() {
            bail!("slot {name:?} has lost its log; run tillstream resync, or tillstream drop and tillstream init");
        }
        return Ok(false);
    }
    // A new slot starts now; what happened since the stored position would be missing without a word.
    let query = format!("SELECT lsn::text FROM {}.position", ident(&config.state_schema()));
    if let Some(row) = target.query_opt(&query, &[]).await? {
        let lsn: String = row.try_get(0)?;
        bail!(
            "slot {name:?} is gone while the reports stand at {lsn}, and what happened since cannot be read any more; \
             run tillstream resync, or tillstream drop and tillstream init to copy again"
        );
    }
    eprintln!("creating slot {name}; this waits for transactions that are open now");
    slot::create(source, name).await?;
    Ok(true)
}

/// The part of an administrator: role, schemas, grants.
async fn prepare(config: &Config, admin: &Client) -> anyhow::Result<()> {
    for statement in prepare_statements(config, admin).await? {
        let shown = statement.split(" PASSWORD ").next().unwrap_or_default().to_string();
        admin.batch_execute(&statement).await.with_context(|| format!("as administrator: {shown}"))?;
    }
    let functions = source::admin::statements(config, config.source.connection.user());
    admin.batch_execute(&functions).await.context("as administrator: functions for stores that appear later")?;
    Ok(())
}

async fn prepare_statements(config: &Config, admin: &Client) -> anyhow::Result<Vec<String>> {
    let connection = &config.source.connection;
    let role = connection.user();
    let mut statements = Vec::new();
    let found = admin
        .query_opt("SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = $1", &[&role])
        .await
        .context("cannot read roles")?;
    match found.map(|row| row.try_get::<_, bool>(0)).transpose()? {
        Some(true) => {}
        Some(false) => statements.push(format!("ALTER ROLE {} REPLICATION;", ident(role))),
        None => statements.push(create_role(connection)),
    }
    if config.target.connection.is_none() {
        for schema in [config.target.schema.clone(), config.state_schema()] {
            let exists = "SELECT FROM pg_namespace WHERE nspname = $1";
            if admin.query_opt(exists, &[&schema]).await?.is_none() {
                statements.push(format!("CREATE SCHEMA {} AUTHORIZATION {};", ident(&schema), ident(role)));
            }
        }
    }
    let stores = discover(admin, config).await.context("cannot read the catalogue")?;
    statements.extend(grants::read_grants(config, &stores.stores, role));
    Ok(statements)
}

/// The server gets the verifier, so that no log of statements holds the password.
fn create_role(connection: &Connection) -> String {
    let password = connection.pg.get_password().map_or_else(String::new, |password| {
        format!(" PASSWORD {}", literal(&postgres_protocol::password::scram_sha_256(password)))
    });
    format!("CREATE ROLE {} LOGIN REPLICATION{password};", ident(connection.user()))
}

async fn print_sql(config: &Config, admin: Option<&Client>) -> anyhow::Result<()> {
    let own;
    let source = match admin {
        Some(admin) => admin,
        None => {
            own = config.source.connection.connect(APPLICATION).await?;
            &own
        }
    };
    if admin.is_some() {
        say("-- role and grants, as administrator")?;
        for statement in prepare_statements(config, source).await? {
            match statement.split_once(" PASSWORD ") {
                Some((role, _)) => say(format!("{role} PASSWORD '...';"))?,
                None => say(statement)?,
            }
        }
        say(source::admin::statements(config, config.source.connection.user()))?;
    }
    let from = if admin.is_some() && config.target.connection.is_none() {
        migrate::version(source, &config.target.schema).await?
    } else {
        let target = config.target_connection().connect(APPLICATION).await?;
        migrate::version(&target, &config.target.schema).await?
    };
    say(format!("-- report schema, as {} at the target", ident(config.target_connection().user())))?;
    say(migrate::print_sql(&config.target.schema, from, migrate::latest()))?;
    let stores = discover(source, config).await.context("cannot read the catalogue")?;
    say("-- publication, as the owner of the tables")?;
    for statement in publication::print_sql(source, config, &stores.stores).await? {
        say(statement)?;
    }
    if !slot::exists(source, &config.source.slot).await? {
        say("-- slot, after the publication")?;
        say(format!("SELECT pg_create_logical_replication_slot({}, 'pgoutput');", literal(&config.source.slot)))?;
    }
    warn_of(&stores);
    Ok(())
}
