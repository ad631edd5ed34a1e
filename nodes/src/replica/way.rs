//! A group's way to one of its members, as openraft wants it.

use super::caller::{CallError, Caller};
use super::hold::Holds;
use super::message::{Append, Appended, Ask, Candidacy, Finish, Reply};
use super::record::Place;
use super::types::{Group, LogId, Snapshot, SnapshotMeta, StorageError, Vote};
use crate::store::{Picture, Taken};
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};
use otto_core::ids::{NodeId, ShardId};
use std::future::Future;
use std::time::Duration;

/// How long a part of a state may take to the other disk.
const PART_ALLOWED: Duration = Duration::from_secs(2);
/// How often a part is sent before the state is sent from its beginning.
const PART_TRIES: u32 = 10;
/// The pause before a part is sent again, and before an unreachable member is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// The ways of one group to its members.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    pub(super) shard: ShardId,
    pub(super) caller: Caller,
    /// What keeps the log from being purged while a state travels.
    pub(super) holds: Holds,
}

/// The way to one member.
#[derive(Debug)]
pub(super) struct Way {
    ways: Ways,
    to: u64,
    address: String,
}

impl RaftNetworkFactory<Group> for Ways {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Way {
        Way { ways: self.clone(), to: target, address: node.addr.clone() }
    }
}

type RaftCallError = RPCError<u64, BasicNode, RaftError<u64>>;

fn unreachable(error: &CallError) -> Unreachable {
    Unreachable::new(error)
}

impl Way {
    async fn ask(&self, ask: Ask, allowed: Duration) -> Result<Reply, CallError> {
        self.ways.caller.ask(self.to, &self.address, ask, allowed).await
    }

    fn senseless(&self, reply: &Reply) -> CallError {
        CallError::Refused(NodeId(self.to), format!("its answer fits no question: {reply:?}"))
    }

    /// Sends a state in parts, each again where its answer was lost.
    async fn send_state(
        &self,
        vote: Vote,
        meta: &SnapshotMeta,
        picture: &Picture,
    ) -> Result<Vote, SendError> {
        let shard = self.ways.shard;
        let begun = match self.ask(Ask::Begin(shard), PART_ALLOWED).await? {
            Reply::Begun(receipt) => receipt,
            other => return Err(self.senseless(&other).into()),
        };
        let mut taken = Taken::default();
        loop {
            let before = taken;
            let mut tries = 0;
            loop {
                taken = before;
                let rows = picture.rows(&mut taken).map_err(|fault| super::log::failed(&fault))?;
                let Some(rows) = rows else {
                    let finish = Finish::new(vote, meta);
                    let ask = Ask::Finish(shard, begun, finish);
                    return match self.ask(ask, PART_ALLOWED * 2).await? {
                        Reply::Finished(vote) => Ok(vote.into()),
                        other => Err(self.senseless(&other).into()),
                    };
                };
                match self.ask(Ask::Rows(shard, begun, rows), PART_ALLOWED).await {
                    Ok(Reply::Done) => break,
                    Ok(other) => return Err(self.senseless(&other).into()),
                    Err(CallError::Unreached(_)) if tries < PART_TRIES => {
                        tries += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Why a state did not arrive.
enum SendError {
    Call(CallError),
    Storage(StorageError),
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<StorageError> for SendError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl RaftNetwork<Group> for Way {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Group>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RaftCallError> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let (vote, committed) = (request.vote, request.leader_commit);
        let ask = Ask::Append(self.ways.shard, Append::from(request));
        let reply = self.ask(ask, option.hard_ttl()).await;
        let roll = self.ways.caller.roll();
        match reply.map_err(|error| RPCError::Unreachable(unreachable(&error)))? {
            Reply::Appended(Appended::All) => {
                roll.note_vote(self.to, self.ways.shard, vote.into());
                if let Some(kept) = kept(last, committed) {
                    roll.note_kept(self.to, self.ways.shard, kept);
                }
                Ok(AppendEntriesResponse::Success)
            }
            Reply::Appended(Appended::Differs) => Ok(AppendEntriesResponse::Conflict),
            Reply::Appended(Appended::Deposed(vote)) => {
                Ok(AppendEntriesResponse::HigherVote(vote.into()))
            }
            other => Err(RPCError::Unreachable(unreachable(&self.senseless(&other)))),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RaftCallError> {
        let ask = Ask::Vote(self.ways.shard, Candidacy::from(request));
        let reply = self.ask(ask, option.hard_ttl()).await;
        match reply.map_err(|error| RPCError::Unreachable(unreachable(&error)))? {
            Reply::Voted(voted) => {
                if voted.granted {
                    let roll = self.ways.caller.roll();
                    roll.note_vote(self.to, self.ways.shard, voted.vote);
                }
                Ok(voted.into())
            }
            other => Err(RPCError::Unreachable(unreachable(&self.senseless(&other)))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::storage::Snapshot<Group>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Group, Fatal<u64>>> {
        let Snapshot::Picture(picture) = *snapshot.snapshot else {
            let cause = "there is no picture of the state to send".to_owned();
            let error = CallError::Refused(NodeId(self.to), cause);
            return Err(StreamingError::Unreachable(unreachable(&error)));
        };
        let index = snapshot.meta.last_log_id.map_or(0, |id| id.index);
        let _hold = self.ways.holds.hold(index);
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = self.send_state(vote, &snapshot.meta, &picture) => sent,
        };
        match sent {
            Ok(vote) => Ok(SnapshotResponse::new(vote)),
            Err(SendError::Call(error)) => {
                tracing::warn!(shard = %self.ways.shard, %error, "a state did not arrive");
                Err(StreamingError::Unreachable(unreachable(&error)))
            }
            Err(SendError::Storage(error)) => Err(StreamingError::StorageError(error)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}

/// Up to where a member holds what is committed.
fn kept(last: Option<LogId>, committed: Option<LogId>) -> Option<Place> {
    Some(last?.min(committed?).into())
}
