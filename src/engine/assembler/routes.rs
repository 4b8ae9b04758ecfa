//! What a row change is to us: by its relation the store and the parts that the table plays, and by those its steps. Where it
//! cannot be used its store is set aside, and nothing of it is taken any more.

use std::sync::Arc;
use std::time::Instant as Moment;

use bytes::Bytes;

use super::{Assembler, Fault, FaultReason, StreamError};
use crate::apply::batch::Step;
use crate::domain::TenantId;
use crate::engine::stores::Store;
use crate::facts::change::TextKey;
use crate::facts::plan::{PlanError, RowError};
use crate::facts::{Change, Plan};
use crate::pgoutput::{self, Message, Relation};

/// What the tuples of a relation are to us.
#[derive(Debug)]
pub(super) enum Route {
    /// Of no store that is known, or of no part of one.
    Ignored,
    /// By part, where a table plays several.
    Planned(Vec<Plan>),
    /// It is a store's table, but not as the mapping says: the store is set aside by the first change of it.
    Broken(TenantId, FaultReason),
}

/// A Relation message as it came.
#[derive(Debug)]
pub(super) struct Seen {
    namespace: Box<str>,
    message: Box<[u8]>,
}

impl Assembler {
    pub(super) fn change(&mut self, bytes: &Bytes, now: Moment) -> Result<(), StreamError> {
        match pgoutput::decode(bytes)? {
            Message::Relation(relation) => {
                let seen = Seen { namespace: relation.namespace.as_str().into(), message: bytes.as_ref().into() };
                self.relations.insert(relation.oid, seen);
                self.route(&relation);
            }
            Message::Insert { relation, new } => {
                self.planned(relation, now, |plan, keys| plan.insert(&new, keys));
            }
            Message::Update { relation, old, new } => {
                self.planned(relation, now, |plan, keys| plan.update(old.as_ref(), &new, keys).map(Some));
            }
            Message::Delete { relation, old } => {
                self.planned(relation, now, |plan, keys| plan.delete(&old, keys).map(Some));
            }
            Message::Truncate { relations, .. } => {
                for (tenant, reason) in relations.iter().filter_map(|oid| self.truncated(oid)).collect::<Vec<_>>() {
                    if self.wanted(tenant) {
                        self.set_aside(tenant, reason);
                    }
                }
            }
            Message::Type { .. } | Message::Origin { .. } | Message::Logical { .. } => {}
            Message::Begin { .. } | Message::Commit { .. } => {
                return Err(StreamError::Order("a transaction boundary among the changes"));
            }
        }
        Ok(())
    }

    /// Whether changes of this tenant in the current transaction are new to the reports.
    fn wanted(&self, tenant: TenantId) -> bool {
        let Some(transaction) = &self.transaction else { return false };
        !transaction.skipped && self.stores.takes(tenant, transaction.final_lsn)
    }

    /// Reads a row change as each part that its table plays.
    fn planned(
        &mut self,
        relation: u32,
        now: Moment,
        read: impl Fn(&Plan, &mut Vec<TextKey>) -> Result<Option<Change>, RowError>,
    ) {
        let (tenant, plans) = match self.routes.get(&relation) {
            Some(Route::Planned(plans)) => match plans.first() {
                Some(plan) => (plan.tenant, Ok(plans)),
                None => return,
            },
            Some(Route::Broken(tenant, reason)) => (*tenant, Err(reason)),
            Some(Route::Ignored) | None => return,
        };
        if !self.wanted(tenant) {
            if self.stores.get(tenant).is_some_and(|store| !store.live) {
                for plan in plans.into_iter().flatten() {
                    *self.counts.passed_over.entry(plan.kind).or_default() += 1;
                }
                if let Some(transaction) = &mut self.transaction {
                    transaction.passes_over = true;
                }
            }
            return;
        }
        let unusable = match plans {
            Ok(plans) => plans.iter().find_map(|plan| {
                self.keys.clear();
                match read(plan, &mut self.keys) {
                    Ok(Some(change)) => {
                        *self.counts.live.entry(plan.kind).or_default() += 1;
                        self.steps.push(Step::new(tenant, change, &mut self.keys));
                        self.since.get_or_insert(now);
                        None
                    }
                    Ok(None) => None,
                    Err(e) => Some(FaultReason::Unusable(e.to_string())),
                }
            }),
            Err(reason) => Some(reason.clone()),
        };
        if let Some(reason) = unusable {
            self.set_aside(tenant, reason);
        }
    }

    fn truncated(&self, oid: u32) -> Option<(TenantId, FaultReason)> {
        match self.routes.get(&oid)? {
            Route::Ignored => None,
            Route::Planned(plans) => {
                let plan = plans.first()?;
                Some((plan.tenant, FaultReason::Changed(format!("{} was truncated", plan.table()))))
            }
            Route::Broken(tenant, reason) => Some((*tenant, reason.clone())),
        }
    }

    /// Finds out anew what a relation is to us: the server sends it again whenever it may have changed.
    fn route(&mut self, relation: &Relation) {
        let name = format!("{}.{}", relation.namespace, relation.name);
        let mut route = Route::Ignored;
        for (store, kind) in self.stores.parts(&relation.namespace, &relation.name) {
            let Some(mapping) = self.config.mapping.tables.get(&kind) else { continue };
            let whose = (store.id, store.zone);
            match (Plan::new(whose, kind, mapping, relation, Arc::clone(&self.words), &store.forms), &mut route) {
                (Ok(plan), Route::Planned(plans)) => plans.push(plan),
                (Ok(plan), _) => route = Route::Planned(vec![plan]),
                (Err(e), _) => {
                    let reason = match &e {
                        // Facts were read by the old type: they are read again by the new one.
                        PlanError::Retyped { .. } => FaultReason::Changed(e.to_string()),
                        _ => FaultReason::Unusable(e.to_string()),
                    };
                    route = Route::Broken(store.id, reason);
                    break;
                }
            }
        }
        // A table that was a store's bears another name now: what happens to it goes past the store.
        if let Some(Route::Planned(plans)) = self.routes.insert(relation.oid, route)
            && let Some(plan) = plans.first()
            && plan.table() != name
            && self.wanted(plan.tenant)
        {
            let reason = format!("{} is called {name} now", plan.table());
            self.set_aside(plan.tenant, FaultReason::Changed(reason));
        }
    }

    /// Takes a store's changes from now on: those of transactions whose commit record lies at or beyond its floor.
    pub fn take_on(&mut self, store: Store) {
        let of_store = |seen: &&Seen| *seen.namespace == *store.name;
        let again: Vec<Box<[u8]>> = self.relations.values().filter(of_store).map(|seen| seen.message.clone()).collect();
        self.stores.put(store);
        for message in again {
            if let Ok(Message::Relation(relation)) = pgoutput::decode(&message) {
                self.route(&relation);
            }
        }
    }

    /// Drops what the current transaction has of the tenant, and everything of it from now on.
    fn set_aside(&mut self, tenant: TenantId, reason: FaultReason) {
        let start = self.transaction.as_ref().map_or(0, |t| t.start);
        self.drop_steps(tenant, start);
        self.faults.push(Fault { tenant, reason });
    }

    /// Drops everything of a tenant that was received and not written, and everything of it from now on.
    pub fn forget(&mut self, tenant: TenantId) {
        self.drop_steps(tenant, 0);
    }

    fn drop_steps(&mut self, tenant: TenantId, from: usize) {
        let start = self.transaction.as_ref().map_or(self.steps.len(), |t| t.start);
        let (mut at, mut kept_before_start) = (0, 0);
        self.steps.retain(|step| {
            let keep = at < from || step.tenant() != Some(tenant);
            kept_before_start += usize::from(keep && at < start);
            at += 1;
            keep
        });
        if let Some(transaction) = &mut self.transaction {
            transaction.start = kept_before_start;
        }
        self.stores.set_aside(tenant);
    }
}
