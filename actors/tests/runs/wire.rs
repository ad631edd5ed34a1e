//! The way from an agent to a control side, which can be cut.

use async_trait::async_trait;
use otto_actors::control::ControlSide;
use otto_actors::ports::control::{
    Bid, BidAnswer, BlobPart, Control, LinkError, Report, ReportAnswer,
};
use otto_core::ids::{AgentRef, Digest};
use otto_core::lease::LeaseId;
use std::sync::RwLock;

/// The way from agents to the control side, which can be cut.
#[derive(Debug, Default)]
pub(crate) struct Wire(RwLock<Option<ControlSide>>);

impl Wire {
    /// A wire that leads to this control side.
    pub(crate) fn to(side: ControlSide) -> Self {
        Self(RwLock::new(Some(side)))
    }

    /// Cuts it.
    pub(crate) fn cut(&self) {
        *self.0.write().unwrap() = None;
    }

    /// Mends it; it leads to this control side from now on.
    pub(crate) fn mend(&self, side: ControlSide) {
        *self.0.write().unwrap() = Some(side);
    }

    fn far_end(&self) -> Result<ControlSide, LinkError> {
        let far_end = self.0.read().unwrap().clone();
        far_end.ok_or_else(|| LinkError::Unreachable("the wire is cut".to_owned()))
    }
}

#[async_trait]
impl Control for Wire {
    async fn bid(&self, bid: Bid) -> Result<BidAnswer, LinkError> {
        self.far_end()?.bid(bid).await
    }

    async fn renew(&self, a: AgentRef, leases: Vec<LeaseId>) -> Result<Vec<LeaseId>, LinkError> {
        self.far_end()?.renew(a, leases).await
    }

    async fn report(&self, a: AgentRef, r: Vec<Report>) -> Result<Vec<ReportAnswer>, LinkError> {
        self.far_end()?.report(a, r).await
    }

    async fn log(&self, a: AgentRef, l: LeaseId, o: u64, b: Vec<u8>) -> Result<u64, LinkError> {
        self.far_end()?.log(a, l, o, b).await
    }

    async fn seal(&self, a: AgentRef, lease: LeaseId, length: u64) -> Result<bool, LinkError> {
        self.far_end()?.seal(a, lease, length).await
    }

    async fn blob(
        &self,
        a: AgentRef,
        l: LeaseId,
        digest: Digest,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<u8>, LinkError> {
        self.far_end()?.blob(a, l, digest, offset, limit).await
    }

    async fn keep(&self, a: AgentRef, lease: LeaseId, part: BlobPart) -> Result<(), LinkError> {
        self.far_end()?.keep(a, lease, part).await
    }
}
