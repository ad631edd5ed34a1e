//! Forwarding: a call about a shard that another node leads is answered by that node.
//!
//! ```text
//! client ──▶ porter ──▶ Forward ──┬─▶ Desk            the shard is led here
//!                                 └─▶ neighbour ──▶ Desk   one hop, and no further
//! ```
//!
//! The caller was checked where it came in, and is checked again where it is answered: the node in
//! between vouches for who it is, never for what it may do.
//! Lists are put together from all nodes that lead anything. Agents are not forwarded for: they
//! find the leaders themselves, by the routes that come with the answers to their bids.

use super::Majority;
use super::shards::{OpenShard, leader};
use crate::replica::Standing;
use crate::rpc::api::{AgentView, ApiError, Listed, ReadBlob};
use crate::rpc::client_door::ClientDoor;
use crate::rpc::kept::{AskKept, KeepLog, Kept};
use crate::rpc::service::{ClientCalls, ClientCallsRequest, ClientCallsResponse};
use crate::rpc::vouched::Vouched;
use crate::wire::frame::{MAX_BLOB_PART, MAX_REQUEST};
use async_trait::async_trait;
use futures::future::join_all;
use otto_actors::control::ControlSide;
use otto_actors::ports::routes::{Leader, Routes};
use otto_core::ids::{Digest, NodeId, ProjectId, ShardId};
use serde_bytes::ByteBuf;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tarpc::ServerError;
use tarpc::context::Context;
use tarpc::server::Serve;
use tokio::sync::watch;

/// Where the control nodes are reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// How many entries of the cluster's journal it is from.
    pub version: u64,
    /// The address of each, for agents and for nodes.
    pub nodes: BTreeMap<NodeId, String>,
}

/// Carries calls to other control nodes.
#[async_trait]
pub trait Hops: fmt::Debug + Send + Sync + 'static {
    /// A client's call, to be answered there without another hop.
    async fn client(
        &self,
        address: &str,
        caller: Vouched,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, HopError>;

    /// Up to which entry a shard is agreed on now, from the node that leads it.
    async fn reach(&self, address: &str, shard: ShardId) -> Result<u64, HopError>;

    /// What a node keeps in its own folders.
    async fn kept(&self, address: &str, ask: AskKept) -> Result<Kept, HopError>;

    /// Has a node keep a part of a sealed log; answers how much of it is there then.
    async fn keep_log(&self, address: &str, part: KeepLog) -> Result<u64, HopError>;
}

/// Why another node did not answer a call.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HopError {
    /// It says no, and would say no again.
    #[error("{0}")]
    Refused(String),
    /// The same call may be answered a moment later. It may have been carried out.
    #[error("{0}")]
    Later(String),
}

/// The other control nodes of the cluster.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// This node.
    pub node: NodeId,
    /// Where they are; whoever reads the cluster's journal keeps it up.
    pub directory: watch::Receiver<Directory>,
    /// What carries calls to them.
    pub hops: Arc<dyn Hops>,
}

/// Who answers a call.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Way {
    /// This node.
    Here,
    /// The node that leads this shard, and its address.
    There(ShardId, NodeId, String),
    /// Nobody that is known: the shard has no leader now.
    Nowhere(ShardId),
}

/// What decides who answers a call.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    pub(super) side: ControlSide,
    pub(super) shards: Arc<Vec<OpenShard>>,
    /// Nobody else, where this node is alone.
    pub(super) neighbours: Option<Neighbours>,
    /// Whether a majority is there; nothing where this node is alone.
    pub(super) majority: Option<Majority>,
}

impl Forward {
    /// The way of a call about a project.
    fn way(&self, project: Option<ProjectId>) -> Way {
        let (Some(project), Some(neighbours)) = (project, &self.neighbours) else {
            return Way::Here;
        };
        let shard = self.side.shard_of(project);
        let open = self.shards.get(usize::from(shard.0));
        match open.and_then(leader).filter(|leader| *leader != neighbours.node) {
            Some(leader) => match neighbours.directory.borrow().nodes.get(&leader) {
                Some(address) => Way::There(shard, leader, address.clone()),
                None => Way::Nowhere(shard),
            },
            // It is led here, or who leads it shows soon.
            None if open.is_none_or(is_led) || self.majority.is_none() => Way::Here,
            None => Way::Nowhere(shard),
        }
    }

    /// A shard that nobody leads now, as far as this node knows.
    fn leaderless(&self) -> Option<ShardId> {
        let open = self.shards.iter().find(|open| !is_led(open));
        open.filter(|_| self.majority.is_some()).map(|open| open.shard)
    }

    /// Why nobody answers for a shard.
    fn leads_nobody(&self, shard: ShardId) -> String {
        let lack = self.majority.as_ref().and_then(Majority::lack);
        lack.unwrap_or_else(|| format!("nobody leads shard {shard} now"))
    }

    /// Carries a client's call there, for as long as that node leads.
    async fn client(
        &self,
        (shard, to): (ShardId, NodeId),
        address: &str,
        caller: Vouched,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, HopError> {
        let nobody = || HopError::Later("there is nobody".to_owned());
        let Some(neighbours) = &self.neighbours else { return Err(nobody()) };
        tokio::select! {
            biased;
            answer = neighbours.hops.client(address, caller, request) => answer,
            () = self.deposed(shard, to) => {
                Err(HopError::Later(format!("{to} leads shard {shard} no longer")))
            }
        }
    }

    /// Returns when a node is known to lead a shard no longer. A call that it still has may never
    /// be answered.
    async fn deposed(&self, shard: ShardId, node: NodeId) {
        let Some(open) = self.shards.get(usize::from(shard.0)) else { return };
        let mut standing = open.standing.clone();
        let leads = Standing::Following { leader: Some(node) };
        // Where the standing never changes any more, this process is about to end.
        standing.wait_for(|standing| *standing != leads).await.ok();
    }

    /// Asks all other nodes that lead anything; those that do not answer are left out, where
    /// another may have become leader of what they led.
    async fn others(
        &self,
        caller: &Vouched,
        request: impl Fn() -> ClientCallsRequest,
    ) -> Vec<Result<ClientCallsResponse, HopError>> {
        let Some(neighbours) = &self.neighbours else { return Vec::new() };
        let leaders: BTreeSet<NodeId> = self.shards.iter().filter_map(leader).collect();
        let addresses: Vec<String> = {
            let directory = neighbours.directory.borrow();
            let others = leaders.into_iter().filter(|leader| *leader != neighbours.node);
            others.filter_map(|node| directory.nodes.get(&node).cloned()).collect()
        };
        let calls = addresses
            .iter()
            .map(|address| neighbours.hops.client(address, caller.clone(), request()));
        join_all(calls).await
    }

    /// Has agents told where all nodes are, and what this one leads. They hear the rest from the
    /// others.
    pub(super) fn tell_routes(&self) {
        let Some(neighbours) = &self.neighbours else { return };
        let directory = neighbours.directory.borrow().clone();
        let node = neighbours.node;
        let leads = |open: &OpenShard| match *open.standing.borrow() {
            Standing::Serving { term } => Some((open.shard, Leader { term, node })),
            Standing::Following { .. } | Standing::Opening | Standing::Ended => None,
        };
        self.side.route(Routes {
            shards: u16::try_from(self.shards.len()).unwrap_or(u16::MAX),
            nodes: directory.nodes,
            nodes_version: directory.version,
            leaders: self.shards.iter().filter_map(leads).collect(),
        });
    }
}

/// Whether a shard serves here, or another node is known to lead it.
fn is_led(open: &OpenShard) -> bool {
    match *open.standing.borrow() {
        Standing::Serving { .. } | Standing::Following { leader: Some(_) } => true,
        Standing::Following { leader: None } | Standing::Opening | Standing::Ended => false,
    }
}

/// The project that a client's call is about, where it is about one.
fn project_of(request: &ClientCallsRequest) -> Option<ProjectId> {
    use ClientCallsRequest as Req;
    match request {
        Req::Submit { submit } => Some(ProjectId::of(&submit.project)),
        Req::Retry { retry } => Some(retry.run.project),
        Req::Run { run } => Some(run.project),
        Req::Runs { list } => list.project.as_deref().map(ProjectId::of),
        Req::Stages { list } => Some(list.run.project),
        Req::Follow { follow } => Some(follow.run.project),
        Req::Log { read } => Some(read.run.project),
        Req::Ask { ask } => Some(ask.run.project),
        Req::Why { why } => Some(why.run.project),
        Req::Plan { .. }
        | Req::Agents {}
        | Req::Has { .. }
        | Req::Put { .. }
        | Req::Get { .. }
        | Req::Status {}
        | Req::Stop { .. }
        | Req::Cluster {}
        | Req::ChangeMember { .. }
        | Req::Tokens {}
        | Req::CreateToken { .. }
        | Req::RevokeToken { .. }
        | Req::Addresses {}
        | Req::RaiseLevel { .. }
        | Req::BackUp { .. } => None,
    }
}

/// A list of runs, put together from what several nodes list.
fn all_runs(
    ours: Result<Vec<Listed>, ApiError>,
    others: Vec<Result<ClientCallsResponse, HopError>>,
    limit: u32,
) -> Result<Vec<Listed>, ApiError> {
    let mut runs = ours?;
    for other in others {
        match other {
            Ok(ClientCallsResponse::Runs(listed)) => runs.extend(listed?),
            Ok(_) => return Err(ApiError::NotReady("a node answers something else".to_owned())),
            // A list that leaves out runs without a word would be a lie.
            Err(HopError::Refused(cause)) => return Err(ApiError::Refused(cause)),
            Err(HopError::Later(cause)) => return Err(ApiError::NotReady(cause)),
        }
    }
    runs.sort_by_key(|listed| Reverse(listed.run));
    runs.dedup_by_key(|listed| listed.run);
    runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(runs)
}

/// The agents that any node knows: each once, as it was seen last, with all its leases.
fn all_agents(
    ours: Result<Vec<AgentView>, ApiError>,
    others: Vec<Result<ClientCallsResponse, HopError>>,
) -> Result<Vec<AgentView>, ApiError> {
    let mut agents: BTreeMap<_, AgentView> = BTreeMap::new();
    let others = others.into_iter().filter_map(|other| match other {
        Ok(ClientCallsResponse::Agents(Ok(views))) => Some(views),
        Ok(_) | Err(_) => None,
    });
    for view in others.flatten().chain(ours?) {
        match agents.get_mut(&view.agent) {
            Some(known) => {
                let leases = std::mem::take(&mut known.leases);
                let bidding = known.bidding || view.bidding;
                let mut newer = if view.seen >= known.seen { view } else { known.clone() };
                let all: BTreeSet<_> = newer.leases.iter().copied().chain(leases).collect();
                newer.leases = all.into_iter().collect();
                newer.bidding = bidding;
                *known = newer;
            }
            None => {
                agents.insert(view.agent, view);
            }
        }
    }
    Ok(agents.into_values().collect())
}

/// A plan that any node has.
fn any_plan(
    ours: Result<ByteBuf, ApiError>,
    others: Vec<Result<ClientCallsResponse, HopError>>,
) -> Result<ByteBuf, ApiError> {
    let theirs = others.into_iter().find_map(|other| match other {
        Ok(ClientCallsResponse::Plan(Ok(bytes))) => Some(bytes),
        Ok(_) | Err(_) => None,
    });
    theirs.map_or(ours, Ok)
}

/// A client's connection whose calls are answered where their shards are led.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    pub(crate) forward: Forward,
    pub(crate) door: ClientDoor,
}

impl Serve for Forwarding {
    type Req = ClientCallsRequest;
    type Resp = ClientCallsResponse;

    async fn serve(
        self,
        context: Context,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, ServerError> {
        use {ClientCallsRequest as Req, ClientCallsResponse as Resp};
        let Self { forward, door } = self;
        let Some(caller) = Vouched::of(&door.principal) else {
            // The porter lets nobody else in here.
            return Err(denied(format!("answer {}", door.principal.name)));
        };
        match forward.way(project_of(&request)) {
            Way::Here => {}
            Way::Nowhere(shard) => return Err(later(forward.leads_nobody(shard))),
            Way::There(shard, node, address) => {
                let request = packed(&door, request).await;
                let answer = forward.client((shard, node), &address, caller, request).await;
                return answer.map_err(|error| match error {
                    HopError::Refused(cause) => denied(cause),
                    HopError::Later(cause) => later(cause),
                });
            }
        }
        Ok(match request {
            Req::Runs { list } if list.project.is_none() => {
                if let Some(shard) = forward.leaderless() {
                    // A list without its runs would be a lie.
                    return Err(later(forward.leads_nobody(shard)));
                }
                let others = forward.others(&caller, || Req::Runs { list: list.clone() }).await;
                Resp::Runs(all_runs(door.side.runs(list.clone()).await, others, list.limit))
            }
            Req::Agents {} => {
                let others = forward.others(&caller, || Req::Agents {}).await;
                Resp::Agents(all_agents(door.side.agents().await, others))
            }
            Req::Plan { plan } => match door.side.plan(plan).await {
                Ok(bytes) => Resp::Plan(Ok(ByteBuf::from(bytes))),
                Err(error) => {
                    let others = forward.others(&caller, || Req::Plan { plan }).await;
                    Resp::Plan(any_plan(Err(error), others))
                }
            },
            request => return door.serve().serve(context, request).await,
        })
    }
}

/// Whether a call is answered for another node.
pub(crate) fn travels(request: &ClientCallsRequest) -> bool {
    use ClientCallsRequest as Req;
    let list = matches!(request, Req::Runs { .. } | Req::Agents {} | Req::Plan { .. });
    list || project_of(request).is_some()
}

/// A call that another node can answer: the plan that was put here goes with it.
async fn packed(door: &ClientDoor, request: ClientCallsRequest) -> ClientCallsRequest {
    let ClientCallsRequest::Submit { mut submit } = request else { return request };
    if submit.plan_bytes.is_none() {
        let mut bytes = Vec::new();
        let limit = u32::try_from(MAX_BLOB_PART).unwrap_or(u32::MAX);
        let digest = Digest(submit.plan.0);
        let read = |offset| ReadBlob { digest, offset, limit };
        while let Ok(part) = door.side.get(read(bytes.len() as u64)).await {
            if part.is_empty() || bytes.len() > MAX_REQUEST * 8 {
                submit.plan_bytes = Some(ByteBuf::from(bytes));
                break;
            }
            bytes.extend_from_slice(&part);
        }
    }
    ClientCallsRequest::Submit { submit }
}

/// A call that came to nothing here, and may be made again.
fn later(cause: String) -> ServerError {
    ServerError::new(std::io::ErrorKind::WouldBlock, cause)
}

/// A call that this caller may not make.
fn denied(cause: String) -> ServerError {
    ServerError::new(std::io::ErrorKind::PermissionDenied, cause)
}
