//! Getting to know each other: every node introduces itself to all members of its groups.
//!
//! Followers have nothing to say to each other. Yet each must know what the others showed, to
//! notice when one of them comes back with less; and who does must hear soon that it is out.

use super::caller::Caller;
use super::shard::Shard;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often it is looked whether there is somebody to meet.
const EVERY: Duration = Duration::from_secs(1);
/// How long the answer may take.
const ALLOWED: Duration = Duration::from_millis(750);

/// Introduces this node to whoever does not know it, until it is cast out.
pub(super) async fn acquaint(shards: Vec<Arc<Shard>>, caller: Caller) {
    let mut calls = JoinSet::new();
    while caller.roll().belongs().is_ok() {
        let mut strangers = BTreeMap::new();
        for shard in &shards {
            let others = shard.others().into_iter();
            strangers.extend(others.filter(|(node, _)| !caller.roll().has_introduced(*node)));
        }
        for (node, address) in strangers {
            let caller = caller.clone();
            calls.spawn(async move { caller.meet(node, &address, ALLOWED).await });
        }
        while let Some(met) = calls.join_next().await {
            if let Ok(Err(error)) = met {
                tracing::debug!(%error, "a node was not met");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Lets no shard serve on this node any more, once the others will not have it.
pub(super) async fn stand_aside(shards: Vec<Arc<Shard>>, caller: Caller) {
    if caller.roll().outcast().wait_for(Option::is_some).await.is_ok() {
        for shard in shards {
            shard.halt(|halted| halted.cast_out = true);
        }
    }
}

impl Shard {
    /// The group's other members that can be called.
    fn others(&self) -> Vec<(u64, String)> {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow();
        let members = seen.membership_config.membership().nodes();
        let others = members.filter(|(node, at)| **node != self.node && !at.addr.is_empty());
        others.map(|(node, at)| (*node, at.addr.clone())).collect()
    }
}
