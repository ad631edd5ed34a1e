//! Chores: what the outside should be doing for a cluster now.

use super::state::{Member, Standing, Wanted};
use crate::ids::NodeId;
use serde::{Deserialize, Serialize};

/// A chore owed to the outside. Each is idempotent, and ends with a wish that says that it is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Duty {
    /// Let the node receive all shards, until [`super::command::Wish::BecameLearner`].
    AddLearner {
        /// Which node.
        node: NodeId,
    },
    /// Let the node vote in all shards once it has caught up, until
    /// [`super::command::Wish::BecameVoter`].
    Promote {
        /// Which node.
        node: NodeId,
    },
    /// See to it that the node leads nothing: for as long as it drains, or until
    /// [`super::command::Wish::Emptied`].
    MoveLeaders {
        /// Which node.
        node: NodeId,
    },
    /// Take the node out of all shards, until [`super::command::Wish::Parted`].
    Part {
        /// Which node.
        node: NodeId,
    },
}

impl Duty {
    /// What is owed about one node: at most one thing at a time.
    pub(super) fn of(node: NodeId, member: &Member) -> Option<Self> {
        match (member.standing, member.wanted) {
            (Standing::Joined, Wanted::Serve | Wanted::Drain) => Some(Self::AddLearner { node }),
            (Standing::Learner, Wanted::Serve | Wanted::Drain) => Some(Self::Promote { node }),
            (Standing::Voter, Wanted::Serve) => None,
            (Standing::Voter, Wanted::Drain | Wanted::Leave { emptied: false }) => {
                Some(Self::MoveLeaders { node })
            }
            (Standing::Joined | Standing::Learner, Wanted::Leave { .. })
            | (Standing::Voter, Wanted::Leave { emptied: true }) => Some(Self::Part { node }),
        }
    }
}
