//! Wishes: everything that may be asked of a cluster, and the refusals.

use super::state::{By, Holder, JoinRole, Levels, UserRole};
use crate::ids::{AgentId, BootId, ClusterId, KeyId, NodeId, TokenHash};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// What may be asked of a cluster. Each may be repeated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// Begin. The first wish of every cluster.
    Found {
        /// Its name.
        cluster: ClusterId,
        /// How many shards it has, for good.
        shards: u16,
        /// The fingerprint of its certificate authority.
        authority: KeyId,
        /// The node that founds it.
        node: Newcomer,
    },
    /// A new token that lets nodes or agents in.
    CreateToken {
        /// The hash of its secret, which only its reader knows.
        token: TokenHash,
        /// What it lets somebody become.
        role: JoinRole,
        /// How long; at most [`super::MAX_TOKEN`].
        lifetime: Span,
        /// How many it may let in; at most [`super::MAX_USES`].
        uses: u32,
        /// Who wishes it.
        by: By,
    },
    /// A token shall let nobody in any more, or sign nobody in.
    RevokeToken {
        /// Which one.
        token: TokenHash,
        /// Who wishes it.
        by: By,
    },
    /// A new token that a person signs in with.
    CreateUserToken {
        /// The hash of its secret.
        token: TokenHash,
        /// Whose.
        name: String,
        /// What they may do.
        role: UserRole,
        /// How long; at most [`super::MAX_USER_TOKEN`].
        lifetime: Span,
        /// Who wishes it.
        by: By,
    },
    /// Somebody shows a token, and has the private key to this public one.
    Join {
        /// The hash of the secret that was shown.
        token: TokenHash,
        /// What the caller says that the token is for; another role is refused.
        role: JoinRole,
        /// Who joins.
        newcomer: Newcomer,
    },
    /// A control node's own agent joins; the node vouches for it.
    JoinAgent {
        /// The node.
        node: NodeId,
        /// The agent's machine, for people.
        name: String,
        /// The agent's public key.
        key: KeyId,
    },
    /// A certificate that is running out shall be followed by another one.
    Renew {
        /// Whose, as the connection told.
        holder: Holder,
        /// The key that the connection proved.
        key: KeyId,
    },
    /// A control process has started.
    Start(Started),
    /// All shards have the node as a learner.
    BecameLearner {
        /// Which node.
        node: NodeId,
    },
    /// It votes in all shards.
    BecameVoter {
        /// Which node.
        node: NodeId,
    },
    /// A node that shall leave leads nothing any more.
    Emptied {
        /// Which node.
        node: NodeId,
    },
    /// No shard has the node any more.
    Parted {
        /// Which node.
        node: NodeId,
    },
    /// A node shall lead nothing.
    Drain {
        /// Which node.
        node: NodeId,
        /// Who wishes it.
        by: By,
    },
    /// A drained node shall lead again.
    Resume {
        /// Which node.
        node: NodeId,
        /// Who wishes it.
        by: By,
    },
    /// A node shall leave for good.
    Remove {
        /// Which node.
        node: NodeId,
        /// Who wishes it.
        by: By,
    },
    /// An agent shall leave for good.
    RemoveAgent {
        /// Which agent.
        agent: AgentId,
        /// Who wishes it.
        by: By,
    },
    /// From now on everything of this level may be written. There is no way back.
    RaiseLevel {
        /// The level.
        to: u32,
        /// Who wishes it.
        by: By,
    },
    /// This state came out of a backup: one node goes on alone, and nobody else comes back.
    Restore {
        /// The node that it was restored on.
        node: Newcomer,
        /// Its own certificate authority: the old one's key is no part of a backup.
        authority: KeyId,
    },
}

/// Who wants to belong to a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its machine's name, for people.
    pub name: String,
    /// Where it can be reached, best first; empty for agents, which dial out.
    pub addresses: Vec<String>,
    /// Its public key.
    pub key: KeyId,
    /// What its build understands.
    pub levels: Levels,
}

/// A start, as a node shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Which node, as the connection told.
    pub node: NodeId,
    /// The how-manieth start, counted on its disk.
    pub count: u64,
    /// Which one: drawn at random.
    pub boot: BootId,
    /// The starts before it that its disk knows of, back to the last one that the cluster knew. A
    /// disk that was copied or rolled back does not know of the latest one.
    pub known: Vec<BootId>,
    /// Where it can be reached now.
    pub addresses: Vec<String>,
    /// What its build understands.
    pub levels: Levels,
    /// Of which release it is; left out by the first one.
    #[serde(default)]
    pub release: Option<String>,
}

/// A typed no, worded to fit behind "failed to".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The cluster was founded before, and not by this.
    #[error("found the cluster: it was founded before")]
    AlreadyFounded,
    /// The cluster was not founded yet.
    #[error("act on a cluster that was not founded")]
    NotFounded,
    /// A cluster has at least one shard.
    #[error("found a cluster without shards")]
    NoShards,
    /// Only an administrator may.
    #[error("do this as {name}: only an administrator may")]
    NotAdmin {
        /// Who wished it.
        name: String,
    },
    /// No such token was ever made, or it is long over.
    #[error("find this token: it was made for another cluster, or is long over")]
    NoSuchToken,
    /// The token was for something else.
    #[error("join as {wanted} node: the token is for {role}")]
    OtherRole {
        /// What the token is for.
        role: JoinRole,
        /// What the caller wanted to become.
        wanted: JoinRole,
    },
    /// The token's time is over.
    #[error("use the token: it expired {}", past(*.ago))]
    TokenExpired {
        /// How long ago.
        ago: Span,
    },
    /// The token was revoked.
    #[error("use the token: it was revoked")]
    TokenRevoked,
    /// The token has let in as many as it may.
    #[error("use the token: it was used {}, which is all that it allows", times(*.used))]
    TokenUsedUp {
        /// How many it let in.
        used: u32,
    },
    /// A token under this hash exists, and differs.
    #[error("make this token: there is another one with the same secret")]
    TokenTaken,
    /// A token would be valid for too long, or for no time.
    #[error("make a token that is valid for {wanted}: at least 1s, at most {most}")]
    TokenLifetime {
        /// What was asked for.
        wanted: Span,
        /// The most.
        most: Span,
    },
    /// A token would let in too many, or nobody.
    #[error("make a token for {wanted} joins: at least 1, at most {most}")]
    TokenUses {
        /// What was asked for.
        wanted: u32,
        /// The most.
        most: u32,
    },
    /// The key belongs to somebody who joined otherwise.
    #[error("join with this key: it is the key of {holder}")]
    KeyTaken {
        /// Whose key it is.
        holder: Holder,
    },
    /// Whoever had this key was removed, and does not come back.
    #[error("admit {holder}: it was removed from the cluster")]
    Removed {
        /// Whose key it was.
        holder: Holder,
    },
    /// The cluster knows nobody of this name and key.
    #[error("find {holder} in the cluster")]
    Unknown {
        /// Who it was said to be.
        holder: Holder,
    },
    /// The build is too old or too new for the cluster.
    #[error("work at level {level} of this cluster: the build understands {oldest} to {newest}")]
    OtherLevel {
        /// The cluster's level.
        level: u32,
        /// The oldest that the build understands.
        oldest: u32,
        /// The newest.
        newest: u32,
    },
    /// A later start of this node is known: its disk is a copy, or an old one was put back.
    #[error("start as {node}: its disk does not know of the node's latest start, number {latest}")]
    OldDisk {
        /// Which node.
        node: NodeId,
        /// The latest start that the cluster knows.
        latest: u64,
    },
    /// Nobody would be left to do what this node does.
    #[error("take {node} away: no other voter would be left to lead")]
    LastVoter {
        /// Which node.
        node: NodeId,
    },
    /// The node is on its way out.
    #[error("change {node}: it is leaving for good")]
    Leaving {
        /// Which node.
        node: NodeId,
    },
    /// What was reported of a node does not follow from where it was.
    #[error("take this report of {node}: it is not that far")]
    OutOfOrder {
        /// Which node.
        node: NodeId,
    },
    /// A level cannot be lowered.
    #[error("lower the level from {level} to {to}")]
    LowerLevel {
        /// The cluster's level.
        level: u32,
        /// What was asked for.
        to: u32,
    },
    /// A node does not understand the new level.
    #[error("raise the level to {to}: {node} understands {oldest} to {newest}")]
    UnsupportedLevel {
        /// What was asked for.
        to: u32,
        /// The first node that stands in the way.
        node: NodeId,
        /// The oldest that it understands.
        oldest: u32,
        /// The newest.
        newest: u32,
    },
    /// A name or an address is empty or too long.
    #[error("take {what} of {length} bytes: at least 1, at most {most}")]
    Length {
        /// What it is.
        what: Measured,
        /// How long it is.
        length: u64,
        /// The most.
        most: u64,
    },
}

/// What has a length that is bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// The name of a node, agent or person.
    Name,
    /// An address.
    Address,
    /// A list of addresses.
    Addresses,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "a name",
            Self::Address => "an address",
            Self::Addresses => "a list of addresses",
        })
    }
}

impl Refusal {
    /// What whoever wished can do now.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::AlreadyFounded => "join it instead: otto-node join ADDRESS --token …",
            Self::NotFounded => "start its first node: otto-node serve",
            Self::NoShards => "choose at least one",
            Self::NotAdmin { .. } => {
                "sign in with a token of `otto-node token create --user NAME --admin`"
            }
            Self::NoSuchToken
            | Self::TokenExpired { .. }
            | Self::TokenRevoked
            | Self::TokenUsedUp { .. }
            | Self::OtherRole { .. } => {
                "make a new one on a node of the cluster: otto-node token create"
            }
            Self::TokenTaken => "make it again: its secret is drawn at random",
            Self::TokenLifetime { .. } | Self::TokenUses { .. } => "choose less, or more than none",
            Self::KeyTaken { .. } => {
                "delete the folder `identity` in its data folder, and join with a new token"
            }
            Self::Removed { .. } | Self::OldDisk { .. } => {
                "empty its data folder, and let it join as a new node with a new token"
            }
            Self::Unknown { .. } => "look at `otto nodes` for those that there are",
            Self::OtherLevel { .. } => "install the release that the other nodes have",
            Self::LastVoter { .. } => "let another node join first, and wait until it votes",
            Self::Leaving { .. } => "let it join anew once it has left",
            Self::OutOfOrder { .. } => "report this: it is a mistake in otto",
            Self::LowerLevel { .. } => "restore a backup of that release instead",
            Self::UnsupportedLevel { .. } => "upgrade or remove that node first",
            Self::Length { .. } => "choose another one",
        }
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn past(ago: Span) -> String {
    if ago.0 == 0 { "a moment ago".to_owned() } else { format!("{ago} ago") }
}

/// How long ago a moment was, of which a refusal tells.
pub(super) fn ago(now: Timestamp, then: Timestamp) -> Span {
    Span::seconds(now.since(then).0 / 1000)
}
