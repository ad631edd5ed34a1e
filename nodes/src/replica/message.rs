//! What nodes say to each other, in our own words: openraft's types stay out of the frames, so that
//! it can be replaced. Entries travel in the bytes that they have on disk.

use super::record::{Ballot, Mark, Place, entry_bytes, read_entry};
use super::roll::Introduction;
use super::types::{Group, LogId, SnapshotMeta, Vote};
use crate::store::Rows;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use otto_core::ids::ShardId;
use otto_core::journal::Unreadable;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// To take note of who asks, and to say who is asked.
    Introduce(Introduction),
    /// To take entries into the log.
    Append(ShardId, Append),
    /// To vote.
    Vote(ShardId, Candidacy),
    /// To go on following, in each of these shards.
    Beat(Vec<Beat>),
    /// To begin a space for a shard's state.
    Begin(ShardId),
    /// To put rows into the space that was begun.
    Rows(ShardId, u64, Rows),
    /// To make what arrived the shard's state.
    Finish(ShardId, u64, Finish),
    /// To stand for election.
    Stand(ShardId),
    /// To take part no more, and why: who is asked shows less than it did.
    CastOut(String),
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// Who is asked.
    Introduced(Introduction),
    /// Who asks must introduce itself first.
    Stranger,
    /// Who asks may not take part, and why.
    Outcast(String),
    /// It could not be done, and why.
    Failed(String),
    /// What became of entries.
    Appended(Appended),
    /// What became of a candidacy.
    Voted(Voted),
    /// What became of beats.
    Beaten(Vec<(ShardId, Appended)>),
    /// A receipt is begun, under this number.
    Begun(u64),
    /// It was done.
    Done,
    /// A state was made current; who leads by now.
    Finished(Ballot),
}

/// Entries for a log, behind a place in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Append {
    pub(super) vote: Ballot,
    previous: Option<Place>,
    pub(super) committed: Option<Place>,
    entries: Vec<ByteBuf>,
}

impl From<AppendEntriesRequest<Group>> for Append {
    fn from(request: AppendEntriesRequest<Group>) -> Self {
        let entries = request.entries.iter();
        Self {
            vote: request.vote.into(),
            previous: request.prev_log_id.map(Place::from),
            committed: request.leader_commit.map(Place::from),
            entries: entries.map(|entry| ByteBuf::from(entry_bytes(entry))).collect(),
        }
    }
}

impl Append {
    /// As openraft wants it.
    pub(super) fn request(self) -> Result<AppendEntriesRequest<Group>, Unreadable> {
        let entries = self.entries.iter().map(|bytes| read_entry(bytes));
        Ok(AppendEntriesRequest {
            vote: self.vote.into(),
            prev_log_id: self.previous.map(LogId::from),
            leader_commit: self.committed.map(LogId::from),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

/// What became of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Appended {
    /// They are in the log, durably.
    All,
    /// The log is another at the place behind which they belong.
    Differs,
    /// Somebody else leads, or is about to.
    Deposed(Ballot),
    /// This shard could not be asked.
    Failed,
}

impl From<AppendEntriesResponse<u64>> for Appended {
    fn from(response: AppendEntriesResponse<u64>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::All,
            AppendEntriesResponse::Conflict => Self::Differs,
            AppendEntriesResponse::HigherVote(vote) => Self::Deposed(vote.into()),
            // A node never answers so: only whoever sends entries in parts might.
            AppendEntriesResponse::PartialSuccess(_) => Self::Failed,
        }
    }
}

/// A candidate for leading a shard, with the end of its log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Candidacy {
    pub(super) vote: Ballot,
    last: Option<Place>,
}

impl From<VoteRequest<u64>> for Candidacy {
    fn from(request: VoteRequest<u64>) -> Self {
        Self { vote: request.vote.into(), last: request.last_log_id.map(Place::from) }
    }
}

impl From<Candidacy> for VoteRequest<u64> {
    fn from(candidacy: Candidacy) -> Self {
        Self::new(candidacy.vote.into(), candidacy.last.map(LogId::from))
    }
}

/// What became of a candidacy.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Voted {
    pub(super) vote: Ballot,
    pub(super) granted: bool,
    last: Option<Place>,
}

impl From<VoteResponse<u64>> for Voted {
    fn from(response: VoteResponse<u64>) -> Self {
        let last = response.last_log_id.map(Place::from);
        Self { vote: response.vote.into(), granted: response.vote_granted, last }
    }
}

impl From<Voted> for VoteResponse<u64> {
    fn from(voted: Voted) -> Self {
        Self::new(Vote::from(voted.vote), voted.last.map(LogId::from), voted.granted)
    }
}

/// A leader's sign of life for one shard.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Beat {
    pub(super) shard: ShardId,
    pub(super) vote: Ballot,
    /// Up to where the follower's log is the leader's.
    pub(super) matched: Option<Place>,
    /// Up to where the leader has applied.
    pub(super) applied: Option<Place>,
    /// Up to which index the follower may purge: nobody needs earlier entries from it.
    pub(super) floor: u64,
}

impl Beat {
    /// As openraft wants it: entries without entries.
    pub(super) fn request(&self) -> AppendEntriesRequest<Group> {
        AppendEntriesRequest {
            vote: self.vote.into(),
            prev_log_id: self.matched.map(LogId::from),
            leader_commit: self.applied.map(LogId::from),
            entries: Vec::new(),
        }
    }
}

/// What goes with a state that arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Finish {
    pub(super) vote: Ballot,
    /// Up to where it is applied, and who belongs to the group then.
    mark: ByteBuf,
}

impl Finish {
    pub(super) fn new(vote: Vote, meta: &SnapshotMeta) -> Self {
        let mark = Mark { applied: meta.last_log_id, members: meta.last_membership.clone() };
        Self { vote: vote.into(), mark: ByteBuf::from(mark.to_bytes()) }
    }

    /// As openraft wants it.
    pub(super) fn meta(&self) -> Result<SnapshotMeta, Unreadable> {
        let Mark { applied, members } = Mark::from_bytes(&self.mark)?;
        let snapshot_id = format!("arrived-{}", applied.map_or(0, |id| id.index));
        Ok(SnapshotMeta { last_log_id: applied, last_membership: members, snapshot_id })
    }
}
