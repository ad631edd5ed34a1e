//! The agent's end: the control side over the wire, as the port that the agent's actors ask.

use super::link::Link;
use super::service::AgentCallsClient;
use crate::network::SharedConnector;
use crate::wire::hello::{Build, Hello, Role};
use crate::wire::{self, deadline};
use async_trait::async_trait;
use otto_actors::ports::control::{
    Bid, BidAnswer, BlobPart, Control, LinkError, Report, ReportAnswer,
};
use otto_core::ids::{AgentRef, Digest};
use otto_core::lease::LeaseId;
use serde_bytes::ByteBuf;
use std::future::Future;
use std::io::ErrorKind;
use std::time::Duration;
use tarpc::client::RpcError;
use tarpc::context::Context;

/// The control side over a connection that repairs itself. Each call is tried once: the agent knows
/// best what to repeat, and when.
#[derive(Debug)]
pub struct AgentLink(Link<AgentCallsClient>);

impl AgentLink {
    /// A link that connects at its first call.
    #[must_use]
    pub fn new(connector: SharedConnector, build: Build) -> Self {
        let hello = Hello::new(Role::Agent, build);
        Self(Link::new(connector, hello, |frames| {
            let config = tarpc::client::Config::default();
            AgentCallsClient::new(config, wire::caller(frames)).spawn()
        }))
    }

    async fn call<T, Answer>(
        &self,
        allowed: Duration,
        call: impl FnOnce(AgentCallsClient, Context) -> Answer,
    ) -> Result<T, LinkError>
    where
        Answer: Future<Output = Result<Result<T, LinkError>, RpcError>>,
    {
        let unreachable = |cause: String| LinkError::Unreachable(cause);
        let open = self.0.open().await.map_err(|error| unreachable(error.to_string()))?;
        // Ours ends the call; tarpc's own deadline only bounds what the other end does with it.
        let context = deadline::context(allowed * 2, tarpc::trace::Context::default());
        let cause = match tokio::time::timeout(allowed, call(open.calls, context)).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(RpcError::Server(error))) if error.kind == ErrorKind::PermissionDenied => {
                return Err(LinkError::Refused(error.detail));
            }
            Ok(Err(RpcError::Server(error))) => return Err(unreachable(error.to_string())),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} s", allowed.as_secs()),
        };
        self.0.close(open.generation).await;
        Err(unreachable(cause))
    }
}

#[async_trait]
impl Control for AgentLink {
    async fn bid(&self, bid: Bid) -> Result<BidAnswer, LinkError> {
        let call = |calls: AgentCallsClient, context| async move { calls.bid(context, bid).await };
        self.call(deadline::FOLLOW, call).await
    }

    async fn renew(
        &self,
        agent: AgentRef,
        leases: Vec<LeaseId>,
    ) -> Result<Vec<LeaseId>, LinkError> {
        let call = |calls: AgentCallsClient, context| async move {
            calls.renew(context, agent, leases).await
        };
        self.call(deadline::RENEWAL, call).await
    }

    async fn report(
        &self,
        agent: AgentRef,
        reports: Vec<Report>,
    ) -> Result<Vec<ReportAnswer>, LinkError> {
        let call = |calls: AgentCallsClient, context| async move {
            calls.report(context, agent, reports).await
        };
        self.call(deadline::USUAL, call).await
    }

    async fn log(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u64, LinkError> {
        let call = |calls: AgentCallsClient, context| async move {
            calls.log(context, agent, lease, offset, ByteBuf::from(bytes)).await
        };
        self.call(deadline::USUAL, call).await
    }

    async fn seal(&self, agent: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError> {
        let call = |calls: AgentCallsClient, context| async move {
            calls.seal(context, agent, lease, length).await
        };
        self.call(deadline::DISK, call).await
    }

    async fn blob(
        &self,
        agent: AgentRef,
        lease: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError> {
        let call = |calls: AgentCallsClient, context| async move {
            calls.blob(context, agent, lease, digest, offset, limit).await
        };
        self.call(deadline::USUAL, call).await.map(ByteBuf::into_vec)
    }

    async fn keep(&self, agent: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError> {
        let call = |calls: AgentCallsClient, context| async move {
            calls.keep(context, agent, lease, part).await
        };
        self.call(deadline::DISK, call).await
    }
}
