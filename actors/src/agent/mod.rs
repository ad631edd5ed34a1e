//! The agent side: the process that leases work.
//!
//! ```text
//!   AgentSide ── root ─┬─ session     bids to all control nodes, renewals and reports
//!   (this file)        └─ executor    one for each lease
//! ```
//!
//! What the agent holds, has and has to tell lies in a ledger beside the actors, so that it
//! outlives a session that dies: no step notices.

pub(crate) mod ledger;
mod post;
pub mod roads;
mod root;
pub(crate) mod session;

use crate::address::Address;
use crate::ports::chance::SharedChance;
use crate::ports::clock::SharedClock;
use crate::ports::control::LinkError;
use crate::ports::logs::SharedSpool;
use crate::ports::sabotage::SharedSabotage;
use crate::ports::stages::SharedStages;
use crate::ports::tools::SharedTools;
use ledger::SharedLedger;
use otto_core::capability::Capabilities;
use otto_core::ids::AgentRef;
use otto_core::time::Span;
use ractor::{Actor, ActorRef, SpawnErr};
use roads::Roads;
use std::fmt;
use std::future::Future;

/// Who an agent is and what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// This process of the agent: the incarnation differs from that of every earlier one.
    pub agent: AgentRef,
    /// The agent's name, for people.
    pub name: String,
    /// What it has as far as that is known without looking for tools.
    pub capabilities: Capabilities,
    /// How many stages it takes at a time.
    pub slots: u32,
}

/// Everything outside that an agent uses.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The time of day.
    pub clock: SharedClock,
    /// The roads to the control side.
    pub roads: Roads,
    /// Stage processes.
    pub stages: SharedStages,
    /// The machine's tools.
    pub tools: SharedTools,
    /// The spool of logs.
    pub spool: SharedSpool,
    /// Seeded randomness for back-offs.
    pub chance: SharedChance,
    /// Who lets actors die on purpose: nobody in production.
    pub sabotage: SharedSabotage,
}

/// What the actors of an agent share.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    pub(crate) ledger: SharedLedger,
    pub(crate) session: Address<session::Message>,
}

/// An agent.
#[derive(Clone)]
pub struct AgentSide {
    root: ActorRef<root::Message>,
    ledger: SharedLedger,
}

impl fmt::Debug for AgentSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentSide")
    }
}

impl AgentSide {
    /// Starts the agent: from now on it bids.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn start(settings: Settings, ports: Ports) -> Result<Self, SpawnErr> {
        let ledger = SharedLedger::new(settings.slots, settings.capabilities.clone());
        let session = Address::vacant();
        let outside = Outside { settings, ports, ledger: ledger.clone(), session };
        let (root, _) = root::Root::spawn(None, root::Root, outside).await?;
        Ok(Self { root, ledger })
    }

    /// How many leases the agent holds now.
    pub fn busy(&self) -> usize {
        self.ledger.with(|ledger| ledger.holds().len())
    }

    /// Returns when the root of the actors has ended. Unless [`AgentSide::stop`] was called that is
    /// our bug, and the process had better be started anew.
    pub async fn ended(&self) {
        self.root.wait(None).await.ok();
    }

    /// Ends all actors at once, as a process that is killed would. What they had started is ended
    /// by the launcher.
    pub async fn stop(&self) {
        self.root.kill_and_wait(None).await.ok();
    }
}

/// Waits for an answer of the control side, but not for ever.
pub(crate) async fn within<T>(
    limit: Span,
    call: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    let answer = tokio::time::timeout(limit.to_duration(), call).await;
    let late = || LinkError::Unreachable(format!("no answer within {limit}"));
    answer.unwrap_or_else(|_| Err(late()))
}
