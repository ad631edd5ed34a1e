//! Names of things: every identifier that crosses a boundary, as its own type.
//!
//! In MessagePack an identifier is bytes or numbers; in JSON and on a terminal it is text.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Declares a fixed number of bytes that people read as lowercase hexadecimal.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Hashes bytes with BLAKE3, cut to this identifier's length.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                let mut id = [0; $len];
                id.copy_from_slice(&blake3::hash(bytes).as_bytes()[..$len]);
                Self(id)
            }

            /// Reads the hexadecimal form back; `None` unless it has exactly the right length.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let mut id = [0; $len];
                // The library's reader of numbers would take a sign, too.
                if text.len() != 2 * $len || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
                    let digits = std::str::from_utf8(pair).ok()?;
                    *byte = u8::from_str_radix(digits, 16).ok()?;
                }
                Some(Self(id))
            }

            /// The first twelve hexadecimal digits, for people.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string()[..12].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    let id = Self::parse(&text);
                    id.ok_or_else(|| D::Error::custom("not a hexadecimal identifier"))
                } else {
                    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
                    let id = <[u8; $len]>::try_from(bytes.as_slice());
                    id.map(Self).map_err(|_| D::Error::custom("an identifier of the wrong length"))
                }
            }
        }
    };
}

bytes_id!(
    /// The content hash of a plan's canonical bytes: what `explain` prints and what `run` executes.
    PlanHash, 32
);
bytes_id!(
    /// The content hash of a blob: a snapshot, an artifact, a step library.
    Digest, 32
);
bytes_id!(
    /// A wish's identity. A repeat under the same identity gets the first answer.
    CommandId, 16
);
bytes_id!(
    /// One agent installation; it outlives the agent's process.
    AgentId, 16
);

bytes_id!(
    /// A cluster: drawn at random when it is founded.
    ClusterId, 16
);
bytes_id!(
    /// The fingerprint of a public key: how an identity is told from another one of the same name.
    KeyId, 32
);
bytes_id!(
    /// The hash of a token's secret: what is kept of a token, and how it is named.
    TokenHash, 32
);
bytes_id!(
    /// One start of a node's control process, drawn at random: copies of one disk differ in it.
    BootId, 16
);

/// A control node of a cluster. Numbers count up from 1; each is given to one installation, and
/// never again to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The node that founds a cluster.
    pub const FIRST: Self = Self(1);

    /// Reads `n3` or `3`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('n').unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().ok().map(Self) } else { None }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// A project: the unit whose runs, locks and numbers change together in one shard.
///
/// It is derived from the project's name, so every node computes the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ProjectId(pub u64);

impl ProjectId {
    /// Derives the identity from a project's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_be_bytes(id))
    }

    /// The shard that is home to this project, of `shards` (at least one).
    #[must_use]
    pub fn home(self, shards: u16) -> ShardId {
        let shard = self.0 % u64::from(shards.max(1));
        ShardId(u16::try_from(shard).unwrap_or(0))
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A run, named by its project and its number there. Numbers start at 1 and have no gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RunId {
    /// The project whose run this is.
    pub project: ProjectId,
    /// The number that people use: `otto logs 412`.
    pub number: u64,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.project, self.number)
    }
}

/// A stage's place in its plan: the index into [`crate::plan::Plan::stages`].
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct StageId(pub u32);

impl StageId {
    /// The stage that holds all others.
    pub const ROOT: Self = Self(0);

    /// This place as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The how-manieth try at a stage; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The first try.
    pub const FIRST: Self = Self(1);

    /// The try after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The fencing token of a lease. Within one run epochs only grow; a stale one has no effect.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Raised when a backup is restored, so that no earlier lease can be mistaken for a new one.
    pub incarnation: u32,
    /// Raised with every award.
    pub counter: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.counter)
    }
}

/// A shard of a cluster: the set of projects that is replicated and led together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ShardId(pub u16);

impl ShardId {
    /// What belongs to the cluster and to no project: nodes, tokens, users. A group of its own
    /// beside the numbered ones.
    pub const META: Self = Self(u16::MAX);
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::META { f.write_str("meta") } else { write!(f, "{}", self.0) }
    }
}

/// An agent's process: it changes with every start, so that a report of an earlier life is told
/// apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct AgentRef {
    /// The installation.
    pub agent: AgentId,
    /// The process: the how-manieth start of the installation.
    pub incarnation: u64,
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent.short(), self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_as_written() {
        let digest = Digest::of(b"otto");
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert!(digest.to_string().starts_with(&digest.short()));
        let json = serde_json::to_string(&digest).expect("plain data");
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).expect("it was written"), digest);
        let bytes = crate::journal::encode(&digest);
        assert_eq!(bytes.len(), 34, "two bytes of MessagePack, then the identifier");
        assert_eq!(crate::journal::decode("digest", &bytes), Ok(digest));
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        let right = "00".repeat(16);
        assert!(CommandId::parse(&right).is_some());
        for wrong in ["", "00", &right[1..], &right.replacen("00", "+1", 1), &"é".repeat(16)] {
            assert_eq!(CommandId::parse(wrong), None, "{wrong}");
        }
        assert!(serde_json::from_str::<CommandId>("\"00\"").is_err());
        let short = crate::journal::encode(&Digest([0; 32]));
        assert!(crate::journal::decode::<CommandId>("id", &short).is_err(), "another length");
    }

    #[test]
    fn nodes_are_named_by_their_number() {
        for (text, node) in [("n3", Some(3)), ("3", Some(3)), ("n", None), ("n+3", None)] {
            assert_eq!(NodeId::parse(text), node.map(NodeId), "{text}");
        }
        assert_eq!(NodeId(3).to_string(), "n3");
    }

    #[test]
    fn a_project_has_one_home() {
        let project = ProjectId::of("shop");
        assert_eq!(project, ProjectId::of("shop"));
        assert!((0..100).all(|shards| project.home(shards).0 < shards.max(1)));
    }

    #[test]
    fn epochs_are_ordered_by_incarnation_first() {
        let epoch = |incarnation, counter| Epoch { incarnation, counter };
        assert!(epoch(1, 9) < epoch(2, 0) && epoch(2, 0) < epoch(2, 1));
    }
}
