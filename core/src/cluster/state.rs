//! What a cluster knows of its nodes, agents, tokens and certificates.

use crate::ids::{AgentId, BootId, KeyId, NodeId, TokenHash};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a token lets somebody become.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRole {
    /// A node that keeps shards. It is trusted with everything, the authority's key included.
    Control,
    /// An agent. It is trusted with its own leases.
    Agent,
}

impl JoinRole {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for JoinRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a person may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserRole {
    /// Everything, the cluster itself included.
    Admin,
    /// Runs.
    User,
}

impl UserRole {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }
}

/// Who wishes something of the cluster, as the connection told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct By {
    /// The name by which the journal speaks of them.
    pub name: String,
    /// What they may do, where that needs no token.
    pub role: UserRole,
    /// What they signed in with: it then says who they are and what they may do, where it is
    /// decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHash>,
}

impl By {
    /// Somebody who needs no token: whoever owns a node, or the node itself.
    #[must_use]
    pub fn owner(name: &str) -> Self {
        Self { name: name.to_owned(), role: UserRole::Admin, token: None }
    }
}

/// What a build understands: it reads everything from `oldest` on, and writes up to `newest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Levels {
    /// The oldest level of a cluster that it works in.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
}

impl Levels {
    /// Whether it works in a cluster of this level.
    #[must_use]
    pub fn support(self, level: u32) -> bool {
        (self.oldest..=self.newest).contains(&level)
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oldest, newest } = self;
        if oldest == newest {
            write!(f, "level {newest}")
        } else {
            write!(f, "levels {oldest} to {newest}")
        }
    }
}

/// A node or an agent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A control node.
    Node(NodeId),
    /// An agent.
    Agent(AgentId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Agent(agent) => write!(f, "agent {}", agent.short()),
        }
    }
}

/// A certificate as the journal knows it. Signatures are deterministic, so every node that holds
/// the authority's key makes the same bytes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// Its number; none is used twice.
    pub serial: u64,
    /// It is not valid before.
    pub not_before: Timestamp,
    /// It is not valid after.
    pub not_after: Timestamp,
}

impl Certificate {
    /// When it should be renewed: after two thirds of its life.
    #[must_use]
    pub fn renewal(&self) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before.after(Span(life.0 / 3 * 2))
    }
}

/// A token that lets nodes or agents in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Token {
    /// What it lets somebody become.
    pub role: JoinRole,
    /// Who made it.
    pub by: String,
    /// When.
    pub created: Timestamp,
    /// Until when it lets somebody in.
    pub expires: Timestamp,
    /// How many it may let in.
    pub allowed: u32,
    /// How many it has let in.
    pub used: u32,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// A token that a person signs in with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserToken {
    /// Whose.
    pub name: String,
    /// What they may do.
    pub role: UserRole,
    /// Who made it.
    pub by: String,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// How far a node is on its way into the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has its identity.
    Joined,
    /// It receives all shards.
    Learner,
    /// It votes on them.
    Voter,
}

/// What is wanted of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Everything.
    Serve,
    /// To lead nothing.
    Drain,
    /// To leave for good.
    Leave {
        /// It leads nothing any more.
        emptied: bool,
    },
}

/// A control process's start, as the node showed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The how-manieth of the node.
    pub count: u64,
    /// Which one: copies of a disk count alike.
    pub boot: BootId,
}

/// A node that belongs to the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its machine's name, for people.
    pub name: String,
    /// Where it can be reached, best first: `10.0.0.5:7301`.
    pub addresses: Vec<String>,
    /// Its public key.
    pub key: KeyId,
    /// What let it in; `None` for the founder.
    pub token: Option<TokenHash>,
    /// What its build understands.
    pub levels: Levels,
    /// Its latest certificate.
    pub certificate: Certificate,
    /// How far it is.
    pub standing: Standing,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Its latest start; `None` before its first one.
    pub start: Option<Start>,
    /// Of which release that is: `0.1.0`. Nothing below [`super::level::RELEASES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// When it joined.
    pub joined: Timestamp,
}

/// What let an agent in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invitation {
    /// A token.
    Token(TokenHash),
    /// A control node, whose own agent it is.
    Node(NodeId),
}

/// An agent that belongs to the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Agent {
    /// Its machine's name, for people.
    pub name: String,
    /// Its public key.
    pub key: KeyId,
    /// What let it in.
    pub invitation: Invitation,
    /// Its latest certificate.
    pub certificate: Certificate,
    /// When it joined.
    pub joined: Timestamp,
}

/// A key that never comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Denied {
    /// Whose it was.
    pub holder: Holder,
    /// Since when.
    pub at: Timestamp,
}
