//! Signs of life: one call to each other node for all groups that this one leads.
//!
//! openraft would send them group by group, so that an idle cluster would talk all the time. Its
//! own are switched off; these say the same, and hear who is there.

use super::caller::Caller;
use super::message::{Appended, Ask, Beat, Reply};
use super::record::Place;
use super::shard::Shard;
use openraft::{BasicNode, RaftMetrics, ServerState};
use otto_core::ids::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often a leader shows that it lives: five times while a voter waits for it at least.
const HEARTBEAT: Duration = Duration::from_millis(150);
/// How long the answer may take. A sign that was lost must not keep the next one from coming while
/// a voter still waits for it.
const ALLOWED: Duration = Duration::from_millis(400);

/// What one node answered.
struct Heard {
    node: u64,
    sent: Instant,
    answers: Vec<(ShardId, Appended)>,
}

/// Sends signs of life, for ever.
pub(super) async fn pulse(shards: BTreeMap<ShardId, Arc<Shard>>, caller: Caller) {
    let mut calls = JoinSet::new();
    let mut asked = BTreeSet::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(heard) = calls.join_next(), if !calls.is_empty() => {
                // A call that panicked is one of ours, and says so; its node is asked again.
                let Ok(heard) = heard else { asked.clear(); continue };
                take_in(&shards, &mut asked, heard).await;
            }
            () = tokio::time::sleep_until(next) => {
                next = Instant::now() + HEARTBEAT;
                let mut due: BTreeMap<(u64, String), Vec<Beat>> = BTreeMap::new();
                for shard in shards.values() {
                    for (node, address, beat) in shard.beats() {
                        due.entry((node, address)).or_default().push(beat);
                    }
                }
                for ((node, address), beats) in due {
                    // Who is slow to answer is not asked twice at a time.
                    if asked.insert(node) {
                        calls.spawn(call(caller.clone(), node, address, beats));
                    }
                }
            }
        }
    }
}

async fn call(caller: Caller, node: u64, address: String, beats: Vec<Beat>) -> Heard {
    let sent = Instant::now();
    let answers = match caller.ask(node, &address, Ask::Beat(beats), ALLOWED).await {
        Ok(Reply::Beaten(answers)) => answers,
        Ok(other) => {
            tracing::warn!(node, ?other, "a sign of life got an answer that does not fit");
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(%error, "a sign of life did not arrive");
            Vec::new()
        }
    };
    Heard { node, sent, answers }
}

async fn take_in(shards: &BTreeMap<ShardId, Arc<Shard>>, asked: &mut BTreeSet<u64>, heard: Heard) {
    let Heard { node, sent, answers } = heard;
    asked.remove(&node);
    for (id, appended) in answers {
        let Some(shard) = shards.get(&id) else { continue };
        match appended {
            Appended::All => shard.presence().hear(node, sent),
            Appended::Failed => {}
            // openraft asks for itself, and draws its conclusions. It fails where it was stopped.
            Appended::Differs | Appended::Deposed(_) => {
                shard.raft.trigger().heartbeat().await.ok();
            }
        }
    }
}

impl Shard {
    /// The signs of life that are due, for whom and where; none where this node does not lead.
    fn beats(&self) -> Vec<(u64, String, Beat)> {
        let metrics = self.raft.metrics().borrow().clone();
        if metrics.state != ServerState::Leader || !metrics.vote.is_committed() {
            return Vec::new();
        }
        let members = metrics.membership_config.membership();
        let floor = {
            let mut presence = self.presence();
            presence.lead(metrics.vote);
            presence.measure(metrics.last_log_index.unwrap_or(0));
            let cut_off = !presence.hears_majority(self.node, members.get_joint_config());
            self.halt(|halted| halted.cut_off = cut_off);
            let there = |node: u64| presence.is_there(node);
            matched(&metrics, there)
        };
        if self.silent.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let others = members.nodes().filter(|(node, _)| **node != self.node);
        let beat = |node: u64| Beat {
            shard: self.id,
            vote: metrics.vote.into(),
            matched: progress(&metrics, node),
            applied: metrics.last_applied.map(Place::from),
            floor: floor.unwrap_or(0),
        };
        others.map(|(node, at)| (*node, at.addr.clone(), beat(*node))).collect()
    }
}

/// Up to where a member's log is the leader's.
fn progress(metrics: &RaftMetrics<u64, BasicNode>, node: u64) -> Option<Place> {
    let matched = metrics.replication.as_ref()?.get(&node).copied().flatten();
    matched.map(Place::from)
}

/// Up to which index all other members have the log that are wanted; `None` where there are none.
pub(super) fn matched(
    metrics: &RaftMetrics<u64, BasicNode>,
    wanted: impl Fn(u64) -> bool,
) -> Option<u64> {
    let members = metrics.membership_config.membership().nodes();
    let others = members.filter(|(node, _)| **node != metrics.id && wanted(**node));
    let known = metrics.replication.as_ref();
    let matched = others.map(|(node, _)| {
        known.and_then(|known| known.get(node).copied().flatten()).map_or(0, |id| id.index)
    });
    matched.min()
}
