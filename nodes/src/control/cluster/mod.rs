//! How a control process takes part in a cluster.
//!
//! ```text
//!   seat.rs        asks whoever leads the cluster's own shard, here or elsewhere
//!   upkeep.rs      brings the groups that are led here in line with what the cluster wants
//!   membership.rs  tells the cluster's actors when all groups are
//!   clocks.rs      compares the other nodes' clocks with this one's
//!   parting.rs     lets others lead before this node ends
//!   founding.rs    grants the first wish, before there is anybody to take part with
//! ```
//!
//! Each node knows the cluster from its own replica of the cluster's shard, which may be a moment
//! behind. What is decided is decided where that shard is led; what is done to a group is done by
//! whoever leads the group, so no node ever gives another one an order.

mod clocks;
mod founding;
mod membership;
mod parting;
mod seat;
mod upkeep;

pub use founding::found;
pub use parting::part;

use super::shards::TermJournal;
use super::{
    ControlConfig, Directory, Majority, Membership, Neighbours, OpenShard, OpenStore, settled,
};
use crate::identity::authority::Authority;
use crate::identity::door::Reception;
use crate::network::SharedListener;
use crate::replica::{PeerSide, Shards, Standing};
use crate::rpc::cluster::Live;
use crate::rpc::peer_link::PeerLinks;
use crate::rpc::porter::Porter;
use crate::rpc::server::serve_peers;
use crate::wire::hello::{Hello, Refused, Role};
use clocks::Clocks;
use membership::Groups;
use otto_actors::cluster::{ClusterSide, Ports};
use otto_actors::ports::chance::SharedChance;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::sabotage::SharedSabotage;
use otto_core::cluster::Cluster;
use otto_core::cluster::register::Register;
use otto_core::ids::{NodeId, ShardId};
use ractor::SpawnErr;
use seat::Seat;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use upkeep::Upkeep;

/// How long a start waits until it is known who leads what: whoever asks before is told to wait.
const SETTLE: Duration = Duration::from_secs(2);

/// What a node brings along to take part in a cluster.
#[derive(Debug)]
pub struct Entrance {
    /// This node's number.
    pub me: NodeId,
    /// Where other machines come in.
    pub listener: SharedListener,
    /// Ways to the other nodes.
    pub links: Arc<PeerLinks>,
    /// What signs the certificates of newcomers.
    pub authority: Authority,
    /// Whether artifacts and sealed logs outlive the node that keeps them.
    pub shared_store: bool,
    /// The time of day.
    pub clock: SharedClock,
    /// Seeded randomness.
    pub chance: SharedChance,
    /// Who lets actors die on purpose.
    pub sabotage: SharedSabotage,
}

/// A node that takes part.
#[derive(Debug)]
pub struct Citizen {
    /// How the control process shows it to callers.
    pub membership: Membership,
    /// The other nodes.
    pub neighbours: Neighbours,
    seat: Seat,
    upkeep: Upkeep,
    meta: OpenShard,
    clock: SharedClock,
}

/// What the rest of the process is told of the cluster, whenever it changes.
#[derive(Debug)]
struct News {
    known: watch::Sender<Arc<Cluster>>,
    register: watch::Sender<Arc<Register>>,
    directory: watch::Sender<Directory>,
    live: watch::Sender<BTreeMap<NodeId, Live>>,
}

impl Citizen {
    /// Begins to take part; [`Citizen::live`] does the work.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn enter(
        entrance: Entrance,
        shards: &Arc<Shards>,
        meta: OpenShard,
    ) -> Result<Self, SpawnErr> {
        let Entrance { me, listener, links, authority, shared_store, clock, chance, sabotage } =
            entrance;
        let membership = Arc::new(Groups(Arc::clone(shards)));
        let clocks = Clocks::new(me, clock.clone(), Arc::clone(&links));
        let ports = Ports { clock: clock.clone(), chance, sabotage, membership };
        let cluster = ClusterSide::start(ports).await?;
        let (known, knows) = watch::channel(Arc::default());
        let (register, registered) = watch::channel(Arc::default());
        let (directory, listed) = watch::channel(Directory::default());
        let (live, lives) = watch::channel(BTreeMap::new());
        let seat = Seat {
            side: cluster.clone(),
            standing: meta.standing.clone(),
            known: knows.clone(),
            links: Arc::clone(&links),
        };
        let admission = Arc::new(seat.clone());
        let membership = Membership {
            listener,
            register: registered,
            reception: Arc::new(Reception {
                authority,
                admission,
                incarnation: shards.incarnation(),
            }),
            majority: Majority { me, known: knows, live: lives },
            shared_store,
            cluster: Some(cluster),
        };
        let neighbours = Neighbours { node: me, directory: listed, hops: links };
        let news = News { known, register, directory, live };
        let upkeep = Upkeep { me, shards: Arc::clone(shards), clocks, news };
        Ok(Self { membership, neighbours, seat, upkeep, meta, clock })
    }

    /// Waits for a moment until it is known who leads what. Others are answered meanwhile: they may
    /// wait for this node as it waits for them.
    ///
    /// # Errors
    /// What broke the store meanwhile.
    pub async fn settle(&self, store: &OpenStore, config: &ControlConfig) -> Result<(), Refused> {
        let settling = tokio::time::timeout(SETTLE, settled(store, &config.data));
        let Some(peers) = store.peers.clone() else {
            return settling.await.unwrap_or(Ok(()));
        };
        tokio::select! {
            biased;
            settled = settling => settled.unwrap_or(Ok(())),
            () = self.receive(peers, config) => Ok(()),
        }
    }

    /// Answers other nodes, and nobody else, for ever.
    pub fn receive(
        &self,
        peers: PeerSide,
        config: &ControlConfig,
    ) -> impl Future<Output = ()> + use<> {
        let porter = Porter::new(self.membership.register.clone(), self.clock.clone());
        let hello = Hello::new(Role::Control, config.build.clone());
        serve_peers(Arc::clone(&self.membership.listener), hello, porter, peers)
    }

    /// Asks the cluster, from this node.
    #[must_use]
    pub fn admission(&self) -> Arc<dyn crate::identity::door::Admission> {
        Arc::new(self.seat.clone())
    }

    /// The cluster, as this node knows it: it may be a moment behind.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Arc<Cluster>> {
        self.seat.known.clone()
    }

    /// Has somebody keep beside the store, whenever the cluster has changed, up to where its own
    /// shard is applied here; zero where nobody else votes. For ever: dropping the future ends it.
    pub fn remember<Keep: FnMut(u64) + Send>(
        &self,
        mut keep: Keep,
    ) -> impl Future<Output = ()> + Send + use<Keep> {
        let (mut known, shards) = (self.known(), Arc::clone(&self.upkeep.shards));
        let me = self.upkeep.me;
        async move {
            loop {
                let cluster = Arc::clone(&known.borrow_and_update());
                let accompanied = cluster.voters().any(|voter| voter != me);
                let views = shards.views();
                let meta = views.iter().find(|group| group.shard == ShardId::META);
                // Before anything was learnt, what is kept stays.
                if let Some(meta) = meta.filter(|_| cluster.version() > 0) {
                    keep(if accompanied { meta.applied } else { 0 });
                }
                if known.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Takes part, for ever. Dropping the future ends it.
    pub async fn live(self) {
        let Self { seat, upkeep, meta, .. } = self;
        let leading = lead_meta(meta, seat.side);
        futures::future::join(upkeep.run(), leading).await;
    }
}

/// Has the cluster's actors here while its own shard is led here.
async fn lead_meta(meta: OpenShard, side: ClusterSide) {
    let mut standing = meta.standing.clone();
    let mut led = None;
    loop {
        let term = match *standing.borrow_and_update() {
            Standing::Serving { term } => Some(term),
            Standing::Following { .. } | Standing::Opening | Standing::Ended => None,
        };
        if term != led {
            match term {
                Some(term) => side.lead(TermJournal::shared(meta.clone(), term)),
                None => side.resign(),
            }
            tracing::info!(shard = %ShardId::META, ?term, "the cluster's own shard");
            led = term;
        }
        if standing.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
