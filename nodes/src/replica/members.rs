//! Who belongs to a group: members come as learners, vote when they have caught up, and leave.
//!
//! Every change may be repeated: what is so already changes nothing, and a change that was broken
//! off half-way is finished by the next. One change of a group goes on at a time.

use super::shard::{Shard, Standing};
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};
use otto_core::ids::{NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One member of a group, as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Where it is reached; empty where nobody said so yet.
    pub address: String,
    /// Whether it votes.
    pub votes: bool,
    /// How many entries it lacks; `None` where this node can't know.
    pub lag: Option<u64>,
    /// Whether it was heard of lately.
    pub there: bool,
}

/// A group, as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupView {
    /// Which shard.
    pub shard: ShardId,
    /// What it does here.
    pub standing: Standing,
    /// Who leads, where that is known.
    pub leader: Option<NodeId>,
    /// The latest term that this node knows of.
    pub term: u64,
    /// The last entry of this node's log.
    pub last: u64,
    /// Up to where this node has applied.
    pub applied: u64,
    /// Up to where its log is purged.
    pub purged: u64,
    /// All members, by number.
    pub members: Vec<Member>,
}

/// Why a group was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead the group: its leader can.
    #[error("change shard {shard} here: node {} leads it", leader_text(*.leader))]
    NotLeader {
        /// Which shard.
        shard: ShardId,
        /// Who does, where that is known.
        leader: Option<NodeId>,
    },
    /// There is no such shard.
    #[error("change shard {0}: this cluster has none of that number")]
    NoSuchShard(ShardId),
    /// The member has not caught up yet: repeat it later.
    #[error("let node {node} vote in shard {shard}: it lacks {lag} entries; try again in a moment")]
    Behind {
        /// Which shard.
        shard: ShardId,
        /// Who.
        node: NodeId,
        /// How many entries it lacks.
        lag: u64,
    },
    /// It can't be done, whenever it is tried.
    #[error("change shard {0}: {1}")]
    Refused(ShardId, String),
    /// It may have been done: repeat it to find out.
    #[error("learn whether shard {0} was changed: {1}; repeat it")]
    Unknown(ShardId, String),
}

fn leader_text(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "that nobody knows".to_owned(), |leader| leader.to_string())
}

/// How long a change may take.
const ALLOWED: Duration = Duration::from_secs(10);
/// So many entries behind is never too far behind to vote: they are on their way.
const ALWAYS_CLOSE: u64 = 16;

type Failure = RaftError<u64, ClientWriteError<u64, BasicNode>>;

impl Shard {
    /// The group, as this node sees it.
    pub(super) fn view(&self) -> GroupView {
        let metrics = self.raft.metrics().borrow().clone();
        let last = metrics.last_log_index.unwrap_or(0);
        let presence = self.presence();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let nodes = metrics.membership_config.membership().nodes();
        let members = nodes.map(|(node, at)| {
            let matched = metrics.replication.as_ref().map(|all| all.get(node).copied().flatten());
            let matched = matched.map(|id| id.map_or(0, |id| id.index));
            let matched = if *node == self.node { Some(last) } else { matched };
            Member {
                node: NodeId(*node),
                address: at.addr.clone(),
                votes: voters.contains(node),
                lag: matched.map(|matched| last.saturating_sub(matched)),
                there: *node == self.node || presence.is_there(*node),
            }
        });
        GroupView {
            shard: self.id,
            standing: *self.standing().borrow(),
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            last,
            applied: metrics.last_applied.map_or(0, |id| id.index),
            purged: metrics.purged.map_or(0, |id| id.index),
            members: members.collect(),
        }
    }

    /// Adds a member that does not vote yet, or takes note of where it is now.
    pub(super) async fn add_learner(&self, node: NodeId, address: &str) -> Result<(), ChangeError> {
        let _alone = self.changing.lock().await;
        let there = |member: &Member| member.node == node && member.address == address;
        if self.led()?.members.iter().any(there) {
            return Ok(());
        }
        let place = BTreeMap::from([(node.0, BasicNode::new(address))]);
        self.change(ChangeMembers::SetNodes(place), true).await
    }

    /// Lets a member vote that lacks less than a second of entries.
    pub(super) async fn promote(&self, node: NodeId) -> Result<(), ChangeError> {
        let _alone = self.changing.lock().await;
        let view = self.led()?;
        let member = view.members.iter().find(|member| member.node == node);
        let unknown = || ChangeError::Refused(self.id, format!("node {node} is no member"));
        let member = member.ok_or_else(unknown)?;
        if member.votes && !self.is_changing() {
            return Ok(());
        }
        let listed = self.listed_at();
        let close = self.presence().entries_per_second().max(ALWAYS_CLOSE);
        // It must know that it belongs to the group: nobody votes before.
        let close = close.min(view.last.saturating_sub(listed));
        let lag = member.lag.unwrap_or(u64::MAX);
        if !member.votes && (lag > close || !member.there) {
            return Err(ChangeError::Behind { shard: self.id, node, lag });
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([node.0])), true).await
    }

    /// Removes a member. Who leads must be relieved first.
    pub(super) async fn remove(&self, node: NodeId) -> Result<(), ChangeError> {
        let _alone = self.changing.lock().await;
        let view = self.led()?;
        if node.0 == self.node {
            let what = format!("node {node} leads it, and must hand it over before it leaves");
            return Err(ChangeError::Refused(self.id, what));
        }
        let Some(member) = view.members.iter().find(|member| member.node == node) else {
            return Ok(());
        };
        if member.votes || self.is_changing() {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([node.0])), true).await?;
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])), true).await
    }

    /// The group, where this node leads it.
    fn led(&self) -> Result<GroupView, ChangeError> {
        let view = self.view();
        match view.standing {
            Standing::Serving { .. } => Ok(view),
            Standing::Following { .. } | Standing::Opening | Standing::Ended => {
                Err(ChangeError::NotLeader { shard: self.id, leader: view.leader })
            }
        }
    }

    /// Where in the log the present members are listed.
    fn listed_at(&self) -> u64 {
        let metrics = self.raft.server_metrics();
        metrics.borrow().membership_config.log_id().map_or(0, |id| id.index)
    }

    /// Whether a change was begun and not finished: there are two sets of voters then.
    fn is_changing(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow();
        seen.membership_config.membership().get_joint_config().len() > 1
    }

    async fn change(
        &self,
        changes: ChangeMembers<u64, BasicNode>,
        retain: bool,
    ) -> Result<(), ChangeError> {
        let changed = self.raft.change_membership(changes, retain);
        match tokio::time::timeout(ALLOWED, changed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(ChangeError::Unknown(self.id, "no majority took note".to_owned())),
        }
    }

    fn failed(&self, failure: Failure) -> ChangeError {
        match failure {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                let leader = forward.leader_id.map(NodeId);
                ChangeError::NotLeader { shard: self.id, leader }
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(
                error @ ChangeMembershipError::InProgress(_),
            )) => ChangeError::Unknown(self.id, error.to_string()),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                ChangeError::Refused(self.id, error.to_string())
            }
            RaftError::Fatal(fatal) => ChangeError::Unknown(self.id, fatal.to_string()),
        }
    }
}
