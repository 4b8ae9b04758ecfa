//! Everything before the stream: the writer's lock, migrations, slot and position, publication, copies of new stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::json;
use tokio_postgres::Client;

use super::Progress;
use super::clock::Clock;
use super::error::EngineError;
use super::position::{Decision, StoredPosition, decide};
use super::stores::{Store, Stores};
use crate::apply::copy::{self, CopyError, NewStore, Snapshot};
use crate::apply::{Statements, Writer, migrate};
use crate::config::{Config, OnSlotLost, StockSource, TableKind};
use crate::domain::{BusinessDay, TenantId};
use crate::lsn::Lsn;
use crate::source::catalog::{self, ResolvedStock, StoreTables};
use crate::source::{ExportedSnapshot, Identity, publication, slot};
use crate::verify::TenantScope;

/// What a session starts with.
pub struct Prepared {
    pub writer: Writer,
    /// Where the writer stands, and in what.
    pub stored: StoredPosition,
    pub source: Client,
    pub stores: Stores,
    /// What discovery found: a later one that differs means a new session.
    pub discovered: Vec<StoreTables>,
}

/// A store as it is registered in the target.
#[derive(Debug, Clone)]
pub struct Registered {
    pub id: TenantId,
    pub definitions: String,
    pub horizon: BusinessDay,
    pub today: BusinessDay,
    pub floor: Lsn,
    pub state: String,
}

pub fn statements(config: &Config) -> Statements {
    Statements::new(&config.target.schema, &config.state_schema())
}

/// Who the source is, asked over SQL. The timeline is that of the WAL being written: the control file learns of a
/// promotion only with the next checkpoint.
pub async fn identity(source: &Client) -> Result<Identity, EngineError> {
    let row = source
        .query_one(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
                    CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint()) \
                         ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END, \
                    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END, \
                    current_database()::text",
            &[],
        )
        .await?;
    let timeline: i32 = row.try_get(1)?;
    Ok(Identity {
        system_identifier: row.try_get(0)?,
        timeline: u32::try_from(timeline).unwrap_or_default(),
        flushed: row.try_get(2)?,
        database: row.try_get(3)?,
    })
}

pub async fn stored_position(
    target: &Client,
    sql: &Statements,
) -> Result<Option<StoredPosition>, tokio_postgres::Error> {
    let row = target.query_opt(sql.text("read_position"), &[]).await?;
    row.map(|row| {
        Ok(StoredPosition {
            slot: row.try_get(0)?,
            database: row.try_get(1)?,
            system_identifier: row.try_get(2)?,
            timeline: row.try_get(3)?,
            lsn: row.try_get(4)?,
        })
    })
    .transpose()
}

async fn store_position(
    target: &Client,
    sql: &Statements,
    config: &Config,
    source: &Identity,
    lsn: Lsn,
) -> Result<(), EngineError> {
    let timeline = i32::try_from(source.timeline).unwrap_or(i32::MAX);
    target
        .execute(
            sql.text("create_position"),
            &[&config.source.slot, &source.database, &source.system_identifier, &timeline, &lsn],
        )
        .await?;
    Ok(())
}

/// Stores that the target knows, by name.
pub async fn registered(
    target: &Client,
    sql: &Statements,
) -> Result<BTreeMap<String, Registered>, tokio_postgres::Error> {
    let rows = target.query(sql.text("read_tenants"), &[]).await?;
    rows.iter()
        .map(|row| {
            let store = Registered {
                id: TenantId(row.try_get(0)?),
                definitions: row.try_get(4)?,
                horizon: row.try_get(5)?,
                today: row.try_get(6)?,
                floor: row.try_get(7)?,
                state: row.try_get(8)?,
            };
            Ok((row.try_get(1)?, store))
        })
        .collect()
}

/// What a store's facts are read by. Another value than the stored one means that they have to be read again.
fn definitions(config: &Config, scope: &TenantScope) -> String {
    let tables: BTreeMap<&str, _> = config
        .mapping
        .tables
        .iter()
        .filter(|(kind, _)| scope.has.contains(kind))
        .map(|(kind, table)| (kind.name(), json!({ "table": table.table, "columns": table.columns })))
        .collect();
    let (mapping, pay, stock) = (&config.mapping, &config.payments, &config.inventory);
    json!({
        "zone": scope.zone.name(),
        "tables": tables,
        "statuses": [mapping.completed_statuses, mapping.refunded_statuses, mapping.reservation_active_statuses,
                     mapping.transaction_payment_types, mapping.company_types],
        "payments": [pay.cash, pay.card, pay.credit],
        "movements": [stock.incoming, stock.outgoing, stock.signed],
    })
    .to_string()
}

/// A discovered store as the copy and verify see it. Number and days are filled in once it is registered.
pub fn scope(config: &Config, store: &StoreTables) -> TenantScope {
    TenantScope {
        name: store.schema.clone(),
        tenant_id: TenantId(0),
        zone: config.tenants.zone_of(&store.schema),
        today: BusinessDay::default(),
        horizon: BusinessDay::default(),
        stock_source: match store.stock_source {
            ResolvedStock::Movements => StockSource::Movements,
            ResolvedStock::Batches => StockSource::Batches,
        },
        has: store.tables.keys().copied().collect::<BTreeSet<TableKind>>(),
    }
}

/// Gets everything ready for the stream. The lock on `target` is held already.
///
/// # Errors
/// See [`EngineError`].
pub async fn prepare(
    config: &Arc<Config>,
    mut target: Client,
    clock: &Clock,
    progress: &Progress,
) -> Result<Prepared, EngineError> {
    let sql = statements(config);
    if config.target.auto_migrate {
        migrate::migrate(&mut target, &config.target.schema).await?;
    } else {
        migrate::require_latest(&target, &config.target.schema).await?;
    }
    let source = config.source.connection.connect("tillstream").await?;
    let identity = identity(&source).await?;
    let position = position(config, &source, &target, &sql, &identity).await?;
    let gone = || EngineError::Moved("the stored position is gone".to_string());
    let stored = stored_position(&target, &sql).await?.filter(|s| s.lsn == position).ok_or_else(gone)?;
    target.execute(sql.text("fail_taken_requests"), &[]).await?;
    let rescored = settings(config, &target, &sql).await?;

    let discovery = catalog::discover(&source, config).await?;
    for problem in &discovery.problems {
        tracing::warn!(problem = %problem.what, mend = %problem.fix_sql, "discovery");
    }
    let published = publication::ensure(&source, config, &discovery.stores).await?;
    unpublished(config, &target, &sql, &discovery.stores, &published.added).await?;
    let copied = copy_new(config, &mut target, &sql, &discovery.stores, clock, progress).await?;
    let stores = load_stores(config, &target, &sql, &discovery.stores).await?;
    let writer = Writer::new(target, sql, position, stores.horizons()).await?;
    if rescored {
        for store in stores.iter().filter(|s| s.live && !copied.contains(&s.name)) {
            tracing::info!(store = %store.name, "customer rows follow the new rfm settings");
            writer.client.query_one(writer.sql.text("show_all_customer_analytics"), &[&store.id.0]).await?;
        }
    }
    Ok(Prepared { writer, stored, source, stores, discovered: discovery.stores })
}

/// Where to go on, or why not.
async fn position(
    config: &Config,
    source: &Client,
    target: &Client,
    sql: &Statements,
    identity: &Identity,
) -> Result<Lsn, EngineError> {
    let name = &config.source.slot;
    let stored = stored_position(target, sql).await?;
    let info = slot::info(source, name).await?;
    match decide(stored.as_ref(), info.as_ref(), identity, name) {
        Decision::Continue(lsn) => Ok(lsn),
        Decision::Begin(lsn) => {
            store_position(target, sql, config, identity, lsn).await?;
            Ok(lsn)
        }
        Decision::CreateSlot => {
            // The publication has to be there before the slot: the slot looks at it as it was then.
            begin_anew(config, source, target, sql, identity).await
        }
        Decision::Lost(why) if config.source.on_slot_lost == OnSlotLost::Resync => {
            tracing::warn!(%why, "everything is copied again, as on_slot_lost = \"resync\" says");
            slot::drop(source, name).await?;
            begin_anew(config, source, target, sql, identity).await
        }
        Decision::Lost(why) => Err(EngineError::Definite(format!(
            "{why}; changes since then are lost to the stream: run `tillstream resync`, or set on_slot_lost = \"resync\""
        ))),
        Decision::Refuse(why) => Err(EngineError::Definite(why)),
    }
}

/// A new slot, and the position it begins at.
async fn begin_anew(
    config: &Config,
    source: &Client,
    target: &Client,
    sql: &Statements,
    identity: &Identity,
) -> Result<Lsn, EngineError> {
    let discovery = catalog::discover(source, config).await?;
    publication::ensure(source, config, &discovery.stores).await?;
    let lsn = slot::create(source, &config.source.slot).await?;
    store_position(target, sql, config, identity, lsn).await?;
    tracing::info!(slot = %config.source.slot, %lsn, "created the replication slot");
    Ok(lsn)
}

/// Writes the thresholds where the row definitions read them. True: they are others than before.
async fn settings(config: &Config, target: &Client, sql: &Statements) -> Result<bool, EngineError> {
    let window = i32::try_from(config.rfm.window_days).unwrap_or(i32::MAX);
    let recency: Vec<i32> = config.rfm.recency_days.iter().map(|d| i32::try_from(*d).unwrap_or(i32::MAX)).collect();
    let frequency: Vec<i64> = config.rfm.frequency.iter().map(|n| i64::try_from(*n).unwrap_or(i64::MAX)).collect();
    let monetary = config.rfm.monetary.to_vec();
    let same = match target.query_opt(sql.text("read_settings"), &[]).await? {
        None => true,
        Some(row) => {
            row.try_get::<_, i32>(0)? == window
                && row.try_get::<_, Vec<i32>>(1)? == recency
                && row.try_get::<_, Vec<i64>>(2)? == frequency
                && row.try_get::<_, Vec<rust_decimal::Decimal>>(3)? == monetary
        }
    };
    target.execute(sql.text("put_settings"), &[&window, &recency, &frequency, &monetary]).await?;
    Ok(!same)
}

/// A live store of which a table had to be published again has missed changes: it is copied again.
async fn unpublished(
    config: &Config,
    target: &Client,
    sql: &Statements,
    found: &[StoreTables],
    added: &[String],
) -> Result<(), EngineError> {
    let known = registered(target, sql).await?;
    for store in found.iter().filter(|s| known.get(&s.schema).is_some_and(|r| r.state == "live")) {
        let missed = store.tables.values().find(|t| added.contains(&crate::sql::qualified(&store.schema, &t.name)));
        if let Some(table) = missed {
            let publication = &config.source.publication;
            tracing::warn!(store = %store.schema, table = %table.name, %publication, "table was not published: the store is copied again");
            target.execute(sql.text("set_tenant_state"), &[&store.schema, &"copying", &None::<String>]).await?;
        }
    }
    Ok(())
}

/// Copies every healthy store that has no copy yet, or one made by other definitions. Gives the names of the copied.
async fn copy_new(
    config: &Config,
    target: &mut Client,
    sql: &Statements,
    found: &[StoreTables],
    clock: &Clock,
    progress: &Progress,
) -> Result<BTreeSet<String>, EngineError> {
    let known = registered(target, sql).await?;
    let mut copied = BTreeSet::new();
    let mut snapshot: Option<ExportedSnapshot> = None;
    for store in found {
        let mut scope = scope(config, store);
        let zone = scope.zone.name();
        if !store.healthy() {
            let what: Vec<String> = store.problems.iter().map(|p| format!("{}; mend: {}", p.what, p.fix_sql)).collect();
            let message = what.join("; ");
            tracing::error!(store = %store.schema, problem = %message, "store is quarantined");
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&store.schema, &store.display_name, &zone, &"quarantined", &message];
            target.execute(sql.text("put_tenant"), &values).await?;
            continue;
        }
        let definitions = definitions(config, &scope);
        match known.get(&store.schema) {
            Some(r) if r.state == "live" && r.definitions == definitions => continue,
            Some(r) if r.state == "quarantined" && r.definitions == definitions => continue,
            Some(r) if r.state == "live" => {
                tracing::warn!(store = %store.schema, "its definitions changed in the config: it is copied again");
            }
            _ => {}
        }
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&store.schema, &store.display_name, &zone, &"copying", &None::<String>];
        target.execute(sql.text("put_tenant"), &values).await?;
        let snapshot = match &snapshot {
            Some(snapshot) => snapshot,
            None => {
                tracing::info!("waiting for the transactions that are running at the source, for an exact snapshot");
                let settings = config.source.connection.replication(
                    &config.source.slot,
                    &config.source.publication,
                    "tillstream copy",
                );
                snapshot.insert(ExportedSnapshot::create(settings).await?)
            }
        };
        let today = clock.now().with_timezone(&scope.zone).date_naive();
        scope.today = today;
        let horizon = today - chrono::Days::new(u64::from(config.schedule.retention_days));
        let new = NewStore { name: store.schema.clone(), definitions, horizon, today };
        progress.says(&format!("copying store {} ({} stores copied so far)", store.schema, copied.len()));
        progress.copy_begins();
        let result = copy_one(config, target, sql, snapshot, &mut scope, &new, progress).await;
        progress.work_ends();
        match result {
            Ok(_) => {
                copied.insert(store.schema.clone());
                // The reports do not depend on it.
                if let Err(e) = crate::commands::compat::install_for_new_store(target, config, &store.schema).await {
                    tracing::warn!(store = %store.schema, "no compat views: {}", crate::told::chain(&e));
                }
            }
            Err(EngineError::Copy(CopyError::Unusable(message))) => {
                tracing::error!(store = %store.schema, problem = %message, "store is quarantined");
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&store.schema, &store.display_name, &zone, &"quarantined", &message];
                target.execute(sql.text("put_tenant"), &values).await?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(copied)
}

async fn copy_one(
    config: &Config,
    target: &mut Client,
    sql: &Statements,
    snapshot: &ExportedSnapshot,
    scope: &mut TenantScope,
    new: &NewStore,
    progress: &Progress,
) -> Result<u64, EngineError> {
    let mut reader = config.source.connection.connect("tillstream copy").await?;
    let reader = copy::inside(&mut reader, &snapshot.name).await?;
    let write = target.transaction().await?;
    let moved = || progress.moved();
    let from = Snapshot { client: &reader, position: snapshot.position, moved: &moved };
    let rows = copy::store(&from, &write, sql, config, scope, new).await?;
    write.commit().await?;
    Ok(rows)
}

/// The registered stores that are there, with their tables.
async fn load_stores(
    config: &Config,
    target: &Client,
    sql: &Statements,
    found: &[StoreTables],
) -> Result<Stores, EngineError> {
    let known = registered(target, sql).await?;
    let mut stores = Stores::default();
    for store in found {
        let Some(r) = known.get(&store.schema) else { continue };
        let tables: HashMap<String, TableKind> = store.tables.iter().map(|(kind, t)| (t.name.clone(), *kind)).collect();
        stores.put(Store {
            id: r.id,
            name: store.schema.clone(),
            zone: config.tenants.zone_of(&store.schema),
            today: r.today,
            horizon: r.horizon,
            floor: r.floor,
            tables,
            live: r.state == "live",
        });
    }
    Ok(stores)
}
