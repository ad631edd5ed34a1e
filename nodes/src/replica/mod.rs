//! Replication: every shard is a group of replicas that agree on one log.
//!
//! ```text
//!     propose ──gather──▶ entry ──append──▶ log ──commit──▶ apply ──▶ verdicts
//! ```
//!
//! A group has one voter now, this node; its files and its rules are those of many. Everything of
//! openraft is in here, and nothing of it is on disk or in a signature outside.
//!
//! This module never decides anything about a run, and never decodes an event.

mod gather;
mod log;
mod machine;
mod peers;
mod record;
mod runtime;
mod shard;
#[cfg(test)]
mod tests;
mod types;

use crate::store::{Disk, Executor, Fault, OpenError, State, Store, StoreConfig};
use futures::future::try_join_all;
use openraft::{Config, SnapshotPolicy};
use otto_actors::ports::journal::{JournalError, SharedJournal};
use otto_core::ids::ShardId;
use shard::Shard;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How to open the shards.
#[derive(Clone, Copy, Debug)]
pub struct ShardsConfig {
    /// This node's identity in the cluster.
    pub node: u64,
    /// Into how many shards a new cluster is divided; one that exists keeps its number.
    pub shards: u16,
    /// A number that no other node has: from the operating system in production, from the seed in
    /// a simulation. Elections draw from it, and it tells which two files belong together.
    pub seed: u64,
}

impl Default for ShardsConfig {
    fn default() -> Self {
        Self { node: 1, shards: 8, seed: 0 }
    }
}

/// The shards of this node.
#[derive(Debug)]
pub struct Shards {
    groups: Vec<Arc<Shard>>,
    store: Store,
    upkeep: JoinHandle<()>,
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
    ) -> Result<Self, OpenError> {
        let ShardsConfig { node, shards, seed } = config;
        runtime::stir(seed);
        let store = Store::open(disk, executor, StoreConfig { node, shards, birth: seed })?;
        let group = group_config(&store)?;
        let mut groups = Vec::with_capacity(store.shards.into());
        for id in (0..store.shards).map(ShardId) {
            match Shard::start(id, node, Arc::clone(&group), &store).await {
                Ok(shard) => groups.push(shard),
                Err(fatal) => {
                    let refused = store.refused(fatal.to_string());
                    // Why it can't be used is said already.
                    stop(&groups, &store).await.ok();
                    return Err(refused);
                }
            }
        }
        let upkeep = tokio::spawn(keep_up(store.state.clone(), groups.clone()));
        Ok(Self { groups, store, upkeep })
    }

    /// How many shards there are.
    pub fn count(&self) -> u16 {
        self.store.shards
    }

    /// The cluster's incarnation: raised when a backup is restored, the upper half of every epoch.
    pub fn incarnation(&self) -> u32 {
        self.store.incarnation
    }

    /// The journal of a shard; `None` where there is no such shard.
    pub fn journal(&self, shard: ShardId) -> Option<SharedJournal> {
        let shard = self.groups.get(usize::from(shard.0))?;
        Some(Arc::clone(shard) as SharedJournal)
    }

    /// Waits until a shard serves here.
    ///
    /// # Errors
    /// [`JournalError::Store`] where it never will, [`JournalError::NotLeader`] where it does not.
    pub async fn ready(&self, shard: ShardId) -> Result<(), JournalError> {
        match self.groups.get(usize::from(shard.0)) {
            Some(shard) => shard.ready().await,
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
        self.upkeep.abort();
        stop(&self.groups, &self.store).await
    }
}

/// Stops groups, makes everything durable, and closes the files.
async fn stop(groups: &[Arc<Shard>], store: &Store) -> Result<(), Fault> {
    for shard in groups {
        shard.stop().await;
    }
    let settled = store.state.close().await;
    let (reply, closed) = oneshot::channel();
    store.log.close(Box::new(move |outcome| drop(reply.send(outcome))));
    let closed = closed.await.unwrap_or(Err(Fault::Closed));
    settled.and(closed)
}

/// A group's settings. Only we purge: openraft would purge what a follower still needs.
fn group_config(store: &Store) -> Result<Arc<Config>, OpenError> {
    let config = Config {
        cluster_name: "otto".to_owned(),
        heartbeat_interval: 250,
        election_timeout_min: 750,
        election_timeout_max: 1500,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| store.refused(error.to_string()))
}

/// How often the state is made durable, and logs are trimmed.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// A log that grew by less is left alone, for a trim costs two syncs.
const TRIM_BYTES: u64 = 1 << 20;

/// Once a second, makes the state durable and trims the logs that have grown. Ends when the store
/// has failed or was closed, which is said elsewhere.
async fn keep_up(state: State, shards: Vec<Arc<Shard>>) {
    loop {
        tokio::time::sleep(UPKEEP_EVERY).await;
        if state.settle(ShardId(0)).await.is_err() {
            return;
        }
        while let Ok(true) = state.sweep().await {}
        let trims = shards.iter().map(|shard| shard.trim(TRIM_BYTES));
        if try_join_all(trims).await.is_err() {
            return;
        }
    }
}
