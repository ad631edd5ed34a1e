//! The other nodes of a group. There are none yet: a cluster has one node, so nothing is ever sent.
//! Whoever brings more nodes replaces this file.

use super::types::{Group, Vote};
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};
use std::future::Future;

/// No other nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone;

#[derive(Debug, thiserror::Error)]
#[error("reach node {0}: this cluster has one node")]
struct NoSuchNode(u64);

/// A way to a node that is not there.
#[derive(Debug)]
pub(super) struct NoWay(u64);

impl NoWay {
    fn unreachable(&self) -> Unreachable {
        Unreachable::new(&NoSuchNode(self.0))
    }
}

impl RaftNetworkFactory<Group> for Alone {
    type Network = NoWay;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> NoWay {
        NoWay(target)
    }
}

type CallError = RPCError<u64, BasicNode, RaftError<u64>>;

impl RaftNetwork<Group> for NoWay {
    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Group>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        Err(RPCError::Unreachable(self.unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::storage::Snapshot<Group>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Group, Fatal<u64>>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
