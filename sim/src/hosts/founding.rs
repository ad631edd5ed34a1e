//! A cluster is founded by its first control process, and the others join one after another.
//!
//! What proves who is who between machines is left to the network here; that a join is decided,
//! journaled and carried out is the real thing.

use super::control_name;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Wish};
use otto_core::cluster::state::{By, JoinRole, Levels, UserRole};
use otto_core::ids::{ClusterId, KeyId, TokenHash};
use otto_core::time::Span;
use otto_nodes::identity::door::Admission;
use otto_nodes::rpc::peer_link::PeerLinks;
use otto_nodes::rpc::service::ClusterError;
use std::sync::Arc;
use std::time::Duration;

/// The token that lets all of them in.
const TOKEN: TokenHash = TokenHash([7; 32]);
/// The pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long an answer may take.
const ALLOWED: Duration = Duration::from_secs(3);

fn newcomer(index: u8) -> Newcomer {
    let name = control_name(index);
    let addresses = vec![name.clone()];
    let levels = Levels { oldest: 0, newest: 0 };
    Newcomer { name, addresses, key: key(index), levels }
}

fn key(index: u8) -> KeyId {
    KeyId([index + 1; 32])
}

/// Founds the cluster, and makes the token for the others. It may be done again.
pub(super) async fn found(admission: Arc<dyn Admission>, controls: u8, shards: u16) {
    let cluster = ClusterId([1; 16]);
    let (authority, node) = (KeyId([99; 32]), newcomer(0));
    let found = Wish::Found { cluster, shards, authority, node };
    let by = By { name: "operator".to_owned(), role: UserRole::Admin };
    let (role, uses) = (JoinRole::Control, u32::from(controls));
    let token = Wish::CreateToken { token: TOKEN, role, lifetime: Span::hours(1), uses, by };
    for wish in [found, token] {
        while admission.wish(wish.clone()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
            let known = admission.view().await;
            if known.is_ok_and(|cluster| cluster.tokens().next().is_some()) {
                return;
            }
        }
    }
}

/// Joins when it is this one's turn, so that its number is that of its host. It may be done again.
pub(super) async fn join(links: Arc<PeerLinks>, index: u8, controls: u8) {
    let join = Wish::Join { token: TOKEN, role: JoinRole::Control, newcomer: newcomer(index) };
    loop {
        for other in (0..controls).filter(|other| *other != index) {
            let address = control_name(other);
            let Ok(cluster) = links.cluster(&address, None, ALLOWED).await else { continue };
            if is_member(&cluster, index) {
                return;
            }
            if cluster.nodes().count() == usize::from(index) {
                let joined = links.cluster(&address, Some(join.clone()), ALLOWED).await;
                if let Err(ClusterError::Refused(refusal)) = joined {
                    tracing::info!(%refusal, "the join was refused for now");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_member(cluster: &Cluster, index: u8) -> bool {
    cluster.holder(key(index)).is_some()
}
