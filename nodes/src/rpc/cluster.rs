//! What people send and get about the cluster itself. Fields are only ever added, with defaults.

use otto_core::cluster::Cluster;
use otto_core::cluster::state::{JoinRole, Levels, Member, Standing, UserRole, Wanted};
use otto_core::cluster::survival::Survival;
use otto_core::ids::{AgentId, ClusterId, KeyId, NodeId, TokenHash};
use otto_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a node at this moment, beside what the cluster's journal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Live {
    /// It answers.
    pub reachable: bool,
    /// How many shards it leads.
    pub leads: u32,
    /// How many entries it lacks of the shard that it lags behind most in.
    pub lag: u64,
    /// For how long it has not answered, where it does not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub silent_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The cluster, as `otto nodes` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its name.
    pub cluster: ClusterId,
    /// The fingerprint of its authority: tokens carry it.
    pub authority: KeyId,
    /// How many shards it has.
    pub shards: u16,
    /// What all voters understand.
    pub level: u32,
    /// Its nodes, in the order in which they came.
    pub nodes: Vec<NodeView>,
    /// Its agents.
    pub agents: Vec<ClusterAgent>,
    /// What it survives.
    pub survival: Survival,
    /// Whether artifacts and sealed logs outlive the node that keeps them.
    #[serde(default)]
    pub shared_store: bool,
    /// Set where nobody leads the cluster now: this is what one node knows by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled_by: Option<NodeId>,
}

/// A node of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeView {
    /// Which node.
    pub node: NodeId,
    /// Its machine's name.
    pub name: String,
    /// Where it can be reached, best first.
    pub addresses: Vec<String>,
    /// How far it is on its way into the cluster.
    pub standing: Standing,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// When it joined.
    pub joined: Timestamp,
    /// When its certificate runs out.
    pub certificate_until: Timestamp,
    /// How it is now.
    pub live: Live,
    /// What its build understands; left out by earlier releases.
    #[serde(default)]
    pub levels: Option<Levels>,
    /// Of which release it is; nothing while the cluster's level does not know of releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// An agent that belongs to a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterAgent {
    /// Which agent.
    pub agent: AgentId,
    /// Its machine's name.
    pub name: String,
    /// When it joined.
    pub joined: Timestamp,
    /// When its certificate runs out.
    pub certificate_until: Timestamp,
}

impl ClusterView {
    /// The newest level that all nodes understand; the present one where that is not known.
    #[must_use]
    pub fn possible_level(&self) -> u32 {
        let levels = self.nodes.iter().map(|node| node.levels.map(|levels| levels.newest));
        levels.min().flatten().unwrap_or(self.level).max(self.level)
    }

    /// What there is to see of a cluster; `None` before it was founded.
    #[must_use]
    pub fn of(
        cluster: &Cluster,
        live: &BTreeMap<NodeId, Live>,
        shared_store: bool,
    ) -> Option<Self> {
        let founded = cluster.founded()?;
        let reachable = live.iter().filter(|(_, live)| live.reachable).map(|(node, _)| *node);
        let node = |(node, member): (NodeId, &Member)| NodeView {
            node,
            name: member.name.clone(),
            addresses: member.addresses.clone(),
            standing: member.standing,
            wanted: member.wanted,
            joined: member.joined,
            certificate_until: member.certificate.not_after,
            live: live.get(&node).copied().unwrap_or_default(),
            levels: Some(member.levels),
            release: member.release.clone(),
        };
        let agents = cluster.agents().map(|(agent, it)| ClusterAgent {
            agent,
            name: it.name.clone(),
            joined: it.joined,
            certificate_until: it.certificate.not_after,
        });
        Some(Self {
            cluster: founded.cluster,
            authority: founded.authority,
            shards: founded.shards,
            level: cluster.level(),
            nodes: cluster.nodes().map(node).collect(),
            agents: agents.collect(),
            survival: cluster.survival(&reachable.collect()),
            shared_store,
            recalled_by: None,
        })
    }
}

/// A wish about a node or an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeMember {
    /// It shall lead nothing.
    Drain(NodeId),
    /// It may lead again.
    Resume(NodeId),
    /// It shall leave for good.
    Remove(NodeId),
    /// This agent shall leave for good.
    RemoveAgent(AgentId),
}

/// A wish for a token. Its secret never leaves whoever drew it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewToken {
    /// The hash of its secret.
    pub token: TokenHash,
    /// How long it is valid, in milliseconds.
    pub lifetime_ms: u64,
    /// What it is for.
    pub purpose: TokenPurpose,
}

/// The longest name of a person.
const MAX_PERSON: usize = 64;

/// Reads the name of a person: it is shown in lists and in journals, and is part of no path.
///
/// # Errors
/// What a name is made of, for people.
pub fn person(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_alphanumeric() || "._-+@".contains(letter);
    let plain = text.chars().all(fits) && text.starts_with(char::is_alphanumeric);
    if plain && text.len() <= MAX_PERSON {
        return Ok(text.to_owned());
    }
    let made_of =
        "a name is made of letters, digits and . _ - + @, and begins with one of the first";
    Err(format!("{made_of} two; it has at most {MAX_PERSON} bytes"))
}

/// What a token is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPurpose {
    /// To let nodes or agents in.
    Join {
        /// What they become.
        role: JoinRole,
        /// How many.
        uses: u32,
    },
    /// To sign a person in.
    SignIn {
        /// Whom.
        name: String,
        /// What they may do.
        role: UserRole,
    },
}

/// A token, as lists show it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenView {
    /// The hash of its secret.
    pub token: TokenHash,
    /// What it is for; `uses` is what is left.
    pub purpose: TokenPurpose,
    /// Who made it.
    pub by: String,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// It was revoked.
    pub revoked: bool,
}

impl TokenView {
    /// All tokens that a cluster remembers, those that let somebody in first.
    #[must_use]
    pub fn all(cluster: &Cluster) -> Vec<Self> {
        let joins = cluster.tokens().map(|(token, it)| Self {
            token,
            purpose: TokenPurpose::Join { role: it.role, uses: it.allowed.saturating_sub(it.used) },
            by: it.by.clone(),
            expires: it.expires,
            revoked: it.revoked.is_some(),
        });
        let people = cluster.user_tokens().map(|(token, it)| Self {
            token,
            purpose: TokenPurpose::SignIn { name: it.name.clone(), role: it.role },
            by: it.by.clone(),
            expires: it.expires,
            revoked: it.revoked.is_some(),
        });
        joins.chain(people).collect()
    }
}
