//! Replication: every shard is a group of replicas that agree on one log.
//!
//! ```text
//!     propose ──gather──▶ entry ──append──▶ logs ──commit──▶ apply ──▶ verdicts
//! ```
//!
//! A new cluster has one voter in every group; its files and its rules are those of many. [`Peers`]
//! carries calls to other nodes, [`PeerSide`] answers theirs. Everything of openraft is in here,
//! and nothing of it is on disk, in a frame, or in a signature outside.
//!
//! This module never decides anything about a run, and never decodes an event.

mod acquaint;
pub mod archive;
pub mod balance;
mod caller;
mod compare;
mod gather;
mod glimpse;
mod growth;
mod hand_over;
mod hold;
mod log;
mod machine;
mod members;
mod message;
mod peer_side;
mod peers;
mod presence;
mod pulse;
mod reading;
mod record;
mod roll;
mod runtime;
mod shard;
#[cfg(test)]
mod tests;
mod trim;
mod types;
mod way;

pub use archive::Archive;
pub use compare::Fingerprint;
pub use glimpse::Glimpse;
pub use hand_over::HandOverError;
pub use members::{ChangeError, GroupView, Member};
pub use peer_side::PeerSide;
pub use peers::{Alone, PeerAnswer, PeerCall, Peers, SharedPeers, Unreached};
pub use shard::Standing;
pub use trim::LogBounds;

use crate::store::{Disk, Executor, Fault, OpenError, State, Store, StoreConfig};
use caller::Caller;
use futures::future::try_join_all;
use openraft::{Config, SnapshotPolicy};
use otto_actors::ports::journal::{JournalError, SharedJournal};
use otto_core::ids::{NodeId, ShardId};
use roll::Roll;
use shard::Shard;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use types::LogId;

/// How long a voter waits before it stands for election, at least and at most, after its leader's
/// lease ran out. The lease lasts as long as the longest wait: so a leader's end is noticed after
/// 0.8 to 1 s, and up to 0.4 s later somebody stands, as openraft looks only every 1.5 heartbeats.
const ELECTION_MS: (u64, u64) = (300, 500);
/// How long a follower may take to take entries in. It is openraft's heartbeat, which bounds that.
const HEARTBEAT_MS: u64 = 250;

/// How to open the shards.
#[derive(Clone, Copy, Debug)]
pub struct ShardsConfig {
    /// This node's identity in the cluster.
    pub node: u64,
    /// Into how many shards a new cluster is divided; one that exists keeps its number.
    pub shards: u16,
    /// A number that no other node has: from the operating system in production, from the seed in
    /// a simulation. Elections draw from it, and it tells which two files belong together, and one
    /// start from the next.
    pub seed: u64,
    /// Whether this node makes the groups where they are new. A node that joins a cluster must not:
    /// it waits until it is added.
    pub founds: bool,
    /// How large logs may be.
    pub logs: LogBounds,
    /// The incarnation of the cluster, where this node is new in it: the upper half of every epoch.
    /// A store that exists keeps its own.
    pub incarnation: u32,
    /// Up to where the cluster's own shard was applied here once, as is known beside the store: a
    /// store that has less was wiped or taken back. Zero where nothing is known.
    pub applied_once: u64,
}

impl Default for ShardsConfig {
    fn default() -> Self {
        let logs = LogBounds::default();
        Self { node: 1, shards: 8, seed: 0, founds: true, logs, incarnation: 1, applied_once: 0 }
    }
}

/// The shards of this node, and *meta* beside them.
#[derive(Debug)]
pub struct Shards {
    groups: BTreeMap<ShardId, Arc<Shard>>,
    store: Store,
    roll: Arc<Roll>,
    peer_side: PeerSide,
    /// What goes on beside the groups, until the shards are closed.
    chores: [JoinHandle<()>; 4],
}

impl Shards {
    /// Opens the store and starts the group of every shard. They are not ready yet when this
    /// returns; see [`Shards::ready`].
    ///
    /// # Errors
    /// Why the store can't be used. Nothing was changed then.
    pub async fn open(
        disk: Box<dyn Disk>,
        executor: &dyn Executor,
        config: ShardsConfig,
        peers: SharedPeers,
    ) -> Result<Self, OpenError> {
        let ShardsConfig { node, shards, seed, founds, logs, incarnation, applied_once } = config;
        runtime::stir(seed);
        let store_config = StoreConfig { node, shards, birth: seed, incarnation };
        let store = Store::open(disk, executor, store_config)?;
        let raft_config = group_config(&store)?;
        let ids: Vec<ShardId> = (0..store.shards).map(ShardId).chain([ShardId::META]).collect();
        let roll = match start_roll(&store, node, seed, &ids, applied_once).await {
            Ok(roll) => Arc::new(roll),
            Err(fault) => {
                let refused = store.refused(fault.to_string());
                stop(&BTreeMap::new(), &store).await.ok();
                return Err(refused);
            }
        };
        let caller = Caller::new(Arc::clone(&roll), peers);
        let mut groups = BTreeMap::new();
        for id in ids {
            let config = Arc::clone(&raft_config);
            match Shard::start(id, node, founds, config, &store, caller.clone()).await {
                Ok(shard) => groups.insert(id, shard),
                Err(fatal) => {
                    let refused = store.refused(fatal.to_string());
                    // Why it can't be used is said already.
                    stop(&groups, &store).await.ok();
                    return Err(refused);
                }
            };
        }
        let peer_side = PeerSide::new(node, Arc::clone(&roll), groups.clone(), store.state.clone());
        let upkeep = Upkeep {
            state: store.state.clone(),
            groups: groups.values().cloned().collect(),
            roll: Arc::clone(&roll),
            peer_side: peer_side.clone(),
            logs,
        };
        let all: Vec<Arc<Shard>> = groups.values().cloned().collect();
        let chores = [
            tokio::spawn(upkeep.keep_up()),
            tokio::spawn(pulse::pulse(groups.clone(), caller.clone())),
            tokio::spawn(acquaint::acquaint(all.clone(), caller.clone())),
            tokio::spawn(acquaint::stand_aside(all, caller)),
        ];
        Ok(Self { groups, store, roll, peer_side, chores })
    }

    /// How many shards there are, without *meta*.
    pub fn count(&self) -> u16 {
        self.store.shards
    }

    /// The cluster's incarnation: raised when a backup is restored, the upper half of every epoch.
    pub fn incarnation(&self) -> u32 {
        self.store.incarnation
    }

    /// The journal of a shard; `None` where there is no such shard.
    pub fn journal(&self, shard: ShardId) -> Option<SharedJournal> {
        let shard = self.groups.get(&shard)?;
        Some(Arc::clone(shard) as SharedJournal)
    }

    /// A shard as this node knows it, which may be a moment behind: a journal that takes nothing.
    #[must_use]
    pub fn glimpse(&self, shard: ShardId) -> Glimpse {
        Glimpse { shard, state: self.store.state.clone() }
    }

    /// What copies all shards at one moment.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive::new(self.store.state.clone(), self.groups.clone(), &self.store)
    }

    /// What a shard does here, and whatever it does next; `None` where there is no such shard.
    pub fn standing(&self, shard: ShardId) -> Option<watch::Receiver<Standing>> {
        self.groups.get(&shard).map(|shard| shard.standing())
    }

    /// What answers other nodes.
    pub fn peer_side(&self) -> PeerSide {
        self.peer_side.clone()
    }

    /// Why other nodes will not have this one any more, as soon as one of them said so: its disk
    /// was wiped or taken back, or it uses another node's number. It must join under a new one.
    pub fn outcast(&self) -> watch::Receiver<Option<String>> {
        self.roll.outcast()
    }

    /// All groups, as this node sees them, *meta* last.
    pub fn views(&self) -> Vec<GroupView> {
        self.groups.values().map(|shard| shard.view()).collect()
    }

    /// Adds a member to a group, which does not vote yet; or takes note of where a member is now,
    /// this node too. It may be repeated.
    ///
    /// # Errors
    /// Why not, or that nobody knows.
    pub async fn add_learner(
        &self,
        shard: ShardId,
        node: NodeId,
        address: &str,
    ) -> Result<(), ChangeError> {
        self.group(shard)?.add_learner(node, address).await
    }

    /// Lets a member vote that has caught up but for a second. It may be repeated.
    ///
    /// # Errors
    /// Why not, or that nobody knows; [`ChangeError::Behind`] where it lacks too much yet.
    pub async fn promote(&self, shard: ShardId, node: NodeId) -> Result<(), ChangeError> {
        self.group(shard)?.promote(node).await
    }

    /// Removes a member of a group that does not lead it. It may be repeated.
    ///
    /// # Errors
    /// Why not, or that nobody knows.
    pub async fn remove(&self, shard: ShardId, node: NodeId) -> Result<(), ChangeError> {
        self.group(shard)?.remove(node).await
    }

    /// Lets another voter lead a shard that this node leads. Meanwhile, for about two seconds, it
    /// serves nobody. If this fails, this node goes on.
    ///
    /// # Errors
    /// Why it still leads.
    pub async fn lead_elsewhere(
        &self,
        shard: ShardId,
        target: NodeId,
    ) -> Result<(), HandOverError> {
        match self.groups.get(&shard) {
            Some(group) => group.lead_elsewhere(target).await,
            None => Err(HandOverError::NotLeader(shard)),
        }
    }

    /// Says whether this node's clock is off the others'. While it is, it serves no shard.
    pub fn set_off_time(&self, off_time: bool) {
        for group in self.groups.values() {
            group.halt(|halted| halted.off_time = off_time);
        }
    }

    fn group(&self, shard: ShardId) -> Result<&Shard, ChangeError> {
        self.groups.get(&shard).map(AsRef::as_ref).ok_or(ChangeError::NoSuchShard(shard))
    }

    /// Waits until a shard serves here, or another node is known to lead it.
    ///
    /// # Errors
    /// [`JournalError::Store`] where it never will, [`JournalError::NotLeader`] where it does not.
    pub async fn ready(&self, shard: ShardId) -> Result<(), JournalError> {
        match self.groups.get(&shard) {
            Some(shard) => shard.ready().await.map(drop),
            None => Err(JournalError::NotLeader(format!("there is no shard {shard}"))),
        }
    }

    /// What makes the store unusable, as soon as something does. The process should then say so and
    /// end: what was on its way has an unknown outcome, and a new start finds out.
    pub fn health(&self) -> watch::Receiver<Option<Fault>> {
        self.store.health.watch()
    }

    /// Stops all shards, makes everything durable, and closes the files.
    ///
    /// # Errors
    /// The fault that kept the state from becoming durable. Nothing acknowledged is lost by it.
    pub async fn close(self) -> Result<(), Fault> {
        self.end().await
    }

    /// As [`Shards::close`], where others have these shards too: the folder is free for another
    /// process when the last of them has let go.
    ///
    /// # Errors
    /// As [`Shards::close`].
    pub async fn end(&self) -> Result<(), Fault> {
        for chore in &self.chores {
            chore.abort();
        }
        stop(&self.groups, &self.store).await
    }
}

/// Stops groups, makes everything durable, and closes the files.
async fn stop(groups: &BTreeMap<ShardId, Arc<Shard>>, store: &Store) -> Result<(), Fault> {
    for shard in groups.values() {
        shard.stop().await;
    }
    let settled = store.state.close().await;
    let (reply, closed) = oneshot::channel();
    store.log.close(Box::new(move |outcome| drop(reply.send(outcome))));
    let closed = closed.await.unwrap_or(Err(Fault::Closed));
    // What failed before stays failed, also where this much could still be done.
    settled.and(closed).and(store.health.check())
}

/// Counts a start of this node, with what each shard holds.
async fn start_roll(
    store: &Store,
    node: u64,
    seed: u64,
    ids: &[ShardId],
    applied_once: u64,
) -> Result<Roll, Fault> {
    let marks = ids.iter().map(|id| machine::opening_mark(*id, store));
    let marks = marks.collect::<Result<Vec<_>, _>>()?;
    let meta = marks.iter().find(|mark| mark.shard == ShardId::META);
    let last = meta.and_then(|mark| mark.last).map_or(0, |last| LogId::from(last).index);
    let roll = Roll::open(store.log.clone(), node, store.birth, seed, marks).await?;
    if last < applied_once {
        let node = NodeId(node);
        let why = format!(
            "node {node} has {last} entries of the cluster and had {applied_once}: its store was \
             taken back to a copy"
        );
        roll.cast_out(&why).await?;
    }
    Ok(roll)
}

/// A group's settings. Only we purge: openraft would purge what a follower still needs. Signs of
/// life are ours, too.
fn group_config(store: &Store) -> Result<Arc<Config>, OpenError> {
    let config = Config {
        cluster_name: "otto".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        enable_heartbeat: false,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| store.refused(error.to_string()))
}

/// How often the state is made durable, and logs are trimmed.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// What is done once a second.
struct Upkeep {
    state: State,
    groups: Vec<Arc<Shard>>,
    roll: Arc<Roll>,
    peer_side: PeerSide,
    logs: LogBounds,
}

impl Upkeep {
    /// Makes the state durable, and what others showed; trims the logs that have grown. Ends when
    /// the store has failed or was closed, which is said elsewhere.
    async fn keep_up(self) {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            if self.state.settle(ShardId(0)).await.is_err() || self.roll.write().await.is_err() {
                return;
            }
            self.peer_side.tidy();
            while let Ok(true) = self.state.sweep().await {}
            let trims = self.groups.iter().map(|shard| shard.trim(self.logs));
            if try_join_all(trims).await.is_err() {
                return;
            }
        }
    }
}
