//! What people ask of the control side and what it answers, as data.

use otto_core::capability::Capabilities;
use otto_core::ids::{AgentRef, Digest, PlanHash, RunId, ShardId};
use otto_core::lease::LeaseId;
use otto_core::run::command::{Continuation, Refusal};
use otto_core::run::duty::Duty;
use otto_core::run::summary::Summary;
use otto_core::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A wish for a new run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SubmitRequest {
    /// Chosen by whoever submits; a repeat under the same key gets the run that the first one
    /// made.
    pub key: String,
    /// The project's name.
    pub project: String,
    /// Who submits.
    pub by: String,
    /// What is to be executed.
    pub source: Source,
}

/// What a new run executes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The plan.
    pub plan: PlanHash,
    /// Its canonical bytes; they may be left out where a run of the same shard brought them.
    pub bytes: Option<Vec<u8>>,
    /// The files that its stages start with.
    pub snapshot: Option<Digest>,
    /// What is taken over from an earlier run of the same plan.
    pub continues: Option<Continuation>,
}

/// A run that was accepted: it is in the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// Its name.
    pub run: RunId,
    /// An earlier submission under the same key made it.
    pub existing: bool,
}

/// Why the control side did not do or tell what was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    /// The run says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such run.
    #[error("find run {0}")]
    NoSuchRun(RunId),
    /// What was sent does not hold together.
    #[error("{0}")]
    Unfit(String),
    /// The run's journal cannot be replayed by this build; it is left alone until one can.
    #[error("replay run {run}, which is set apart: {cause}")]
    Quarantined {
        /// Which run.
        run: RunId,
        /// What the replay ran into.
        cause: String,
    },
    /// The shard of what was asked for is not led here. Nothing was done.
    #[error("lead shard {shard} here")]
    NotHere {
        /// Which shard.
        shard: ShardId,
    },
    /// More is asked than can be answered. Nothing was done; ask again after this time.
    #[error("take more now: too much waits already; ask again in {retry_after}")]
    Busy {
        /// When to come back.
        retry_after: Span,
    },
    /// Whether it was done is not known: ask again, under the same key or command identity.
    #[error("get an answer in time: {0}; ask again")]
    Unanswered(String),
}

/// A part of a run's journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Followed {
    /// The entries behind the version that was asked for, in order.
    /// Each is an encoded [`otto_core::run::event::Entry`].
    pub entries: Vec<Vec<u8>>,
    /// The run is retired: no entry will follow these.
    pub retired: bool,
}

/// A line in a list of runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Which run.
    pub run: RunId,
    /// The number of entries in its journal.
    pub version: u64,
    /// What the run's leader computed for lists.
    pub summary: Summary,
}

/// A part of an attempt's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogPiece {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes; empty where nothing has come yet, or nothing will come any more.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    /// How it ends, where `bytes` is empty because nothing will come any more.
    pub end: Option<LogEnd>,
}

/// How long an attempt's log is now, and what is known of a byte of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogMeasure {
    /// How many bytes there are.
    pub length: u64,
    /// How many line ends are in front of the byte that was asked about, where that is known
    /// without reading all of them.
    pub lines: Option<u64>,
}

/// How a log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LogEnd {
    /// All of it was shown.
    Whole,
    /// The agent was lost: there may have been more.
    Torn,
    /// So many bytes that the agent had counted are missing.
    Cut {
        /// How many.
        missing_bytes: u64,
    },
}

/// Why a stage is where it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Why {
    /// What is owed for it now.
    pub chores: Vec<Chore>,
    /// How its search for an agent goes, where it is offered.
    pub search: Option<Search>,
    /// Who holds it, where it is leased.
    pub holder: Option<Holder>,
}

/// A duty, and how its actor fares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chore {
    /// What is owed.
    pub duty: Duty,
    /// How often its actor died.
    pub deaths: u32,
    /// What the last one died of; empty where none did.
    pub cause: String,
    /// It died so often that starting it again will hardly help.
    pub stuck: bool,
}

/// How the search for an agent goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Search {
    /// What is needed, in words.
    pub need: String,
    /// How many agents stand by or work.
    pub agents: u32,
    /// How many of them could serve it, now or when they are free.
    pub capable: u32,
    /// How many offers are older.
    pub ahead: u64,
    /// Where nobody is capable: the agent that comes closest, and what it lacks.
    pub closest: Option<Closest>,
    /// Where nobody is capable: the tools that not all agents have been looked through for.
    pub looks_for: BTreeSet<String>,
}

impl fmt::Display for Search {
    /// As `otto why` says it: `waits for an agent with docker (0 of 3 have it)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, agents, capable, ahead, closest, looks_for } = self;
        match (agents, capable, closest) {
            (0, ..) => write!(f, "waits for an agent with {need}: none is connected"),
            (_, 0, _) if !looks_for.is_empty() => {
                let tools: Vec<&str> = looks_for.iter().map(String::as_str).collect();
                write!(f, "waits for an agent with {need}; is looking for {}", tools.join(", "))
            }
            (_, 0, Some(Closest { agent, lacks })) => {
                write!(f, "waits for an agent with {need} (0 of {agents} have it); ")?;
                write!(f, "{agent} comes closest and lacks {}", lacks.join(", "))
            }
            (_, 0, None) => write!(f, "waits for an agent with {need} (0 of {agents} have it)"),
            (..) => {
                write!(f, "waits for a free slot on {capable} of {agents} agents, ")?;
                write!(f, "behind {ahead} older offers")
            }
        }
    }
}

/// The agent that comes closest to a need.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closest {
    /// The agent's name.
    pub agent: String,
    /// What it lacks, in words.
    pub lacks: Vec<String>,
}

/// The holder of a lease.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The agent process.
    pub agent: AgentRef,
    /// Its name, where it has bid since the control process started.
    pub name: Option<String>,
    /// How long ago it renewed.
    pub renewed_ago: Span,
    /// Whether it has shown that it has the order.
    pub begun: bool,
}

/// An agent, as the matchmaker sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentView {
    /// The agent process.
    pub agent: AgentRef,
    /// Its name.
    pub name: String,
    /// What it has.
    pub capabilities: Capabilities,
    /// How many stages it could take now.
    pub free_slots: u32,
    /// The leases that it has.
    pub leases: Vec<LeaseId>,
    /// When it last bid or renewed.
    pub seen: Timestamp,
    /// Whether it stands by with a bid now.
    pub bidding: bool,
}
