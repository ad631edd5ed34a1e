//! The simulated hosts: control and agent processes, and what survives them.

mod agent;
mod control;
pub(crate) mod founding;
mod watched;

pub use agent::AgentHost;
pub use control::ControlHost;
pub use watched::Trap;

use crate::history::{Fact, History, now_ms};
use crate::logs::SimulatedLogs;
use crate::network::{Passports, SimulatedConnector};
use crate::planted::{Bug, Forgery};
use crate::setup::Setup;
use async_trait::async_trait;
use futures::FutureExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use otto_actors::ports::blobs::SharedBlobs;
use otto_actors::ports::logs::{LogId, Logs, SharedLogs};
use otto_nodes::client::Client;
use otto_nodes::logs::SealedLogs;
use otto_nodes::network::{ConnectError, Connector, SharedConnector, Stream};
use otto_nodes::objects::ObjectBlobs;
use otto_nodes::replica::balance::MOST_OFF_MS;
use otto_nodes::wire::hello::Build;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where control processes listen to clients and agents.
const PORT: u16 = 7300;
/// Where they listen to each other.
const PEER_PORT: u16 = 7301;

/// What all hosts of a simulation share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The blobs, in a store that no fault reaches.
    pub blobs: SharedBlobs,
    /// The sealed logs, in the same store.
    pub sealed: Arc<dyn ObjectStore>,
    /// Who the hosts are, in place of certificates.
    pub passports: Passports,
    /// What happened.
    pub history: History,
    /// The bug that is planted.
    pub bug: Option<Bug>,
    /// What bugs that forge identities go by.
    pub forgery: Forgery,
    /// What the world sees of the clocks.
    pub watch: Arc<Mutex<Watch>>,
}

/// What the world sees of the clocks of the control processes.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// How far each process' clock is ahead of the truth, of those that belong to the cluster.
    pub ahead_ms: BTreeMap<u8, i64>,
    /// Since when nothing but clocks is wrong.
    pub calm_since_ms: u64,
}

/// For so long all must be well before a node can be blamed that its clock is off.
const CALM_MS: u64 = 5_000;
/// What the comparison of clocks may be wrong by, and what drifts until the next one.
const TOLERANCE_MS: u64 = 300;

impl Watch {
    /// How far a clock is ahead of the median, where that is more than may be, and where all could
    /// tell.
    fn off_ms(&self, control: u8, now_ms: u64) -> Option<i64> {
        let mut all: Vec<i64> = self.ahead_ms.values().copied().collect();
        all.sort_unstable();
        let median = *all.get(all.len().saturating_sub(1) / 2)?;
        let ahead = self.ahead_ms.get(&control)?.saturating_sub(median);
        let told = all.len() > 2 && now_ms.saturating_sub(self.calm_since_ms) > CALM_MS;
        (told && ahead.unsigned_abs() > MOST_OFF_MS + TOLERANCE_MS).then_some(ahead)
    }
}

impl Common {
    /// Writes down that a node journals though its clock is off the others'.
    fn watch_clock(&self, control: u8, host: &str) {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ahead_ms) = watch.off_ms(control, now_ms()) {
            self.history.add(host, Fact::OffTime { ahead_ms });
        }
    }
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
        let sealed: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let common = Common {
            blobs,
            sealed,
            passports: Passports::default(),
            history: History::default(),
            bug,
            forgery: Forgery::default(),
            watch: Arc::default(),
        };
        let machines = setup.controls + setup.spares;
        let controls = (0..machines).map(|index| ControlHost::new(index, setup, &common));
        let controls: Vec<ControlHost> = controls.collect();
        let agents =
            (0..setup.agents).map(|index| AgentHost::new(index, machines, &common)).collect();
        Self { common, controls, agents }
    }

    /// How many stages have processes now, on all agents.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.agents.iter().map(AgentHost::leases).sum()
    }

    /// All logs: as they were sealed, or else the longest that a machine has.
    #[must_use]
    pub fn logs(&self) -> BTreeMap<LogId, Vec<u8>> {
        let mut logs: BTreeMap<LogId, Vec<u8>> = BTreeMap::new();
        for (log, bytes) in self.controls.iter().flat_map(|control| control.logs.all()) {
            let longest = logs.entry(log).or_default();
            if bytes.len() > longest.len() {
                *longest = bytes;
            }
        }
        for (log, longest) in &mut logs {
            let nothing: SharedLogs = Arc::new(SimulatedLogs::default());
            let sealed = SealedLogs::new(nothing, Arc::clone(&self.common.sealed));
            // The store is in memory, and answers at once.
            let read = sealed.read(*log, 0, usize::MAX).now_or_never();
            if let Some(Ok(bytes)) =
                read.filter(|read| read.as_ref().is_ok_and(|it| !it.is_empty()))
            {
                *longest = bytes;
            }
        }
        logs
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
    to_control(&control_name(index))
}

/// The way to a control process by its host's name, which is its address.
fn to_control(name: &str) -> Arc<SimulatedConnector> {
    Arc::new(SimulatedConnector { host: name.to_owned(), port: PORT })
}

/// A client that reaches one control process.
#[must_use]
pub fn client_of(control: u8) -> Client {
    Client::new(connector(control), build())
}

/// A client that reaches any of so many control processes.
#[must_use]
pub fn client(machines: u8) -> Client {
    let ways = (0..machines).map(|index| connector(index) as SharedConnector).collect();
    Client::new(Arc::new(AnyOf { ways, next: AtomicUsize::default() }), build())
}

/// The ways to several places, tried in turn: each attempt goes to the next one.
#[derive(Debug)]
struct AnyOf {
    ways: Vec<SharedConnector>,
    next: AtomicUsize,
}

#[async_trait]
impl Connector for AnyOf {
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.ways.len();
        self.ways[turn].connect().await
    }
}

fn build() -> Build {
    Build { version: "0.0.0".to_owned(), made_ns: 0, size: 0 }
}
