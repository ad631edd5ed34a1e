//! The simulated hosts: a control process, an agent process, and what survives them.

use crate::disk::SimulatedDisk;
use crate::history::{Fact, History};
use crate::logs::SimulatedLogs;
use crate::network::{SimulatedChance, SimulatedClock, SimulatedConnector, SimulatedListener};
use crate::planted::{Bug, spoil_control, spoil_journal, spoil_logs};
use crate::processes::Processes;
use crate::sabotage::Saboteur;
use crate::writers::Tasks;
use otto_actors::agent::{self, AgentSide};
use otto_actors::ports::blobs::SharedBlobs;
use otto_actors::ports::stages::Stages as _;
use otto_core::capability::Capabilities;
use otto_core::ids::{AgentId, AgentRef, ShardId};
use otto_nodes::client::Client;
use otto_nodes::control::{ControlConfig, OpenStore, Outside, attend};
use otto_nodes::objects::ObjectBlobs;
use otto_nodes::replica::{Shards, ShardsConfig};
use otto_nodes::rpc::agent_link::AgentLink;
use otto_nodes::wire::hello::Build;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The control process' host.
pub const CONTROL: &str = "control";
/// The agent process' host.
pub const AGENT: &str = "agent";
/// Where the control process listens.
const PORT: u16 = 7300;
/// How many stages the agent takes at a time.
const SLOTS: u32 = 3;

/// What survives the processes, and what tells the world of their end.
#[derive(Clone, Debug)]
pub struct Machines {
    /// The control process' disk.
    pub disk: SimulatedDisk,
    /// Its logs.
    pub logs: SimulatedLogs,
    /// Its blobs.
    pub blobs: SharedBlobs,
    /// What happened.
    pub history: History,
    /// Lets actors of the control process die.
    pub control_saboteur: Saboteur,
    /// Lets actors of the agent process die.
    pub agent_saboteur: Saboteur,
    /// The control process ended by itself, and waits for its supervisor.
    pub control_ended: Arc<AtomicBool>,
    /// The agent process' processes, while it lives.
    pub processes: Arc<Mutex<Option<Processes>>>,
    agent_starts: Arc<AtomicU64>,
    bug: Option<Bug>,
}

impl Machines {
    /// Blank machines.
    #[must_use]
    pub fn new(seed: u64, bug: Option<Bug>) -> Self {
        let history = History::default();
        Self {
            control_saboteur: Saboteur::new(CONTROL, history.clone()),
            agent_saboteur: Saboteur::new(AGENT, history.clone()),
            disk: SimulatedDisk::new(seed),
            logs: SimulatedLogs::default(),
            blobs: Arc::new(ObjectBlobs::in_memory()),
            history,
            control_ended: Arc::default(),
            processes: Arc::default(),
            agent_starts: Arc::default(),
            bug,
        }
    }

    /// The control process: runs until its host is crashed. Where the real one would end with an
    /// error, this one says so and stays pending, until the world starts it anew.
    ///
    /// # Errors
    /// None: turmoil wants the type.
    pub async fn control(self) -> turmoil::Result {
        if let Err(error) = self.serve().await {
            self.history.add(CONTROL, Fact::Fault { what: format!("the process ends: {error}") });
        }
        self.control_ended.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    async fn serve(&self) -> Result<(), String> {
        let listener = SimulatedListener::bind(PORT, "sim").await.map_err(|e| e.to_string())?;
        let config = ShardsConfig { shards: crate::world::SHARDS, ..ShardsConfig::default() };
        let opened = Shards::open(Box::new(self.disk.mount()), &Tasks::default(), config).await;
        let shards = opened.map_err(|error| error.to_string())?;
        let mut journals = Vec::new();
        for id in (0..shards.count()).map(ShardId) {
            shards.ready(id).await.map_err(|error| error.to_string())?;
            journals.extend(shards.journal(id).map(|journal| spoil_journal(self.bug, journal)));
        }
        let store =
            OpenStore { journals, incarnation: shards.incarnation(), health: shards.health() };
        let outside = Outside {
            listener: Arc::new(listener),
            clock: Arc::new(SimulatedClock),
            chance: Arc::new(SimulatedChance),
            blobs: Arc::clone(&self.blobs),
            logs: spoil_logs(self.bug, Arc::new(self.logs.clone())),
            sabotage: Arc::new(self.control_saboteur.clone()),
        };
        let config = ControlConfig {
            build: build(),
            node_build: build(),
            shards: config,
            idle: None,
            data: String::new(),
            address: format!("{CONTROL}:{PORT}"),
        };
        let ready = || self.history.add(CONTROL, Fact::Serves);
        let ending = attend(store, outside, config, ready).await;
        ending.map(drop).map_err(|refused| refused.what)
    }

    /// The agent process: runs until its host is crashed.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn agent(self) -> turmoil::Result {
        let incarnation = self.agent_starts.fetch_add(1, Ordering::Relaxed) + 1;
        let agent = AgentRef { agent: AgentId([7; 16]), incarnation };
        let processes = Processes::new(AGENT, agent, self.history.clone(), self.bug);
        *self.processes.lock().unwrap_or_else(PoisonError::into_inner) = Some(processes.clone());
        let connector = Arc::new(SimulatedConnector { host: CONTROL, port: PORT });
        let control = spoil_control(self.bug, Arc::new(AgentLink::new(connector, build())));
        let settings = agent::Settings {
            agent,
            name: "agent".to_owned(),
            capabilities: Capabilities { cores: 2, memory: 1 << 30, ..Capabilities::default() },
            slots: SLOTS,
        };
        let ports = agent::Ports {
            clock: Arc::new(SimulatedClock),
            control,
            spool: processes.spool(),
            tools: Arc::new(processes.clone()),
            stages: Arc::new(processes),
            chance: Arc::new(SimulatedChance),
            sabotage: Arc::new(self.agent_saboteur.clone()),
        };
        let side = AgentSide::start(settings, ports).await?;
        self.history.add(AGENT, Fact::Serves);
        std::future::pending::<()>().await;
        drop(side);
        Ok(())
    }

    /// How many stages have processes now.
    #[must_use]
    pub fn leases(&self) -> usize {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.as_ref().map_or(0, |processes| processes.alive().len())
    }

    /// The agent's processes end with it: its launcher sees to that.
    pub fn kill_processes(&self) {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(processes) = processes.take() {
            processes.kill_all();
        }
    }
}

/// A client of the control process.
#[must_use]
pub fn client() -> Client {
    Client::new(Arc::new(SimulatedConnector { host: CONTROL, port: PORT }), build())
}

fn build() -> Build {
    Build { version: "0.0.0".to_owned(), made_ns: 0, size: 0 }
}
