//! What the journal stores: entities, proposals and heads, and the bytes that events have in it.
//!
//! A journal is the durable order of events of one entity. A proposal is applied whole or not at
//! all, by comparing versions; whoever applies it never decodes an event. So replicas of different
//! builds cannot diverge.

use crate::ids::{Digest, ProjectId, RunId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// What sort of thing an entity is. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntityKind {
    /// What the runs of one project share: numbers, and later locks and environments.
    Project = 1,
    /// One run.
    Run = 2,
    /// A plan, stored once by the hash of its bytes.
    Plan = 3,
    /// An idempotency key, which leads to the run that it made.
    Key = 4,
    /// The cluster itself: its nodes, agents and tokens, its incarnation and level.
    Cluster = 5,
    /// One agent installation.
    Agent = 6,
}

impl EntityKind {
    /// The kind that has this number on disk.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Project,
            2 => Self::Run,
            3 => Self::Plan,
            4 => Self::Key,
            5 => Self::Cluster,
            6 => Self::Agent,
            _ => return None,
        })
    }
}

/// The name of one journal within a shard. Its byte order is: kind, then identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct EntityId {
    /// What it is.
    pub kind: EntityKind,
    /// Which one. For runs: the project in the upper half, the number in the lower.
    pub id: u128,
}

impl EntityId {
    /// The journal of a run.
    #[must_use]
    pub fn run(run: RunId) -> Self {
        let id = (u128::from(run.project.0) << 64) | u128::from(run.number);
        Self { kind: EntityKind::Run, id }
    }

    /// The one journal of the cluster itself, in *meta*.
    pub const CLUSTER: Self = Self { kind: EntityKind::Cluster, id: 0 };

    /// The journal of what a project's runs share.
    #[must_use]
    pub fn project(project: ProjectId) -> Self {
        Self { kind: EntityKind::Project, id: u128::from(project.0) << 64 }
    }

    /// The single entry that holds a plan's bytes, or another thing named by the hash of its
    /// content.
    #[must_use]
    pub fn by_hash(kind: EntityKind, hash: &[u8; 32]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self { kind, id: u128::from_be_bytes(id) }
    }

    /// The single entry behind an idempotency key of a project.
    #[must_use]
    pub fn key(project: ProjectId, key: &str) -> Self {
        let text = format!("{project}/{key}");
        Self::by_hash(EntityKind::Key, &Digest::of(text.as_bytes()).0)
    }

    /// The run that this journal is of, where it is a run's.
    #[must_use]
    pub fn as_run(&self) -> Option<RunId> {
        let project = u64::try_from(self.id >> 64).ok()?;
        let number = u64::try_from(self.id & u128::from(u64::MAX)).ok()?;
        (self.kind == EntityKind::Run).then_some(RunId { project: ProjectId(project), number })
    }

    /// The seventeen bytes by which a store orders entities.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[0] = self.kind as u8;
        bytes[1..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    /// Reads [`EntityId::to_bytes`] back.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let id = <[u8; 16]>::try_from(id).ok()?;
        Some(Self { kind: EntityKind::from_number(*kind)?, id: u128::from_be_bytes(id) })
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_run() {
            Some(run) => write!(f, "run {run}"),
            None => write!(f, "{:?} {:032x}", self.kind, self.id),
        }
    }
}

/// What a leader computed from an entity's events, so that nobody has to replay it to list or wake
/// it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    /// When the entity wants an actor: [`Timestamp`] zero is "now and after every restart", `None`
    /// is "never again by itself".
    pub wake: Option<Timestamp>,
    /// What lists show, encoded by the leader; opaque to whoever applies it.
    #[serde(with = "serde_bytes")]
    pub summary: Vec<u8>,
}

/// A head as stored, with the number of entries that the entity has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoredHead {
    /// The number of entries in the entity's journal.
    pub version: u64,
    /// What the last of them came with.
    pub head: Head,
}

/// One entity's part in a proposal: one more entry for its journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Whose journal grows.
    pub entity: EntityId,
    /// How many entries that journal must have; with any other number the whole proposal is
    /// refused.
    pub expected: u64,
    /// The entry: encoded events, opaque to whoever applies it.
    #[serde(with = "serde_bytes")]
    pub entry: Vec<u8>,
    /// The head that goes with it.
    pub head: Head,
}

/// What must change together: applied whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Proposal {
    /// The parts, each about another entity.
    pub items: Vec<Item>,
}

impl Proposal {
    /// About how many bytes this takes in a log, for gathering within a bound.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.items.iter().map(|item| item.entry.len() + item.head.summary.len() + 64).sum()
    }
}

/// What became of a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// All of it is in the journals.
    Applied,
    /// Nothing of it is: this entity had another number of entries than expected.
    Conflict {
        /// The first entity that differed.
        entity: EntityId,
        /// How many entries it had.
        found: u64,
    },
}

/// A stored record that this build cannot read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("read a stored {what}: {cause}")]
pub struct Unreadable {
    /// What it should have been.
    pub what: &'static str,
    /// What the decoder said.
    pub cause: String,
}

/// Encodes a record for the journal: MessagePack with fields by name, so that fields can be added.
///
/// # Panics
/// When a type of ours cannot be represented, which is our bug.
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(record).expect("records of this crate are plain data")
}

/// Decodes what [`encode`] wrote, also in an earlier release.
///
/// # Errors
/// When the bytes are damaged or written by a later release.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Unreadable> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    decoder.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut decoder).map_err(|error| Unreadable { what, cause: error.to_string() })
}

/// How deep stored and received records may nest.
pub const MAX_DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn entities_read_back_and_are_ordered_as_their_bytes() {
        let project = ProjectId(7);
        let run = |number| EntityId::run(RunId { project, number });
        let entities = [
            EntityId::project(project),
            run(1),
            run(2),
            run(u64::MAX),
            EntityId::by_hash(EntityKind::Plan, &[9; 32]),
            EntityId::key(project, "deliver-412"),
        ];
        for entity in entities {
            assert_eq!(EntityId::from_bytes(&entity.to_bytes()), Some(entity));
        }
        let mut sorted = entities;
        sorted.sort_by_key(|entity| entity.to_bytes());
        assert_eq!(sorted, entities);
        assert_eq!(run(412).as_run(), Some(RunId { project, number: 412 }));
        assert_eq!(EntityId::project(project).as_run(), None);
    }

    #[test]
    fn what_is_no_entity_is_refused() {
        for bytes in [&[][..], &[2], &[2; 16], &[2; 18], &[0; 17], &[255; 17]] {
            assert_eq!(EntityId::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn keys_of_two_projects_differ() {
        assert_ne!(EntityId::key(ProjectId(1), "k"), EntityId::key(ProjectId(2), "k"));
    }

    #[test]
    fn a_record_of_a_later_release_with_more_fields_is_read() {
        #[derive(Serialize)]
        struct Later {
            wake: Option<Timestamp>,
            #[serde(with = "serde_bytes")]
            summary: Vec<u8>,
            mood: &'static str,
        }
        let later = encode(&Later { wake: None, summary: vec![1], mood: "fine" });
        let read: Result<Head, Unreadable> = decode("head", &later);
        assert_eq!(read, Ok(Head { wake: None, summary: vec![1] }));
    }

    #[test]
    fn records_that_nest_without_end_are_refused() {
        let nested =
            |depth: usize| (0..depth).fold(Value::Absent, |inside, _| Value::List(vec![inside]));
        assert_eq!(decode("value", &encode(&nested(10))), Ok(nested(10)));
        let read: Result<Value, Unreadable> = decode("value", &encode(&nested(1_000)));
        assert!(read.is_err());
    }
}
