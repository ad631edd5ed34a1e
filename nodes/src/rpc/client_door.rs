//! One client's connection: each call is handed on, with who calls.

use super::api::{
    AgentView, ApiError, Ask, Follow, Followed, ListRuns, ListStages, Listed, LogPart, NodeStatus,
    ReadBlob, ReadLog, Reason, Retry, StageView, Stop, Stopped, Submit, Submitted, Why,
};
use super::backup::{BackUp, BackedUp};
use super::cluster::{ChangeMember, ClusterView, NewToken, TokenView};
use super::service::ClientCalls;
use crate::network::Principal;
use crate::wire::frame::MAX_BLOB_PART;
use async_trait::async_trait;
use otto_actors::ports::control::BlobPart;
use otto_core::ids::{Digest, PlanHash, RunId, TokenHash};
use serde_bytes::ByteBuf;
use std::fmt;
use std::sync::Arc;
use tarpc::context::Context;

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
    /// See [`ClientCalls::addresses`].
    async fn addresses(&self) -> Result<Vec<String>, ApiError>;
    /// See [`ClientCalls::raise_level`].
    async fn raise_level(&self, by: &Principal, to: u32) -> Result<(), ApiError>;
    /// See [`ClientCalls::back_up`].
    async fn back_up(&self, ask: BackUp) -> Result<BackedUp, ApiError>;
}

/// A client side that several connections ask.
pub type SharedClientSide = Arc<dyn ClientSide>;
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
    async fn addresses(self, _: Context) -> Result<Vec<String>, ApiError> {
        self.side.addresses().await
    }
    async fn raise_level(self, _: Context, to: u32) -> Result<(), ApiError> {
        self.side.raise_level(&self.principal, to).await
    }
    async fn back_up(self, _: Context, ask: BackUp) -> Result<BackedUp, ApiError> {
        self.side.back_up(ask).await
    }
}
/// A part of a blob that is longer than a frame may be was not cut as it should be.
pub(super) fn check_blob_part(part: &BlobPart) -> Result<(), String> {
    if part.bytes.len() > MAX_BLOB_PART {
        return Err(format!("a part of a blob has at most {MAX_BLOB_PART} bytes"));
    }
    Ok(())
}
