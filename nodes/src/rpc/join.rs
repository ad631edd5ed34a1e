//! What newcomers send and get. All of it travels as MessagePack maps with these field names;
//! fields are only ever added, with defaults.

use otto_core::cluster::command::Refusal;
use otto_core::cluster::state::{Holder, JoinRole, Levels};
use otto_core::ids::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fmt;
use zeroize::Zeroize;

/// The most bytes of a signing request.
pub const MAX_REQUEST: usize = 4096;

/// Bytes that nobody may read in a log, and that are overwritten when they are let go.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(#[serde(with = "serde_bytes")] Vec<u8>);

impl Hidden {
    /// Hides bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hidden({} bytes)", self.0.len())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A token is shown, and a certificate asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Join {
    /// The token's secret.
    pub secret: Hidden,
    /// What the token was said to be for.
    pub role: JoinRole,
    /// A signing request (PKCS #10, DER). Only its key counts: it proves that the caller has it.
    pub request: ByteBuf,
    /// The machine's name, for people.
    pub name: String,
    /// Where the newcomer can be reached, best first; empty for agents.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What its build understands.
    pub levels: Levels,
}

/// A control node's own agent asks for a certificate through it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enrol {
    /// The agent's signing request.
    pub request: ByteBuf,
    /// The machine's name, for people.
    pub name: String,
}

/// Another certificate is asked for, for the key that the connection proved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Renew {
    /// A signing request for the same key.
    pub request: ByteBuf,
}

/// An identity, and what its holder must know of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Who the holder is.
    pub holder: Holder,
    /// The certificate (X.509, DER).
    pub certificate: ByteBuf,
    /// The certificate of the authority that signed it.
    pub authority: ByteBuf,
    /// The authority's key (PKCS #8, DER), for control nodes: each of them admits others.
    #[serde(default)]
    pub authority_key: Option<Hidden>,
    /// The cluster.
    pub facts: ClusterFacts,
}

/// What a member must know of its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterFacts {
    /// Its name.
    pub cluster: ClusterId,
    /// How many shards it has.
    pub shards: u16,
    /// What all voters understand.
    pub level: u32,
    /// Its control nodes.
    pub nodes: Vec<NodeAddresses>,
    /// How often it was restored from a backup, and one more: the upper half of every epoch.
    #[serde(default = "never_restored")]
    pub incarnation: u32,
}

fn never_restored() -> u32 {
    1
}

/// Where a control node can be reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// Which node.
    pub node: NodeId,
    /// Its machine's name.
    pub name: String,
    /// Its addresses, best first.
    pub addresses: Vec<String>,
}

/// Why there is no certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum JoinError {
    /// The cluster said no, and will say no again.
    #[error("{what}")]
    Refused {
        /// What was refused, worded to fit behind "failed to".
        what: String,
        /// What to do now.
        help: String,
    },
    /// What was sent is not what it should be.
    #[error("accept what was sent: {0}")]
    Invalid(String),
    /// This node is not ready for it: try again, also at another node.
    #[error("answer yet: {0}")]
    NotReady(String),
    /// It may have happened or not: ask again with the same key and token.
    #[error("tell whether it happened: {0}")]
    Unknown(String),
}

impl From<Refusal> for JoinError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { what: refusal.to_string(), help: refusal.help().to_owned() }
    }
}
