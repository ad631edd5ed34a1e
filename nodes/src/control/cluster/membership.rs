//! What the cluster's actors wait for: that all groups have done what is owed.

use crate::replica::{GroupView, Shards};
use async_trait::async_trait;
use otto_actors::ports::membership::{Membership, NotYet};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::duty::Duty;
use otto_core::ids::NodeId;
use std::sync::Arc;

/// The groups of all shards, as this node sees them: it belongs to each.
#[derive(Clone, Debug)]
pub(super) struct Groups(pub(super) Arc<Shards>);

#[async_trait]
impl Membership for Groups {
    async fn perform(&self, duty: Duty, _: &Cluster) -> Result<Option<Wish>, NotYet> {
        let views = self.0.views();
        let lacking: Vec<String> = views
            .iter()
            .filter(|group| !is_done(group, duty))
            .map(|group| group.shard.to_string())
            .collect();
        if !lacking.is_empty() {
            return Err(NotYet(format!("not done yet in shards {}", lacking.join(", "))));
        }
        Ok(Some(match duty {
            Duty::AddLearner { node } => Wish::BecameLearner { node },
            Duty::Promote { node } => Wish::BecameVoter { node },
            Duty::MoveLeaders { node } => Wish::Emptied { node },
            Duty::Part { node } => Wish::Parted { node },
        }))
    }
}

/// Whether a group has done its part of a duty.
fn is_done(group: &GroupView, duty: Duty) -> bool {
    let member = |node: NodeId| group.members.iter().find(|member| member.node == node);
    match duty {
        Duty::AddLearner { node } => member(node).is_some(),
        Duty::Promote { node } => member(node).is_some_and(|member| member.votes),
        Duty::MoveLeaders { node } => group.leader.is_some_and(|leader| leader != node),
        Duty::Part { node } => member(node).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_done;
    use crate::replica::{GroupView, Member, Standing};
    use otto_core::cluster::duty::Duty;
    use otto_core::ids::{NodeId, ShardId};

    /// A group that node 1 leads, and in which node 2 is a learner and node 3 votes.
    fn group(leader: Option<u64>) -> GroupView {
        let member = |node: u64| Member {
            node: NodeId(node),
            address: String::new(),
            votes: node != 2,
            lag: Some(0),
            there: true,
        };
        GroupView {
            shard: ShardId(0),
            standing: Standing::Opening,
            leader: leader.map(NodeId),
            term: 1,
            last: 1,
            applied: 1,
            purged: 0,
            members: [1, 2, 3].map(member).to_vec(),
        }
    }

    #[test]
    fn a_group_has_done_its_part_when_its_members_say_so() {
        let node = NodeId;
        for (duty, leader, done) in [
            (Duty::AddLearner { node: node(2) }, Some(1), true),
            (Duty::AddLearner { node: node(4) }, Some(1), false),
            (Duty::Promote { node: node(2) }, Some(1), false),
            (Duty::Promote { node: node(3) }, Some(1), true),
            (Duty::MoveLeaders { node: node(1) }, Some(1), false),
            (Duty::MoveLeaders { node: node(1) }, None, false),
            (Duty::MoveLeaders { node: node(1) }, Some(3), true),
            (Duty::Part { node: node(3) }, Some(1), false),
            (Duty::Part { node: node(4) }, Some(1), true),
        ] {
            assert_eq!(is_done(&group(leader), duty), done, "{duty:?} {leader:?}");
        }
    }
}
