//! Whether so many nodes are there that the cluster can agree on anything, as far as this node
//! sees, and how people are told where it is not so.

use crate::rpc::cluster::Live;
use otto_core::cluster::Cluster;
use otto_core::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// What a node knows by itself, whoever leads.
#[derive(Clone, Debug)]
pub struct Majority {
    /// This node.
    pub me: NodeId,
    /// The cluster, as this node knows it: it may be a moment behind.
    pub known: watch::Receiver<Arc<Cluster>>,
    /// How the nodes are at this moment; whoever replicates among them keeps it up.
    pub live: watch::Receiver<BTreeMap<NodeId, Live>>,
}

impl Majority {
    /// The cluster as this node knows it, and how its nodes are.
    #[must_use]
    pub fn recall(&self) -> (Arc<Cluster>, BTreeMap<NodeId, Live>) {
        (Arc::clone(&self.known.borrow()), self.live.borrow().clone())
    }

    /// What is lacking, for people; `None` where a majority is there.
    #[must_use]
    pub fn lack(&self) -> Option<String> {
        let (known, live) = self.recall();
        // Before its first look this node knows of nobody.
        if live.is_empty() {
            return None;
        }
        let there = live.iter().filter(|(_, live)| live.reachable).map(|(node, _)| *node);
        let there: BTreeSet<NodeId> = there.collect();
        let survival = known.survival(&there);
        if known.founded().is_none() || survival.losses.is_some() {
            return None;
        }
        let missing = known.voters().filter(|node| !there.contains(node));
        let missing: Vec<String> = missing.map(|node| node.to_string()).collect();
        Some(format!("{survival}; {} must be started again", missing.join(" or ")))
    }

    /// Returns when no majority is there.
    pub async fn is_lost(&self) {
        let mut live = self.live.clone();
        while self.lack().is_none() {
            if live.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Majority;
    use crate::rpc::cluster::Live;
    use otto_core::cluster::Cluster;
    use otto_core::cluster::command::{Newcomer, Wish};
    use otto_core::cluster::event::Entry;
    use otto_core::cluster::state::{By, JoinRole, Levels};
    use otto_core::ids::{ClusterId, KeyId, NodeId, TokenHash};
    use otto_core::time::{Span, Timestamp};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use tokio::sync::watch;

    /// A cluster of so many voters.
    fn cluster(voters: u8) -> Cluster {
        let newcomer = |number: u8| Newcomer {
            name: "m".to_owned(),
            addresses: Vec::new(),
            key: KeyId([number; 32]),
            levels: Levels { oldest: 1, newest: 1 },
        };
        let by = By::owner("root");
        let (role, token) = (JoinRole::Control, TokenHash([1; 32]));
        let (id, authority) = (ClusterId([1; 16]), KeyId([9; 32]));
        let mut wishes = vec![
            Wish::Found { cluster: id, shards: 1, authority, node: newcomer(1) },
            Wish::CreateToken { token, role, lifetime: Span::hours(1), uses: 9, by },
        ];
        for number in 2..=voters {
            let node = NodeId(u64::from(number));
            wishes.push(Wish::Join { token, role, newcomer: newcomer(number) });
            wishes.extend([Wish::BecameLearner { node }, Wish::BecameVoter { node }]);
        }
        let mut cluster = Cluster::default();
        for wish in wishes {
            let events = cluster.decide(&wish, Timestamp(1)).unwrap();
            cluster.apply(&Entry { at: Timestamp(1), events });
        }
        cluster
    }

    #[test]
    fn a_majority_that_is_not_there_is_told() {
        let lack = |voters: u8, there: &[u64]| {
            let known = watch::channel(Arc::new(cluster(voters))).1;
            let live = |node: u64| Live { reachable: there.contains(&node), ..Live::default() };
            let live = (1..=u64::from(voters)).map(|node| (NodeId(node), live(node)));
            let live = watch::channel(live.collect::<BTreeMap<_, _>>()).1;
            Majority { me: NodeId(1), known, live }.lack()
        };
        for (voters, there, told) in [
            (1, &[1][..], None),
            (3, &[1, 3], None),
            (
                3,
                &[1],
                Some(
                    "no majority: 1 of 3 voters is there, and 2 must be; n2 or n3 must be started \
                     again",
                ),
            ),
            (
                2,
                &[1],
                Some(
                    "no majority: 1 of 2 voters is there, and 2 must be; n2 must be started again",
                ),
            ),
        ] {
            assert_eq!(lack(voters, there).as_deref(), told);
        }
        let (known, live) = (watch::channel(Arc::default()).1, watch::channel(BTreeMap::new()).1);
        let young = Majority { me: NodeId(1), known, live };
        assert_eq!(young.lack(), None, "it has not looked yet");
    }
}
