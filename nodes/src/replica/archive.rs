//! All shards at one moment: how they are copied, and how a store is made of such a copy.
//!
//! A copy is one read transaction of the state. It holds what this node has applied, so whoever
//! takes it first lets the node catch up. A restored shard is a group of one voter, whose log
//! begins behind what the copy holds: whoever joins it receives the state first.

use super::members::GroupView;
use super::record::{self, Mark};
use super::shard::{Shard, Standing};
use super::types::{LogId, Membership, Vote};
use crate::store::{
    Batch, Disk, Executor, Fault, LogChange, OpenError, Picture, Rows, Slot, Store, StoreConfig,
    Taken,
};
use crate::store::{State, StoreFile};
use openraft::{BasicNode, Membership as RaftMembers};
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{EntityId, Proposal, StoredHead};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Copies all shards of this node.
#[derive(Clone, Debug)]
pub struct Archive {
    state: State,
    groups: BTreeMap<ShardId, Arc<Shard>>,
    /// How many shards there are, without *meta*.
    pub count: u16,
    /// The cluster's incarnation.
    pub incarnation: u32,
}

impl Archive {
    pub(super) fn new(state: State, groups: BTreeMap<ShardId, Arc<Shard>>, store: &Store) -> Self {
        Self { state, groups, count: store.shards, incarnation: store.incarnation }
    }

    /// The groups, as this node sees them, *meta* last.
    pub fn views(&self) -> Vec<GroupView> {
        self.groups.values().map(|shard| shard.view()).collect()
    }

    /// Up to which entry a shard is agreed on now; where this node does not lead it, who does.
    ///
    /// # Errors
    /// Why that cannot be told now.
    pub async fn reach(&self, shard: ShardId) -> Result<Reach, String> {
        let group = self.groups.get(&shard).ok_or_else(|| format!("there is no shard {shard}"))?;
        if let Standing::Following { leader: Some(leader) } = *group.standing().borrow() {
            return Ok(Reach::LedBy(leader));
        }
        group.reach().await.map(Reach::Here).map_err(|error| error.to_string())
    }

    /// Takes the picture.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn portrait(&self) -> Result<Portrait, Fault> {
        let shards = self.state.pictures()?.into_iter().map(|(shard, picture)| {
            let mark = Mark::from_bytes(&picture.mark)
                .map_err(|unreadable| Fault::unreadable(StoreFile::State, &unreadable))?;
            Ok(mark.applied.map(|last| Pictured { shard, last, picture }))
        });
        let shards = shards.collect::<Result<Vec<_>, Fault>>()?;
        Ok(Portrait { shards: shards.into_iter().flatten().collect() })
    }
}

/// Up to where a shard is agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// This node leads it: up to this entry.
    Here(u64),
    /// Another node leads it, and knows.
    LedBy(NodeId),
}

/// All shards at one moment.
pub(crate) struct Portrait {
    shards: Vec<Pictured>,
}

struct Pictured {
    shard: ShardId,
    last: LogId,
    picture: Picture,
}

/// The last entry that a copied shard holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Last {
    pub(crate) shard: ShardId,
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl Portrait {
    /// The shards, in the order in which their rows come.
    pub(crate) fn contents(&self) -> Vec<Last> {
        let last = |it: &Pictured| Last {
            shard: it.shard,
            term: it.last.leader_id.term,
            index: it.last.index,
        };
        self.shards.iter().map(last).collect()
    }

    /// The head of an entity of a shard.
    pub(crate) fn head(
        &self,
        shard: ShardId,
        entity: EntityId,
    ) -> Result<Option<StoredHead>, Fault> {
        let of = self.shards.iter().find(|it| it.shard == shard);
        of.map_or(Ok(None), |it| it.picture.head(entity))
    }

    /// The next rows of the how-manieth shard; `None` behind its last ones.
    pub(crate) fn rows(&self, place: usize, taken: &mut Taken) -> Result<Option<Rows>, Fault> {
        self.shards.get(place).map_or(Ok(None), |it| it.picture.rows(taken))
    }
}

/// A store that is made of a copy.
pub(crate) struct Restoration {
    store: Store,
    node: NodeId,
}

impl Restoration {
    /// Makes a new store for a node.
    pub(crate) fn begin(
        disk: Box<dyn Disk>,
        executor: &dyn Executor,
        config: StoreConfig,
    ) -> Result<Self, OpenError> {
        let node = NodeId(config.node);
        Ok(Self { store: Store::open(disk, executor, config)?, node })
    }

    /// Puts a shard's rows into the store, as `next` gives them, up to the entry that they end
    /// with. Proposals come on top of it.
    pub(crate) async fn shard<E: From<Fault>>(
        &self,
        last: Last,
        proposals: Vec<Proposal>,
        mut next: impl FnMut() -> Result<Option<Rows>, E>,
    ) -> Result<(), E> {
        let Last { shard, term, index } = last;
        let leader = openraft::CommittedLeaderId::new(term, self.node.0);
        let at = LogId::new(leader, index);
        let voter = BTreeMap::from([(self.node.0, BasicNode::default())]);
        let members = RaftMembers::new(vec![BTreeSet::from([self.node.0])], voter);
        let mark = Mark { applied: Some(at), members: Membership::new(Some(at), members) };
        let arrival = self.store.state.begin().await?;
        while let Some(rows) = next()? {
            if !arrival.receive(rows).await? {
                let detail = "a row of the backup is not whole".to_owned();
                return Err(Fault::Stopped(detail).into());
            }
        }
        self.store.state.adopt(shard, &arrival, mark.to_bytes()).await?;
        if !proposals.is_empty() {
            let entries = vec![Arc::new(proposals)];
            self.store.state.apply(Batch { shard, entries, mark: mark.to_bytes() }).await?;
        }
        // It votes for itself in a later term than any that the copy knows of.
        let vote = record::vote_bytes(&Vote::new(term, self.node.0));
        self.log(shard, LogChange::Remember(Slot::Vote, vote)).await?;
        self.log(shard, LogChange::Purge(index, record::place_bytes(at))).await?;
        Ok(())
    }

    async fn log(&self, shard: ShardId, change: LogChange) -> Result<(), Fault> {
        let (reply, done) = oneshot::channel();
        self.store.log.order(shard, change, Box::new(move |outcome| drop(reply.send(outcome))));
        done.await.unwrap_or(Err(Fault::Closed))
    }

    /// Makes all of it durable, and closes the files.
    pub(crate) async fn finish(self) -> Result<(), Fault> {
        super::stop(&BTreeMap::new(), &self.store).await
    }
}
