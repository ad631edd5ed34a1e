//! A control process' host.

use super::founding::{self, FIRST_TOKEN, Papers};
use super::watched::{Trap, WatchedJournal, WatchedPeers, tell_leading};
use super::{Common, PEER_PORT, PORT, build, control_name};
use crate::brake::Brake;
use crate::clock::MachineClock;
use crate::determinism::random;
use crate::disk::SimulatedDisk;
use crate::history::Fact;
use crate::logs::SimulatedLogs;
use crate::network::{HostNames, PeerListener, SimulatedChance, SimulatedClock, SimulatedListener};
use crate::planted::{Bug, spoil_journal, spoil_logs, spoil_peers};
use crate::sabotage::Saboteur;
use crate::setup::Setup;
use crate::writers::Tasks;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::journal::SharedJournal;
use otto_actors::ports::logs::SharedLogs;
use otto_core::cluster::Cluster;
use otto_core::ids::{KeyId, NodeId, ShardId, TokenHash};
use otto_core::journal::EntityId;
use otto_core::lease::LEASE;
use otto_nodes::control::cluster::{Citizen, Entrance};
use otto_nodes::control::{ControlConfig, OpenStore, Outside, attend, settled};
use otto_nodes::identity::authority::Authority;
use otto_nodes::logs::SealedLogs;
use otto_nodes::replica::{Shards, ShardsConfig, SharedPeers};
use otto_nodes::rpc::peer_link::PeerLinks;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The machine of a control process. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct ControlHost {
    /// The host's name.
    pub name: String,
    /// Its disk.
    pub disk: SimulatedDisk,
    /// Its logs.
    pub logs: SimulatedLogs,
    /// Its clock.
    pub clock: MachineClock,
    /// Stops its process.
    pub brake: Brake,
    /// Catches it while it awards a stage.
    pub trap: Trap,
    /// How many milliseconds longer a commit takes.
    pub slower_ms: Arc<AtomicU64>,
    /// Lets actors of the process die.
    pub saboteur: Saboteur,
    /// The process ended by itself, and waits for its supervisor.
    pub ended: Arc<AtomicBool>,
    index: u8,
    /// How many control processes there are from the beginning.
    controls: u8,
    /// How many machines there are that are or may become control nodes.
    machines: u8,
    /// How many shards there are beside the cluster's own.
    shard_count: u16,
    /// What is on the machine beside the store: who it is.
    identity: Arc<Mutex<Identity>>,
    /// The replicas of the process, while it lives.
    shards: Arc<Mutex<Option<Arc<Shards>>>>,
    common: Common,
}

/// Who a machine is, as it is written down there.
#[derive(Clone, Debug)]
struct Identity {
    /// Nothing runs there before somebody hands it a token.
    token: Option<TokenHash>,
    /// Counts the identities that the machine had: each has another key.
    number: u8,
    /// Which node it is, once it has founded the cluster or joined it.
    node: Option<NodeId>,
    /// It founds the cluster, once.
    founds: bool,
    /// Up to where the cluster's journal was applied, as is kept beside the store.
    applied: u64,
}

impl ControlHost {
    pub(super) fn new(index: u8, setup: &Setup, common: &Common) -> Self {
        let name = control_name(index);
        let first = index < setup.controls;
        let identity = Identity {
            token: first.then_some(FIRST_TOKEN),
            number: 0,
            node: None,
            founds: index == 0,
            applied: 0,
        };
        Self {
            disk: SimulatedDisk::new(setup.seed.wrapping_add(u64::from(index) << 56)),
            logs: SimulatedLogs::default(),
            clock: MachineClock::default(),
            brake: Brake::default(),
            trap: Trap::default(),
            slower_ms: Arc::default(),
            saboteur: Saboteur::new(&name, common.history.clone()),
            ended: Arc::default(),
            index,
            controls: setup.controls,
            machines: setup.controls + setup.spares,
            shard_count: setup.scale.shards,
            identity: Arc::new(Mutex::new(identity)),
            shards: Arc::default(),
            common: common.clone(),
            name,
        }
    }

    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process: runs until its host is crashed. Where the real one would end with an error,
    /// this one says so and stays pending, until the world starts it anew.
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn run(self) -> turmoil::Result {
        tokio::task::spawn_local(self.brake.clone().attend());
        if self.identity().token.is_none() {
            return std::future::pending().await;
        }
        if let Err(error) = self.serve().await {
            let what = format!("the process ends: {error}");
            self.common.history.add(&self.name, Fact::Fault { what });
        }
        self.ended.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn serve(&self) -> Result<(), String> {
        let links = Arc::new(PeerLinks::new(Arc::new(HostNames(PEER_PORT)), build()));
        let (node, founds) = self.identify().await?;
        let config = ShardsConfig {
            node: node.0,
            shards: self.shard_count,
            seed: if self.is_cluster() { random() } else { 0 },
            founds,
            applied_once: if self.common.bug == Some(Bug::CopiesUnnoticed) {
                0
            } else {
                self.applied()
            },
            ..ShardsConfig::default()
        };
        let tasks = Tasks { slower_ms: Arc::clone(&self.slower_ms) };
        let disk = Box::new(self.disk.mount());
        let opened = Shards::open(disk, &tasks, config, self.peers(node, &links)).await;
        let shards = Arc::new(opened.map_err(|error| error.to_string())?);
        *self.shards.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&shards));
        let mut outcast = shards.outcast();
        tokio::select! {
            biased;
            why = outcast.wait_for(Option::is_some) => {
                self.common.history.mark(&self.name, "a node was cast out");
                Err(why.ok().and_then(|why| why.clone()).unwrap_or_default())
            }
            ended = self.take_part(&shards, links, node, config) => ended,
        }
    }

    /// Serves, with open shards.
    async fn take_part(
        &self,
        shards: &Arc<Shards>,
        links: Arc<PeerLinks>,
        node: NodeId,
        config: ShardsConfig,
    ) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Common { blobs, history, bug, .. } = &self.common;
        let listener = SimulatedListener::bind(PORT, "sim").await.map_err(|e| text(&e))?;
        let clock: SharedClock = Arc::new(self.clock.start_process());
        let citizen = self.enter(shards, links, node, &clock).await?;
        tell_leading(shards, node, &self.name, history);
        let store = OpenStore::of(shards, |journal| {
            let journal = spoil_journal(*bug, journal);
            Arc::new(WatchedJournal { host: self.clone(), journal }) as SharedJournal
        });
        let config = ControlConfig {
            build: build(),
            node_build: build(),
            shards: config,
            lease: LEASE,
            idle: None,
            data: String::new(),
            address: format!("{}:{PORT}", self.name),
        };
        let settled = match &citizen {
            Some(citizen) => citizen.settle(&store, &config).await,
            None => settled(&store, &config.data).await,
        };
        settled.map_err(|refused| refused.what)?;
        let outside = Outside {
            listener: Arc::new(listener),
            clock,
            chance: Arc::new(SimulatedChance),
            blobs: Arc::clone(blobs),
            logs: spoil_logs(*bug, self.logs()),
            sabotage: Arc::new(self.saboteur.clone()),
            membership: citizen.as_ref().map(|citizen| citizen.membership.clone()),
            neighbours: citizen.as_ref().map(|citizen| citizen.neighbours.clone()),
        };
        let ready = || history.add(&self.name, Fact::Serves);
        let attending = attend(store, outside, config, ready);
        let Some(citizen) = citizen else {
            return attending.await.map(drop).map_err(|refused| refused.what);
        };
        let remembering = citizen.remember(|applied| self.keep_applied(applied));
        tokio::select! {
            biased;
            ended = attending => ended.map(drop).map_err(|refused| refused.what),
            () = remembering => Ok(()),
            () = citizen.live() => Ok(()),
        }
    }

    /// Up to where the cluster's journal was applied here once, as is kept beside the store.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.identity().applied
    }

    /// Keeps that beside the store.
    pub fn keep_applied(&self, applied: u64) {
        self.identity().applied = applied;
    }

    /// What carries replication's calls.
    fn peers(&self, node: NodeId, links: &Arc<PeerLinks>) -> SharedPeers {
        let (history, bug) = (self.common.history.clone(), self.common.bug);
        let peers = Arc::clone(links) as SharedPeers;
        let watched = Arc::new(WatchedPeers { node, host: self.name.clone(), history, peers });
        spoil_peers(bug, node, &self.common.forgery, watched)
    }

    fn is_cluster(&self) -> bool {
        self.machines > 1
    }

    /// Which node this machine is, and whether it is to make the groups; it joins where it is
    /// nobody yet.
    async fn identify(&self) -> Result<(NodeId, bool), String> {
        // Who is somebody afterwards makes other connections.
        let links = &PeerLinks::new(Arc::new(HostNames(PEER_PORT)), build());
        let identity = self.identity().clone();
        let key = self.key(identity.number);
        if let Some(node) = identity.node {
            // A lone node that died before its store was made makes it at its next start.
            return Ok((node, !self.is_cluster()));
        }
        if identity.founds {
            self.become_node(NodeId::FIRST, key);
            return Ok((NodeId::FIRST, true));
        }
        let token = identity.token.unwrap_or(FIRST_TOKEN);
        let name = self.name.clone();
        let others = (0..self.machines).filter(|other| *other != self.index).map(control_name);
        let others: Vec<String> = others.collect();
        if token != FIRST_TOKEN {
            // Somebody tries the old token again, which has let in as many as it may.
            let papers = Papers { name: name.clone(), key, token: FIRST_TOKEN };
            if let Ok(node) = founding::join(links, &papers, &others, false).await {
                return Ok((self.joined(node, key, FIRST_TOKEN), false));
            }
        }
        let patient = token == FIRST_TOKEN;
        let node = founding::join(links, &Papers { name, key, token }, &others, patient).await?;
        Ok((self.joined(node, key, token), false))
    }

    fn joined(&self, node: NodeId, key: KeyId, token: TokenHash) -> NodeId {
        self.common.history.add(&self.name, Fact::Joined { node, token });
        self.become_node(node, key);
        node
    }

    fn become_node(&self, node: NodeId, key: KeyId) {
        self.identity().node = Some(node);
        self.common.passports.issue(&self.name, node, key);
    }

    fn key(&self, number: u8) -> KeyId {
        let mut key = [self.index + 1; 32];
        key[31] = number;
        KeyId(key)
    }

    /// The journals of this machine's replicas, while its process lives.
    #[must_use]
    pub fn replicas(&self) -> Vec<SharedJournal> {
        let Some(shards) = self.shards() else { return Vec::new() };
        let ids = (0..shards.count()).map(ShardId);
        ids.map(|id| Arc::new(shards.glimpse(id)) as SharedJournal).collect()
    }

    /// The replica of the cluster's own shard, while the process lives.
    #[must_use]
    pub fn meta(&self) -> Option<SharedJournal> {
        let shards = self.shards()?;
        Some(Arc::new(shards.glimpse(ShardId::META)))
    }

    /// The cluster, as this machine's replica has it.
    #[must_use]
    pub fn cluster(&self) -> Option<Cluster> {
        let head = self.shards()?.glimpse(ShardId::META).of(EntityId::CLUSTER).ok()??;
        Cluster::from_head(Some(&head.head)).ok()
    }

    /// The shards of the process, while it lives.
    #[must_use]
    pub fn shards(&self) -> Option<Arc<Shards>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which node the machine is.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.identity().node
    }

    /// Whether something runs, or is to run, on this machine.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.identity().token.is_some()
    }

    /// Everything on the machine is gone; with a token it joins as somebody else.
    pub fn begin_anew(&self, token: Option<TokenHash>) {
        self.disk.wipe();
        self.common.passports.lose(&self.name);
        let mut identity = self.identity();
        let number = identity.number + 1;
        *identity = Identity { token, number, node: None, founds: false, applied: 0 };
    }

    /// The process is dead.
    pub fn forget(&self) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(shards);
    }

    /// Takes part in the cluster, where there is one or is to be one.
    async fn enter(
        &self,
        shards: &Arc<Shards>,
        links: Arc<PeerLinks>,
        me: NodeId,
        clock: &SharedClock,
    ) -> Result<Option<Citizen>, String> {
        if !self.is_cluster() {
            return Ok(None);
        }
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Common { passports, history, bug, .. } = &self.common;
        let authority = Authority::found(clock.now());
        let listener = PeerListener::bind(PEER_PORT, passports).await;
        // The bug: a node tells the others, and itself, the right time, and goes by its own.
        let compared: SharedClock = match bug {
            Some(Bug::ClocksUncompared) => Arc::new(SimulatedClock),
            _ => Arc::clone(clock),
        };
        let entrance = Entrance {
            me,
            listener: Arc::new(listener.map_err(|error| text(&error))?),
            links,
            authority: authority.map_err(|error| text(&error))?,
            shared_store: true,
            clock: compared,
            chance: Arc::new(SimulatedChance),
            sabotage: Arc::new(self.saboteur.clone()),
        };
        let meta = OpenStore::meta(shards).ok_or("there is no shard of the cluster's own")?;
        let citizen = Citizen::enter(entrance, shards, meta).await.map_err(|e| text(&e))?;
        if self.index == 0 && me == NodeId::FIRST {
            let (name, key) = (self.name.clone(), self.key(0));
            let papers = Papers { name, key, token: FIRST_TOKEN };
            let counts = (self.controls - 1, self.shard_count);
            let told = (history.clone(), *bug);
            tokio::spawn(founding::found(citizen.admission(), papers, counts, told));
        }
        Ok(Some(citizen))
    }

    /// This machine's live logs, and those that are sealed in the store of all.
    fn logs(&self) -> SharedLogs {
        let live = Arc::new(self.logs.clone());
        if !self.is_cluster() {
            return live;
        }
        Arc::new(SealedLogs::new(live, Arc::clone(&self.common.sealed)))
    }

    /// How far the process' clock is ahead of the truth.
    #[must_use]
    pub fn ahead_ms(&self, now_ms: u64) -> i64 {
        self.clock.process_ahead_ms(now_ms)
    }

    /// Says that something was journaled by a node whose clock is off the others'.
    pub(super) fn proposes(&self) {
        self.common.watch_clock(self.index, &self.name);
    }
}
