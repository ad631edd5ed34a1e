//! Brings the groups that are led here in line with what the cluster wants of its nodes.

use super::News;
use super::clocks::Clocks;
use crate::control::Directory;
use crate::replica::balance::{self, Fitness, Led};
use crate::replica::{ChangeError, GroupView, Member as GroupMember, Shards, Standing};
use crate::rpc::cluster::Live;
use otto_core::cluster::Cluster;
use otto_core::cluster::duty::Duty;
use otto_core::cluster::state::{Member, Standing as Progress, Wanted};
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::EntityId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the cluster is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// So many looks apart leaders are moved for balance alone: a move costs its shard two seconds.
const BALANCE_EVERY: u32 = 10;

/// Follows the cluster, and does to the groups that are led here what it owes.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) me: NodeId,
    pub(super) shards: Arc<Shards>,
    pub(super) clocks: Clocks,
    /// Where the rest of the process is told of the cluster.
    pub(super) news: News,
}

impl Upkeep {
    /// Goes on for ever. A move takes seconds, and what there is to see is told meanwhile.
    pub(super) async fn run(self) {
        futures::future::join(self.look(), self.tend()).await;
    }

    /// Tells the rest of the process how the cluster is.
    async fn look(&self) {
        loop {
            self.learn();
            let cluster = Arc::clone(&self.news.known.borrow());
            self.clocks.compare(&cluster).await;
            let lives = self.lives(&cluster, &self.shards.views());
            self.news.live.send_if_modified(|live| replace(live, lives));
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Does what the cluster owes to the groups that are led here.
    async fn tend(&self) {
        for look in 0_u32.. {
            let cluster = Arc::clone(&self.news.known.borrow());
            let views = self.shards.views();
            let fitness = self.fitness(&cluster);
            self.shards.set_off_time(!balance::keeps_time(&fitness, self.me));
            let led =
                views.iter().filter(|group| matches!(group.standing, Standing::Serving { .. }));
            for group in led {
                self.introduce(group, &cluster).await;
                for duty in cluster.owed() {
                    self.change(group.shard, duty, &cluster).await;
                }
            }
            self.move_leaders(&fitness, &views, look.is_multiple_of(BALANCE_EVERY)).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Reads the cluster from this node's replica of its shard.
    fn learn(&self) {
        let head = match self.shards.glimpse(ShardId::META).of(EntityId::CLUSTER) {
            Ok(head) => head,
            Err(fault) => return tracing::warn!(%fault, "the cluster cannot be read"),
        };
        let cluster = match Cluster::from_head(head.as_ref().map(|stored| &stored.head)) {
            Ok(cluster) => cluster,
            Err(error) => return tracing::error!(%error, "the cluster cannot be read"),
        };
        if cluster.version() != self.news.known.borrow().version() {
            let addresses = cluster
                .nodes()
                .filter_map(|(node, member)| Some((node, member.addresses.first()?.clone())));
            let directory = Directory { version: cluster.version(), nodes: addresses.collect() };
            self.news.directory.send_replace(directory);
            self.news.register.send_replace(Arc::new(cluster.register()));
            self.news.known.send_replace(Arc::new(cluster));
        }
    }

    /// Takes note, in a group that is led here, of where its members can be reached now.
    async fn introduce(&self, group: &GroupView, cluster: &Cluster) {
        for member in &group.members {
            let known = cluster.node(member.node);
            let Some(address) = known.and_then(|node| node.addresses.first()) else { continue };
            if *address != member.address {
                let noted = self.shards.add_learner(group.shard, member.node, address).await;
                tell("tell a group where a node is", noted);
            }
        }
    }

    /// Does a group's part of a duty.
    async fn change(&self, shard: ShardId, duty: Duty, cluster: &Cluster) {
        match duty {
            Duty::AddLearner { node } => {
                let known = cluster.node(node).and_then(|member| member.addresses.first());
                if let Some(address) = known {
                    let added = self.shards.add_learner(shard, node, address).await;
                    tell("add a node to a group", added);
                }
            }
            Duty::Promote { node } => {
                tell("let a node vote", self.shards.promote(shard, node).await);
            }
            Duty::Part { node } => {
                tell("take a node out of a group", self.shards.remove(shard, node).await);
            }
            // Leaders are moved below, with regard to all of them.
            Duty::MoveLeaders { .. } => {}
        }
    }

    /// Lets others lead what this node should not lead.
    async fn move_leaders(
        &self,
        fitness: &BTreeMap<NodeId, Fitness>,
        views: &[GroupView],
        for_balance: bool,
    ) {
        let groups: Vec<Led> = views.iter().filter_map(|group| self.led(group)).collect();
        let must = !balance::fit(fitness).contains(&self.me);
        if !must && !for_balance {
            return;
        }
        for step in balance::moves(fitness, &groups) {
            if step.from == self.me {
                tracing::info!(shard = %step.shard, to = %step.to, "another node is to lead");
                if let Err(error) = self.shards.lead_elsewhere(step.shard, step.to).await {
                    tracing::info!(%error, "this node still leads");
                }
            }
        }
    }
}

impl Upkeep {
    /// How fit each node is to lead.
    fn fitness(&self, cluster: &Cluster) -> BTreeMap<NodeId, Fitness> {
        let of = |(node, member): (NodeId, &Member)| {
            let drains = member.wanted != Wanted::Serve;
            // Who does not vote yet does not say what time it is, either: else a lone voter
            // could neither lead nor give away what it leads.
            let votes = member.standing == Progress::Voter;
            let clock_ahead_ms = self.clocks.ahead_ms(node).filter(|_| votes);
            (node, Fitness { drains, there: self.clocks.is_there(node), clock_ahead_ms })
        };
        cluster.nodes().map(of).collect()
    }

    /// How each node is at this moment, as far as this one sees it.
    fn lives(&self, cluster: &Cluster, views: &[GroupView]) -> BTreeMap<NodeId, Live> {
        let of = |node: NodeId| {
            let reachable = self.clocks.is_there(node);
            let seen = views.iter().flat_map(|group| &group.members);
            let seen = seen.filter(|member| member.node == node);
            // Who hears no majority may think that it leads, and serves nobody.
            let leads = |group: &&GroupView| {
                let serves = matches!(group.standing, Standing::Serving { .. });
                group.leader == Some(node) && (node != self.me || serves)
            };
            let leads = views.iter().filter(leads).count();
            let silence = if reachable { Duration::ZERO } else { self.clocks.silence(node) };
            Live {
                reachable,
                leads: if reachable { u32::try_from(leads).unwrap_or(u32::MAX) } else { 0 },
                lag: seen.filter_map(|member| member.lag).max().unwrap_or(0),
                silent_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
            }
        };
        cluster.nodes().map(|(node, _)| (node, of(node))).collect()
    }

    /// Who leads a group, and who could: nothing of a group that nobody leads.
    fn led(&self, group: &GroupView) -> Option<Led> {
        let there = |member: &&GroupMember| member.votes && self.clocks.is_there(member.node);
        let caught_up = |member: &&GroupMember| member.lag.is_none_or(|lag| lag < CLOSE);
        let voters = group.members.iter().filter(there).filter(caught_up);
        let voters = voters.map(|member| member.node).collect();
        Some(Led { shard: group.shard, leader: group.leader?, voters })
    }
}

/// Whether something else stands there now.
fn replace<T: PartialEq>(slot: &mut T, new: T) -> bool {
    let differs = *slot != new;
    *slot = new;
    differs
}

/// So many entries behind a voter is close enough to lead in a moment.
const CLOSE: u64 = 1000;

fn tell(what: &str, outcome: Result<(), ChangeError>) {
    match outcome {
        // It led a moment ago; whoever leads now does the same.
        Ok(()) | Err(ChangeError::NotLeader { .. }) => {}
        Err(error) => tracing::info!(%error, "failed to {what} for now"),
    }
}
