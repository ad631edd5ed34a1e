//! The roads of an agent: which control node it asks about what, as far as it knows.
//!
//! It stands by with a bid at every control node, and asks about a lease at the one that leads the
//! shard of its run. Routes come with the answers to bids. Where they are wrong or not known, a
//! call that comes to nothing turns the next one about the same shard towards another node.

use crate::ports::control::{
    Bid, BidAnswer, BlobPart, Control, LinkError, Report, ReportAnswer, SharedControl,
};
use crate::ports::routes::{OnePlace, Routes, SharedControls};
use async_trait::async_trait;
use otto_core::ids::{AgentRef, Digest, NodeId, ProjectId, ShardId};
use otto_core::lease::LeaseId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where a link leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// One of those that the agent began with.
    First(usize),
    /// A node that the routes name.
    Node(NodeId),
}

/// The roads of one agent, which its actors and its ports share.
#[derive(Clone)]
pub struct Roads(Arc<Shared>);

struct Shared {
    controls: SharedControls,
    map: Mutex<Map>,
    /// Counts how often the routes have changed.
    changes: watch::Sender<u64>,
}

/// What is known.
struct Map {
    routes: Routes,
    first: BTreeMap<Place, SharedControl>,
    nodes: BTreeMap<Place, (String, SharedControl)>,
    /// None of the nodes answers: those that the agent began with are asked too.
    stranded: bool,
    /// Where calls about a shard go, where its leader is not known or did not serve it.
    turned: BTreeMap<ShardId, Place>,
}

impl fmt::Debug for Roads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roads")
    }
}

impl Roads {
    /// The roads over these links; nothing is known yet.
    #[must_use]
    pub fn new(controls: SharedControls) -> Self {
        let first = controls.first().into_iter().enumerate();
        let map = Map {
            routes: Routes::default(),
            first: first.map(|(index, control)| (Place::First(index), control)).collect(),
            nodes: BTreeMap::new(),
            stranded: false,
            turned: BTreeMap::new(),
        };
        Self(Arc::new(Shared { controls, map: Mutex::new(map), changes: watch::Sender::default() }))
    }

    /// The roads to a control side that has only one place.
    #[must_use]
    pub fn to(control: SharedControl) -> Self {
        Self::new(Arc::new(OnePlace(control)))
    }

    /// Takes in routes; answers whether anything was new.
    pub(crate) fn learn(&self, routes: &Routes) -> bool {
        let learnt = self.map().learn(routes, &self.0.controls);
        if learnt {
            self.0.changes.send_modify(|changes| *changes += 1);
        }
        learnt
    }

    /// Tells when routes have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Some place answers, or none does. Answers whether that is news.
    pub(crate) fn stranded(&self, stranded: bool) -> bool {
        std::mem::replace(&mut self.map().stranded, stranded) != stranded
    }

    /// A place has answered: what it leads is asked for there again.
    pub(crate) fn heard(&self, place: Place) {
        let mut map = self.map();
        let Map { routes, turned, .. } = &mut *map;
        turned.retain(|shard, _| {
            routes.leaders.get(shard).is_none_or(|leader| Place::Node(leader.node) != place)
        });
    }

    /// Where bids stand.
    pub(crate) fn stands(&self) -> BTreeMap<Place, SharedControl> {
        self.map().stands()
    }

    /// The shard that a lease belongs to, as far as is known.
    pub(crate) fn shard_of(&self, lease: LeaseId) -> ShardId {
        self.map().routes.shard_of(lease.run.project)
    }

    /// Where the next call about a lease goes.
    pub(crate) fn place_of(&self, lease: LeaseId) -> Option<Place> {
        let map = self.map();
        let shard = map.routes.shard_of(lease.run.project);
        Some(map.towards(shard)?.0)
    }

    /// Calls the node that leads a project's shard, once.
    async fn call<T, F>(
        &self,
        project: ProjectId,
        call: impl FnOnce(SharedControl) -> F,
    ) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let (shard, place, control) = {
            let map = self.map();
            let shard = map.routes.shard_of(project);
            let Some((place, control)) = map.towards(shard) else { return Err(nowhere()) };
            (shard, place, control)
        };
        let mut trip = Trip { roads: self, shard, place, done: false };
        let answer = call(control).await;
        trip.done = matches!(answer, Ok(_) | Err(LinkError::Refused(_)));
        answer
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.0.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn learn(&mut self, routes: &Routes, controls: &SharedControls) -> bool {
        let before = self.routes.leaders.clone();
        if !self.routes.learn(routes) {
            return false;
        }
        let Self { routes, nodes, turned, .. } = self;
        turned.retain(|shard, _| before.get(shard) == routes.leaders.get(shard));
        nodes.retain(|place, (address, _)| {
            matches!(place, Place::Node(node) if routes.nodes.get(node) == Some(address))
        });
        for (node, address) in &routes.nodes {
            nodes
                .entry(Place::Node(*node))
                .or_insert_with(|| (address.clone(), controls.link(*node, address)));
        }
        true
    }

    /// All nodes; where none is known or answers, also those that the agent began with.
    fn stands(&self) -> BTreeMap<Place, SharedControl> {
        let nodes = self.nodes.iter().map(|(place, (_, control))| (*place, control));
        let first = self.first.iter().map(|(place, control)| (*place, control));
        let first = first.filter(|_| self.nodes.is_empty() || self.stranded);
        nodes.chain(first).map(|(place, control)| (place, Arc::clone(control))).collect()
    }

    /// Where the next call about a shard goes.
    fn towards(&self, shard: ShardId) -> Option<(Place, SharedControl)> {
        let stands = self.stands();
        let leader = self.routes.leaders.get(&shard).map(|leader| Place::Node(leader.node));
        let place = self.turned.get(&shard).copied().or(leader);
        let place = place.filter(|place| stands.contains_key(place));
        let place = place.or_else(|| stands.keys().next().copied())?;
        Some((place, Arc::clone(&stands[&place])))
    }

    /// A place did not serve a shard: the next call goes to the place after it.
    fn turn(&mut self, shard: ShardId, from: Place) {
        if self.towards(shard).is_none_or(|(place, _)| place != from) {
            return;
        }
        let stands = self.stands();
        let next = stands.range(from..).nth(1).or_else(|| stands.iter().next());
        if let Some((next, _)) = next {
            self.turned.insert(shard, *next);
        }
    }
}

/// A call under way. One that comes to nothing, or is given up, turns the next one elsewhere.
struct Trip<'a> {
    roads: &'a Roads,
    shard: ShardId,
    place: Place,
    done: bool,
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.roads.map().turn(self.shard, self.place);
        }
    }
}

fn nowhere() -> LinkError {
    LinkError::Unreachable("there is no control node to ask".to_owned())
}

/// The control side over these roads. All leases of a call belong to one shard.
#[async_trait]
impl Control for Roads {
    async fn bid(&self, bid: Bid) -> Result<BidAnswer, LinkError> {
        let (_, control) = self.stands().pop_first().ok_or_else(nowhere)?;
        control.bid(bid).await
    }

    async fn renew(
        &self,
        agent: AgentRef,
        leases: Vec<LeaseId>,
    ) -> Result<Vec<LeaseId>, LinkError> {
        let Some(first) = leases.first().copied() else { return Ok(Vec::new()) };
        let renew = |control: SharedControl| async move { control.renew(agent, leases).await };
        self.call(first.run.project, renew).await
    }

    async fn report(
        &self,
        agent: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError> {
        let Some(first) = reports.first().map(Report::lease) else { return Ok(Vec::new()) };
        let report = |control: SharedControl| async move { control.report(agent, reports).await };
        self.call(first.run.project, report).await
    }

    async fn log(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, LinkError> {
        let log =
            |control: SharedControl| async move { control.log(agent, lease, offset, bytes).await };
        self.call(lease.run.project, log).await
    }

    async fn seal(&self, agent: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError> {
        let seal = |control: SharedControl| async move { control.seal(agent, lease, length).await };
        self.call(lease.run.project, seal).await
    }

    async fn blob(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError> {
        let blob = |control: SharedControl| async move {
            control.blob(agent, lease, digest, offset, limit).await
        };
        self.call(lease.run.project, blob).await
    }

    async fn keep(&self, agent: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError> {
        let keep = |control: SharedControl| async move { control.keep(agent, lease, part).await };
        self.call(lease.run.project, keep).await
    }
}

#[cfg(test)]
mod tests;
