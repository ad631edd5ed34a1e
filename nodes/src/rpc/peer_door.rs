//! Another control process' connection.

use super::api::ApiError;
use super::client_door::{ClientDoor, SharedClientSide, check_blob_part};
use super::kept::{AskKept, KeepLog, Kept};
use super::porter::Porter;
use super::service::{
    ClientCalls, ClientCallsRequest, ClientCallsResponse, ClusterError, PeerCalls,
};
use super::vouched::Vouched;
use crate::control::forward;
use crate::replica::{PeerAnswer, PeerCall, PeerSide};
use crate::wire::frame::{MAX_BLOB_PART, MAX_LOG_PART};
use otto_actors::cluster::ClusterSide;
use otto_actors::ports::blobs::{BlobError, SharedBlobs};
use otto_actors::ports::logs::{LogError, LogId, SharedLogs};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::ids::{NodeId, ShardId};
use otto_core::time::Timestamp;
use serde_bytes::ByteBuf;
use std::io::ErrorKind;
use tarpc::RequestName;
use tarpc::context::Context;
use tarpc::server::Serve;

/// What this node keeps itself, for others to ask for.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Its blobs.
    pub blobs: SharedBlobs,
    /// Its logs.
    pub logs: SharedLogs,
}

/// One control process' connection.
#[derive(Clone, Debug)]
pub(super) struct PeerDoor {
    pub(super) node: NodeId,
    pub(super) side: PeerSide,
    /// What says who may call what, where somebody else calls through that node.
    pub(super) porter: Porter,
    /// The cluster's actors; `None` where this node has only its groups.
    pub(super) cluster: Option<ClusterSide>,
    /// What answers clients; `None` where this node serves none yet.
    pub(super) clients: Option<SharedClientSide>,
    /// What this node keeps itself; `None` where it serves nobody yet.
    pub(super) keeping: Option<Keeping>,
}

impl PeerCalls for PeerDoor {
    async fn peer(self, _: Context, call: PeerCall) -> PeerAnswer {
        self.side.answer(self.node, call).await
    }
    async fn client(
        self,
        context: Context,
        caller: Vouched,
        request: ClientCallsRequest,
    ) -> Result<ClientCallsResponse, ApiError> {
        let side = self.clients.filter(|_| forward::travels(&request));
        let Some(side) = side else {
            return Err(ApiError::NotReady("this is not answered for another node".to_owned()));
        };
        let principal = self.porter.vouched(self.node, &caller).await?;
        let denied = |error: tarpc::ServerError| match error.kind {
            ErrorKind::PermissionDenied => ApiError::Refused(error.detail),
            // Where they came in they are told more, or let through a moment later.
            _ => ApiError::NotReady(error.detail),
        };
        self.porter.gate(&principal).check(request.name()).await.map_err(denied)?;
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
        self.porter.clock().now()
    }
    async fn reach(self, _: Context, shard: ShardId) -> Result<u64, ApiError> {
        self.side.reach(shard).await.map_err(ApiError::NotReady)
    }
    async fn kept(self, _: Context, ask: AskKept) -> Result<Kept, ApiError> {
        match &self.keeping {
            Some(keeping) => keeping.answer(ask).await,
            None => Ok(Kept::Absent),
        }
    }
    async fn keep_log(self, _: Context, part: KeepLog) -> Result<u64, ApiError> {
        match &self.keeping {
            Some(keeping) => keeping.keep_log(part).await,
            None => Err(ApiError::NotReady("it keeps nothing yet".to_owned())),
        }
    }
}

impl Keeping {
    async fn answer(&self, ask: AskKept) -> Result<Kept, ApiError> {
        let there = |there: bool| if there { Kept::There } else { Kept::Absent };
        Ok(match ask {
            AskKept::HasBlob(digest) => there(self.blobs.has(digest).await?),
            AskKept::ReadBlob(read) => {
                let most = u32::try_from(MAX_BLOB_PART).unwrap_or(u32::MAX);
                let limit = read.limit.min(most);
                match self.blobs.get(read.digest, read.offset, limit).await {
                    Ok(bytes) => Kept::Bytes(ByteBuf::from(bytes)),
                    Err(BlobError::Absent(_)) => Kept::Absent,
                    Err(error) => return Err(error.into()),
                }
            }
            AskKept::KeepBlob(part) => {
                check_blob_part(&part).map_err(ApiError::Invalid)?;
                self.blobs.put(part).await?;
                Kept::There
            }
            AskKept::ReadLog { run, stage, attempt, offset, limit } => {
                let limit = usize::try_from(limit).unwrap_or(MAX_LOG_PART).min(MAX_LOG_PART);
                let log = LogId { run, stage, attempt };
                let bytes = self.logs.read(log, offset, limit).await.map_err(unkept)?;
                Kept::Bytes(ByteBuf::from(bytes))
            }
            AskKept::LogLength { run, stage, attempt } => {
                let log = LogId { run, stage, attempt };
                Kept::Length(self.logs.length(log).await.map_err(unkept)?)
            }
        })
    }

    /// Takes a part of a log that is whole elsewhere, and seals it with the last one.
    async fn keep_log(&self, part: KeepLog) -> Result<u64, ApiError> {
        let KeepLog { run, stage, attempt, offset, bytes, length } = part;
        let log = LogId { run, stage, attempt };
        if bytes.len() > MAX_LOG_PART || offset.saturating_add(bytes.len() as u64) > length {
            return Err(ApiError::Invalid("keep a log that is longer than its length".to_owned()));
        }
        let there = self.logs.append(log, offset, &bytes).await.map_err(unkept)?;
        if there == length && !self.logs.seal(log, length).await.map_err(unkept)? {
            return Err(ApiError::NotReady("the log grows here".to_owned()));
        }
        Ok(there)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it turns one error into another")]
fn unkept(error: LogError) -> ApiError {
    ApiError::Store(error.to_string())
}
