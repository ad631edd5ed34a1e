//! What an agent asks of the control side, as a port.

use super::routes::Routes;
use async_trait::async_trait;
use otto_core::capability::Capabilities;
use otto_core::ids::{AgentRef, Digest, ProjectId, ShardId};
use otto_core::lease::LeaseId;
use otto_core::plan::StepCall;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{AttemptEnd, StepFact};
use otto_core::step::Library;
use otto_core::time::Span;
use otto_core::value::{Value, ValueType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// An agent's standing answer to offers, renewed with every poll.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bid {
    /// Who bids.
    pub agent: AgentRef,
    /// The agent's name, for people.
    pub name: String,
    /// What it has.
    pub capabilities: Capabilities,
    /// How many stages it can take now.
    pub free_slots: u32,
    /// The leases that it holds now: after a restart of the control side they go on.
    pub holds: Vec<LeaseId>,
    /// What an award would cost here; the cheapest capable bid wins. Its running stages and load.
    pub cost: u32,
    /// The projects whose files are here: where bids cost the same, one of these wins.
    #[serde(default)]
    pub warm: BTreeSet<ProjectId>,
}

/// What a bid is answered with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BidAnswer {
    /// What the control side wants.
    pub orders: Vec<Order>,
    /// Where the control nodes are, where that is known to whoever answers.
    #[serde(default, skip_serializing_if = "Routes::are_unknown")]
    pub routes: Routes,
}

/// What the control side wants of an agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Run this stage. Repeated until the agent holds or has ended the lease.
    Start(Box<Assignment>),
    /// End this lease; its process trees must go.
    End {
        /// Which lease.
        lease: LeaseId,
        /// Why.
        reason: EndReason,
    },
    /// Look for these tools: offers need them. The next bid says what was found, and what is
    /// absent. Repeated until one does.
    Look {
        /// Their names.
        tools: Vec<String>,
    },
}

/// Everything an agent needs for one attempt at a stage.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The lease.
    pub lease: LeaseId,
    /// How long the lease holds without renewal, from the sending of the last renewal that was
    /// answered.
    pub lease_span: Span,
    /// The project's name.
    pub project: String,
    /// The stage's path.
    pub path: String,
    /// Its steps.
    pub steps: Vec<StepCall>,
    /// Steps that run however those ended.
    pub finally: Vec<StepCall>,
    /// The libraries of those steps.
    pub libraries: BTreeMap<String, Library>,
    /// The environment variables of all steps, those that Otto sets included.
    pub settings: BTreeMap<String, String>,
    /// How long the attempt may still take.
    pub timeout: Option<Span>,
    /// The files that the workspace starts with.
    pub snapshot: Option<Digest>,
    /// The values that may be captured.
    pub outputs: BTreeMap<String, ValueType>,
    /// What earlier stages captured and declared, for its steps to see.
    #[serde(default)]
    pub captured: BTreeMap<String, Value>,
    /// The run's artifacts so far, by name.
    pub artifacts: BTreeMap<String, Digest>,
}

/// What an agent tells of a lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Report {
    /// It cannot take it.
    Declined {
        /// Which lease.
        lease: LeaseId,
    },
    /// Steps began and ended.
    Steps {
        /// Which lease.
        lease: LeaseId,
        /// What happened, in order, from the first fact that was not acknowledged.
        facts: Vec<StepFact>,
    },
    /// The attempt is over, its process trees are gone, and its log is delivered.
    Finished {
        /// Which lease.
        lease: LeaseId,
        /// All facts that were not acknowledged.
        facts: Vec<StepFact>,
        /// How it ended.
        end: AttemptEnd,
    },
}

impl Report {
    /// The lease that it is about.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        match self {
            Self::Declined { lease } | Self::Steps { lease, .. } | Self::Finished { lease, .. } => {
                *lease
            }
        }
    }
}

/// What became of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReportAnswer {
    /// It is journaled; it need not be repeated.
    Taken,
    /// Its epoch is stale: whatever is still done under this lease must end.
    Stale,
}

/// Why the control side did not answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum LinkError {
    /// It could not be reached, or the answer was lost: try again.
    #[error("reach the control process: {0}")]
    Unreachable(String),
    /// It does not lead this shard, and nothing was done: ask another control node.
    #[error("lead shard {shard} there")]
    NotHere {
        /// Which shard.
        shard: ShardId,
    },
    /// It answered no, and will answer no again.
    #[error("{0}")]
    Refused(String),
}

/// The control side, as an agent sees it. Every call may be repeated.
#[async_trait]
pub trait Control: fmt::Debug + Send + Sync + 'static {
    /// Stands by with a bid; answers as soon as there are orders or other routes, or with no orders
    /// after some seconds.
    async fn bid(&self, bid: Bid) -> Result<BidAnswer, LinkError>;

    /// Renews leases; answers with those that were *not* renewed and must end at once.
    async fn renew(&self, agent: AgentRef, leases: Vec<LeaseId>)
    -> Result<Vec<LeaseId>, LinkError>;

    /// Delivers reports; one answer for each, in order.
    async fn report(
        &self,
        agent: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError>;

    /// Delivers bytes of an attempt's log from `offset` on; answers how many bytes there are now.
    /// Bytes that are there already are passed over; a gap is refused by answering a smaller
    /// length.
    async fn log(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, LinkError>;

    /// Says that an attempt's log has this length for good; true when all of it is there and
    /// durable.
    async fn seal(&self, agent: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError>;

    /// Reads a part of a blob that the run of a lease needs: the snapshot that it begins with, or
    /// one of the artifacts that it has. Empty at its end.
    async fn blob(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError>;

    /// Writes a part of a blob under a lease. With `last`, it is verified against its digest and
    /// kept.
    async fn keep(&self, agent: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError>;
}

/// A part of a blob that is being written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobPart {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// Where this part begins.
    pub offset: u64,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// Whether the blob ends here.
    pub last: bool,
}

/// A control side that several actors use.
pub type SharedControl = Arc<dyn Control>;
