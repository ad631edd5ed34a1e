//! A shard's state, as openraft wants it: over the node's one file of state.
//!
//! *Building* a snapshot makes the state durable and names that point: the log may be purged up to
//! there. *Getting* one takes a picture of the state, for a follower that the log can't help.

use super::log::failed;
use super::record::Mark;
use super::types::{
    Batch, Entry, Group, LogId, Membership, Payload, Snapshot, SnapshotMeta, StorageError, Verdicts,
};
use crate::store::{Batch as Applying, Fault, Picture, State, StoreFile};
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

    fn mark(&self) -> Result<Mark, Fault> {
        let bytes = self.state.mark(self.shard)?;
        read_mark(&bytes.unwrap_or_default())
    }

    /// Makes the state durable; answers up to where it is.
    async fn settle(&self) -> Result<Mark, Fault> {
        read_mark(&self.state.settle(self.shard).await?)
    }

    /// Takes a picture of the state; `None` where nothing was applied yet.
    fn picture(&self) -> Result<Option<(Mark, Picture)>, Fault> {
        let Some(picture) = self.state.picture(self.shard)? else { return Ok(None) };
        Ok(Some((read_mark(&picture.mark)?, picture)))
    }
}

fn read_mark(bytes: &[u8]) -> Result<Mark, Fault> {
    Mark::from_bytes(bytes).map_err(|unreadable| Fault::unreadable(StoreFile::State, &unreadable))
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
        let settled = self.settle().await.map_err(|fault| failed(&fault))?;
        Ok(named(settled, "point", Snapshot::Point))
    }
}

impl RaftStateMachine<Group> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let Mark { applied, members } = self.mark().map_err(|fault| failed(&fault))?;
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
        meta: &SnapshotMeta,
        snapshot: Box<Snapshot>,
    ) -> Result<(), StorageError> {
        let Snapshot::Picture(picture) = *snapshot else {
            let detail = "a shard was to be replaced by a snapshot without content".to_owned();
            return Err(failed(&Fault::Stopped(detail)));
        };
        let mark = Mark { applied: meta.last_log_id, members: meta.last_membership.clone() };
        let installed = self.state.install(self.shard, &picture, mark.to_bytes()).await;
        installed.map_err(|fault| failed(&fault))?;
        self.members = mark.members;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot<Group>>, StorageError> {
        let taken = self.picture().map_err(|fault| failed(&fault))?;
        Ok(taken.map(|(mark, picture)| named(mark, "picture", Snapshot::Picture(picture))))
    }
}
