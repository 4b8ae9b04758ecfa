//! What the server has told about the tables whose rows it sends.

use std::sync::Arc;

use foldhash::HashMap;

use super::error::DecodeError;
use super::reader::Reader;

/// A table as of the changes that follow the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub namespace: String,
    pub name: String,
    pub replica_identity: ReplicaIdentity,
    pub columns: Vec<RelationColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity.
    pub key: bool,
    pub name: String,
    pub type_oid: u32,
    /// The type's modifier (`atttypmod`), -1 for none.
    pub type_modifier: i32,
}

/// `pg_class.relreplident`: which old values UPDATE and DELETE carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key, where there is one.
    Default,
    Nothing,
    Full,
    Index,
}

impl Relation {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let oid = reader.u32("a relation oid")?;
        let namespace = match reader.string("a schema name")? {
            // The server abbreviates its own schema to nothing.
            "" => "pg_catalog",
            name => name,
        };
        let name = reader.string("a relation name")?;
        let at = reader.offset();
        let replica_identity = match reader.u8("a replica identity")? {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            _ => return Err(reader.expected_at(at, "a replica identity (d, n, f or i)")),
        };
        let count = reader.count16("a number of columns")?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(RelationColumn {
                key: reader.u8("column flags")? & 1 != 0,
                name: reader.string("a column name")?.to_string(),
                type_oid: reader.u32("a type oid")?,
                type_modifier: reader.i32("a type modifier")?,
            });
        }
        Ok(Relation { oid, namespace: namespace.to_string(), name: name.to_string(), replica_identity, columns })
    }

    /// The place of a column in this relation's tuples.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}

/// What a Relation message changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationChange {
    New,
    /// Name, columns or identity differ from what was known: columns have to be found again.
    Changed,
    Same,
}

/// The relations of one session. The server sends each one anew after a reconnect, so a cache ends with its session.
#[derive(Debug, Default)]
pub struct RelationCache {
    relations: HashMap<u32, Arc<Relation>>,
}

impl RelationCache {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over a Relation message and tells what it changed.
    pub fn replace(&mut self, relation: Relation) -> (Arc<Relation>, RelationChange) {
        let change = match self.relations.get(&relation.oid) {
            Some(known) if **known == relation => return (Arc::clone(known), RelationChange::Same),
            Some(_) => RelationChange::Changed,
            None => RelationChange::New,
        };
        let relation = Arc::new(relation);
        self.relations.insert(relation.oid, Arc::clone(&relation));
        (relation, change)
    }

    pub fn get(&self, oid: u32) -> Option<&Arc<Relation>> {
        self.relations.get(&oid)
    }

    pub fn len(&self) -> usize {
        self.relations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.relations.is_empty()
    }
}
