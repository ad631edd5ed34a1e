//! A shard as one replica has it: read at any time, wherever it is led, perhaps a moment behind.
//!
//! What is decided is never decided by it. A node learns by it who belongs to its cluster, and a
//! simulation what is on each of its nodes.

use crate::store::{Fault, State};
use async_trait::async_trait;
use otto_actors::ports::journal::{Journal, JournalError};
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;

/// One replica of a shard.
#[derive(Clone, Debug)]
pub struct Glimpse {
    pub(super) shard: ShardId,
    pub(super) state: State,
}

impl Glimpse {
    /// The head of an entity, as far as this replica knows.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn of(&self, entity: EntityId) -> Result<Option<StoredHead>, Fault> {
        self.state.head(self.shard, entity)
    }
}

#[async_trait]
impl Journal for Glimpse {
    async fn propose(&self, _: Proposal) -> Result<Verdict, JournalError> {
        Err(JournalError::NotLeader("a replica alone decides nothing".to_owned()))
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        Err(JournalError::NotLeader("a replica alone may be behind".to_owned()))
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        Ok(self.state.entries(self.shard, entity, after)?)
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        Ok(self.of(entity)?)
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        Ok(self.state.heads(self.shard, kind, before, limit)?)
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        Ok(self.state.due(self.shard, until, after, limit)?)
    }
}
