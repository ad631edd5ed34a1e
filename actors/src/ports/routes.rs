//! Routes: where the control nodes are and what each of them leads; and the links to them, as a
//! port.

use super::control::SharedControl;
use otto_core::ids::{NodeId, ProjectId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where the control nodes are and what each leads, as far as somebody knows. What two know can be
/// put together: of each part the newer one counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Routes {
    /// How many shards the cluster has; zero where nothing is known.
    pub shards: u16,
    /// Where the control nodes are reached.
    pub nodes: BTreeMap<NodeId, String>,
    /// How new `nodes` is: the number of entries of the cluster's journal that they are from.
    pub nodes_version: u64,
    /// Who leads each shard.
    pub leaders: BTreeMap<ShardId, Leader>,
}

/// The leader of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leader {
    /// The term that it was elected for: of two leaders the one with the higher term is newer.
    pub term: u64,
    /// Which node.
    pub node: NodeId,
}

impl Routes {
    /// Whether nothing is known.
    #[must_use]
    pub fn are_unknown(&self) -> bool {
        self.shards == 0
    }

    /// The shard that a project belongs to. Where nothing is known there is one shard.
    #[must_use]
    pub fn shard_of(&self, project: ProjectId) -> ShardId {
        project.home(self.shards.max(1))
    }

    /// Takes in what somebody else knows; answers whether any of it was new.
    pub fn learn(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.shards = self.shards.max(other.shards);
        if other.nodes_version > self.nodes_version {
            self.nodes_version = other.nodes_version;
            self.nodes.clone_from(&other.nodes);
        }
        for (shard, leader) in &other.leaders {
            let known = self.leaders.entry(*shard).or_insert(*leader);
            if leader.term > known.term {
                *known = *leader;
            }
        }
        *self != before
    }
}

/// The links from an agent to control nodes.
pub trait Controls: fmt::Debug + Send + Sync + 'static {
    /// The links that an agent begins with, and comes back to where no other leads anywhere.
    fn first(&self) -> Vec<SharedControl>;

    /// A link to a control node at this address. It connects at its first call.
    fn link(&self, node: NodeId, address: &str) -> SharedControl;
}

/// The links to a control side that has only one place.
#[derive(Clone, Debug)]
pub struct OnePlace(pub SharedControl);

impl Controls for OnePlace {
    fn first(&self) -> Vec<SharedControl> {
        vec![Arc::clone(&self.0)]
    }

    fn link(&self, _node: NodeId, _address: &str) -> SharedControl {
        Arc::clone(&self.0)
    }
}

/// Links that several actors use.
pub type SharedControls = Arc<dyn Controls>;

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(nodes_version: u64, node: &str, leaders: &[(u16, u64, u64)]) -> Routes {
        let leader = |(shard, term, node): &(u16, u64, u64)| {
            (ShardId(*shard), Leader { term: *term, node: NodeId(*node) })
        };
        Routes {
            shards: 2,
            nodes: BTreeMap::from([(NodeId(1), node.to_owned())]),
            nodes_version,
            leaders: leaders.iter().map(leader).collect(),
        }
    }

    #[test]
    fn of_each_part_the_newer_one_counts_in_whatever_order_it_is_learnt() {
        let old = routes(3, "old", &[(0, 7, 1), (1, 2, 1)]);
        let new = routes(4, "new", &[(0, 5, 2), (1, 3, 2)]);
        let both = routes(4, "new", &[(0, 7, 1), (1, 3, 2)]);
        for (first, second) in [(&old, &new), (&new, &old)] {
            let mut known = Routes::default();
            assert!(known.are_unknown());
            assert!(known.learn(first) && known.learn(second));
            assert_eq!(known, both);
            assert!(!known.learn(first) && !known.learn(second) && !known.learn(&both.clone()));
        }
    }
}
