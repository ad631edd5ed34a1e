//! The first wish of a cluster, granted on the store of the node that founds it.

use super::super::shards::TermJournal;
use crate::control::OpenStore;
use crate::replica::{Shards, Standing};
use async_trait::async_trait;
use otto_actors::cluster::{ClusterSide, Denial, Ports};
use otto_actors::ports::chance::SharedChance;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::membership::{Membership, NotYet};
use otto_actors::ports::sabotage::NoSabotage;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::duty::Duty;
use std::sync::Arc;

/// Has the cluster founded that is to be on these shards, which this node leads alone; answers how
/// it is then, journaled. It may be repeated.
///
/// # Errors
/// The cluster's refusal, or why it could not be asked.
pub async fn found(
    shards: &Shards,
    founding: impl FnOnce(u16) -> Wish,
    clock: SharedClock,
    chance: SharedChance,
) -> Result<Arc<Cluster>, Denial> {
    let unanswered = |cause: &dyn std::fmt::Display| Denial::Unanswered(cause.to_string());
    let meta = OpenStore::meta(shards).ok_or(Denial::NotHere)?;
    let mut standing = meta.standing.clone();
    let unclear = |standing: &Standing| {
        matches!(standing, Standing::Opening | Standing::Following { leader: None })
    };
    let known = standing.wait_for(|standing| !unclear(standing)).await;
    let Standing::Serving { term } = *known.map_err(|error| unanswered(&error))? else {
        return Err(Denial::NotHere);
    };
    let (sabotage, membership) = (Arc::new(NoSabotage), Arc::new(Nobody));
    let side = ClusterSide::start(Ports { clock, chance, sabotage, membership }).await;
    let side = side.map_err(|error| unanswered(&error))?;
    side.lead(TermJournal::shared(meta, term));
    let founded = side.wish(founding(shards.count())).await;
    side.stop().await;
    founded
}

/// The groups of a node that is alone: nothing is owed to them.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Membership for Nobody {
    async fn perform(&self, _: Duty, _: &Cluster) -> Result<Option<Wish>, NotYet> {
        Err(NotYet("the cluster is being founded".to_owned()))
    }
}
