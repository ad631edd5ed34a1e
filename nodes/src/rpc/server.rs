//! The control process's end: takes connections, greets, and answers calls.
//!
//! Each connection is one task, and all calls of a connection are answered side by side within it:
//! when a connection breaks, its calls are dropped with it. A handler hands one command to an
//! actor, so that loses the answer and nothing else.

use super::client_door::{ClientDoor, SharedClientSide, check_blob_part};
use super::peer_door::{Keeping, PeerDoor};
use super::porter::{Gate, Porter, methods};
use super::service::{AgentCalls, JoinCalls, PeerCalls};
use crate::control::Presence;
use crate::control::forward::{Forward, Forwarding};
use crate::identity::door::{JoinDoor, Reception};
use crate::network::{Principal, SharedListener, Stream, Who};
use crate::replica::PeerSide;
use crate::wire;
use crate::wire::frame::{Frames, Limits, MAX_LOG_PART};
use crate::wire::hello::{Guest, Hello, HelloError, Refused, RefusedKind, Role, receive_guest};
use futures::StreamExt;
use otto_actors::cluster::ClusterSide;
use otto_actors::ports::control::{
    Bid, BidAnswer, BlobPart, LinkError, Report, ReportAnswer, SharedControl,
};
use otto_core::ids::{AgentRef, Digest};
use otto_core::lease::LeaseId;
use serde_bytes::ByteBuf;
use std::sync::Arc;
use std::time::Duration;
use tarpc::context::Context;
use tarpc::server::request_hook::RequestHook;
use tarpc::server::{BaseChannel, Channel, Config, Serve};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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
    /// What this node keeps itself, for other control processes.
    pub keeping: Keeping,
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
    let principal = match doors.porter.welcome(principal, role, credentials.as_ref()).await {
        Ok(principal) => principal,
        Err(refused) => return guest.refuse(refused).await,
    };
    let gate = doors.porter.gate(&principal);
    let hello = listing(&doors.hello, role);
    match role {
        Role::Client => {
            let _visit = doors.presence.enter();
            let frames = guest.welcome(&hello).await?;
            let door = ClientDoor { principal, side: doors.clients };
            let side = Forwarding { forward: doors.forward, door };
            execute(frames, side, gate, MAX_IN_FLIGHT).await;
        }
        Role::Agent => {
            let frames = guest.welcome(&hello).await?;
            let side = AgentDoor { principal, side: doors.agents, porter: doors.porter };
            execute(frames, side.serve(), gate, MAX_IN_FLIGHT).await;
        }
        Role::Newcomer => {
            let Some(reception) = doors.admission else { return turn_away(guest).await };
            let frames = guest.welcome(&hello).await?;
            let door = JoinDoor::new(principal, reception);
            execute(frames, door.serve(), gate, MAX_IN_FLIGHT).await;
        }
        Role::Control => match (doors.peers, principal.who) {
            (Some(side), Who::Node(node)) => {
                let door = PeerDoor {
                    node,
                    side,
                    porter: doors.porter,
                    cluster: doors.cluster,
                    clients: Some(doors.clients),
                    keeping: Some(doors.keeping),
                };
                welcome_peer(guest, &hello, door, gate).await?;
            }
            (_, _) => turn_away(guest).await?,
        },
    }
    Ok(())
}

/// A hello that lists what is answered over a connection for a role.
fn listing(hello: &Hello, role: Role) -> Hello {
    Hello { methods: methods(role), ..hello.clone() }
}

async fn answer_peer(
    stream: Stream,
    principal: Principal,
    hello: Hello,
    porter: Porter,
    side: PeerSide,
) -> Result<(), HelloError> {
    let guest = receive_guest(stream, &hello).await?;
    if guest.hello.role != Role::Control {
        return not_yet(guest).await;
    }
    let principal = match porter.welcome(principal, guest.hello.role, None).await {
        Ok(principal) => principal,
        Err(refused) => return guest.refuse(refused).await,
    };
    let gate = porter.gate(&principal);
    let Who::Node(node) = principal.who else { return not_yet(guest).await };
    let door = PeerDoor { node, side, porter, cluster: None, clients: None, keeping: None };
    welcome_peer(guest, &listing(&hello, Role::Control), door, gate).await
}

async fn not_yet(guest: Guest) -> Result<(), HelloError> {
    let what = "this node is looking for the others of its cluster".to_owned();
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
    let help = "let it found a cluster: otto-node serve, without --alone".to_owned();
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

/// One agent's connection.
#[derive(Clone, Debug)]
struct AgentDoor {
    principal: Principal,
    side: SharedControl,
    porter: Porter,
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
            | Who::Neighbour(_)
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
        // Machines may have equal names, and agents of a cluster have not.
        let name = self.porter.agent_name(bid.agent.agent);
        let bid = Bid { name: name.unwrap_or(bid.name), ..bid };
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
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<ByteBuf, LinkError> {
        self.own(agent)?;
        self.side.blob(agent, lease, digest, offset, limit).await.map(ByteBuf::from)
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
