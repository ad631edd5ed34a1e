//! How many nodes a cluster may lose.

use super::Cluster;
use super::state::Standing;
use crate::ids::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What a cluster survives now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Survival {
    /// How many nodes vote.
    pub voters: u32,
    /// How many of them can be reached now.
    pub reachable: u32,
    /// How many of the reachable ones may be lost, and the others still agree; `None` where they
    /// do not agree now.
    pub losses: Option<u32>,
}

impl Survival {
    /// Of `voters` nodes, of which so many can be reached.
    #[must_use]
    pub fn of(voters: u32, reachable: u32) -> Self {
        let majority = voters / 2 + 1;
        Self { voters, reachable, losses: reachable.min(voters).checked_sub(majority) }
    }

    /// Whether nothing may be lost any more.
    #[must_use]
    pub fn is_worrying(&self) -> bool {
        self.losses.unwrap_or(0) == 0
    }

    /// What could be better, in words for people.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        let Self { voters, reachable, losses } = *self;
        match losses {
            None => Some(
                "nothing can be decided, and nothing is lost: start the missing nodes again; where \
                 their disks are gone for good, restore a backup with `otto-node restore`"
                    .to_owned(),
            ),
            Some(0) if voters == 1 => {
                Some("join two more nodes, so that one may be lost".to_owned())
            }
            Some(0) if reachable < voters => {
                Some(format!("{reachable} of {voters} voters can be reached: bring them back"))
            }
            Some(_) if voters % 2 == 0 => Some(format!(
                "{voters} voters survive no more losses than {} do: join one more",
                voters - 1
            )),
            Some(_) if reachable < voters => {
                Some(format!("{reachable} of {voters} voters can be reached"))
            }
            Some(_) => None,
        }
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.losses {
            None => {
                let Self { voters, reachable, .. } = *self;
                let are = if reachable == 1 { "is" } else { "are" };
                let majority = voters / 2 + 1;
                write!(f, "no majority: {reachable} of {voters} voters {are} there, and ")?;
                write!(f, "{majority} must be")
            }
            Some(0) => f.write_str("does not survive the loss of a node"),
            Some(1) => f.write_str("survives the loss of 1 node"),
            Some(losses) => write!(f, "survives the loss of {losses} nodes"),
        }
    }
}

impl Cluster {
    /// The nodes that vote now. One that is leaving does so until it has left.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        let votes = self.nodes().filter(|(_, member)| member.standing == Standing::Voter);
        votes.map(|(node, _)| node)
    }

    /// What the cluster survives, where these nodes can be reached.
    #[must_use]
    pub fn survival(&self, reachable: &BTreeSet<NodeId>) -> Survival {
        let voters = self.voters().count();
        let here = self.voters().filter(|node| reachable.contains(node)).count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Survival::of(number(voters), number(here))
    }
}
