//! All shards at one moment: how they are copied.
//!
//! A copy is one read transaction of the state. It holds what this node has applied, so whoever
//! takes it first lets the node catch up.

use super::members::GroupView;
use super::record::Mark;
use super::shard::{Shard, Standing};
use super::types::LogId;
use crate::store::{Fault, Picture, Rows, State, Store, StoreFile, Taken};
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{EntityId, StoredHead};
use std::collections::BTreeMap;
use std::sync::Arc;

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
