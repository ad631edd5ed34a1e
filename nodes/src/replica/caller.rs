//! Calls to other nodes: introduced both ways, and never on the word of one that lost its memory.

use super::message::{Ask, Reply};
use super::peers::{PeerAnswer, PeerCall, SharedPeers, Unreached};
use super::roll::{Known, Roll};
use crate::store::Fault;
use otto_core::ids::NodeId;
use std::sync::Arc;
use std::time::Duration;

/// Why a call came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There was no answer: it may have been done.
    #[error("{0}")]
    Unreached(#[from] Unreached),
    /// The other end did not do it, or is not whom it was taken for.
    #[error("ask node {0}: {1}")]
    Refused(NodeId, String),
    /// This node's store failed.
    #[error("{0}")]
    Store(#[from] Fault),
}

/// Calls other nodes for all groups of this one.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    roll: Arc<Roll>,
    peers: SharedPeers,
}

impl Caller {
    pub(super) fn new(roll: Arc<Roll>, peers: SharedPeers) -> Self {
        Self { roll, peers }
    }

    /// What others showed of themselves.
    pub(super) fn roll(&self) -> &Roll {
        &self.roll
    }

    /// Asks a node once, after an introduction where one is due.
    pub(super) async fn ask(
        &self,
        to: u64,
        address: &str,
        ask: Ask,
        allowed: Duration,
    ) -> Result<Reply, CallError> {
        self.meet(to, address, allowed).await?;
        let answer = self.send(to, address, ask, allowed).await?;
        let refused = |why: String| CallError::Refused(NodeId(to), why);
        match self.roll.check(&answer.from) {
            Known::Yes => match answer.reply {
                Reply::Stranger => {
                    self.roll.set_introduced(to, false);
                    Err(refused("it must be introduced to this node again".to_owned()))
                }
                Reply::Outcast(why) => {
                    self.roll.cast_out(&why).await?;
                    Err(refused(why))
                }
                Reply::Failed(why) => Err(refused(why)),
                reply => Ok(reply),
            },
            Known::Stranger => {
                self.roll.set_introduced(to, false);
                Err(refused("it was started anew".to_owned()))
            }
            Known::Outcast(why) => {
                // It gets nothing more from here, asks for votes in the end, and is told why not.
                self.roll.set_introduced(to, false);
                Err(refused(why))
            }
        }
    }

    /// Introduces this node where that is due.
    pub(super) async fn meet(
        &self,
        to: u64,
        address: &str,
        allowed: Duration,
    ) -> Result<(), CallError> {
        self.roll.belongs().map_err(|why| CallError::Refused(NodeId(to), why))?;
        if self.roll.has_introduced(to) {
            return Ok(());
        }
        self.introduce(to, address, allowed).await
    }

    async fn introduce(&self, to: u64, address: &str, allowed: Duration) -> Result<(), CallError> {
        let ask = Ask::Introduce(self.roll.introduction());
        let answer = self.send(to, address, ask, allowed).await?;
        let refused = |why: String| Err(CallError::Refused(NodeId(to), why));
        match answer.reply {
            Reply::Introduced(shown) if shown.sign() == answer.from => {
                if let Known::Outcast(why) = self.roll.admit(&shown).await? {
                    // Whoever lost its memory belongs to no group any more that it would ask.
                    let told = self.send(to, address, Ask::CastOut(why.clone()), allowed).await;
                    if let Err(error) = told {
                        tracing::info!(%error, "a node does not know yet that it is an outcast");
                    }
                    return refused(why);
                }
                self.roll.set_introduced(to, true);
                Ok(())
            }
            Reply::Outcast(why) => {
                self.roll.cast_out(&why).await?;
                refused(why)
            }
            Reply::Failed(why) => refused(why),
            other => refused(format!("it answers an introduction with {other:?}")),
        }
    }

    async fn send(
        &self,
        to: u64,
        address: &str,
        ask: Ask,
        allowed: Duration,
    ) -> Result<PeerAnswer, CallError> {
        let call = PeerCall { from: self.roll.sign(), to, ask };
        let answer = self.peers.call(address, call, allowed).await?;
        if answer.from.node == to {
            Ok(answer)
        } else {
            let why = format!("node {} is at {address} now", answer.from.node);
            Err(CallError::Refused(NodeId(to), why))
        }
    }
}
