//! What other nodes ask of this one, answered.

use super::message::{Append, Appended, Ask, Beat, Candidacy, Finish, Reply};
use super::peers::{PeerAnswer, PeerCall};
use super::record::{Ballot, Place};
use super::roll::{Introduction, Known, Roll};
use super::shard::Shard;
use super::types::Snapshot;
use crate::store::{Arrival, Rows, State};
use futures::future::join_all;
use openraft::storage::Snapshot as RaftSnapshot;
use otto_core::ids::{NodeId, ShardId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A state of which nothing more comes for so long does not arrive any more.
const ARRIVAL_PATIENCE: Duration = Duration::from_mins(1);

/// Answers other nodes.
#[derive(Clone)]
pub struct PeerSide(Arc<Desk>);

struct Desk {
    node: u64,
    roll: Arc<Roll>,
    shards: BTreeMap<ShardId, Arc<Shard>>,
    state: State,
    arrivals: Mutex<Arrivals>,
}

/// The states that are on their way here, one for a shard.
#[derive(Default)]
struct Arrivals {
    next: u64,
    by_shard: BTreeMap<ShardId, Arriving>,
}

struct Arriving {
    receipt: u64,
    arrival: Arc<Arrival>,
    heard: Instant,
}

impl fmt::Debug for PeerSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerSide").field(&self.0.node).finish()
    }
}

impl PeerSide {
    pub(super) fn new(
        node: u64,
        roll: Arc<Roll>,
        shards: BTreeMap<ShardId, Arc<Shard>>,
        state: State,
    ) -> Self {
        Self(Arc::new(Desk { node, roll, shards, state, arrivals: Mutex::default() }))
    }

    /// Answers a call that came from this node, as its connection proves.
    pub async fn answer(&self, from: NodeId, call: PeerCall) -> PeerAnswer {
        let reply = if call.from() == from {
            self.reply(call).await.unwrap_or_else(Reply::Failed)
        } else {
            Reply::Failed(format!("{} spoke in the name of {from}", call.from()))
        };
        PeerAnswer { from: self.0.roll.sign(), reply }
    }

    /// Up to which entry a shard is agreed on at this moment, where it is led here.
    ///
    /// # Errors
    /// Why this node cannot tell.
    pub async fn reach(&self, shard: ShardId) -> Result<u64, String> {
        self.shard(shard)?.reach().await.map_err(|error| error.to_string())
    }

    async fn reply(&self, call: PeerCall) -> Result<Reply, String> {
        let PeerCall { from, to, ask } = call;
        if to != self.0.node {
            return Err(format!("node {to} is asked, and this is node {}", self.0.node));
        }
        if let Ask::Introduce(shown) = ask {
            return self.meet(&shown).await;
        }
        // Two that lost their memory would know nothing against each other.
        self.0.roll.belongs()?;
        match self.0.roll.check(&from) {
            Known::Yes => {}
            Known::Stranger => return Ok(Reply::Stranger),
            Known::Outcast(why) => return Ok(Reply::Outcast(why)),
        }
        match ask {
            Ask::Introduce(shown) => self.meet(&shown).await,
            Ask::Append(shard, append) => {
                self.note_leader(from.node, shard, append.vote, append.committed);
                self.append(self.shard(shard)?, append).await
            }
            Ask::Vote(shard, candidacy) => self.vote(from.node, shard, candidacy).await,
            Ask::Beat(beats) => {
                for beat in &beats {
                    self.note_leader(from.node, beat.shard, beat.vote, beat.applied);
                }
                Ok(self.beat(beats).await)
            }
            Ask::Begin(shard) => self.begin(shard).await,
            Ask::Rows(shard, receipt, rows) => self.receive(shard, receipt, rows).await,
            Ask::Finish(shard, receipt, finish) => self.finish(shard, receipt, finish).await,
            Ask::CastOut(why) => {
                let noted = self.0.roll.cast_out(&why).await;
                noted.map(|()| Reply::Done).map_err(|fault| fault.to_string())
            }
            Ask::Stand(shard) => {
                let standing = self.shard(shard)?.raft.trigger().elect().await;
                standing.map(|()| Reply::Done).map_err(|error| error.to_string())
            }
        }
    }

    fn shard(&self, id: ShardId) -> Result<&Arc<Shard>, String> {
        self.0.shards.get(&id).ok_or_else(|| format!("there is no shard {id}"))
    }

    async fn meet(&self, shown: &Introduction) -> Result<Reply, String> {
        let met = self.0.roll.admit(shown).await.map_err(|fault| fault.to_string())?;
        Ok(match met {
            Known::Outcast(why) => {
                tracing::warn!(%why, "a node may not take part any more");
                Reply::Outcast(why)
            }
            Known::Yes | Known::Stranger => Reply::Introduced(self.0.roll.introduction()),
        })
    }

    /// A leader has its vote on disk, and every entry before it sends it: so it can't come back
    /// with less than what it says is committed.
    fn note_leader(&self, from: u64, shard: ShardId, vote: Ballot, committed: Option<Place>) {
        self.0.roll.note_vote(from, shard, vote);
        if let Some(committed) = committed {
            self.0.roll.note_kept(from, shard, committed);
        }
    }

    async fn append(&self, shard: &Shard, append: Append) -> Result<Reply, String> {
        let request = append.request().map_err(|unreadable| unreadable.to_string())?;
        let appended = shard.raft.append_entries(request).await;
        appended.map(|appended| Reply::Appended(appended.into())).map_err(|error| error.to_string())
    }

    async fn vote(&self, from: u64, id: ShardId, asked: Candidacy) -> Result<Reply, String> {
        // A candidate has its own vote on disk before it asks for others.
        self.0.roll.note_vote(from, id, asked.vote);
        let shard = self.shard(id)?;
        // Nobody votes before its log says who belongs to the group: a disk that was wiped does not
        // know what it promised. Who is let vote has that much (see `Shard::promote`).
        if shard.knows_nobody() {
            return Err(format!("this node does not know yet who belongs to shard {id}"));
        }
        let voted = shard.raft.vote(asked.into()).await;
        voted.map(|voted| Reply::Voted(voted.into())).map_err(|error| error.to_string())
    }

    async fn beat(&self, beats: Vec<Beat>) -> Reply {
        let follow = |beat: Beat| async move {
            let Ok(shard) = self.shard(beat.shard) else { return (beat.shard, Appended::Failed) };
            let outcome = shard.raft.append_entries(beat.request()).await;
            let outcome = outcome.map_or(Appended::Failed, Appended::from);
            if outcome == Appended::All {
                shard.set_floor(beat.floor);
            }
            (beat.shard, outcome)
        };
        Reply::Beaten(join_all(beats.into_iter().map(follow)).await)
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.0.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn begin(&self, shard: ShardId) -> Result<Reply, String> {
        self.shard(shard)?;
        let arrival = self.0.state.begin().await.map_err(|fault| fault.to_string())?;
        let mut arrivals = self.arrivals();
        let receipt = arrivals.next;
        arrivals.next += 1;
        let arriving = Arriving { receipt, arrival: Arc::new(arrival), heard: Instant::now() };
        arrivals.by_shard.insert(shard, arriving);
        Ok(Reply::Begun(receipt))
    }

    async fn receive(&self, shard: ShardId, receipt: u64, rows: Rows) -> Result<Reply, String> {
        let gone = || "nothing is being received under this number".to_owned();
        let arrival = {
            let mut arrivals = self.arrivals();
            let arriving = arrivals.by_shard.get_mut(&shard);
            let arriving = arriving.filter(|arriving| arriving.receipt == receipt);
            let arriving = arriving.ok_or_else(gone)?;
            arriving.heard = Instant::now();
            Arc::clone(&arriving.arrival)
        };
        let whole = arrival.receive(rows).await.map_err(|fault| fault.to_string())?;
        whole.then_some(Reply::Done).ok_or_else(|| "the rows did not arrive whole".to_owned())
    }

    async fn finish(&self, id: ShardId, receipt: u64, finish: Finish) -> Result<Reply, String> {
        let arrival = {
            let mut arrivals = self.arrivals();
            let there = arrivals.by_shard.get(&id).is_some_and(|found| found.receipt == receipt);
            let arriving = there.then(|| arrivals.by_shard.remove(&id)).flatten();
            arriving.ok_or("nothing is being received under this number")?.arrival
        };
        let meta = finish.meta().map_err(|unreadable| unreadable.to_string())?;
        let snapshot = RaftSnapshot { meta, snapshot: Box::new(Snapshot::Arrived(arrival)) };
        let raft = &self.shard(id)?.raft;
        let installed = raft.install_full_snapshot(finish.vote.into(), snapshot).await;
        installed.map(|done| Reply::Finished(done.vote.into())).map_err(|error| error.to_string())
    }

    /// Gives up on states of which nothing comes any more.
    pub(super) fn tidy(&self) {
        let fresh = |arriving: &Arriving| arriving.heard.elapsed() < ARRIVAL_PATIENCE;
        self.arrivals().by_shard.retain(|_, arriving| fresh(arriving));
    }
}
