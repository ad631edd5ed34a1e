//! A shard's journal: proposals, and reads that hold all that was acknowledged before.
//!
//! With several voters a read needs a majority's word, given after the read was asked for, that
//! nobody else leads. Readers that wait meanwhile share the next such word.

use super::gather::Waiting;
use super::shard::Shard;
use super::types::Raft;
use async_trait::async_trait;
use otto_actors::ports::journal::{Journal, JournalError};
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a majority may take for its word.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reader that waits for a majority's word.
pub(super) type Asking = oneshot::Sender<Result<(), String>>;

/// Asks the majority for all that wait, again and again, until nobody can ask any more.
pub(super) async fn confirm(raft: Raft, mut inbox: mpsc::Receiver<Asking>) {
    while let Some(first) = inbox.recv().await {
        let mut asking = vec![first];
        while let Ok(another) = inbox.try_recv() {
            asking.push(another);
        }
        let word = tokio::time::timeout(PATIENCE, raft.ensure_linearizable()).await;
        let word = match word {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no majority answers".to_owned()),
        };
        for reader in asking {
            // A reader that has left needs no answer.
            reader.send(word.clone()).ok();
        }
    }
}

impl Shard {
    /// Up to which entry the shard is agreed on at this moment.
    pub(super) async fn reach(&self) -> Result<u64, JournalError> {
        self.linearize().await?;
        Ok(self.view().applied)
    }

    /// Before every read: what is read must hold all that was acknowledged before.
    async fn linearize(&self) -> Result<(), JournalError> {
        let term = self.serves()?;
        if self.is_alone() {
            return Ok(());
        }
        let (asking, word) = oneshot::channel();
        let stopped = || JournalError::NotLeader(format!("shard {} was stopped", self.id));
        self.readers.send(asking).await.map_err(|_| stopped())?;
        let word = word.await.map_err(|_| stopped())?;
        word.map_err(JournalError::NotLeader)?;
        // Who led again meanwhile must be ready again, too.
        if self.serves()? == term { Ok(()) } else { Err(stopped()) }
    }
}

#[async_trait]
impl Journal for Shard {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.serves()?;
        let (answer, verdict) = oneshot::channel();
        let gone = |_| JournalError::NotLeader(format!("shard {} was stopped", self.id));
        self.proposals.send(Waiting { proposal, answer }).await.map_err(gone)?;
        let lost = || JournalError::Unknown(format!("shard {} was stopped", self.id));
        verdict.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.linearize().await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.linearize().await?;
        Ok(self.state.entries(self.id, entity, after)?)
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.linearize().await?;
        Ok(self.state.head(self.id, entity)?)
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.linearize().await?;
        Ok(self.state.heads(self.id, kind, before, limit)?)
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.linearize().await?;
        Ok(self.state.due(self.id, until, after, limit)?)
    }
}
