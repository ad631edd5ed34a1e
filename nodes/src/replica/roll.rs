//! The roll: who this node is, and what others showed of themselves.
//!
//! A node whose disk was wiped or taken back to an old copy has forgotten votes and entries that
//! others count on. So every store has a number of its own, counts its starts, and draws a number
//! for each; and everybody remembers what a node showed: its starts, its votes, and up to where it
//! had said to keep a log. Who shows less than that is no member any more, and must join anew. It
//! never forgets that it was told so: else members that were turned away one after another could
//! come together as the group that they were once.

use super::record::{Ballot, Place};
use super::types::{LogId, Vote};
use crate::store::{Fault, Log, LogChange, Slot, StoreFile};
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{decode, encode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};

/// Who speaks: it goes with everything that a node says to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Sign {
    pub(super) node: u64,
    /// The store's number.
    birth: u64,
    /// How often the store was opened.
    starts: u64,
    /// The number of this start.
    session: u64,
}

/// What a node shows of itself when it meets another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Introduction {
    sign: Sign,
    /// The numbers of its latest starts, this one last.
    sessions: Vec<u64>,
    /// What each shard's log held when it started.
    marks: Vec<OpeningMark>,
}

impl Introduction {
    /// Who it is.
    pub(super) fn sign(&self) -> Sign {
        self.sign
    }
}

/// What a shard's log held at a start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct OpeningMark {
    pub(super) shard: ShardId,
    pub(super) vote: Option<Ballot>,
    pub(super) last: Option<Place>,
}

/// The numbers of this node's latest starts, on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Starts {
    count: u64,
    sessions: Vec<u64>,
}

/// How many starts are remembered: who was not met for longer is judged by votes and logs alone.
const REMEMBERED_STARTS: usize = 1024;

/// What a node showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    sign: Sign,
    /// Its highest vote, by shard.
    votes: BTreeMap<u16, Ballot>,
    /// Up to where it holds committed entries, by shard.
    kept: BTreeMap<u16, Place>,
}

/// How a sign compares with what is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// It is who it was.
    Yes,
    /// It must introduce itself.
    Stranger,
    /// It is no member any more, and why.
    Outcast(String),
}

/// The roll of one node.
pub(super) struct Roll {
    own: Introduction,
    log: Log,
    seen: Mutex<BTreeMap<u64, Seen>>,
    /// Whether what is remembered changed since it was last written.
    changed: Mutex<bool>,
    /// To whom this process has introduced itself.
    introduced: Mutex<BTreeSet<u64>>,
    outcast: watch::Sender<Option<String>>,
}

impl fmt::Debug for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roll").field(&self.own.sign).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers something of the whole node, durably.
async fn remember(log: &Log, slot: Slot, bytes: Vec<u8>) -> Result<(), Fault> {
    let (reply, answer) = oneshot::channel();
    let done = move |outcome| drop(reply.send(outcome));
    log.order(ShardId::META, LogChange::Remember(slot, bytes), Box::new(done));
    answer.await.unwrap_or(Err(Fault::Closed))
}

/// Recalls something of the whole node.
fn recall<T: serde::de::DeserializeOwned>(log: &Log, slot: Slot) -> Result<Option<T>, Fault> {
    let bytes = log.recall(ShardId::META, slot)?;
    let record = bytes.map(|bytes| decode("record of the node", &bytes)).transpose();
    record.map_err(|unreadable| Fault::unreadable(StoreFile::Log, &unreadable))
}

impl Roll {
    /// Counts a start, durably, before the node speaks to anybody.
    pub(super) async fn open(
        log: Log,
        node: u64,
        birth: u64,
        session: u64,
        marks: Vec<OpeningMark>,
    ) -> Result<Self, Fault> {
        let mut starts: Starts = recall(&log, Slot::Starts)?.unwrap_or_default();
        starts.count += 1;
        starts.sessions.push(session);
        let surplus = starts.sessions.len().saturating_sub(REMEMBERED_STARTS);
        starts.sessions.drain(..surplus);
        remember(&log, Slot::Starts, encode(&starts)).await?;
        let seen: Vec<Seen> = recall(&log, Slot::Roll)?.unwrap_or_default();
        let outcast: Option<String> = recall(&log, Slot::Outcast)?;
        let sign = Sign { node, birth, starts: starts.count, session };
        Ok(Self {
            own: Introduction { sign, sessions: starts.sessions, marks },
            log,
            seen: Mutex::new(seen.into_iter().map(|seen| (seen.sign.node, seen)).collect()),
            changed: Mutex::default(),
            introduced: Mutex::default(),
            outcast: watch::Sender::new(outcast),
        })
    }

    /// Who this node is.
    pub(super) fn sign(&self) -> Sign {
        self.own.sign
    }

    /// What it shows of itself.
    pub(super) fn introduction(&self) -> Introduction {
        self.own.clone()
    }

    /// Whether it has introduced itself to a node that knows it still.
    pub(super) fn has_introduced(&self, node: u64) -> bool {
        lock(&self.introduced).contains(&node)
    }

    /// Takes in whether a node knows this one.
    pub(super) fn set_introduced(&self, node: u64, introduced: bool) {
        let mut known = lock(&self.introduced);
        if introduced {
            known.insert(node)
        } else {
            known.remove(&node)
        };
    }

    /// Takes in that others will not have this node any more, durably: at once and for ever.
    pub(super) async fn cast_out(&self, why: &str) -> Result<(), Fault> {
        let news = self.outcast.send_if_modified(|known| {
            let news = known.is_none();
            known.get_or_insert_with(|| why.to_owned());
            news
        });
        if !news {
            return Ok(());
        }
        tracing::error!(why, "this node is no member of its groups any more");
        remember(&self.log, Slot::Outcast, encode(&why)).await
    }

    /// Whether this node still takes part; or why others will not have it.
    pub(super) fn belongs(&self) -> Result<(), String> {
        self.outcast.borrow().clone().map_or(Ok(()), Err)
    }

    /// What tells when others will not have this node any more.
    pub(super) fn outcast(&self) -> watch::Receiver<Option<String>> {
        self.outcast.subscribe()
    }

    /// Compares a sign with what is known.
    pub(super) fn check(&self, sign: &Sign) -> Known {
        match lock(&self.seen).get(&sign.node) {
            Some(seen) if seen.sign == *sign => Known::Yes,
            Some(seen) => match seen.outdone_by(sign) {
                Ok(()) => Known::Stranger,
                Err(why) => Known::Outcast(why),
            },
            None => Known::Stranger,
        }
    }

    /// Takes note of a node, durably, unless it shows less than it did.
    pub(super) async fn admit(&self, shown: &Introduction) -> Result<Known, Fault> {
        {
            let mut all = lock(&self.seen);
            match all.get_mut(&shown.sign.node) {
                Some(seen) if seen.sign == shown.sign => return Ok(Known::Yes),
                Some(seen) => match seen.continued_by(shown) {
                    Ok(()) => seen.sign = shown.sign,
                    Err(why) => return Ok(Known::Outcast(why)),
                },
                None => {
                    let seen = Seen {
                        sign: shown.sign,
                        votes: BTreeMap::default(),
                        kept: BTreeMap::default(),
                    };
                    all.insert(shown.sign.node, seen);
                }
            }
            *lock(&self.changed) = true;
        }
        self.write().await?;
        Ok(Known::Yes)
    }

    /// Takes note of a vote that a node has on its disk.
    pub(super) fn note_vote(&self, node: u64, shard: ShardId, vote: Ballot) {
        self.note(node, |seen| {
            let known = seen.votes.get(&shard.0).copied();
            let higher = known.is_none_or(|known| Vote::from(vote) > Vote::from(known));
            higher.then(|| seen.votes.insert(shard.0, vote)).is_some()
        });
    }

    /// Takes note that a node holds the committed entries up to a place.
    pub(super) fn note_kept(&self, node: u64, shard: ShardId, upto: Place) {
        self.note(node, |seen| {
            let known = seen.kept.get(&shard.0).copied();
            let further = known.is_none_or(|known| LogId::from(upto) > LogId::from(known));
            further.then(|| seen.kept.insert(shard.0, upto)).is_some()
        });
    }

    fn note(&self, node: u64, note: impl FnOnce(&mut Seen) -> bool) {
        if lock(&self.seen).get_mut(&node).is_some_and(note) {
            *lock(&self.changed) = true;
        }
    }

    /// Writes what is remembered, if it changed.
    pub(super) async fn write(&self) -> Result<(), Fault> {
        if !std::mem::take(&mut *lock(&self.changed)) {
            return Ok(());
        }
        let seen: Vec<Seen> = lock(&self.seen).values().cloned().collect();
        remember(&self.log, Slot::Roll, encode(&seen)).await
    }
}

impl Seen {
    /// Whether a sign can be of a later start.
    fn outdone_by(&self, sign: &Sign) -> Result<(), String> {
        let node = NodeId(sign.node);
        if sign.birth != self.sign.birth {
            return Err(format!("node {node} has another disk than it had: it was wiped"));
        }
        if sign.starts <= self.sign.starts {
            return Err(format!(
                "node {node} shows start {} of its disk and had shown start {}: the disk was \
                 taken back to an older copy",
                sign.starts, self.sign.starts
            ));
        }
        Ok(())
    }

    /// Whether what a node shows goes on from what it showed.
    fn continued_by(&self, shown: &Introduction) -> Result<(), String> {
        self.outdone_by(&shown.sign)?;
        let node = NodeId(shown.sign.node);
        let older = |what: &str| {
            format!("node {node} has lost {what} that it had: its disk was taken back to a copy")
        };
        let since = usize::try_from(shown.sign.starts - self.sign.starts).unwrap_or(usize::MAX);
        let then = shown.sessions.len().checked_sub(since + 1);
        if then.is_some_and(|then| shown.sessions[then] != self.sign.session) {
            return Err(older("the memory of a start"));
        }
        let mark = |shard| shown.marks.iter().find(|mark| mark.shard.0 == shard);
        for (shard, vote) in &self.votes {
            let then = mark(*shard).and_then(|mark| mark.vote).map(Vote::from);
            // Votes are not in one order; one that can't be compared is not known to be as high.
            let as_high = then.is_some_and(|then| then >= Vote::from(*vote));
            if !as_high {
                return Err(older("a vote"));
            }
        }
        for (shard, place) in &self.kept {
            let then = mark(*shard).and_then(|mark| mark.last).map(LogId::from);
            if then.is_none_or(|then| then < LogId::from(*place)) {
                return Err(older("entries"));
            }
        }
        Ok(())
    }
}
