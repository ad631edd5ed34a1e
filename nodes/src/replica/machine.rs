//! A shard's state, as openraft wants it: over the node's one file of state.
//!
//! *Building* a snapshot makes the state durable and names that point: the log may be purged up to
//! there. *Getting* one takes a picture of the state, for a follower that the log can't help.

use super::log::failed;
use super::record::{Ballot, Mark, Place, read_entry, read_place, read_vote};
use super::roll::OpeningMark;
use super::types::{
    Batch, Entry, Group, LogId, Membership, Payload, Snapshot, SnapshotMeta, StorageError, Verdicts,
};
use crate::store::{Batch as Applying, Fault, Picture, Slot, State, Store, StoreFile};
use openraft::storage::{RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use otto_core::ids::ShardId;
use otto_core::journal::Unreadable;
use std::sync::Arc;
use tokio::sync::watch;

/// Up to where a shard's state is durable.
pub(super) type Settled = watch::Sender<Option<LogId>>;

/// One shard's state.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    shard: ShardId,
    state: State,
    settled: Arc<Settled>,
    /// Who belongs to the group as of the last applied entry.
    members: Membership,
}

impl Machine {
    pub(super) fn new(shard: ShardId, state: State) -> Self {
        let settled = Arc::new(watch::Sender::new(None));
        Self { shard, state, settled, members: Membership::default() }
    }

    /// What tells up to where the state is durable.
    pub(super) fn settled(&self) -> watch::Receiver<Option<LogId>> {
        self.settled.subscribe()
    }

    fn mark(&self) -> Result<Mark, Fault> {
        let bytes = self.state.mark(self.shard)?;
        read_mark(&bytes.unwrap_or_default())
    }

    /// Makes the state durable; answers up to where it is.
    async fn settle(&self) -> Result<Mark, Fault> {
        let mark = read_mark(&self.state.settle(self.shard).await?)?;
        self.settled.send_replace(mark.applied);
        Ok(mark)
    }

    /// Takes a picture of the state; `None` where nothing was applied yet.
    fn picture(&self) -> Result<Option<(Mark, Picture)>, Fault> {
        let Some(picture) = self.state.picture(self.shard)? else { return Ok(None) };
        Ok(Some((read_mark(&picture.mark)?, picture)))
    }
}

/// What a shard holds when the store was just opened: its vote, and the end of what it has.
pub(super) fn opening_mark(shard: ShardId, store: &Store) -> Result<OpeningMark, Fault> {
    let unreadable = |error: Unreadable| Fault::unreadable(StoreFile::Log, &error);
    let recalled = |slot| store.log.recall(shard, slot);
    let vote = recalled(Slot::Vote)?.map(|bytes| read_vote(&bytes)).transpose();
    let purged = recalled(Slot::Purged)?.map(|bytes| read_place(&bytes)).transpose();
    let entry = store.log.last(shard)?.map(|bytes| read_entry(&bytes)).transpose();
    let entry = entry.map_err(unreadable)?.map(|entry| entry.log_id);
    let applied = read_mark(&store.state.mark(shard)?.unwrap_or_default())?.applied;
    let last = entry.max(purged.map_err(unreadable)?).max(applied);
    let vote = vote.map_err(unreadable)?.map(Ballot::from);
    Ok(OpeningMark { shard, vote, last: last.map(Place::from) })
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
        // It is asked once, when the file was just opened: what is there is on disk.
        self.settled.send_replace(applied);
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
        let Snapshot::Arrived(arrival) = *snapshot else {
            let detail = "a shard was to be replaced by a snapshot that did not arrive".to_owned();
            return Err(failed(&Fault::Stopped(detail)));
        };
        let mark = Mark { applied: meta.last_log_id, members: meta.last_membership.clone() };
        let adopted = self.state.adopt(self.shard, &arrival, mark.to_bytes()).await;
        adopted.map_err(|fault| failed(&fault))?;
        self.settled.send_replace(mark.applied);
        self.members = mark.members;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot<Group>>, StorageError> {
        let taken = self.picture().map_err(|fault| failed(&fault))?;
        Ok(taken.map(|(mark, picture)| named(mark, "picture", Snapshot::Picture(picture))))
    }
}
