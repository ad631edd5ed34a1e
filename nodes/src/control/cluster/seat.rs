//! Asking the cluster: the actor of its own shard, wherever that is led now.

use crate::identity::door::Admission;
use crate::replica::Standing;
use crate::rpc::peer_link::PeerLinks;
use crate::rpc::service::ClusterError;
use async_trait::async_trait;
use otto_actors::cluster::{ClusterSide, Denial};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a leader is looked for.
const PATIENCE: Duration = Duration::from_secs(8);
/// The pause before it is looked for again.
const PAUSE: Duration = Duration::from_millis(150);
/// How long another node has to answer.
const ALLOWED: Duration = Duration::from_secs(3);

/// Asks the cluster, from a node that belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// The cluster's actors, where they are here.
    pub(super) side: ClusterSide,
    /// Who leads the cluster's own shard.
    pub(super) standing: watch::Receiver<Standing>,
    /// The cluster, as this node knows it.
    pub(super) known: watch::Receiver<Arc<Cluster>>,
    /// Ways to the other nodes.
    pub(super) links: Arc<PeerLinks>,
}

impl Seat {
    /// Asks, and asks again where an answer was lost: everything may be repeated.
    async fn ask(&self, wish: Option<&Wish>) -> Result<Arc<Cluster>, Denial> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let here = match wish {
                Some(wish) => self.side.wish(wish.clone()).await,
                None => self.side.view().await,
            };
            let answer = match here {
                Err(Denial::NotHere) => self.elsewhere(wish).await,
                answer => answer,
            };
            match answer {
                Err(Denial::NotHere | Denial::Unanswered(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Asks the node that leads, as far as this one knows.
    async fn elsewhere(&self, wish: Option<&Wish>) -> Result<Arc<Cluster>, Denial> {
        let Standing::Following { leader: Some(leader) } = *self.standing.borrow() else {
            return Err(Denial::NotHere);
        };
        let known = Arc::clone(&self.known.borrow());
        let address = known.node(leader).and_then(|member| member.addresses.first());
        let address = address.ok_or(Denial::NotHere)?;
        let asked = self.links.cluster(address, wish.cloned(), ALLOWED).await;
        asked.map(Arc::new).map_err(|error| match error {
            ClusterError::Refused(refusal) => Denial::Refused(refusal),
            ClusterError::NotHere => Denial::NotHere,
            ClusterError::Unanswered(cause) => Denial::Unanswered(cause),
        })
    }
}

#[async_trait]
impl Admission for Seat {
    async fn wish(&self, wish: Wish) -> Result<Arc<Cluster>, Denial> {
        self.ask(Some(&wish)).await
    }

    async fn view(&self) -> Result<Arc<Cluster>, Denial> {
        self.ask(None).await
    }
}
