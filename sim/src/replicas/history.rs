//! The history of one simulation of replicas: what writers and readers saw, who led, what went
//! wrong. It never holds replication's own claims about what is durable.

use otto_core::ids::ShardId;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What became of a proposal, as its writer learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was applied.
    Applied,
    /// It was not: the entity had so many entries.
    Conflict(u64),
    /// It was not proposed.
    NotProposed,
    /// Nobody knows.
    Unknown,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A proposal was sent.
    Proposes {
        /// Its number; its entry holds it.
        number: u64,
        /// Which shard.
        shard: ShardId,
        /// Which entity.
        entity: u64,
        /// How many entries the entity is to have.
        expected: u64,
        /// To whom.
        node: u64,
    },
    /// What became of it.
    Answered {
        /// Its number.
        number: u64,
        /// What its writer learnt.
        outcome: Outcome,
    },
    /// A reader begins to read.
    Asks {
        /// The reading's number.
        number: u64,
        /// Which shard.
        shard: ShardId,
        /// Which entity.
        entity: u64,
        /// Whom.
        node: u64,
    },
    /// What it read: how many entries there are.
    Reads {
        /// The reading's number.
        number: u64,
        /// How many.
        version: u64,
    },
    /// A node says that it serves a shard.
    Serves {
        /// Who.
        node: u64,
        /// Which shard.
        shard: ShardId,
        /// In which term.
        term: u64,
        /// Who votes in it, as far as it knows: two sets while one replaces the other.
        voters: Vec<u64>,
    },
    /// A node grants another its vote.
    Grants {
        /// Who.
        voter: u64,
        /// To whom.
        candidate: u64,
        /// In which shard.
        shard: ShardId,
        /// For which term.
        term: u64,
    },
    /// What a replica holds.
    Holds {
        /// Who.
        node: u64,
        /// Of which shard.
        shard: ShardId,
        /// Up to which entry.
        applied: u64,
        /// In short.
        digest: String,
    },
    /// A node lost what it had promised to keep.
    Forfeits {
        /// Who.
        node: u64,
    },
    /// A node hears that the others will not have it any more.
    CastOut {
        /// Who.
        node: u64,
        /// Why.
        why: String,
    },
    /// The operator wants something.
    Order(String),
    /// Something goes wrong.
    Fault(String),
    /// Something rare was reached.
    Mark(&'static str),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proposes { number, shard, entity, expected, node } => {
                write!(
                    f,
                    "#{number}: entry {} of {entity} to shard {shard} at n{node}",
                    expected + 1
                )
            }
            Self::Answered { number, outcome } => write!(f, "#{number}: {outcome:?}"),
            Self::Asks { number, shard, entity, node } => {
                write!(f, "?{number}: reads {entity} in shard {shard} at n{node}")
            }
            Self::Reads { number, version } => write!(f, "?{number}: {version} entries"),
            Self::Serves { node, shard, term, voters } => {
                write!(f, "n{node} serves shard {shard} in term {term}, voters {voters:?}")
            }
            Self::Grants { voter, candidate, shard, term } => {
                write!(f, "n{voter} grants n{candidate} its vote in shard {shard}, term {term}")
            }
            Self::Holds { node, shard, applied, digest } => {
                write!(f, "n{node} holds shard {shard} up to {applied}: {digest}")
            }
            Self::Forfeits { node } => write!(f, "n{node} has lost its memory"),
            Self::CastOut { node, why } => write!(f, "n{node} is cast out: {why}"),
            Self::Order(what) => write!(f, "order: {what}"),
            Self::Fault(what) => write!(f, "FAULT {what}"),
            Self::Mark(name) => write!(f, "mark: {name}"),
        }
    }
}

/// When something happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// What.
    pub fact: Fact,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5}.{:03}  {}", self.at_ms / 1000, self.at_ms % 1000, self.fact)
    }
}

/// A history that all parts of a simulation write.
#[derive(Clone, Debug, Default)]
pub struct History {
    moments: Arc<Mutex<Vec<Moment>>>,
    /// The time between the steps of the simulation, when no host is at work.
    between_ms: Arc<AtomicU64>,
    numbers: Arc<AtomicU64>,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Vec<Moment>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what happens now.
    pub fn add(&self, fact: Fact) {
        let elapsed = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis());
        let at_ms = elapsed.and_then(|elapsed| u64::try_from(elapsed).ok());
        let at_ms = at_ms.unwrap_or_else(|| self.between_ms.load(Ordering::Relaxed));
        self.lock().push(Moment { at_ms, fact });
    }

    /// Says what time it is, for what happens while no host is at work.
    pub fn set_time(&self, at_ms: u64) {
        self.between_ms.store(at_ms, Ordering::Relaxed);
    }

    /// A number that no other proposal or reading has.
    pub fn draw(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// All moments so far, in order.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.lock().clone()
    }
}

/// The hash of moments: equal for two simulations of one seed.
#[must_use]
pub fn hash(moments: &[Moment]) -> String {
    let mut hasher = blake3::Hasher::new();
    for moment in moments {
        hasher.update(moment.to_string().as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
