//! The methods of all services. Every call may be repeated; who calls is told by the connection.

use super::api::{
    AgentView, ApiError, Ask, Follow, Followed, ListRuns, ListStages, Listed, LogPart, NodeStatus,
    ReadBlob, ReadLog, Reason, Retry, StageView, Stop, Stopped, Submit, Submitted, Why,
};
use super::backup::{BackUp, BackedUp};
use super::cluster::{ChangeMember, ClusterView, NewToken, TokenView};
use super::join::{Enrol, Join, JoinError, Joined, Renew};
use super::kept::{AskKept, KeepLog, Kept};
use super::vouched::Vouched;
use crate::replica::{PeerAnswer, PeerCall};
use otto_actors::cluster::Denial;
use otto_actors::ports::control::{Bid, BidAnswer, BlobPart, LinkError, Report, ReportAnswer};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Refusal, Wish};
use otto_core::ids::{AgentRef, Digest, PlanHash, RunId, ShardId, TokenHash};
use otto_core::lease::LeaseId;
use otto_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What clients call.
#[tarpc::service]
pub trait ClientCalls {
    /// Submits a run. It is durable when this returns.
    async fn submit(submit: Submit) -> Result<Submitted, ApiError>;
    /// Submits a run that goes on where an earlier one ended.
    async fn retry(retry: Retry) -> Result<Submitted, ApiError>;
    /// What lists show of a run.
    async fn run(run: RunId) -> Result<Listed, ApiError>;
    /// Runs, newest first within their project.
    async fn runs(list: ListRuns) -> Result<Vec<Listed>, ApiError>;
    /// Stages of a run, as they are now.
    async fn stages(list: ListStages) -> Result<Vec<StageView>, ApiError>;
    /// Entries of a run's journal, from anywhere on; a long poll at its end.
    async fn follow(follow: Follow) -> Result<Followed, ApiError>;
    /// The bytes of a plan.
    async fn plan(plan: PlanHash) -> Result<ByteBuf, ApiError>;
    /// Bytes of an attempt's log; a long poll at its end.
    async fn log(read: ReadLog) -> Result<LogPart, ApiError>;
    /// Asks something of a run that goes on.
    async fn ask(ask: Ask) -> Result<(), ApiError>;
    /// Why a run or a stage is where it is.
    async fn why(why: Why) -> Result<Vec<Reason>, ApiError>;
    /// The agents that the control side knows.
    async fn agents() -> Result<Vec<AgentView>, ApiError>;
    /// Whether a blob is here.
    async fn has(digest: Digest) -> Result<bool, ApiError>;
    /// Writes a part of a blob; with the last one it is verified and kept.
    async fn put(part: BlobPart) -> Result<(), ApiError>;
    /// Reads a part of a blob; empty at its end.
    async fn get(read: ReadBlob) -> Result<ByteBuf, ApiError>;
    /// What the node says of itself.
    async fn status() -> Result<NodeStatus, ApiError>;
    /// Asks the node to leave, or to go on from another image.
    async fn stop(stop: Stop) -> Result<Stopped, ApiError>;
    /// The cluster that the node belongs to.
    async fn cluster() -> Result<ClusterView, ApiError>;
    /// Wishes something about a node or an agent of the cluster.
    async fn change_member(change: ChangeMember) -> Result<(), ApiError>;
    /// The cluster's tokens, without their secrets.
    async fn tokens() -> Result<Vec<TokenView>, ApiError>;
    /// Makes a token of a secret that the caller drew.
    async fn create_token(new: NewToken) -> Result<(), ApiError>;
    /// Lets a token count no more.
    async fn revoke_token(token: TokenHash) -> Result<(), ApiError>;
    /// Where the cluster's control nodes can be reached, as far as this one knows.
    async fn addresses() -> Result<Vec<String>, ApiError>;
    /// Lets everything of a level be written from now on. There is no way back.
    async fn raise_level(to: u32) -> Result<(), ApiError>;
    /// Copies everything that is journaled, part by part.
    async fn back_up(ask: BackUp) -> Result<BackedUp, ApiError>;
}

/// What control processes call of each other.
#[tarpc::service]
pub trait PeerCalls {
    /// What replication asks.
    async fn peer(call: PeerCall) -> PeerAnswer;
    /// What a client asks at another node, which vouches for who that is.
    async fn client(
        caller: Vouched,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, ApiError>;
    /// How the cluster is, after a wish or as it is now, from the node that leads its own shard.
    async fn cluster(wish: Option<Wish>) -> Result<Cluster, ClusterError>;
    /// What time it is there.
    async fn clock() -> Timestamp;
    /// Up to which entry a shard is agreed on at this moment, from the node that leads it.
    async fn reach(shard: ShardId) -> Result<u64, ApiError>;
    /// What the node keeps in its own folders.
    async fn kept(ask: AskKept) -> Result<Kept, ApiError>;
    /// Has the node keep a part of a sealed log; answers how much of it is there then.
    async fn keep_log(part: KeepLog) -> Result<u64, ApiError>;
}

/// Why the cluster did not do or tell what another node asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ClusterError {
    /// The cluster says no.
    #[error(transparent)]
    Refused(Refusal),
    /// The cluster's own shard is not led there. Nothing was done.
    #[error("find the node that leads the cluster")]
    NotHere,
    /// Whether it was done is not known: ask again.
    #[error("get an answer in time: {0}; ask again")]
    Unanswered(String),
}

impl From<Denial> for ClusterError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Refused(refusal) => Self::Refused(refusal),
            Denial::NotHere => Self::NotHere,
            Denial::Unanswered(cause) => Self::Unanswered(cause),
        }
    }
}

/// What agents call: [`otto_actors::ports::control::Control`] over the wire.
#[tarpc::service]
pub trait AgentCalls {
    /// Stands by with a bid; a long poll.
    async fn bid(bid: Bid) -> Result<BidAnswer, LinkError>;
    /// Renews leases; answers with those that were not.
    async fn renew(agent: AgentRef, leases: Vec<LeaseId>) -> Result<Vec<LeaseId>, LinkError>;
    /// Delivers reports; one answer for each.
    async fn report(agent: AgentRef, reports: Vec<Report>) -> Result<Vec<ReportAnswer>, LinkError>;
    /// Delivers bytes of a log; answers its length.
    async fn log(
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: ByteBuf,
    ) -> Result<u64, LinkError>;
    /// Says that a log has this length for good.
    async fn seal(agent: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError>;
    /// Reads a part of a blob that a lease's run works on; empty at its end.
    async fn blob(
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<ByteBuf, LinkError>;
    /// Writes a part of a blob under a lease.
    async fn keep(agent: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError>;
}

/// What newcomers call, and whoever needs another certificate.
#[tarpc::service]
pub trait JoinCalls {
    /// Shows a token and asks for a certificate. The same key gets the same identity again.
    async fn join(join: Join) -> Result<Joined, JoinError>;
    /// A control node asks for a certificate for its own agent.
    async fn enrol(enrol: Enrol) -> Result<Joined, JoinError>;
    /// Asks for another certificate before, or after, the present one runs out.
    async fn renew(renew: Renew) -> Result<Joined, JoinError>;
}
