//! What every call reads, kept in memory for the epoch in which it was read.

use std::hash::Hash;
use std::sync::Arc;

use moka::sync::Cache;
use uuid::Uuid;

use super::agents::AgentState;
use super::connections::{Connection, StoredField, Viewer};
use super::integrations::UploadRecord;
use super::keys::KeyRecord;
use crate::identity::ProjectId;
use crate::vault::Sealed;

/// How many answers of a kind are kept; of lists, how many entries in all.
const CAPACITY: u64 = 10_000;
const LIST_CAPACITY: u64 = 100_000;

/// Answers, by the epoch that they hold in and the question.
pub(super) type Answers<K, V> = Cache<(u64, K), V>;

/// The questions that each call asks.
pub(super) struct Caches {
    /// By the key's hash.
    pub(super) keys: Answers<[u8; 32], Option<KeyRecord>>,
    pub(super) connections: Answers<(ProjectId, Viewer), Arc<Vec<Connection>>>,
    /// By the connection.
    pub(super) fields: Answers<(ProjectId, Uuid), Arc<Vec<StoredField>>>,
    /// By the secret's name.
    pub(super) secrets: Answers<(ProjectId, String), Option<Arc<Sealed>>>,
    pub(super) uploads: Answers<ProjectId, Arc<Vec<UploadRecord>>>,
    /// By the agent's name.
    pub(super) agents: Answers<(ProjectId, String), Option<Arc<AgentState>>>,
}

impl Caches {
    /// Empty ones.
    pub(super) fn new() -> Self {
        Self {
            keys: Cache::new(CAPACITY),
            connections: of_lists(),
            fields: of_lists(),
            secrets: Cache::new(CAPACITY),
            uploads: of_lists(),
            agents: Cache::new(CAPACITY),
        }
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.keys.invalidate_all();
        self.connections.invalidate_all();
        self.fields.invalidate_all();
        self.secrets.invalidate_all();
        self.uploads.invalidate_all();
        self.agents.invalidate_all();
    }
}

/// Bounded by the entries of its lists and not by their number: a hundred lists may be long ones.
fn of_lists<K: Hash + Eq + Send + Sync + 'static, T: Send + Sync + 'static>() -> Cache<K, Arc<Vec<T>>> {
    let weight = |_: &K, list: &Arc<Vec<T>>| u32::try_from(list.len()).unwrap_or(u32::MAX).saturating_add(1);
    Cache::builder().max_capacity(LIST_CAPACITY).weigher(weight).build()
}
