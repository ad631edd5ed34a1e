//! The port towards other nodes: one call there, one answer back.
//!
//! What a call holds is replication's own. Whoever carries it needs to know no more than to whom it
//! goes, and from whom it comes.

use super::message::{Ask, Reply};
use super::roll::Sign;
use async_trait::async_trait;
use otto_core::ids::{NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What one node asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerCall {
    pub(super) from: Sign,
    pub(super) to: u64,
    pub(super) ask: Ask,
}

impl PeerCall {
    /// Who asks, by its own word: whoever carries the call compares it with what the connection
    /// proves.
    #[must_use]
    pub fn from(&self) -> NodeId {
        NodeId(self.from.node)
    }

    /// The shard and term in which who asks wants to be elected, if that is what it asks.
    #[must_use]
    pub fn candidacy(&self) -> Option<(ShardId, u64)> {
        let Ask::Vote(shard, candidacy) = &self.ask else { return None };
        Some((*shard, candidacy.vote.term()))
    }

    /// Who is asked.
    #[must_use]
    pub fn to(&self) -> NodeId {
        NodeId(self.to)
    }
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerAnswer {
    pub(super) from: Sign,
    pub(super) reply: Reply,
}

impl PeerAnswer {
    /// Whether a vote is granted by it. Who asked counts it only from a node that it knows.
    #[must_use]
    pub fn grants(&self) -> bool {
        matches!(&self.reply, Reply::Voted(voted) if voted.granted)
    }
}

/// Why there is no answer. What was asked may have been done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("reach node {node} at {address}: {cause}")]
pub struct Unreached {
    /// Who.
    pub node: NodeId,
    /// Where.
    pub address: String,
    /// What went wrong.
    pub cause: String,
}

/// Carries calls to other nodes.
#[async_trait]
pub trait Peers: fmt::Debug + Send + Sync + 'static {
    /// Calls the node that the call is for, once, at the address where its groups know it.
    ///
    /// # Errors
    /// When there is no answer within `allowed`.
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached>;
}

/// Peers that all groups of a node call through.
pub type SharedPeers = Arc<dyn Peers>;

/// Nobody: what a node has that was never joined by another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

#[async_trait]
impl Peers for Alone {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        _allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let cause = "this node was opened without a way to others".to_owned();
        Err(Unreached { node: call.to(), address: address.to_owned(), cause })
    }
}
