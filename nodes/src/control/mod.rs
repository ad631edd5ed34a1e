//! The control process, assembled from ports: the same in production and in simulation.
//!
//! ```text
//! listener ──▶ rpc::server ──▶ Desk (clients) ─┐
//!                          └─▶ Control (agents)─┴─▶ ControlSide: actors ──▶ journals ──▶ store
//! ```

pub mod cluster;
mod council;
mod denial;
mod desk;
pub(crate) mod forward;
mod majority;
mod presence;
mod shards;
mod shelves;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use desk::stage_view;
pub use forward::{Directory, HopError, Hops, Neighbours};
pub use majority::Majority;
pub use presence::Presence;
pub use shards::{OpenShard, OpenStore};

use crate::backup::source::Pictures;
use crate::identity::door::Reception;
use crate::network::SharedListener;
use crate::replica::{Shards, ShardsConfig, SharedPeers};
use crate::rpc::api::Successor;
use crate::rpc::fresh::Fresh;
use crate::rpc::peer_door::Keeping;
use crate::rpc::porter::Porter;
use crate::rpc::server::{Doors, serve};
use crate::store::{Disk, Executor, Fault};
use crate::wire::hello::{Build, Hello, Refused, Role};
use council::Council;
use desk::Desk;
use forward::Forward;
use otto_actors::cluster::ClusterSide;
use otto_actors::control::{ControlSide, Ports, Settings};
use otto_actors::ports::blobs::SharedBlobs;
use otto_actors::ports::chance::SharedChance;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::logs::SharedLogs;
use otto_actors::ports::sabotage::SharedSabotage;
use otto_core::cluster::register::Register;
use otto_core::time::Span;
use shards::Reign;
use shelves::{BlobsOfAll, LogsOfAll};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Everything outside that a control process uses.
#[expect(missing_debug_implementations, reason = "an executor says nothing of itself")]
pub struct Platform {
    /// Where the store's files are.
    pub disk: Box<dyn Disk>,
    /// Where the store's writers run.
    pub executor: Box<dyn Executor>,
    /// What carries replication's calls to other nodes.
    pub peers: SharedPeers,
    /// Everything else.
    pub outside: Outside,
}

/// Everything outside that a control process uses beside its store.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Where clients and agents come in.
    pub listener: SharedListener,
    /// The time of day.
    pub clock: SharedClock,
    /// Seeded randomness.
    pub chance: SharedChance,
    /// Where blobs are.
    pub blobs: SharedBlobs,
    /// Where logs are.
    pub logs: SharedLogs,
    /// Who lets actors die on purpose.
    pub sabotage: SharedSabotage,
    /// The cluster that the node belongs to; `None` where it is alone.
    pub membership: Option<Membership>,
    /// The other control nodes; `None` where there can be none.
    pub neighbours: Option<Neighbours>,
}

/// How a control process takes part in a cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Where other machines come in.
    pub listener: SharedListener,
    /// What callers are checked against; whoever reads the cluster's journal keeps it up.
    pub register: watch::Receiver<Arc<Register>>,
    /// What receives newcomers, and asks the cluster on behalf of people.
    pub reception: Arc<Reception>,
    /// What this node knows by itself of the nodes, whoever leads.
    pub majority: Majority,
    /// Whether artifacts and sealed logs outlive the node that keeps them.
    pub shared_store: bool,
    /// The cluster's actors, which answer other nodes where its own shard is led here.
    pub cluster: Option<ClusterSide>,
}

/// How a control process is to be.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// What it was built from.
    pub build: Build,
    /// What the process that supervises it was built from.
    pub node_build: Build,
    /// How to open the shards.
    pub shards: ShardsConfig,
    /// How long a lease holds without being renewed.
    pub lease: Span,
    /// It leaves when idle for so long; never where there is nothing.
    pub idle: Option<Duration>,
    /// Where its data is, for people.
    pub data: String,
    /// Where it listens, for people.
    pub address: String,
}

/// Why a control process came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Nothing was going on, or somebody asked it to: the node leaves.
    Leave,
    /// Somebody asked it to go on from another image.
    Successor(Successor),
}

/// How long answers that are on their way have before the connections end.
const GRACE: Duration = Duration::from_millis(20);

/// Runs a control process until it leaves; `ready` is called when calls are answered.
///
/// # Errors
/// What keeps it from working, for people. Nothing that was acknowledged is lost.
pub async fn run_control(
    platform: Platform,
    config: ControlConfig,
    ready: impl FnOnce() + Send,
) -> Result<Ending, Refused> {
    let Platform { disk, executor, peers, outside } = platform;
    let opened = Shards::open(disk, executor.as_ref(), config.shards, peers).await;
    let shards = opened.map_err(|error| Refused::from(&error))?;
    let store = OpenStore::of(&shards, |journal| journal);
    settled(&store, &config.data).await?;
    let ending = attend(store, outside, config, ready).await;
    if let Err(fault) = shards.close().await {
        // All that was acknowledged is in the log. A node that is told to leave must be able to,
        // whatever its disk is like; the next one says what is wrong with it.
        tracing::error!(%fault, "the store was not closed in good order");
    }
    ending
}

/// Returns when each shard is served here, or is known not to be.
///
/// # Errors
/// What broke the store meanwhile: that says more than what waits for it, perhaps for ever.
pub async fn settled(store: &OpenStore, data: &str) -> Result<(), Refused> {
    let mut health = store.health.clone();
    tokio::select! {
        biased;
        fault = broken(&mut health) => Err(Refused::of_store(&fault, data)),
        () = store.settled() => Ok(()),
    }
}

/// Runs the actors of an open store and answers calls, until there is a reason to leave.
///
/// # Errors
/// What keeps it from working, for people.
pub async fn attend(
    mut store: OpenStore,
    outside: Outside,
    config: ControlConfig,
    ready: impl FnOnce() + Send,
) -> Result<Ending, Refused> {
    let Outside { listener, clock, chance, blobs, logs, sabotage, membership, neighbours } =
        outside;
    let shards = u16::try_from(store.shards.len()).unwrap_or(u16::MAX);
    let settings = Settings { shards, lease: config.lease, ..Settings::default() };
    let since = clock.now();
    let porter = match &membership {
        Some(membership) => {
            let asked = Arc::clone(&membership.reception.admission);
            let fresh = Fresh::new(asked, membership.majority.clone());
            Porter::new(membership.register.clone(), clock.clone()).asking(fresh)
        }
        None => Porter::alone(clock.clone()),
    };
    let keeping = Keeping { blobs, logs };
    let (blobs, logs) = shelves(&keeping, neighbours.as_ref(), membership.as_ref());
    let ports = Ports { clock: clock.clone(), logs, blobs, chance, sabotage };
    let side = ControlSide::start(settings, ports).await.map_err(|error| no_shard(&error))?;
    let open = Arc::new(std::mem::take(&mut store.shards));
    let pictures = store
        .archive
        .take()
        .map(|archive| Pictures::new(archive, neighbours.clone(), config.build.clone(), clock));
    let others = neighbours.clone();
    let majority = membership.as_ref().map(|membership| membership.majority.clone());
    let forward = Forward { side: side.clone(), shards: Arc::clone(&open), neighbours, majority };
    let leading = Reign::begin(&side, &open, store.incarnation, forward.clone()).await;
    let presence = Presence::default();
    let (endings, mut ended) = mpsc::channel(1);
    let hello = Hello::new(Role::Control, config.build.clone());
    let (idle, data) = (config.idle, config.data.clone());
    let council = Council(membership.clone());
    let neighbours = others;
    let desk = Desk { side: side.clone(), council, config, since, endings, neighbours, pictures };
    let doors = Doors {
        hello,
        clients: Arc::new(desk),
        agents: Arc::new(side.clone()),
        peers: store.peers.take(),
        cluster: membership.as_ref().and_then(|membership| membership.cluster.clone()),
        forward,
        presence: presence.clone(),
        porter,
        admission: membership.as_ref().map(|membership| membership.reception.clone()),
        keeping,
    };
    ready();
    let over = async {
        tokio::select! {
            biased;
            fault = broken(&mut store.health) => Err(Refused::of_store(&fault, &data)),
            ending = ended.recv() => {
                tokio::time::sleep(GRACE).await;
                Ok(ending.unwrap_or(Ending::Leave))
            }
            () = presence::idle(&presence, &side, idle) => Ok(Ending::Leave),
        }
    };
    let ending = tokio::select! {
        biased;
        ending = over => ending,
        () = leading.follow() => Ok(Ending::Leave),
        () = serve(listener, doors.clone()) => Ok(Ending::Leave),
        () = serve_others(membership, doors) => Ok(Ending::Leave),
    };
    side.stop().await;
    ending
}

/// The blobs and logs that actors use: those of all nodes, where no store is shared by them.
fn shelves(
    own: &Keeping,
    neighbours: Option<&Neighbours>,
    membership: Option<&Membership>,
) -> (SharedBlobs, SharedLogs) {
    let (blobs, logs) = (own.blobs.clone(), own.logs.clone());
    let shared = membership.is_some_and(|membership| membership.shared_store);
    match neighbours.filter(|_| !shared) {
        Some(others) => (
            Arc::new(BlobsOfAll::new(blobs, others.clone())),
            Arc::new(LogsOfAll::new(logs, others.clone())),
        ),
        None => (blobs, logs),
    }
}

/// Answers other machines, where the node belongs to a cluster.
async fn serve_others(membership: Option<Membership>, doors: Doors) {
    match membership {
        Some(membership) => serve(membership.listener, doors).await,
        None => std::future::pending().await,
    }
}

/// Returns when the store cannot be used any more.
async fn broken(health: &mut watch::Receiver<Option<Fault>>) -> Fault {
    let fault = health.wait_for(Option::is_some).await;
    fault.ok().and_then(|fault| fault.clone()).unwrap_or(Fault::Closed)
}

fn no_shard(error: &dyn fmt::Display) -> Refused {
    Refused::trouble(
        format!("failed to start the control process: {error}"),
        "look into the node's traces for what came before",
    )
}
