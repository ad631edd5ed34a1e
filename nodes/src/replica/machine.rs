//! A shard's state, as openraft wants it: over the node's one file of state.
//!
//! *Building* a snapshot makes the state durable and names that point: the log may be purged up to
//! there. *Getting* one takes a picture of the state, for a follower that the log can't help.

use super::log::failed;
use super::record::Mark;
use super::types::{
    Batch, Entry, Group, LogId, Membership, Payload, Snapshot, SnapshotMeta, StorageError, Verdicts,
};
use crate::store::{Batch as Applying, Fault, State};
use openraft::storage::{RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use otto_core::ids::ShardId;
use std::sync::Arc;

/// One shard's state.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    shard: ShardId,
    state: State,
    /// Who belongs to the group as of the last applied entry.
    members: Membership,
}

impl Machine {
    pub(super) fn new(shard: ShardId, state: State) -> Self {
        Self { shard, state, members: Membership::default() }
    }

    fn mark(&self) -> Result<Mark, StorageError> {
        let bytes = self.state.mark(self.shard).map_err(|fault| failed(&fault))?;
        read_mark(&bytes.unwrap_or_default())
    }
}

fn read_mark(bytes: &[u8]) -> Result<Mark, StorageError> {
    Mark::from_bytes(bytes).map_err(|unreadable| failed(&unreadable))
}

fn named(mark: Mark, what: &str, snapshot: Snapshot) -> RaftSnapshot<Group> {
    let index = mark.applied.map_or(0, |id| id.index);
    let meta = SnapshotMeta {
        last_log_id: mark.applied,
        last_membership: mark.members,
        snapshot_id: format!("{what}-{index}"),
    };
    RaftSnapshot { meta, snapshot: Box::new(snapshot) }
}

impl RaftSnapshotBuilder<Group> for Machine {
    async fn build_snapshot(&mut self) -> Result<RaftSnapshot<Group>, StorageError> {
        let settled = self.state.settle(self.shard).await.map_err(|fault| failed(&fault))?;
        Ok(named(read_mark(&settled)?, "point", Snapshot::Point))
    }
}

impl RaftStateMachine<Group> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let Mark { applied, members } = self.mark()?;
        self.members = members.clone();
        Ok((applied, members))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Verdicts>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = None;
        let mut proposals = Vec::new();
        for entry in entries {
            applied = Some(entry.log_id);
            proposals.push(match entry.payload {
                Payload::Blank => Arc::default(),
                Payload::Normal(Batch(proposals)) => proposals,
                Payload::Membership(members) => {
                    self.members = Membership::new(applied, members);
                    Arc::default()
                }
            });
        }
        let mark = Mark { applied, members: self.members.clone() }.to_bytes();
        let batch = Applying { shard: self.shard, entries: proposals, mark };
        let verdicts = self.state.apply(batch).await.map_err(|fault| failed(&fault))?;
        Ok(verdicts.into_iter().map(Verdicts).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Snapshot>, StorageError> {
        Ok(Box::new(Snapshot::Point))
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        _snapshot: Box<Snapshot>,
    ) -> Result<(), StorageError> {
        let detail = "a group of one node was sent a snapshot".to_owned();
        Err(failed(&Fault::Stopped(detail)))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot<Group>>, StorageError> {
        let picture = self.state.picture(self.shard).map_err(|fault| failed(&fault))?;
        let Some(picture) = picture else { return Ok(None) };
        let mark = read_mark(&picture.mark)?;
        Ok(Some(named(mark, "picture", Snapshot::Picture(picture))))
    }
}
