//! A control process' host.

use super::{Common, PEER_PORT, PORT, build, control_name, founding};
use crate::determinism::random;
use crate::disk::SimulatedDisk;
use crate::history::{Fact, History};
use crate::logs::SimulatedLogs;
use crate::network::{HostNames, PeerListener, SimulatedChance, SimulatedClock, SimulatedListener};
use crate::planted::{spoil_journal, spoil_logs};
use crate::sabotage::Saboteur;
use crate::setup::Setup;
use crate::writers::Tasks;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::journal::SharedJournal;
use otto_actors::ports::logs::SharedLogs;
use otto_core::ids::{NodeId, ShardId};
use otto_nodes::control::cluster::{Citizen, Entrance};
use otto_nodes::control::{ControlConfig, OpenStore, Outside, attend};
use otto_nodes::identity::authority::Authority;
use otto_nodes::logs::SealedLogs;
use otto_nodes::replica::{Shards, ShardsConfig, SharedPeers, Standing};
use otto_nodes::rpc::peer_link::PeerLinks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The machine of a control process. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct ControlHost {
    /// The host's name.
    pub name: String,
    /// Its disk.
    pub disk: SimulatedDisk,
    /// Its logs.
    pub logs: SimulatedLogs,
    /// Lets actors of the process die.
    pub saboteur: Saboteur,
    /// The process ended by itself, and waits for its supervisor.
    pub ended: Arc<AtomicBool>,
    index: u8,
    /// How many control processes there are.
    controls: u8,
    /// The replicas of the process, while it lives.
    shards: Arc<Mutex<Option<Arc<Shards>>>>,
    common: Common,
}

impl ControlHost {
    pub(super) fn new(index: u8, setup: &Setup, common: &Common) -> Self {
        let name = control_name(index);
        Self {
            disk: SimulatedDisk::new(setup.seed.wrapping_add(u64::from(index) << 56)),
            logs: SimulatedLogs::default(),
            saboteur: Saboteur::new(&name, common.history.clone()),
            ended: Arc::default(),
            index,
            controls: setup.controls,
            shards: Arc::default(),
            common: common.clone(),
            name,
        }
    }

    /// The process: runs until its host is crashed. Where the real one would end with an error,
    /// this one says so and stays pending, until the world starts it anew.
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn run(self) -> turmoil::Result {
        if let Err(error) = self.serve().await {
            let what = format!("the process ends: {error}");
            self.common.history.add(&self.name, Fact::Fault { what });
        }
        self.ended.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn serve(&self) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let Common { blobs, history, bug, .. } = &self.common;
        let listener = SimulatedListener::bind(PORT, "sim").await.map_err(|e| text(&e))?;
        let config = ShardsConfig {
            node: u64::from(self.index) + 1,
            shards: crate::world::SHARDS,
            seed: if self.controls > 1 { random() } else { 0 },
            founds: self.index == 0,
            ..ShardsConfig::default()
        };
        let links = Arc::new(PeerLinks::new(Arc::new(HostNames(PEER_PORT)), build()));
        let peers = Arc::clone(&links) as SharedPeers;
        let opened =
            Shards::open(Box::new(self.disk.mount()), &Tasks::default(), config, peers).await;
        let shards = Arc::new(opened.map_err(|error| text(&error))?);
        *self.shards.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&shards));
        let citizen = self.enter(&shards, links).await?;
        if self.index > 0
            && let Some(standing) = shards.standing(ShardId(0))
        {
            tokio::spawn(mark_leading(standing, history.clone(), self.name.clone()));
        }
        let store = OpenStore::of(&shards, |journal| spoil_journal(*bug, journal));
        store.settled().await;
        let outside = Outside {
            listener: Arc::new(listener),
            clock: Arc::new(SimulatedClock),
            chance: Arc::new(SimulatedChance),
            blobs: Arc::clone(blobs),
            logs: spoil_logs(*bug, self.logs()),
            sabotage: Arc::new(self.saboteur.clone()),
            membership: citizen.as_ref().map(|citizen| citizen.membership.clone()),
            neighbours: citizen.as_ref().map(|citizen| citizen.neighbours.clone()),
        };
        let config = ControlConfig {
            build: build(),
            node_build: build(),
            shards: config,
            idle: None,
            data: String::new(),
            address: format!("{}:{PORT}", self.name),
        };
        let ready = || history.add(&self.name, Fact::Serves);
        let attending = attend(store, outside, config, ready);
        let Some(citizen) = citizen else {
            return attending.await.map(drop).map_err(|refused| refused.what);
        };
        let mut outcast = shards.outcast();
        tokio::select! {
            biased;
            ended = attending => ended.map(drop).map_err(|refused| refused.what),
            () = citizen.live() => Ok(()),
            why = outcast.wait_for(Option::is_some) => {
                Err(why.ok().and_then(|why| why.clone()).unwrap_or_default())
            }
        }
    }

    /// The journals of this machine's replicas, while its process lives.
    #[must_use]
    pub fn replicas(&self) -> Vec<SharedJournal> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(shards) = shards else { return Vec::new() };
        let ids = (0..shards.count()).map(ShardId);
        ids.map(|id| Arc::new(shards.glimpse(id)) as SharedJournal).collect()
    }

    /// The process is dead.
    pub fn forget(&self) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(shards);
    }

    /// Takes part in the cluster, where there is more than one control process.
    async fn enter(
        &self,
        shards: &Arc<Shards>,
        links: Arc<PeerLinks>,
    ) -> Result<Option<Citizen>, String> {
        if self.controls < 2 {
            return Ok(None);
        }
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let clock: SharedClock = Arc::new(SimulatedClock);
        let authority = Authority::found(clock.now());
        let entrance = Entrance {
            me: NodeId(u64::from(self.index) + 1),
            listener: Arc::new(
                PeerListener::bind(PEER_PORT, "control-").await.map_err(|error| text(&error))?,
            ),
            links: Arc::clone(&links),
            authority: authority.map_err(|error| text(&error))?,
            shared_store: true,
            clock,
            chance: Arc::new(SimulatedChance),
            sabotage: Arc::new(self.saboteur.clone()),
        };
        let meta = OpenStore::meta(shards).ok_or("there is no shard of the cluster's own")?;
        let citizen = Citizen::enter(entrance, shards, meta).await.map_err(|e| text(&e))?;
        if self.index == 0 {
            let admission = citizen.admission();
            tokio::spawn(founding::found(admission, self.controls, crate::world::SHARDS));
        } else {
            tokio::spawn(founding::join(links, self.index, self.controls));
        }
        Ok(Some(citizen))
    }

    /// This machine's live logs, and those that are sealed in the store of all.
    fn logs(&self) -> SharedLogs {
        let live = Arc::new(self.logs.clone());
        if self.controls < 2 {
            return live;
        }
        Arc::new(SealedLogs::new(live, Arc::clone(&self.common.sealed)))
    }
}

/// Notes when a control process that did not found the cluster comes to lead a shard.
async fn mark_leading(mut standing: watch::Receiver<Standing>, history: History, name: String) {
    if standing.wait_for(|now| matches!(now, Standing::Serving { .. })).await.is_ok() {
        history.mark(&name, "another node came to lead");
    }
}
