//! A control process' host.

use super::{Common, PORT, build, control_name};
use crate::disk::SimulatedDisk;
use crate::history::Fact;
use crate::logs::SimulatedLogs;
use crate::network::{SimulatedChance, SimulatedClock, SimulatedListener};
use crate::planted::{spoil_journal, spoil_logs};
use crate::sabotage::Saboteur;
use crate::writers::Tasks;
use otto_core::ids::ShardId;
use otto_nodes::control::{ControlConfig, OpenStore, Outside, attend};
use otto_nodes::replica::{Alone, Shards, ShardsConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    common: Common,
}

impl ControlHost {
    pub(super) fn new(index: u8, seed: u64, common: &Common) -> Self {
        let name = control_name(index);
        Self {
            disk: SimulatedDisk::new(seed.wrapping_add(u64::from(index) << 56)),
            logs: SimulatedLogs::default(),
            saboteur: Saboteur::new(&name, common.history.clone()),
            ended: Arc::default(),
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
        let listener = SimulatedListener::bind(PORT, "sim").await.map_err(|e| e.to_string())?;
        let config = ShardsConfig { shards: crate::world::SHARDS, ..ShardsConfig::default() };
        let opened =
            Shards::open(Box::new(self.disk.mount()), &Tasks::default(), config, Arc::new(Alone))
                .await;
        let shards = opened.map_err(|error| error.to_string())?;
        let Common { blobs, history, bug } = &self.common;
        for id in (0..shards.count()).map(ShardId) {
            shards.ready(id).await.map_err(|error| error.to_string())?;
        }
        let store = OpenStore::of(&shards, |journal| spoil_journal(*bug, journal));
        let outside = Outside {
            listener: Arc::new(listener),
            clock: Arc::new(SimulatedClock),
            chance: Arc::new(SimulatedChance),
            blobs: Arc::clone(blobs),
            logs: spoil_logs(*bug, Arc::new(self.logs.clone())),
            sabotage: Arc::new(self.saboteur.clone()),
            membership: None,
            neighbours: None,
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
        let ending = attend(store, outside, config, ready).await;
        ending.map(drop).map_err(|refused| refused.what)
    }
}
