//! What clients send and get. All of it travels as MessagePack maps with these field names; fields
//! are only ever added, with defaults.

use crate::wire::hello::Build;
use otto_core::ids::{Attempt, CommandId, Digest, PlanHash, RunId, ShardId, StageId};
use otto_core::run::outcome::Outcome;
use otto_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use otto_actors::control::answers::{AgentView, Listed, LogEnd, LogMeasure};
pub use otto_core::run::summary::Summary;

/// Why a call was not answered with what it asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ApiError {
    /// There is no such thing.
    #[error("find {0}")]
    NotFound(String),
    /// It cannot be done, now and later.
    #[error("{0}")]
    Refused(String),
    /// What was sent is not what it should be.
    #[error("accept what was sent: {0}")]
    Invalid(String),
    /// This node is not ready for it: try again.
    #[error("answer yet: {0}")]
    NotReady(String),
    /// Another node leads the shard of what was asked for, and nothing was done: ask again.
    #[error("answer yet: shard {shard} is led by another node")]
    NotHere {
        /// Which shard.
        shard: ShardId,
    },
    /// More is asked of this node than it can answer, and nothing was done.
    #[error("take more now: too much waits; try again in {} s", .retry_after_ms.div_ceil(1000))]
    Busy {
        /// When to come back, in milliseconds.
        retry_after_ms: u64,
    },
    /// It may have happened or not: ask again under the same identity.
    #[error("tell whether it happened: {0}")]
    Unknown(String),
    /// The node's store cannot take or give it.
    #[error("use the node's store: {0}")]
    Store(String),
}

impl ApiError {
    /// Whether the same call may succeed a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotReady(_) | Self::Unknown(_) | Self::NotHere { .. } | Self::Busy { .. } => true,
            Self::NotFound(_) | Self::Refused(_) | Self::Invalid(_) | Self::Store(_) => false,
        }
    }
}

/// A wish for a new run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submit {
    /// The project's name: runs are numbered per project.
    pub project: String,
    /// Repeats under the same key of the same project get the first run.
    pub key: String,
    /// The hash of the plan's bytes.
    pub plan: PlanHash,
    /// Those bytes; left out where they were put as a blob before, as plans over 512 KiB must be.
    #[serde(default)]
    pub plan_bytes: Option<ByteBuf>,
    /// The files that stages start with: a blob that was put before.
    #[serde(default)]
    pub snapshot: Option<Digest>,
}

/// A wish for a run that goes on where an earlier one ended, by the same plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// The earlier run. It must have ended.
    pub run: RunId,
    /// Repeats under the same key of the same project get the first run.
    pub key: String,
    /// Repeat everything; otherwise the stages that succeeded are taken over.
    #[serde(default)]
    pub everything: bool,
}

/// A run that was accepted: it is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// Its name.
    pub run: RunId,
    /// The key was used before: this is the run that it made.
    pub repeated: bool,
}

/// Which runs to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ListRuns {
    /// Those of this project; all where left out.
    #[serde(default)]
    pub project: Option<String>,
    /// Behind this run in the list.
    #[serde(default)]
    pub before: Option<RunId>,
    /// At most so many; at most 200.
    pub limit: u32,
}

/// A stage as a client without an own replica of the run sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StageView {
    /// Its place in the plan.
    pub stage: StageId,
    /// Its names from the outside in.
    pub path: String,
    /// Where it is.
    pub phase: StagePhase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What decided that, or what it waits for; empty where there is nothing to say.
    pub cause: String,
    /// The attempt at hand, or the last one.
    pub attempt: Option<Attempt>,
    /// When its turn came.
    pub opened: Option<Timestamp>,
    /// When it had its outcome.
    pub settled: Option<Timestamp>,
}

/// Where a stage is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StagePhase {
    /// Its turn has not come.
    Pending,
    /// It holds stages that are at work.
    Open,
    /// It looks for an agent.
    Queued,
    /// An agent has it.
    Running,
    /// Another attempt comes after a pause.
    Pausing,
    /// It has its outcome.
    Settled,
}

/// A part of a run's stages, in the plan's order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListStages {
    /// The run.
    pub run: RunId,
    /// From this place on.
    #[serde(default)]
    pub from: u32,
    /// At most so many; at most 1,000.
    pub limit: u32,
}

/// Asks for journal entries, and waits for some where there are none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Follow {
    /// The run.
    pub run: RunId,
    /// Behind so many entries, which the caller has.
    pub after: u64,
    /// How long to wait for more, in milliseconds; at most 5,000.
    #[serde(default)]
    pub wait_ms: u32,
}

/// Entries of a run's journal.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Followed {
    /// The entries behind `after`, in order, as stored: each an encoded
    /// [`otto_core::run::event::Entry`].
    pub entries: Vec<ByteBuf>,
    /// The run owes nothing any more: no entry will follow these.
    pub retired: bool,
}

/// Asks for bytes of an attempt's log, and waits for some where there are none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadLog {
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: StageId,
    /// The attempt.
    pub attempt: Attempt,
    /// From this byte on.
    pub offset: u64,
    /// At most so many bytes; at most 262,144.
    pub limit: u32,
    /// How long to wait for more, in milliseconds; at most 5,000.
    #[serde(default)]
    pub wait_ms: u32,
    /// Tell how long the log is, and how many lines are in front of `offset`, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub measure: bool,
}

/// Bytes of a log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogPart {
    /// The bytes; empty at the end, or where none came in time.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// How the log ends, where there are no bytes because none will come any more.
    pub end: Option<LogEnd>,
    /// What was asked for with `measure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<LogMeasure>,
}

/// A wish about a run that goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The run.
    pub run: RunId,
    /// A repeat under the same identity gets the first answer.
    pub id: CommandId,
    /// What is wished.
    pub wish: ClientWish,
}

/// What clients may wish of a run. Who wishes is told by the connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientWish {
    /// It shall end.
    Cancel {
        /// Why, in the caller's words.
        reason: Option<String>,
    },
}

/// Asks why a run or a stage is where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Why {
    /// The run.
    pub run: RunId,
    /// One stage; what holds the run as a whole where left out.
    #[serde(default)]
    pub stage: Option<StageId>,
}

/// One reason, in a sentence for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// The stage that it is about.
    pub stage: StageId,
    /// That stage's path; empty for the run as a whole.
    pub path: String,
    /// The sentence: `waits for an agent with docker (0 of 3 have it)`.
    pub text: String,
}

/// Asks for a part of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadBlob {
    /// The blob.
    pub digest: Digest,
    /// From this byte on.
    pub offset: u64,
    /// At most so many bytes; at most 524,288.
    pub limit: u32,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// What the control process was built from.
    pub build: Build,
    /// What the process that supervises it was built from.
    pub node_build: Build,
    /// The process id of the control process.
    pub pid: u32,
    /// Where it listens.
    pub address: String,
    /// Where its data is.
    pub data: String,
    /// Since when this control process answers.
    pub since: Timestamp,
    /// How many runs are not retired.
    pub unfinished_runs: u64,
    /// It leaves by itself when idle for so long, in milliseconds; never where left out.
    pub idle_ms: Option<u64>,
    /// Its agents.
    pub agents: Vec<AgentView>,
}

/// Asks a node to leave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stop {
    /// The control process that is meant. Another one answers that this one has left.
    pub pid: u32,
    /// Leave although runs are unfinished: they go on when a node starts again.
    pub busy_too: bool,
    /// Do not leave, but go on with the control process of this image where runs are unfinished.
    #[serde(default)]
    pub successor: Option<Successor>,
}

/// The image that takes over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Successor {
    /// Its file.
    pub path: String,
    /// What it was built from.
    pub build: Build,
}

/// What becomes of a node that was asked to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// It leaves now.
    Leaves,
    /// Only its control process starts again, from the successor's image.
    ControlRestarts,
    /// It stays: runs are unfinished.
    Stays,
}
