//! Everything before the stream: migrations, slot and position, the publication where there is none, the stores known.
//! What is new or has changed is found and copied beside the stream, see roster.rs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::Client;

use super::error::EngineError;
use super::position::{Decision, StoredPosition, decide};
use super::roster::GONE;
use super::stores::{Store, Stores};
use crate::apply::{Statements, Writer, migrate};
use crate::config::{Config, OnSlotLost, StockSource, TableKind};
use crate::domain::{BusinessDay, TenantId};
use crate::lsn::Lsn;
use crate::source::catalog::{self, ResolvedStock, StoreTables};
use crate::source::{Identity, publication, slot, timeline_history};
use crate::verify::TenantScope;

/// What a session starts with.
pub struct Prepared {
    pub writer: Writer,
    /// Where the writer stands, and in what.
    pub stored: StoredPosition,
    pub source: Client,
    pub stores: Stores,
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

/// Who the source is, asked over SQL; with its history where it is not on the timeline of the stored position. The timeline is that of the WAL being written: the control file learns of a
/// promotion only with the next checkpoint.
pub async fn identity(
    config: &Config,
    source: &Client,
    stored: Option<&StoredPosition>,
) -> Result<Identity, EngineError> {
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
    let timeline = u32::try_from(row.try_get::<_, i32>(1)?).unwrap_or_default();
    let history = match stored {
        Some(stored) if u32::try_from(stored.timeline) != Ok(timeline) => {
            let (slot, publication) = (&config.source.slot, &config.source.publication);
            let settings = config.source.connection.replication(slot, publication, "tillstream history");
            match timeline_history(settings, timeline).await {
                Err(e) if !e.kind().is_retryable() => {
                    tracing::warn!(timeline, "the source does not tell how its timeline came about: {e}");
                    Vec::new()
                }
                other => other?,
            }
        }
        _ => Vec::new(),
    };
    Ok(Identity {
        system_identifier: row.try_get(0)?,
        timeline,
        flushed: row.try_get(2)?,
        database: row.try_get(3)?,
        history,
    })
}

/// # Errors
/// What the server says.
pub async fn is_standby(source: &Client) -> Result<bool, tokio_postgres::Error> {
    source.query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)
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
        forms: crate::source::forms(config, store),
        filled: crate::source::filled(config, store),
    }
}

/// Gets everything ready for the stream. The lock on `target` is held already. `unreadable`: why the slot, whatever it
/// looks like, cannot be read on.
///
/// # Errors
/// See [`EngineError`].
pub async fn prepare(
    config: &Arc<Config>,
    mut target: Client,
    unreadable: &mut Option<String>,
) -> Result<Prepared, EngineError> {
    let sql = statements(config);
    let source = config.source.connection.connect("tillstream").await?;
    if is_standby(&source).await? {
        return Err(EngineError::Standby);
    }
    if config.target.auto_migrate {
        migrate::migrate(&mut target, &config.target.schema).await?;
    } else {
        migrate::require_latest(&target, &config.target.schema).await?;
    }
    let position = position(config, &source, &target, &sql, unreadable).await?;
    let gone = || EngineError::Moved("the stored position is gone".to_string());
    let stored = stored_position(&target, &sql).await?.filter(|s| s.lsn == position).ok_or_else(gone)?;
    target.execute(sql.text("fail_taken_requests"), &[]).await?;
    let rescored = settings(config, &target, &sql).await?;

    let found = catalog::discover(&source, config).await?.stores;
    if !publication::drift(&source, config, &found).await?.exists {
        publication::ensure(&source, config, &found).await?;
    }
    // Before anything is taken: what happens to them from now on goes past the reports.
    let names: Vec<&str> = found.iter().map(|store| store.schema.as_str()).collect();
    for row in target.query(sql.text("set_gone"), &[&names, &GONE]).await? {
        let store: &str = row.try_get(0)?;
        tracing::warn!(%store, "store is gone; its reports stay");
        target.execute(sql.text("set_definitions"), &[&store, &""]).await?;
    }
    let stores = load_stores(config, &target, &sql, &found).await?;
    let mut writer = Writer::new(target, sql, position, stores.calendar(), config.rfm.window_days).await?;
    writer.totals_from_items = config.mapping.totals_from_items();
    if rescored {
        for store in stores.iter().filter(|s| s.live) {
            tracing::info!(store = %store.name, "customer rows follow the new rfm settings");
            let (transaction, sql) = writer.bulk().await?;
            transaction.execute(sql.text("recount_windows"), &[&store.id.0]).await?;
            transaction.query_one(sql.text("show_all_customer_analytics"), &[&store.id.0]).await?;
            transaction.commit().await?;
        }
    }
    Ok(Prepared { writer, stored, source, stores })
}

/// Where to go on, or why not.
async fn position(
    config: &Config,
    source: &Client,
    target: &Client,
    sql: &Statements,
    unreadable: &mut Option<String>,
) -> Result<Lsn, EngineError> {
    let name = &config.source.slot;
    let stored = stored_position(target, sql).await?;
    let identity = identity(config, source, stored.as_ref()).await?;
    let info = slot::info(source, name).await?;
    let decision = match unreadable.take() {
        Some(why) => Decision::Lost(why),
        None => decide(stored.as_ref(), info.as_ref(), &identity, name),
    };
    match decision {
        Decision::Continue(lsn) => {
            if !identity.history.is_empty() {
                let timeline = identity.timeline;
                tracing::warn!(
                    timeline,
                    "the source has failed over and has all that the reports hold: going on there"
                );
                let number = i32::try_from(timeline).unwrap_or(i32::MAX);
                target.execute(sql.text("follow_timeline"), &[&lsn, &number]).await?;
            }
            Ok(lsn)
        }
        Decision::Begin(lsn) => {
            store_position(target, sql, config, &identity, lsn).await?;
            Ok(lsn)
        }
        Decision::CreateSlot => {
            // The publication has to be there before the slot: the slot looks at it as it was then.
            begin_anew(config, source, target, sql, &identity).await
        }
        Decision::Lost(why) if config.source.on_slot_lost == OnSlotLost::Resync => {
            tracing::warn!(%why, "everything is copied again, as on_slot_lost = \"resync\" says");
            slot::drop(source, name).await?;
            begin_anew(config, source, target, sql, &identity).await
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
        stores.put(load_store(config, store, r, r.state == "live"));
    }
    Ok(stores)
}

/// A registered store with its tables.
pub fn load_store(config: &Config, store: &StoreTables, registered: &Registered, live: bool) -> Store {
    let tables = store.tables.iter().map(|(kind, t)| (t.name.clone(), *kind)).collect();
    Store {
        id: registered.id,
        name: store.schema.clone(),
        zone: config.tenants.zone_of(&store.schema),
        today: registered.today,
        horizon: registered.horizon,
        floor: registered.floor,
        tables,
        forms: crate::source::forms(config, store),
        live,
    }
}
