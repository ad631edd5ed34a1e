//! Whether this process is still the node that it says it is: its start is told to the cluster,
//! and so it is noticed where its disk is a copy, or an old one, or the node was removed.

use crate::identity::door::Admission;
use crate::identity::files::Folder;
use crate::identity::starts::{self, Begun};
use crate::identity::tls::ClusterRoutes;
use crate::network::Connector;
use crate::wire::hello::{Build, Hello, HelloError, Refused, RefusedKind, Role, introduce};
use crate::wire::release::Release;
use otto_actors::cluster::Denial;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Refusal, Started, Wish};
use otto_core::cluster::state::Holder;
use otto_core::ids::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause before the cluster is told once more that could not be.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a node that hears nothing of its cluster asks others whether it belongs to it.
const DOUBT: Duration = Duration::from_secs(3);
/// How long whoever leads has until it is doubted.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one of them has for its answer.
const ALLOWED: Duration = Duration::from_secs(5);

/// One start of a node, in the eyes of its cluster.
pub(super) struct Census {
    pub(super) me: NodeId,
    pub(super) begun: Begun,
    /// Where it is reached now.
    pub(super) address: String,
    pub(super) identity: Folder,
    pub(super) admission: Arc<dyn Admission>,
    /// The cluster, as this node knows it.
    pub(super) known: watch::Receiver<Arc<Cluster>>,
    pub(super) routes: Arc<ClusterRoutes>,
    pub(super) build: Build,
}

impl Census {
    /// Returns when this process must not go on, and why.
    pub(super) async fn stay(self) -> Refused {
        let ended = tokio::select! {
            biased;
            ended = self.outgrown() => ended,
            ended = self.registered() => ended,
            ended = self.denied() => ended,
        };
        match ended {
            Ended::Passing(refused) => refused,
            Ended::ForGood(why) => match self.identity.cast_out(&why) {
                Ok(()) => cast_out(&why),
                Err(error) => error.into(),
            },
        }
    }

    /// Watches for a level that this build does not understand: while this machine was away with
    /// another one, the cluster was raised to it.
    async fn outgrown(&self) -> Ended {
        let mut known = self.known.clone();
        let unfit = |cluster: &Arc<Cluster>| understood(cluster).is_err();
        match known.wait_for(unfit).await.map(|cluster| understood(&cluster)) {
            Ok(Err(refused)) => Ended::Passing(refused),
            Ok(Ok(())) | Err(_) => std::future::pending().await,
        }
    }

    /// Tells the cluster of this start, then watches for a later one of the same node. What a new
    /// level has to know of it is told when the level is raised.
    async fn registered(&self) -> Ended {
        let mut known = self.known.clone();
        loop {
            let cluster = match self.tell().await {
                Ok(cluster) => cluster,
                Err(ended) => return ended,
            };
            let raised = |known: &Arc<Cluster>| known.level() > cluster.level();
            let over = |known: &Arc<Cluster>| {
                // Before that, this replica may not know of this start yet.
                let late = known.version() >= cluster.version();
                late.then(|| known.is_latest(self.me, self.begun.start).err()).flatten()
            };
            let changed = known.wait_for(|known| raised(known) || over(known).is_some()).await;
            match changed.map(|known| over(&known)) {
                Ok(Some(refusal)) => return Ended::of(refusal),
                Ok(None) => {}
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Tells the cluster of this start; answers how it is then.
    async fn tell(&self) -> Result<Arc<Cluster>, Ended> {
        let started = Started {
            node: self.me,
            count: self.begun.start.count,
            boot: self.begun.start.boot,
            known: self.begun.known.clone(),
            addresses: vec![self.address.clone()],
            levels: Release::ours().levels,
            release: Some(Release::ours().version.to_owned()),
        };
        let granted = loop {
            match self.admission.wish(Wish::Start(started.clone())).await {
                Ok(cluster) => break cluster,
                Err(Denial::Refused(refusal)) => return Err(Ended::of(refusal)),
                Err(denial) => tracing::info!(%denial, "the cluster does not know of this start"),
            }
            sleep(PAUSE).await;
        };
        if let Err(error) = starts::confirm(&self.identity, self.begun.start) {
            return Err(Ended::Passing(error.into()));
        }
        Ok(granted)
    }

    /// Watches for having been removed, of which nobody tells: it shows in that nobody lets this
    /// node in any more.
    async fn denied(&self) -> Ended {
        loop {
            sleep(DOUBT).await;
            if timeout(PATIENCE, self.admission.view()).await.is_ok_and(|view| view.is_ok()) {
                continue;
            }
            let cluster = Arc::clone(&self.known.borrow());
            for (_, member) in cluster.nodes().filter(|(node, _)| *node != self.me) {
                let way = self.routes.to_any(member.addresses.clone());
                if let Some(Err(why)) = let_in_at(&way, &self.build).await {
                    return Ended::ForGood(why);
                }
            }
        }
    }
}

/// Whether a control node lets the holder of a certificate in, or why not any more: it has its key
/// on its list of those who were removed. Nothing, where it does not answer.
pub(super) async fn let_in_at(way: &dyn Connector, build: &Build) -> Option<Result<(), String>> {
    let asked = async {
        let stream = way.connect().await.ok()?;
        match introduce(stream, &Hello::new(Role::Newcomer, build.clone())).await {
            Ok(_) => Some(Ok(())),
            Err(HelloError::Refused(refused)) if refused.kind == RefusedKind::Forbidden => {
                Some(Err(refused.what))
            }
            Err(_) => None,
        }
    };
    timeout(ALLOWED, asked).await.ok().flatten()
}

/// Why a process must not go on.
enum Ended {
    /// Another start may.
    Passing(Refused),
    /// No start of this disk may.
    ForGood(String),
}

impl Ended {
    fn of(refusal: Refusal) -> Self {
        if let Refusal::Removed { holder } | Refusal::Unknown { holder: holder @ Holder::Node(_) } =
            refusal
        {
            return Self::ForGood(format!("{holder} was removed from this cluster"));
        }
        if matches!(refusal, Refusal::OldDisk { .. }) {
            return Self::ForGood(refusal.to_string());
        }
        if let Refusal::OtherLevel { level, .. } = refusal {
            return Self::Passing(other_level(level));
        }
        Self::Passing(refused(refusal.into()))
    }
}

/// What the cluster's no is to people.
pub(super) fn refused(denial: Denial) -> Refused {
    match denial {
        Denial::Refused(refusal) => {
            Refused::trouble(format!("failed to {refusal}"), refusal.help())
        }
        Denial::NotHere | Denial::Unanswered(_) => Refused::trouble(
            format!("failed to ask the cluster: {denial}"),
            "look into the node's traces for what came before",
        ),
    }
}

/// Whether this build understands all that its cluster may write.
///
/// # Errors
/// That it does not, for people.
pub(super) fn understood(cluster: &Cluster) -> Result<(), Refused> {
    let understood = Release::ours().levels.support(cluster.level());
    if understood || cluster.founded().is_none() {
        return Ok(());
    }
    Err(other_level(cluster.level()))
}

fn other_level(level: u32) -> Refused {
    let Release { version, levels, .. } = Release::ours();
    Refused::trouble(
        format!(
            "failed to take part in the cluster: it works at level {level}, and this node's \
             release, {version}, understands {levels}"
        ),
        "install the release that the other nodes have, and start this one again: it has lost \
         nothing",
    )
}

/// What an outcast is told at each start.
pub(super) fn cast_out(why: &str) -> Refused {
    Refused::trouble(
        format!("failed to take part in the cluster: {why}"),
        "empty the data folder, and let this machine join anew with a new token; where \
         `otto nodes` on another one still shows what it was, remove that there",
    )
}
