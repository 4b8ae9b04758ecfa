//! Which stores there are and what is to become of each: found, copied, set aside, gone. The states are those of
//! `{reports}.tenant`; every change of them is written by the session's writer, between two batches.
//!
//! ```text
//! discovered ─> published ─> copying ─> live ──(rows or tables that cannot be used)──> quarantined ─ resync ─> copying
//!                               ^        │ └──(schema dropped or excluded)──> gone ─(it is back)─> discovered
//!                               └────────┘ truncated, re-typed, rewritten, unpublished for a while, resync
//! ```
//! A store is taken by the assembler exactly while its stored state is `live`: otherwise the position could move past
//! changes that nobody has.

use std::collections::{BTreeMap, BTreeSet};

use super::assembler::FaultReason;
use super::definitions::{Difference, definitions, difference};
use super::error::{EngineError, lost_connection};
use super::prepare::scope;
use super::scout::Found;
use super::session::Session;
use super::vitals::answer;
use crate::apply::Writer;
use crate::domain::TenantId;
use crate::source::catalog::StoreTables;
use crate::source::publication::PublicationError;

/// What is said of a store that is gone.
pub const GONE: &str = "its schema is not there any more, or is excluded; its reports stay until: \
                        tillstream resync --tenant {store} --purge";

/// A store as the report table has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    pub name: String,
    pub state: String,
    /// What it was read by, once it was copied.
    pub copied: Option<(TenantId, String)>,
}

/// What is to be done about a store that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Nothing,
    /// Its partitions are others; that makes no difference if these have no rows.
    Look(Vec<u32>),
    Quarantine(String),
    Copy,
    /// It is live, and has to be copied again.
    CopyAgain {
        why: String,
        /// Some changes were not sent for a while, and this stream may go on not to send them.
        stale: bool,
    },
}

/// Decides about a store that was found. `definitions`: what it would be read by now. `unpublished`: a table of it that
/// is not published and should be.
pub fn next(known: Option<&Known>, store: &StoreTables, definitions: &str, unpublished: Option<&str>) -> Next {
    let copied = known.and_then(|known| Some((known.state.as_str(), &known.copied.as_ref()?.1)));
    match (copied, trouble(store)) {
        (Some(("quarantined", _)), _) => Next::Nothing,
        // Whoever is live needs no more than the stream.
        (Some(("live", _)), Some(_)) if store.publishable() => Next::Nothing,
        (_, Some(trouble)) => Next::Quarantine(trouble),
        (Some(("live", old)), None) => match (unpublished, difference(old, definitions)) {
            (Some(table), _) => Next::CopyAgain { why: format!("{table} was not published"), stale: true },
            (None, None) => Next::Nothing,
            (None, Some(Difference::Holds { if_empty })) => Next::Look(if_empty),
            (None, Some(Difference::Reread { why, unpublished })) => Next::CopyAgain { why, stale: unpublished },
        },
        _ => Next::Copy,
    }
}

/// Why a store cannot be followed, with the statements that mend it.
fn trouble(store: &StoreTables) -> Option<String> {
    let all: Vec<String> = store.problems.iter().map(|p| format!("{}; mend: {}", p.what, p.fix_sql)).collect();
    (!store.healthy()).then(|| all.join("; "))
}

impl Session {
    /// Does what follows from a look at the source's catalogue.
    pub(super) async fn look_at(&mut self, found: Result<Found, EngineError>) -> Result<(), EngineError> {
        let Found { discovery, drift } = match found {
            Ok(found) => found,
            Err(e) if self.until.is_some() || matches!(e, EngineError::Definite(_)) => return Err(e),
            Err(EngineError::Database(e)) if !lost_connection(&e) => {
                tracing::warn!("looking for stores: {}", crate::apply::describe(&e));
                return Ok(());
            }
            // Where the source is gone, the stream tells.
            Err(e) => {
                tracing::debug!("looking for stores: {e}");
                return Ok(());
            }
        };
        if drift.too_wide {
            return Err(PublicationError::Foreign { name: self.config.source.publication.clone() }.into());
        }
        if !drift.exists {
            return Err(EngineError::Moved(format!("publication {:?} is gone", self.config.source.publication)));
        }
        for problem in discovery.problems.iter().filter(|_| self.looks == 0) {
            tracing::warn!(problem = %problem.what, mend = %problem.fix_sql, "discovery");
        }
        self.looks += 1;
        let roster = self.roster().await?;
        let mut suspected = BTreeMap::new();
        for store in &discovery.stores {
            let known = roster.get(&store.schema);
            let tables = store.tables.values().map(|t| crate::sql::qualified(&store.schema, &t.name));
            let unpublished = match drift.options_wrong {
                true => Some("all that happens to its rows".to_string()),
                false => tables.into_iter().find(|table| drift.add.contains(table)),
            };
            if self.unfit.contains(&store.schema) {
                continue;
            }
            let now = definitions(&self.config, &scope(&self.config, store), store, &drift);
            match next(known, store, &now, unpublished.as_deref()) {
                // A store that is being created, or migrated in several steps, is well a moment later.
                Next::Quarantine(why)
                    if known.is_none_or(|k| k.state != "quarantined")
                        && self.suspected.get(&store.schema) != Some(&why) =>
                {
                    suspected.insert(store.schema.clone(), why);
                }
                next => self.follow_up(store, known, next, &now).await?,
            }
            if known.is_some_and(|known| known.name != store.display_name) {
                let Some(writer) = &self.writer else { return Ok(()) };
                let statement = writer.sql.text("rename_tenant");
                writer.client.execute(statement, &[&store.schema, &store.display_name]).await?;
            }
        }
        let copied = |name: &String| roster.get(name).is_some_and(|known| known.copied.is_some());
        if self.until.is_some() && !suspected.is_empty() || suspected.keys().any(copied) {
            self.look_soon();
        }
        self.suspected = suspected;
        let there: BTreeSet<&str> = discovery.stores.iter().map(|store| store.schema.as_str()).collect();
        for (name, _) in roster.iter().filter(|(name, k)| k.state != "gone" && !there.contains(name.as_str())) {
            self.copier.abandon(name);
            self.unfit.remove(name);
            self.withdraw(name).await?;
            self.set_state(name, "gone", Some(&GONE.replace("{store}", name))).await?;
            self.forget_copy(name).await?;
            tracing::warn!(store = %name, "store is gone; its reports stay");
        }
        Ok(())
    }

    async fn follow_up(
        &mut self,
        store: &StoreTables,
        known: Option<&Known>,
        next: Next,
        definitions: &str,
    ) -> Result<(), EngineError> {
        let name = &store.schema;
        let next = match next {
            Next::Look(partitions) => match self.occupied(store, &partitions).await? {
                Some(partition) => Next::CopyAgain { why: format!("partition {partition} was attached"), stale: false },
                None => {
                    let Some(writer) = &self.writer else { return Ok(()) };
                    writer.client.execute(writer.sql.text("set_definitions"), &[name, &definitions]).await?;
                    Next::Nothing
                }
            },
            other => other,
        };
        match next {
            Next::Nothing | Next::Look(_) => {}
            Next::Quarantine(why) => {
                self.copier.abandon(name);
                self.withdraw(name).await?;
                self.register(store, known, "quarantined").await?;
                self.quarantine(name, &why).await?;
            }
            Next::Copy if self.copier.has(name) => {}
            Next::Copy => {
                match known {
                    None => tracing::info!(store = %name, "found a store"),
                    Some(known) if known.state == "gone" => {
                        tracing::info!(store = %name, "store is back");
                        self.set_state(name, "discovered", None).await?;
                    }
                    Some(_) => {}
                }
                self.register(store, known, "discovered").await?;
                self.copier.want(name);
            }
            Next::CopyAgain { why, stale } => {
                self.withdraw(name).await?;
                self.set_state(name, "copying", None).await?;
                tracing::warn!(store = %name, reason = %why, "store is copied again");
                if stale {
                    self.stale.insert(name.clone());
                }
                self.copier.want(name);
            }
        }
        Ok(())
    }

    /// A partition among these that has rows.
    async fn occupied(&self, store: &StoreTables, partitions: &[u32]) -> Result<Option<String>, EngineError> {
        let leaves = store.tables.values().flat_map(|table| &table.identities);
        for leaf in leaves.filter(|leaf| partitions.contains(&leaf.oid)) {
            let table = crate::sql::qualified(&leaf.schema, &leaf.table);
            let query = format!("SELECT EXISTS (SELECT FROM {table})");
            match answer("source", self.source.query_one(&query, &[])).await {
                Ok(row) if !row.try_get::<_, bool>(0)? => {}
                Ok(_) => return Ok(Some(table)),
                // Not to be read by our role, or gone already: then the store is copied, to be sure.
                Err(EngineError::Database(e)) if !lost_connection(&e) => return Ok(Some(table)),
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    pub(super) async fn roster(&self) -> Result<BTreeMap<String, Known>, EngineError> {
        let Some(writer) = &self.writer else { return Ok(BTreeMap::new()) };
        let mut roster = BTreeMap::new();
        for row in writer.client.query(writer.sql.text("read_roster"), &[]).await? {
            let (id, definitions): (Option<i32>, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
            let copied = id.map(TenantId).zip(definitions);
            roster.insert(row.try_get(0)?, Known { name: row.try_get(1)?, state: row.try_get(2)?, copied });
        }
        Ok(roster)
    }

    /// Its line in the report table, where it has none.
    async fn register(&mut self, store: &StoreTables, known: Option<&Known>, state: &str) -> Result<(), EngineError> {
        let Some(writer) = self.writer.as_ref().filter(|_| known.is_none()) else { return Ok(()) };
        let zone = self.config.tenants.zone_of(&store.schema);
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&store.schema, &store.display_name, &zone.name(), &state, &None::<String>];
        writer.client.execute(writer.sql.text("put_tenant"), &values).await?;
        self.counted = None;
        Ok(())
    }

    /// True: it was another before.
    pub(super) async fn set_state(
        &mut self,
        name: &str,
        state: &str,
        message: Option<&str>,
    ) -> Result<bool, EngineError> {
        let Some(writer) = &self.writer else { return Ok(false) };
        let changed = writer.client.execute(writer.sql.text("set_tenant_state"), &[&name, &state, &message]).await?;
        self.counted = None;
        Ok(changed > 0)
    }

    /// Nothing that is kept of the store is worth anything to its next copy.
    pub(super) async fn forget_copy(&self, name: &str) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        writer.client.execute(writer.sql.text("set_definitions"), &[&name, &""]).await?;
        Ok(())
    }

    /// The caller has made sure that nothing of it is taken any more.
    pub(super) async fn quarantine(&mut self, name: &str, why: &str) -> Result<(), EngineError> {
        if self.set_state(name, "quarantined", Some(why)).await? {
            tracing::error!(store = %name, problem = %why, "store is quarantined, the others go on; tillstream status says what to do");
        }
        Ok(())
    }

    /// Nothing of the store is taken or written from now on. What is half written of a source transaction is given up: it
    /// would be committed with a part of this store's. The caller says on record what becomes of the store.
    pub(super) async fn withdraw(&mut self, name: &str) -> Result<(), EngineError> {
        let Some((id, live)) = self.assembler.stores.by_name(name).map(|s| (s.id, s.live)) else { return Ok(()) };
        // Also of one that is set aside whole transactions may wait to be written.
        self.assembler.forget(id);
        if live { self.give_up(id).await } else { Ok(()) }
    }

    async fn give_up(&mut self, id: TenantId) -> Result<(), EngineError> {
        if self.writer.as_ref().is_some_and(Writer::is_open) {
            self.read_again().await?;
        }
        let Some(writer) = &self.writer else { return Ok(()) };
        for (request, answer) in self.jobs.abandon(id, writer, &self.clock).await? {
            self.answer(request, answer).await?;
        }
        Ok(())
    }

    /// Nothing more of this store is taken: on record, before anything of what is left out is committed.
    pub(super) async fn set_aside(&mut self, tenant: TenantId, reason: FaultReason) -> Result<(), EngineError> {
        let Some(name) = self.assembler.stores.get(tenant).map(|s| s.name.clone()) else { return Ok(()) };
        self.assembler.stores.set_aside(tenant);
        self.give_up(tenant).await?;
        match reason {
            FaultReason::Unusable(message) => self.quarantine(&name, &message).await,
            FaultReason::Changed(message) => {
                self.withdraw(&name).await?;
                self.set_state(&name, "copying", None).await?;
                tracing::warn!(store = %name, reason = %message, "store is copied again");
                self.copier.want_anew(&name);
                Ok(())
            }
        }
    }

    /// Nothing is to be copied, and that is known.
    pub(super) fn roster_is_settled(&self) -> bool {
        self.looks > 0 && self.suspected.is_empty() && self.copier.is_idle()
    }
}
