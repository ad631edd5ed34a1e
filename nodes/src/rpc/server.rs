//! The control process's end: takes connections, greets, and answers calls.
//!
//! Each connection is one task, and all calls of a connection are answered side by side within it:
//! when a connection breaks, its calls are dropped with it. A handler hands one command to an
//! actor, so that loses the answer and nothing else.

use super::api::{
    AgentView, ApiError, Ask, Follow, Followed, ListRuns, ListStages, Listed, LogPart, NodeStatus,
    ReadBlob, ReadLog, Reason, Retry, StageView, Stop, Stopped, Submit, Submitted, Why,
};
use super::cluster::{ChangeMember, ClusterView, NewToken, TokenView};
use super::porter::{Gate, Porter};
use super::service::{
    AgentCalls, ClientCalls, ClientCallsRequest, ClientCallsResponse, ClusterError, JoinCalls,
    PeerCalls,
};
use crate::control::Presence;
use crate::control::forward::{self, Forward, Forwarding};
use crate::identity::door::{JoinDoor, Reception};
use crate::network::{Principal, SharedListener, Stream, Who};
use crate::replica::{PeerAnswer, PeerCall, PeerSide};
use crate::wire;
use crate::wire::frame::{Frames, Limits, MAX_BLOB_PART, MAX_LOG_PART};
use crate::wire::hello::{Guest, Hello, HelloError, Refused, RefusedKind, Role, receive_guest};
use async_trait::async_trait;
use futures::StreamExt;
use otto_actors::cluster::ClusterSide;
use otto_actors::ports::clock::SharedClock;
use otto_actors::ports::control::{
    Bid, BidAnswer, BlobPart, LinkError, Report, ReportAnswer, SharedControl,
};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::ids::{AgentRef, Digest, NodeId, PlanHash, RunId, TokenHash};
use otto_core::lease::LeaseId;
use otto_core::time::Timestamp;
use serde_bytes::ByteBuf;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tarpc::context::Context;
use tarpc::server::request_hook::RequestHook;
use tarpc::server::{BaseChannel, Channel, Config, Serve};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What clients are answered by. Every call may be repeated.
#[async_trait]
pub trait ClientSide: fmt::Debug + Send + Sync + 'static {
    /// See [`ClientCalls::submit`].
    async fn submit(&self, by: &Principal, submit: Submit) -> Result<Submitted, ApiError>;
    /// See [`ClientCalls::retry`].
    async fn retry(&self, by: &Principal, retry: Retry) -> Result<Submitted, ApiError>;
    /// See [`ClientCalls::run`].
    async fn run(&self, run: RunId) -> Result<Listed, ApiError>;
    /// See [`ClientCalls::runs`].
    async fn runs(&self, list: ListRuns) -> Result<Vec<Listed>, ApiError>;
    /// See [`ClientCalls::stages`].
    async fn stages(&self, list: ListStages) -> Result<Vec<StageView>, ApiError>;
    /// See [`ClientCalls::follow`].
    async fn follow(&self, follow: Follow) -> Result<Followed, ApiError>;
    /// See [`ClientCalls::plan`].
    async fn plan(&self, plan: PlanHash) -> Result<Vec<u8>, ApiError>;
    /// See [`ClientCalls::log`].
    async fn log(&self, read: ReadLog) -> Result<LogPart, ApiError>;
    /// See [`ClientCalls::ask`].
    async fn ask(&self, by: &Principal, ask: Ask) -> Result<(), ApiError>;
    /// See [`ClientCalls::why`].
    async fn why(&self, why: Why) -> Result<Vec<Reason>, ApiError>;
    /// See [`ClientCalls::agents`].
    async fn agents(&self) -> Result<Vec<AgentView>, ApiError>;
    /// See [`ClientCalls::has`].
    async fn has(&self, digest: Digest) -> Result<bool, ApiError>;
    /// See [`ClientCalls::put`].
    async fn put(&self, part: BlobPart) -> Result<(), ApiError>;
    /// See [`ClientCalls::get`].
    async fn get(&self, read: ReadBlob) -> Result<Vec<u8>, ApiError>;
    /// See [`ClientCalls::status`].
    async fn status(&self) -> Result<NodeStatus, ApiError>;
    /// See [`ClientCalls::stop`].
    async fn stop(&self, stop: Stop) -> Result<Stopped, ApiError>;
    /// See [`ClientCalls::cluster`].
    async fn cluster(&self) -> Result<ClusterView, ApiError>;
    /// See [`ClientCalls::change_member`].
    async fn change_member(&self, by: &Principal, change: ChangeMember) -> Result<(), ApiError>;
    /// See [`ClientCalls::tokens`].
    async fn tokens(&self) -> Result<Vec<TokenView>, ApiError>;
    /// See [`ClientCalls::create_token`].
    async fn create_token(&self, by: &Principal, new: NewToken) -> Result<(), ApiError>;
    /// See [`ClientCalls::revoke_token`].
    async fn revoke_token(&self, by: &Principal, token: TokenHash) -> Result<(), ApiError>;
}

/// A client side that several connections ask.
pub type SharedClientSide = Arc<dyn ClientSide>;

/// What the connections of a control process are answered with.
#[derive(Clone, Debug)]
pub struct Doors {
    /// How this end introduces itself.
    pub hello: Hello,
    /// What answers clients.
    pub clients: SharedClientSide,
    /// What answers agents.
    pub agents: SharedControl,
    /// What answers other control processes; nothing where this node is alone.
    pub peers: Option<PeerSide>,
    /// The cluster's actors, for other control processes; nothing where this node is alone.
    pub cluster: Option<ClusterSide>,
    /// What decides which node answers a client.
    pub(crate) forward: Forward,
    /// Where it is counted who is there.
    pub presence: Presence,
    /// What says who may call what.
    pub porter: Porter,
    /// What admits newcomers; `None` where this node belongs to no cluster.
    pub admission: Option<Arc<Reception>>,
}

/// The most connections at a time. Whoever comes then waits in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;
/// The most calls of one connection that are answered at a time; more are told to come again.
const MAX_IN_FLIGHT: usize = 64;
/// The same for another control process, which calls for all its groups over one connection.
const MAX_PEER_IN_FLIGHT: usize = 1024;
/// The pause after a listener failed, which it does when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections and answers them, for ever. Dropping the future ends all of them.
pub async fn serve(listener: SharedListener, doors: Doors) {
    accept(listener, |stream, principal| answer(stream, principal, doors.clone())).await;
}

/// As [`serve`], for other control processes alone: what a node does that belongs to no group yet.
pub async fn serve_peers(listener: SharedListener, hello: Hello, porter: Porter, side: PeerSide) {
    let answer = |stream, principal| {
        answer_peer(stream, principal, hello.clone(), porter.clone(), side.clone())
    };
    accept(listener, answer).await;
}

async fn accept<Answering>(
    listener: SharedListener,
    answer: impl Fn(Stream, Principal) -> Answering,
) where
    Answering: Future<Output = Result<(), HelloError>> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = free.clone().acquire_owned().await else { return };
        let (stream, principal) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let answering = answer(stream, principal);
        connections.spawn(async move {
            if let Err(error) = answering.await {
                tracing::info!(%error, "a connection was closed before it was greeted");
            }
            drop(place);
        });
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a connection's task died");
            }
        }
    }
}

async fn answer(stream: Stream, principal: Principal, doors: Doors) -> Result<(), HelloError> {
    let guest = receive_guest(stream, &doors.hello).await?;
    let (role, credentials) = (guest.hello.role, guest.hello.credentials.clone());
    let principal = match doors.porter.welcome(principal, role, credentials.as_ref()) {
        Ok(principal) => principal,
        Err(refused) => return guest.refuse(refused).await,
    };
    let gate = doors.porter.gate(&principal);
    match role {
        Role::Client => {
            let _visit = doors.presence.enter();
            let frames = guest.welcome(&doors.hello).await?;
            let door = ClientDoor { principal, side: doors.clients };
            let side = Forwarding { forward: doors.forward, door };
            execute(frames, side, gate, MAX_IN_FLIGHT).await;
        }
        Role::Agent => {
            let frames = guest.welcome(&doors.hello).await?;
            let side = AgentDoor { principal, side: doors.agents };
            execute(frames, side.serve(), gate, MAX_IN_FLIGHT).await;
        }
        Role::Newcomer => {
            let Some(reception) = doors.admission else { return turn_away(guest).await };
            let frames = guest.welcome(&doors.hello).await?;
            let door = JoinDoor::new(principal, reception);
            execute(frames, door.serve(), gate, MAX_IN_FLIGHT).await;
        }
        Role::Control => match (doors.peers, principal.who) {
            (Some(side), Who::Node(node)) => {
                let (clock, clients) = (doors.porter.clock(), Some(doors.clients));
                let door = PeerDoor { node, side, clock, cluster: doors.cluster, clients };
                welcome_peer(guest, &doors.hello, door, gate).await?;
            }
            (_, _) => turn_away(guest).await?,
        },
    }
    Ok(())
}

async fn answer_peer(
    stream: Stream,
    principal: Principal,
    hello: Hello,
    porter: Porter,
    side: PeerSide,
) -> Result<(), HelloError> {
    let guest = receive_guest(stream, &hello).await?;
    let principal = match porter.welcome(principal, guest.hello.role, None) {
        Ok(principal) => principal,
        Err(refused) => return guest.refuse(refused).await,
    };
    let gate = porter.gate(&principal);
    if let (Role::Control, Who::Node(node)) = (guest.hello.role, principal.who) {
        let clock = porter.clock();
        let door = PeerDoor { node, side, clock, cluster: None, clients: None };
        return welcome_peer(guest, &hello, door, gate).await;
    }
    let what = "this node has not joined its cluster yet".to_owned();
    let help = "ask another node, or try again in a moment".to_owned();
    guest.refuse(Refused { kind: RefusedKind::Busy, what, help }).await
}

async fn welcome_peer(
    guest: Guest,
    hello: &Hello,
    door: PeerDoor,
    gate: Gate,
) -> Result<(), HelloError> {
    let mut frames = guest.welcome(hello).await?;
    frames.codec_mut().set_limits(Limits::PEER);
    execute(frames, door.serve(), gate, MAX_PEER_IN_FLIGHT).await;
    Ok(())
}

async fn turn_away(guest: Guest) -> Result<(), HelloError> {
    let what = "this node takes no other node: it is alone".to_owned();
    let help = "use it by itself: this release cannot join nodes yet".to_owned();
    guest.refuse(Refused { kind: RefusedKind::Forbidden, what, help }).await
}

/// Answers the calls of a connection, each only after the gate has let it pass.
async fn execute<S>(frames: Frames, serve: S, gate: Gate, most: usize)
where
    S: Serve + Clone,
    S::Req: tarpc::RequestName + serde::de::DeserializeOwned,
    S::Resp: serde::Serialize,
{
    let channel = BaseChannel::new(Config::default(), wire::answerer(frames));
    let calls = channel.max_concurrent_requests(most).execute(serve.before(gate));
    calls.for_each_concurrent(None, |call| call).await;
}

/// One client's connection.
#[derive(Clone, Debug)]
pub(crate) struct ClientDoor {
    pub(crate) principal: Principal,
    pub(crate) side: SharedClientSide,
}

impl ClientCalls for ClientDoor {
    async fn submit(self, _: Context, submit: Submit) -> Result<Submitted, ApiError> {
        self.side.submit(&self.principal, submit).await
    }
    async fn retry(self, _: Context, retry: Retry) -> Result<Submitted, ApiError> {
        self.side.retry(&self.principal, retry).await
    }
    async fn run(self, _: Context, run: RunId) -> Result<Listed, ApiError> {
        self.side.run(run).await
    }
    async fn runs(self, _: Context, list: ListRuns) -> Result<Vec<Listed>, ApiError> {
        self.side.runs(list).await
    }
    async fn stages(self, _: Context, list: ListStages) -> Result<Vec<StageView>, ApiError> {
        self.side.stages(list).await
    }
    async fn follow(self, _: Context, follow: Follow) -> Result<Followed, ApiError> {
        self.side.follow(follow).await
    }
    async fn plan(self, _: Context, plan: PlanHash) -> Result<ByteBuf, ApiError> {
        self.side.plan(plan).await.map(ByteBuf::from)
    }
    async fn log(self, _: Context, read: ReadLog) -> Result<LogPart, ApiError> {
        self.side.log(read).await
    }
    async fn ask(self, _: Context, ask: Ask) -> Result<(), ApiError> {
        self.side.ask(&self.principal, ask).await
    }
    async fn why(self, _: Context, why: Why) -> Result<Vec<Reason>, ApiError> {
        self.side.why(why).await
    }
    async fn agents(self, _: Context) -> Result<Vec<AgentView>, ApiError> {
        self.side.agents().await
    }
    async fn has(self, _: Context, digest: Digest) -> Result<bool, ApiError> {
        self.side.has(digest).await
    }
    async fn put(self, _: Context, part: BlobPart) -> Result<(), ApiError> {
        check_blob_part(&part).map_err(ApiError::Invalid)?;
        self.side.put(part).await
    }
    async fn get(self, _: Context, read: ReadBlob) -> Result<ByteBuf, ApiError> {
        self.side.get(read).await.map(ByteBuf::from)
    }
    async fn status(self, _: Context) -> Result<NodeStatus, ApiError> {
        self.side.status().await
    }
    async fn stop(self, _: Context, stop: Stop) -> Result<Stopped, ApiError> {
        self.side.stop(stop).await
    }
    async fn cluster(self, _: Context) -> Result<ClusterView, ApiError> {
        self.side.cluster().await
    }
    async fn change_member(self, _: Context, change: ChangeMember) -> Result<(), ApiError> {
        self.side.change_member(&self.principal, change).await
    }
    async fn tokens(self, _: Context) -> Result<Vec<TokenView>, ApiError> {
        self.side.tokens().await
    }
    async fn create_token(self, _: Context, new: NewToken) -> Result<(), ApiError> {
        self.side.create_token(&self.principal, new).await
    }
    async fn revoke_token(self, _: Context, token: TokenHash) -> Result<(), ApiError> {
        self.side.revoke_token(&self.principal, token).await
    }
}

/// One agent's connection.
#[derive(Clone, Debug)]
struct AgentDoor {
    principal: Principal,
    side: SharedControl,
}

impl AgentDoor {
    /// Refuses a call in another agent's name. Who may call as an agent without being one owns the
    /// machine, and so the agent on it.
    fn own(&self, agent: AgentRef) -> Result<(), LinkError> {
        match self.principal.who {
            Who::Agent(own) if own != agent.agent => {
                let name = &self.principal.name;
                Err(LinkError::Refused(format!("act as agent {agent}: this is {name}")))
            }
            Who::Agent(_)
            | Who::Owner
            | Who::Node(_)
            | Who::User(..)
            | Who::Lapsed(_)
            | Who::Stranger => Ok(()),
        }
    }
}

impl AgentCalls for AgentDoor {
    async fn bid(self, _: Context, bid: Bid) -> Result<BidAnswer, LinkError> {
        self.own(bid.agent)?;
        self.side.bid(bid).await
    }
    async fn renew(
        self,
        _: Context,
        agent: AgentRef,
        leases: Vec<LeaseId>,
    ) -> Result<Vec<LeaseId>, LinkError> {
        self.own(agent)?;
        self.side.renew(agent, leases).await
    }
    async fn report(
        self,
        _: Context,
        agent: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError> {
        self.own(agent)?;
        self.side.report(agent, reports).await
    }
    async fn log(
        self,
        _: Context,
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: ByteBuf,
    ) -> Result<u64, LinkError> {
        self.own(agent)?;
        if bytes.len() > MAX_LOG_PART {
            return Err(LinkError::Refused(format!("take more than {MAX_LOG_PART} bytes of log")));
        }
        self.side.log(agent, lease, offset, bytes.into_vec()).await
    }
    async fn seal(
        self,
        _: Context,
        agent: AgentRef,
        lease: LeaseId,
        length: u64,
    ) -> Result<bool, LinkError> {
        self.own(agent)?;
        self.side.seal(agent, lease, length).await
    }
    async fn blob(
        self,
        _: Context,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<ByteBuf, LinkError> {
        self.side.blob(digest, offset, limit).await.map(ByteBuf::from)
    }
    async fn keep(
        self,
        _: Context,
        agent: AgentRef,
        lease: LeaseId,
        part: BlobPart,
    ) -> Result<(), LinkError> {
        self.own(agent)?;
        check_blob_part(&part).map_err(LinkError::Refused)?;
        self.side.keep(agent, lease, part).await
    }
}

/// Another control process' connection.
#[derive(Clone, Debug)]
struct PeerDoor {
    node: NodeId,
    side: PeerSide,
    clock: SharedClock,
    /// The cluster's actors; `None` where this node has only its groups.
    cluster: Option<ClusterSide>,
    /// What answers clients; `None` where this node serves none yet.
    clients: Option<SharedClientSide>,
}

impl PeerCalls for PeerDoor {
    async fn peer(self, _: Context, call: PeerCall) -> PeerAnswer {
        self.side.answer(self.node, call).await
    }
    async fn client(
        self,
        context: Context,
        by: String,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, ApiError> {
        let side = self.clients.filter(|_| forward::travels(&request));
        let Some(side) = side else {
            return Err(ApiError::NotReady("this is not answered for another node".to_owned()));
        };
        // Who calls was checked where they came in.
        let principal = Principal { name: by, who: Who::Node(self.node), key: None };
        let answer = ClientDoor { principal, side }.serve().serve(context, request).await;
        answer.map_err(|error| ApiError::Unknown(error.to_string()))
    }
    async fn cluster(self, _: Context, wish: Option<Wish>) -> Result<Cluster, ClusterError> {
        let side = self.cluster.ok_or(ClusterError::NotHere)?;
        let cluster = match wish {
            Some(wish) => side.wish(wish).await?,
            None => side.view().await?,
        };
        Ok(Cluster::clone(&cluster))
    }
    async fn clock(self, _: Context) -> Timestamp {
        self.clock.now()
    }
}

fn check_blob_part(part: &BlobPart) -> Result<(), String> {
    if part.bytes.len() > MAX_BLOB_PART {
        return Err(format!("a part of a blob has at most {MAX_BLOB_PART} bytes"));
    }
    Ok(())
}
