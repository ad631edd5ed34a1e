//! The simulated hosts: control and agent processes, and what survives them.

mod agent;
mod control;

pub use agent::AgentHost;
pub use control::ControlHost;

use crate::history::History;
use crate::network::SimulatedConnector;
use crate::planted::Bug;
use crate::setup::Setup;
use otto_actors::ports::blobs::SharedBlobs;
use otto_nodes::client::Client;
use otto_nodes::objects::ObjectBlobs;
use otto_nodes::wire::hello::Build;
use std::sync::Arc;

/// Where control processes listen.
const PORT: u16 = 7300;

/// What all hosts of a simulation share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The blobs, in a store that no fault reaches.
    pub blobs: SharedBlobs,
    /// What happened.
    pub history: History,
    /// The bug that is planted.
    pub bug: Option<Bug>,
}

/// The machines of a simulation: what survives their processes, and what tells of their end.
#[derive(Clone, Debug)]
pub struct Machines {
    /// What they share.
    pub common: Common,
    /// Those of the control processes.
    pub controls: Vec<ControlHost>,
    /// Those of the agent processes.
    pub agents: Vec<AgentHost>,
}

impl Machines {
    /// Blank machines.
    #[must_use]
    pub fn new(setup: &Setup, bug: Option<Bug>) -> Self {
        let blobs: SharedBlobs = Arc::new(ObjectBlobs::in_memory());
        let common = Common { blobs, history: History::default(), bug };
        let controls =
            (0..setup.controls).map(|index| ControlHost::new(index, setup.seed, &common));
        let controls: Vec<ControlHost> = controls.collect();
        let agents = (0..setup.agents).map(|index| AgentHost::new(index, &common)).collect();
        Self { common, controls, agents }
    }

    /// How many stages have processes now, on all agents.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.agents.iter().map(AgentHost::leases).sum()
    }

    /// Writes, length changes and syncs of all control disks.
    #[must_use]
    pub fn disk_operations(&self) -> u64 {
        self.controls.iter().map(|control| control.disk.counts().operations).sum()
    }
}

/// The name of a control process' host.
#[must_use]
pub fn control_name(index: u8) -> String {
    format!("control-{}", index + 1)
}

/// The name of an agent process' host.
#[must_use]
pub fn agent_name(index: u8) -> String {
    format!("agent-{}", index + 1)
}

/// The way to a control process.
fn connector(index: u8) -> Arc<SimulatedConnector> {
    Arc::new(SimulatedConnector { host: control_name(index), port: PORT })
}

/// A client of a control process.
#[must_use]
pub fn client(index: u8) -> Client {
    Client::new(connector(index), build())
}

fn build() -> Build {
    Build { version: "0.0.0".to_owned(), made_ns: 0, size: 0 }
}
