//! The stores the daemon knows while it runs, by number and by schema.

use chrono_tz::Tz;
use foldhash::HashMap;

use crate::config::TableKind;
use crate::domain::{BusinessDay, TenantId};
use crate::facts::Forms;
use crate::lsn::Lsn;
use crate::reports::{Calendar, LocalDays};

/// One live store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    pub id: TenantId,
    /// Its name, which is its schema's.
    pub name: String,
    pub zone: Tz,
    /// The local day that its live rows carry.
    pub today: BusinessDay,
    pub horizon: BusinessDay,
    /// Changes committed before this are in already.
    pub floor: Lsn,
    /// Its mapped tables by physical name, and which part each plays; one may play several.
    pub tables: Vec<(String, TableKind)>,
    /// Which of their columns are not read just as they are.
    pub forms: Forms,
    /// Its changes are taken. Not while it is quarantined or waits to be copied.
    pub live: bool,
}

#[derive(Debug, Default)]
pub struct Stores {
    by_id: HashMap<TenantId, Store>,
    by_schema: HashMap<String, TenantId>,
}

impl Stores {
    pub fn put(&mut self, store: Store) {
        self.by_schema.insert(store.name.clone(), store.id);
        self.by_id.insert(store.id, store);
    }

    pub fn get(&self, id: TenantId) -> Option<&Store> {
        self.by_id.get(&id)
    }

    pub fn get_mut(&mut self, id: TenantId) -> Option<&mut Store> {
        self.by_id.get_mut(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Store> {
        self.by_schema.get(name).and_then(|id| self.by_id.get(id))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Store> {
        self.by_id.values()
    }

    /// Which parts a table plays, and for whom.
    pub fn parts(&self, schema: &str, table: &str) -> impl Iterator<Item = (&Store, TableKind)> {
        let store = self.by_name(schema).into_iter();
        store.flat_map(move |store| {
            store.tables.iter().filter(move |(name, _)| name == table).map(move |(_, kind)| (store, *kind))
        })
    }

    /// Whether a transaction whose commit record lies at `final_lsn` is news to the store.
    pub fn takes(&self, id: TenantId, final_lsn: Lsn) -> bool {
        self.by_id.get(&id).is_some_and(|store| store.live && final_lsn >= store.floor)
    }

    pub fn remove(&mut self, id: TenantId) {
        if let Some(store) = self.by_id.remove(&id) {
            self.by_schema.remove(&store.name);
        }
    }

    pub fn set_aside(&mut self, id: TenantId) {
        if let Some(store) = self.by_id.get_mut(&id) {
            store.live = false;
        }
    }

    pub fn calendar(&self) -> Calendar {
        let days = |store: &Store| LocalDays { horizon: store.horizon, today: store.today };
        self.by_id.values().map(|store| (store.id, days(store))).collect()
    }
}
