//! The heart of a cluster: which nodes and agents belong to it, what lets them in, and who votes.
//!
//! It has the shape of a run: `decide` holds all policy and changes nothing; `evolve` takes in a
//! fact and cannot fail; `owed` is what the outside should be doing now.
//!
//! ```text
//!   command.rs  wishes and refusals        state.rs     nodes, agents, tokens, certificates
//!   decide.rs   what each wish leads to    survival.rs  how many nodes may be lost
//!   admit.rs    who is let in, and stays   duty.rs      what is owed
//!   event.rs    facts                      register.rs  what every node checks callers against
//!   evolve.rs   how each changes the state    level.rs     what may be written from when on
//! ```
//!
//! The state lies whole in the head of its journal, so every node reads who belongs to the cluster
//! at once; replaying the journal leads to the same. Every wish may be repeated: a repeat leads to
//! nothing new and finds the first answer in the state.

mod admit;
pub mod command;
mod decide;
pub mod duty;
pub mod event;
mod evolve;
pub mod level;
pub mod register;
pub mod state;
pub mod survival;
#[cfg(test)]
mod tests;

use crate::ids::{AgentId, ClusterId, KeyId, NodeId, TokenHash};
use crate::journal::{Head, Unreadable, decode, encode};
use crate::time::{Span, Timestamp};
use duty::Duty;
use event::Entry;
use serde::{Deserialize, Serialize};
use state::{Agent, Denied, Holder, Member, Token, UserToken};
use std::collections::{BTreeMap, BTreeSet};

/// The longest that a join token is valid.
pub const MAX_TOKEN: Span = Span::hours(1);
/// The most joins that one token may allow.
pub const MAX_USES: u32 = 100;
/// The longest that a person's token is valid.
pub const MAX_USER_TOKEN: Span = Span::hours(24 * 366);
/// How long a certificate is valid, from [`SKEW`] before it was issued.
pub const CERTIFICATE: Span = Span::hours(24);
/// How far the clock of whoever checks a new certificate may be behind.
pub const SKEW: Span = Span::seconds(300);
/// How long a token is remembered after it expired, to say so.
const REMEMBERED: Span = Span::hours(24);

/// A cluster. Fields that an earlier release did not write have their defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// `None` before it was founded.
    founded: Option<Founded>,
    /// What all voters understand, and may have written.
    level: u32,
    /// Raised when a backup is restored, so that no earlier lease can be mistaken for a new one.
    incarnation: u32,
    /// The nodes that belong to it.
    nodes: BTreeMap<NodeId, Member>,
    /// The agents that belong to it.
    agents: BTreeMap<AgentId, Agent>,
    /// The keys of those that did, which never come back.
    denied: BTreeMap<KeyId, Denied>,
    /// What lets nodes and agents in, also for a while after it expired.
    tokens: BTreeMap<TokenHash, Token>,
    /// What people sign in with.
    users: BTreeMap<TokenHash, UserToken>,
    /// The number of the latest node; numbers are never used again.
    latest_node: u64,
    /// The serial number of the latest certificate.
    latest_serial: u64,
    /// When the last entry was decided.
    last_at: Timestamp,
    /// The number of entries that were applied.
    version: u64,
}

/// What a cluster began with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Founded {
    /// Its name.
    pub cluster: ClusterId,
    /// How many shards it has, for good.
    pub shards: u16,
    /// The fingerprint of its certificate authority.
    pub authority: KeyId,
    /// When.
    pub at: Timestamp,
}

impl Cluster {
    /// The cluster that a journal tells of.
    #[must_use]
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut cluster = Self::default();
        for entry in entries {
            cluster.apply(entry);
        }
        cluster
    }

    /// Takes in one entry of the journal.
    pub fn apply(&mut self, entry: &Entry) {
        for event in &entry.events {
            self.evolve(event);
        }
        self.last_at = self.last_at.max(entry.at);
        self.version += 1;
    }

    /// Reads the state from the journal's head; `None` is a cluster that was not founded.
    ///
    /// # Errors
    /// When the head was damaged, or written by a later release.
    pub fn from_head(head: Option<&Head>) -> Result<Self, Unreadable> {
        head.map_or_else(|| Ok(Self::default()), |head| decode("cluster", &head.summary))
    }

    /// The head that goes with the next entry. The cluster's actor is always there.
    #[must_use]
    pub fn to_head(&self) -> Head {
        Head { wake: Some(Timestamp::default()), summary: encode(self) }
    }

    /// What it began with; `None` before.
    pub fn founded(&self) -> Option<&Founded> {
        self.founded.as_ref()
    }

    /// What all voters understand, and may have written.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// How often it was restored from a backup.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The number of entries that were applied: what the next one's proposal must expect.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The nodes that belong to it, in the order in which they came.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.nodes.iter().map(|(node, member)| (*node, member))
    }

    /// A node that belongs to it.
    pub fn node(&self, node: NodeId) -> Option<&Member> {
        self.nodes.get(&node)
    }

    /// The agents that belong to it.
    pub fn agents(&self) -> impl Iterator<Item = (AgentId, &Agent)> {
        self.agents.iter().map(|(agent, it)| (*agent, it))
    }

    /// An agent that belongs to it.
    pub fn agent(&self, agent: AgentId) -> Option<&Agent> {
        self.agents.get(&agent)
    }

    /// The tokens that let somebody in, used-up and expired ones included.
    pub fn tokens(&self) -> impl Iterator<Item = (TokenHash, &Token)> {
        self.tokens.iter().map(|(hash, token)| (*hash, token))
    }

    /// The tokens that people sign in with.
    pub fn user_tokens(&self) -> impl Iterator<Item = (TokenHash, &UserToken)> {
        self.users.iter().map(|(hash, token)| (*hash, token))
    }

    /// Who belongs to the cluster under a key: the answer to a join, and to its repeats.
    pub fn holder(&self, key: KeyId) -> Option<Holder> {
        let node = self.nodes.iter().find(|(_, member)| member.key == key);
        let agent = || self.agents.iter().find(|(_, agent)| agent.key == key);
        node.map(|(node, _)| Holder::Node(*node))
            .or_else(|| agent().map(|(agent, _)| Holder::Agent(*agent)))
    }

    /// The key and the latest certificate of whoever belongs to the cluster.
    pub fn credentials(&self, holder: Holder) -> Option<(KeyId, state::Certificate)> {
        match holder {
            Holder::Node(node) => self.nodes.get(&node).map(|it| (it.key, it.certificate)),
            Holder::Agent(agent) => self.agents.get(&agent).map(|it| (it.key, it.certificate)),
        }
    }

    /// What the outside should be doing now. A cluster has a few nodes, so this is computed anew.
    #[must_use]
    pub fn owed(&self) -> BTreeSet<Duty> {
        self.nodes.iter().filter_map(|(node, member)| Duty::of(*node, member)).collect()
    }
}
