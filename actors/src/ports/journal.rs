//! The journal of one shard, as a port.

use async_trait::async_trait;
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use std::fmt;
use std::sync::Arc;

/// Why the journal did not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    /// The proposal may or may not have been applied: rebuild from the journal.
    #[error("learn whether the proposal was applied: {0}")]
    Unknown(String),
    /// Nothing was proposed: this node does not lead the shard, or is not ready to.
    #[error("propose here: {0}")]
    NotLeader(String),
    /// The store cannot take more: its disk is full or damaged.
    #[error("use the store: {0}")]
    Store(String),
}

/// The journal of one shard. All reads are linearizable, and refused before the shard is ready.
#[async_trait]
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Applies a proposal whole or not at all, durably. When this returns `Ok`, it is on disk.
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError>;

    /// Returns when this node has shown, after the call, that it leads the shard: nobody else led
    /// it at the time of the call, and all that was acknowledged until then can be read here.
    async fn confirm(&self) -> Result<(), JournalError>;

    /// The entries of an entity behind the first `after`, in order.
    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError>;

    /// The head of an entity; `None` where it has no entries.
    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError>;

    /// Heads of one kind below `before` (from the end where `None`), newest first, at most `limit`.
    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError>;

    /// The entities whose wake-up is due, earliest first, behind `after`, at most `limit`.
    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError>;
}

/// A journal that several actors use.
pub type SharedJournal = Arc<dyn Journal>;
