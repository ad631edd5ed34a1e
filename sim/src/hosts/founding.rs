//! A cluster is founded by its first control process, and the others join it with a token.
//!
//! What proves who is who between machines is left to the network here; that a join is decided,
//! journaled and carried out is the real thing.

use crate::history::{Fact, History};
use crate::planted::Bug;
use otto_core::cluster::command::{Newcomer, Wish};
use otto_core::cluster::state::{By, Holder, JoinRole, Levels};
use otto_core::ids::{ClusterId, KeyId, NodeId, TokenHash};
use otto_core::time::Span;
use otto_nodes::identity::door::Admission;
use otto_nodes::rpc::peer_link::PeerLinks;
use otto_nodes::rpc::service::ClusterError;
use std::sync::Arc;
use std::time::Duration;

/// The token that lets the first ones in.
pub(super) const FIRST_TOKEN: TokenHash = TokenHash([7; 32]);
/// The pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long an answer may take.
const ALLOWED: Duration = Duration::from_secs(3);

/// What a machine says of itself when it joins.
#[derive(Clone, Debug)]
pub(super) struct Papers {
    /// Its name, which is its address.
    pub(super) name: String,
    /// Its key.
    pub(super) key: KeyId,
    /// The token that was handed to it.
    pub(super) token: TokenHash,
}

impl Papers {
    fn newcomer(&self) -> Newcomer {
        let levels = Levels { oldest: 0, newest: 0 };
        let addresses = vec![self.name.clone()];
        Newcomer { name: self.name.clone(), addresses, key: self.key, levels }
    }
}

/// Who the operator is.
pub(crate) fn operator() -> By {
    By::owner("operator")
}

/// Founds the cluster, and makes the token for so many others. It may be done again.
pub(super) async fn found(
    admission: Arc<dyn Admission>,
    papers: Papers,
    (others, shards): (u8, u16),
    (history, bug): (History, Option<Bug>),
) {
    let (cluster, authority) = (ClusterId([1; 16]), KeyId([99; 32]));
    let found = Wish::Found { cluster, shards, authority, node: papers.newcomer() };
    let mut wishes = vec![found];
    if others > 0 {
        let uses = u32::from(others);
        let made = Fact::TokenMade { token: FIRST_TOKEN, uses };
        history.add(&papers.name, made);
        // The bug: whoever makes a token makes it for more than was wished.
        let uses = if bug == Some(Bug::TokensUnlimited) { uses + 9 } else { uses };
        let (role, lifetime) = (JoinRole::Control, Span::hours(1));
        wishes.push(Wish::CreateToken { token: FIRST_TOKEN, role, lifetime, uses, by: operator() });
    }
    for wish in wishes {
        while let Err(denial) = admission.wish(wish.clone()).await {
            tracing::info!(%denial, "the cluster is not founded yet");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Joins, by asking any of these machines; answers which node this one is from now on, or, where it
/// is not patient, the refusal. It may be done again, and leads to the same.
pub(super) async fn join(
    links: &PeerLinks,
    papers: &Papers,
    others: &[String],
    patient: bool,
) -> Result<NodeId, String> {
    let wish =
        Wish::Join { token: papers.token, role: JoinRole::Control, newcomer: papers.newcomer() };
    loop {
        for address in others {
            match links.cluster(address, Some(wish.clone()), ALLOWED).await {
                Ok(cluster) => {
                    if let Some(Holder::Node(node)) = cluster.holder(papers.key) {
                        return Ok(node);
                    }
                }
                Err(ClusterError::Refused(refusal)) if !patient => {
                    return Err(refusal.to_string());
                }
                Err(error) => tracing::info!(%error, "not joined yet"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
