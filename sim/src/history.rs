//! The history of one simulation: what clients saw, and the ground truth of processes and disks.
//!
//! It never holds Otto's own claims: those are read from the disks when the simulation has ended.
//! Every moment goes into one hash, so that two simulations of one seed can be compared.

use otto_core::ids::{AgentRef, NodeId, RunId, ShardId, TokenHash};
use otto_core::lease::LeaseId;
use otto_core::run::outcome::{Outcome, StepPlace};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a client learnt of a wish of its.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// It was done.
    Ok(T),
    /// It was refused, for good.
    Refused(String),
    /// The answer was lost: it may or may not have been done.
    Unknown,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A client submits a plan under a key.
    Submits {
        /// Its idempotency key.
        key: String,
        /// The plan's name in the workload.
        plan: String,
    },
    /// What the client learnt.
    Submitted {
        /// The key.
        key: String,
        /// The run.
        answer: Answer<RunId>,
    },
    /// A client asks for a run to be cancelled.
    Cancels {
        /// Which.
        run: RunId,
    },
    /// What the client learnt.
    Cancelled {
        /// Which.
        run: RunId,
        /// Whether it was.
        answer: Answer<()>,
    },
    /// A client was shown a run's outcome; `None` while it has none.
    Read {
        /// Which run.
        run: RunId,
        /// When it asked, in simulated milliseconds.
        asked_ms: u64,
        /// Its outcome.
        outcome: Option<Outcome>,
    },
    /// A client was shown the list of all runs.
    Listed {
        /// When it asked, in simulated milliseconds.
        asked_ms: u64,
        /// The runs, as they were listed, with their outcomes.
        runs: Vec<(RunId, Option<Outcome>)>,
    },
    /// Somebody wishes something of the cluster.
    Wishes {
        /// What.
        what: String,
    },
    /// What they learnt.
    Wished {
        /// What was wished.
        what: String,
        /// Whether it was granted.
        answer: Answer<()>,
    },
    /// Somebody makes a token that lets control nodes in.
    TokenMade {
        /// Which.
        token: TokenHash,
        /// How many it is to let in.
        uses: u32,
    },
    /// A machine was let into the cluster.
    Joined {
        /// Which node it is from now on.
        node: NodeId,
        /// By which token.
        token: TokenHash,
    },
    /// A node serves a shard from now on.
    Leads {
        /// Which node.
        node: NodeId,
        /// Which shard.
        shard: ShardId,
        /// In which term.
        term: u64,
        /// Who votes in it, as far as the node knows.
        voters: BTreeSet<NodeId>,
    },
    /// It does so no longer.
    Resigns {
        /// Which shard.
        shard: ShardId,
    },
    /// A node was granted another's vote.
    Granted {
        /// Whose.
        voter: NodeId,
        /// To whom.
        candidate: NodeId,
        /// In which shard.
        shard: ShardId,
        /// For which term.
        term: u64,
    },
    /// A node lost what it had promised to keep.
    Forfeits {
        /// Which node.
        node: NodeId,
    },
    /// A machine's disk was damaged.
    Damaged {
        /// The machine's number.
        control: u8,
    },
    /// A node journaled though its clock was off the others' for long, and they could tell it.
    OffTime {
        /// How far it was ahead of the median, in milliseconds.
        ahead_ms: i64,
    },
    /// A client was shown bytes of a log.
    LogRead {
        /// The stage's path.
        path: String,
        /// Which run.
        run: RunId,
        /// From where on.
        offset: u64,
        /// The bytes, as text.
        text: String,
    },
    /// A process of a step was really started.
    StepBegan {
        /// Under which lease.
        lease: LeaseId,
        /// Which step.
        step: StepPlace,
        /// By which agent process.
        agent: AgentRef,
    },
    /// A step's process printed something, masked.
    StepPrinted {
        /// Under which lease.
        lease: LeaseId,
        /// What.
        text: String,
    },
    /// A step's process is really gone.
    StepEnded {
        /// Under which lease.
        lease: LeaseId,
        /// Which step.
        step: StepPlace,
        /// How it really ended: what its exit code says, or lost where it was killed.
        outcome: Outcome,
    },
    /// A stage was really opened by an agent.
    StageBegan {
        /// Under which lease.
        lease: LeaseId,
        /// The stage's path.
        path: String,
    },
    /// A stage is really gone: no process of it is left.
    StageEnded {
        /// Under which lease.
        lease: LeaseId,
    },
    /// The simulation did something to a host.
    Fault {
        /// What.
        what: String,
    },
    /// A host's process serves.
    Serves,
    /// Something rare was reached that the search wants to see.
    Mark {
        /// Its name.
        name: String,
    },
}

/// When and where something happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Moment {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// The host.
    pub host: String,
    /// What.
    pub fact: Fact,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at_ms / 1000;
        write!(f, "{seconds:>5}.{:03}  {:<9}  {}", self.at_ms % 1000, self.host, self.fact)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submits { key, plan } => write!(f, "submits {plan} as {key}"),
            Self::Submitted { key, answer } => write!(f, "submitting {key}: {answer:?}"),
            Self::Cancels { run } => write!(f, "cancels run {}", run.number),
            Self::Cancelled { run, answer } => write!(f, "cancelling {}: {answer:?}", run.number),
            Self::Read { run, outcome: Some(outcome), .. } => {
                write!(f, "is shown run {}: {outcome}", run.number)
            }
            Self::Read { run, outcome: None, .. } => {
                write!(f, "is shown run {}: goes on", run.number)
            }
            Self::Listed { asked_ms, runs } => {
                let numbers: Vec<u64> = runs.iter().map(|(run, _)| run.number).collect();
                write!(f, "is shown the runs {numbers:?}, for which it asked at {asked_ms} ms")
            }
            Self::Wishes { what } => write!(f, "wishes {what}"),
            Self::Wished { what, answer } => write!(f, "wishing {what}: {answer:?}"),
            Self::TokenMade { token, uses } => {
                write!(f, "makes token {} for {uses}", token.0[0])
            }
            Self::Joined { node, token } => {
                write!(f, "is {node} from now on, by token {}", token.0[0])
            }
            Self::Leads { node, shard, term, voters } => {
                let voters: Vec<u64> = voters.iter().map(|voter| voter.0).collect();
                write!(f, "{node} leads shard {shard} in term {term}, voters {voters:?}")
            }
            Self::Resigns { shard } => write!(f, "leads shard {shard} no longer"),
            Self::Granted { voter, candidate, shard, term } => {
                write!(f, "{voter} votes for {candidate} in shard {shard}, term {term}")
            }
            Self::Forfeits { node } => write!(f, "{node} has lost its memory"),
            Self::Damaged { control } => {
                write!(f, "the disk of control-{} is damaged", control + 1)
            }
            Self::OffTime { ahead_ms } => {
                write!(f, "journals though its clock is {ahead_ms} ms ahead of the others'")
            }
            Self::LogRead { path, run, offset, text } => {
                write!(f, "is shown log {} {path} from {offset}: {text:?}", run.number)
            }
            Self::StepBegan { lease, step, agent } => {
                write!(f, "process of {lease} {:?} {} begins at {agent}", step.section, step.index)
            }
            Self::StepPrinted { lease, text } => write!(f, "process of {lease} prints {text:?}"),
            Self::StepEnded { lease, step, outcome } => {
                write!(f, "process of {lease} {:?} {} ends: {outcome}", step.section, step.index)
            }
            Self::StageBegan { lease, path } => write!(f, "stage {path} of {lease} begins"),
            Self::StageEnded { lease } => write!(f, "stage of {lease} is gone"),
            Self::Fault { what } => write!(f, "FAULT {what}"),
            Self::Serves => write!(f, "serves"),
            Self::Mark { name } => write!(f, "mark: {name}"),
        }
    }
}

/// Simulated milliseconds since the start, while a host is at work.
#[must_use]
pub fn now_ms() -> u64 {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// A history that all parts of a simulation write.
#[derive(Clone, Debug, Default)]
pub struct History {
    moments: Arc<Mutex<Vec<Moment>>>,
    /// The time between the steps of the simulation, when no host is at work.
    between_ms: Arc<AtomicU64>,
}

impl History {
    /// Takes in what happens now at a host.
    pub fn add(&self, host: &str, fact: Fact) {
        let elapsed = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis());
        let at_ms = elapsed.and_then(|elapsed| u64::try_from(elapsed).ok());
        let at_ms = at_ms.unwrap_or_else(|| self.between_ms.load(Ordering::Relaxed));
        self.lock().push(Moment { at_ms, host: host.to_owned(), fact });
    }

    /// Says what time it is, for what happens while no host is at work.
    pub fn set_time(&self, at_ms: u64) {
        self.between_ms.store(at_ms, Ordering::Relaxed);
    }

    /// Takes in that something rare was reached.
    pub fn mark(&self, host: &str, name: &str) {
        self.add(host, Fact::Mark { name: name.to_owned() });
    }

    /// All moments so far, in order.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.lock().clone()
    }

    /// The hash of all moments: equal for two simulations of one seed.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for moment in self.lock().iter() {
            hasher.update(moment.to_string().as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Moment>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Simulated time for traces.
#[derive(Clone, Copy, Debug)]
pub struct TraceTime;

impl tracing_subscriber::fmt::time::FormatTime for TraceTime {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> fmt::Result {
        let now_ms = now_ms();
        write!(writer, "{:>5}.{:03}", now_ms / 1000, now_ms % 1000)
    }
}
