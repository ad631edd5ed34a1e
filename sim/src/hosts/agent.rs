//! An agent process' host.

use super::{Common, agent_name, build, connector, to_control};
use crate::brake::Brake;
use crate::clock::MachineClock;
use crate::history::Fact;
use crate::network::SimulatedChance;
use crate::planted::{Bug, spoil_control};
use crate::processes::Processes;
use crate::sabotage::Saboteur;
use otto_actors::agent::AgentSide;
use otto_actors::agent::roads::Roads;
use otto_actors::agent::{Ports, Settings};
use otto_actors::ports::control::SharedControl;
use otto_actors::ports::routes::Controls;
use otto_actors::ports::stages::Stages as _;
use otto_core::capability::Capabilities;
use otto_core::ids::{AgentId, AgentRef, NodeId};
use otto_nodes::rpc::agent_link::AgentLink;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How many stages an agent takes at a time.
const SLOTS: u32 = 3;

/// The machine of an agent process. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct AgentHost {
    /// The host's name.
    pub name: String,
    /// Lets actors of the process die.
    pub saboteur: Saboteur,
    /// Stops its process.
    pub brake: Brake,
    index: u8,
    /// How many machines there are that are or may become control nodes.
    machines: u8,
    /// The processes that it started, while it lives.
    processes: Arc<Mutex<Option<Processes>>>,
    starts: Arc<AtomicU64>,
    common: Common,
}

impl AgentHost {
    pub(super) fn new(index: u8, machines: u8, common: &Common) -> Self {
        let name = agent_name(index);
        Self {
            saboteur: Saboteur::new(&name, common.history.clone()),
            brake: Brake::default(),
            index,
            machines,
            processes: Arc::default(),
            starts: Arc::default(),
            common: common.clone(),
            name,
        }
    }

    /// The processes of agents that share a host.
    ///
    /// # Errors
    /// As [`AgentHost::run`].
    pub async fn run_all(crowd: Vec<Self>) -> turmoil::Result {
        futures::future::try_join_all(crowd.into_iter().map(Self::run)).await.map(drop)
    }

    /// The process: runs until its host is crashed.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn run(self) -> turmoil::Result {
        tokio::task::spawn_local(self.brake.clone().attend());
        let Common { history, bug, .. } = &self.common;
        let incarnation = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        let agent = AgentRef { agent: AgentId([7 + self.index; 16]), incarnation };
        let processes = Processes::new(&self.name, agent, history.clone(), *bug);
        *self.processes.lock().unwrap_or_else(PoisonError::into_inner) = Some(processes.clone());
        let links = Links { bug: *bug, machines: self.machines };
        let settings = Settings {
            agent,
            name: self.name.clone(),
            capabilities: Capabilities { cores: 2, memory: 1 << 30, ..Capabilities::default() },
            slots: SLOTS,
        };
        let ports = Ports {
            clock: Arc::new(MachineClock::default().start_process()),
            roads: Roads::new(Arc::new(links)),
            spool: processes.spool(),
            tools: Arc::new(processes.clone()),
            stages: Arc::new(processes),
            chance: Arc::new(SimulatedChance),
            sabotage: Arc::new(self.saboteur.clone()),
        };
        let side = AgentSide::start(settings, ports).await?;
        history.add(&self.name, Fact::Serves);
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

    /// The launcher, which is not stopped when its agent is, ends what was not renewed in time.
    pub fn end_overdue(&self, now_ms: u64) {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(processes) = processes {
            processes.end_overdue(now_ms);
        }
    }

    /// The agent's processes end with it: its launcher sees to that.
    pub fn kill_processes(&self) {
        self.brake.release();
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(processes) = processes.take() {
            processes.kill_all();
        }
    }
}

/// An agent's ways to control processes.
#[derive(Debug)]
struct Links {
    bug: Option<Bug>,
    machines: u8,
}

impl Controls for Links {
    fn first(&self) -> Vec<SharedControl> {
        let link =
            |index| spoil_control(self.bug, Arc::new(AgentLink::new(connector(index), build())));
        (0..self.machines).map(link).collect()
    }

    fn link(&self, _: NodeId, address: &str) -> SharedControl {
        spoil_control(self.bug, Arc::new(AgentLink::new(to_control(address), build())))
    }
}
