//! Tenures: the time for which this process leads a shard.
//!
//! A tenure ends at one moment, wherever its actors are then: from that moment on its journal takes
//! and tells nothing, and the matchmaker takes nothing from it. What still runs of it acts on
//! nothing, until it has been stopped.

use crate::ports::journal::{Journal, JournalError, SharedJournal};
use async_trait::async_trait;
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use std::sync::Arc;
use tokio::sync::watch;

/// One tenure of a shard.
#[derive(Clone, Debug)]
pub(crate) struct Tenure(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    shard: ShardId,
    incarnation: u32,
    over: watch::Sender<bool>,
}

impl Tenure {
    /// A tenure that begins now.
    pub(crate) fn begin(shard: ShardId, incarnation: u32) -> Self {
        Self(Arc::new(Facts { shard, incarnation, over: watch::Sender::new(false) }))
    }

    /// Which shard is led.
    pub(crate) fn shard(&self) -> ShardId {
        self.0.shard
    }

    /// The cluster's incarnation in this tenure: the upper half of its epochs.
    pub(crate) fn incarnation(&self) -> u32 {
        self.0.incarnation
    }

    /// It is over, for good.
    pub(crate) fn end(&self) {
        self.0.over.send_replace(true);
    }

    /// Whether it is.
    pub(crate) fn is_over(&self) -> bool {
        *self.0.over.borrow()
    }

    /// Returns when it is.
    pub(crate) async fn over(&self) {
        // The sender is here, so there is always an answer.
        self.0.over.subscribe().wait_for(|over| *over).await.ok();
    }

    fn check(&self) -> Result<(), JournalError> {
        if self.is_over() {
            let shard = self.0.shard;
            return Err(JournalError::NotLeader(format!("shard {shard} is led elsewhere by now")));
        }
        Ok(())
    }
}

/// The journal of a shard for as long as a tenure lasts.
#[derive(Debug)]
pub(crate) struct TenuredJournal {
    tenure: Tenure,
    journal: SharedJournal,
}

impl TenuredJournal {
    /// This journal, for this tenure.
    pub(crate) fn shared(tenure: Tenure, journal: SharedJournal) -> SharedJournal {
        Arc::new(Self { tenure, journal })
    }

    /// An answer that came while the tenure lasted: a later one may be another leader's.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        self.tenure.check()?;
        let answer = answer.await?;
        self.tenure.check()?;
        Ok(answer)
    }
}

#[async_trait]
impl Journal for TenuredJournal {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.tenure.check()?;
        // What was proposed in time may be applied: its answer stands.
        self.journal.propose(proposal).await
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.within(self.journal.confirm()).await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.within(self.journal.entries(entity, after)).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.within(self.journal.head(entity)).await
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.within(self.journal.heads(kind, before, limit)).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.within(self.journal.due(until, after, limit)).await
    }
}
