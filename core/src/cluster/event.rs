//! Facts: what happened to a cluster, in the past tense. They are journaled before anyone acts on
//! them.
//!
//! The serialized names and fields are on disk for ever: kinds carry their version, new fields have
//! defaults, and a kind is never reused.

use super::command::Newcomer;
use super::state::{Certificate, Holder, Invitation, JoinRole, Levels, Start, UserRole};
use crate::ids::{AgentId, ClusterId, KeyId, NodeId, TokenHash};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One entry of the cluster's journal: what one wish or several led to, and when it was decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided. Never earlier than the entry before.
    pub at: Timestamp,
    /// The facts, in order.
    pub events: Vec<Event>,
}

/// A fact about a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// It began, with its first node, which votes alone.
    #[serde(rename = "founded/1")]
    Founded {
        /// Its name.
        cluster: ClusterId,
        /// How many shards it has, for good.
        shards: u16,
        /// The fingerprint of its certificate authority.
        authority: KeyId,
        /// What all voters understand.
        level: u32,
        /// The first node's number.
        node: NodeId,
        /// The first node.
        founder: Newcomer,
        /// The first node's certificate.
        certificate: Certificate,
        /// When.
        at: Timestamp,
    },
    /// A token was made.
    #[serde(rename = "token-created/1")]
    TokenCreated {
        /// The hash of its secret.
        token: TokenHash,
        /// What it lets somebody become.
        role: JoinRole,
        /// Until when.
        expires: Timestamp,
        /// How many.
        uses: u32,
        /// Who made it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A token lets nobody in any more, or signs nobody in.
    #[serde(rename = "token-revoked/1")]
    TokenRevoked {
        /// Which one.
        token: TokenHash,
        /// Who revoked it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A token has let in as many as it may.
    #[serde(rename = "token-used-up/1")]
    TokenUsedUp {
        /// Which one.
        token: TokenHash,
    },
    /// Tokens that were over for long are not remembered any more.
    #[serde(rename = "tokens-forgotten/1")]
    TokensForgotten {
        /// Which ones.
        tokens: Vec<TokenHash>,
    },
    /// A token for a person was made.
    #[serde(rename = "user-token-created/1")]
    UserTokenCreated {
        /// The hash of its secret.
        token: TokenHash,
        /// Whose.
        name: String,
        /// What they may do.
        role: UserRole,
        /// Until when.
        expires: Timestamp,
        /// Who made it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A node was let in. This uses its token once.
    #[serde(rename = "node-joined/1")]
    NodeJoined {
        /// Its number.
        node: NodeId,
        /// What is known of it.
        newcomer: Newcomer,
        /// What let it in.
        token: TokenHash,
        /// Its first certificate.
        certificate: Certificate,
        /// When.
        at: Timestamp,
    },
    /// An agent was let in. This uses its token once, where it had one.
    #[serde(rename = "agent-joined/1")]
    AgentJoined {
        /// Its identity.
        agent: AgentId,
        /// Its machine's name.
        name: String,
        /// Its public key.
        key: KeyId,
        /// What let it in.
        invitation: Invitation,
        /// Its first certificate.
        certificate: Certificate,
        /// When.
        at: Timestamp,
    },
    /// Somebody who belongs to the cluster got another certificate.
    #[serde(rename = "certificate-issued/1")]
    CertificateIssued {
        /// Who.
        holder: Holder,
        /// The certificate.
        certificate: Certificate,
    },
    /// A node's control process has started.
    #[serde(rename = "node-started/1")]
    NodeStarted {
        /// Which node.
        node: NodeId,
        /// Which start.
        start: Start,
        /// Where it can be reached.
        addresses: Vec<String>,
        /// What its build understands.
        levels: Levels,
        /// Of which release it is. Nothing below [`super::level::RELEASES`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A node receives all shards.
    #[serde(rename = "node-became-learner/1")]
    NodeBecameLearner {
        /// Which node.
        node: NodeId,
        /// When.
        at: Timestamp,
    },
    /// A node votes in all shards.
    #[serde(rename = "node-became-voter/1")]
    NodeBecameVoter {
        /// Which node.
        node: NodeId,
        /// When.
        at: Timestamp,
    },
    /// A node shall lead nothing.
    #[serde(rename = "node-draining/1")]
    NodeDraining {
        /// Which node.
        node: NodeId,
        /// Who wished it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A node may lead again.
    #[serde(rename = "node-resumed/1")]
    NodeResumed {
        /// Which node.
        node: NodeId,
        /// Who wished it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A node shall leave for good.
    #[serde(rename = "node-leaving/1")]
    NodeLeaving {
        /// Which node.
        node: NodeId,
        /// Who wished it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A node that shall leave leads nothing any more.
    #[serde(rename = "node-emptied/1")]
    NodeEmptied {
        /// Which node.
        node: NodeId,
        /// When.
        at: Timestamp,
    },
    /// A node is gone: no shard has it, and its key is denied.
    #[serde(rename = "node-removed/1")]
    NodeRemoved {
        /// Which node.
        node: NodeId,
        /// When.
        at: Timestamp,
    },
    /// An agent is gone: its key is denied.
    #[serde(rename = "agent-removed/1")]
    AgentRemoved {
        /// Which agent.
        agent: AgentId,
        /// Who wished it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Everything of this level may be written.
    #[serde(rename = "level-raised/1")]
    LevelRaised {
        /// The level.
        to: u32,
        /// Who raised it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// The state came out of a backup: one node goes on alone, everybody else is denied, and no
    /// token counts any more.
    #[serde(rename = "restored/1")]
    Restored {
        /// The incarnation from now on.
        incarnation: u32,
        /// The fingerprint of the certificate authority from now on.
        authority: KeyId,
        /// The number of the node that goes on.
        node: NodeId,
        /// That node.
        founder: Newcomer,
        /// Its certificate.
        certificate: Certificate,
        /// When.
        at: Timestamp,
    },
}
