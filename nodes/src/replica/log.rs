//! A shard's log, as openraft wants it: over the node's one file of logs.
//!
//! openraft purges the log that a snapshot replaces before the snapshot is installed. Were the
//! process to end between the two, entries would be missing; so a purge waits here until the state
//! is durable up to there.

use super::growth::Growth;
use super::record;
use super::types::{Batch, Entry, Group, LogId, Payload, StorageError, Vote};
use crate::store::{Fault, Health, Log, LogChange, Slot, StoreFile};
use openraft::StorageIOError;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader};
use otto_core::ids::ShardId;
use otto_core::journal::{Proposal, Unreadable};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{oneshot, watch};

/// How many of the last entries stay in memory, since openraft reads each back to apply it.
const TAIL_ENTRIES: usize = 64;
/// How many bytes of them.
const TAIL_BYTES: usize = 4 << 20;

/// How many bytes of entries travel together, but for a single entry that is larger.
const PART_BYTES: usize = 512 << 10;
/// How many entries are read at once while a part is put together.
const PART_ENTRIES: u64 = 64;

/// One shard's log.
#[derive(Clone, Debug)]
pub(super) struct ShardLog {
    shard: ShardId,
    log: Log,
    tail: Arc<Mutex<Tail>>,
    growth: Arc<Mutex<Growth>>,
    /// Up to where the state is durable.
    settled: watch::Receiver<Option<LogId>>,
    health: Health,
}

/// The last entries, without a gap, and about how many bytes each has.
#[derive(Debug, Default)]
struct Tail {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, entry: Entry, bytes: usize) {
        let follows = |(last, _): &(Entry, usize)| last.log_id.index + 1 == entry.log_id.index;
        if !self.entries.back().is_none_or(follows) {
            self.clear();
        }
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
        while self.entries.len() > TAIL_ENTRIES
            || (self.bytes > TAIL_BYTES && self.entries.len() > 1)
        {
            let dropped = self.entries.pop_front().map_or(0, |(_, bytes)| bytes);
            self.bytes -= dropped;
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    /// The entries of a range, if all of them are here.
    fn range(&self, range: &RangeInclusive<u64>) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.0.log_id.index;
        let last = self.entries.back()?.0.log_id.index;
        let here = first <= *range.start() && *range.end() <= last;
        here.then(|| {
            let entries = self.entries.iter().map(|(entry, _)| entry);
            entries.filter(|entry| range.contains(&entry.log_id.index)).cloned().collect()
        })
    }
}

impl ShardLog {
    pub(super) fn new(
        shard: ShardId,
        log: Log,
        settled: watch::Receiver<Option<LogId>>,
        health: Health,
    ) -> Self {
        Self { shard, log, tail: Arc::default(), growth: Arc::default(), settled, health }
    }

    /// About how many bytes the log has, as far as this process knows.
    pub(super) fn grown_bytes(&self) -> u64 {
        self.growth().bytes()
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Result<LogState<Group>, Fault> {
        let purged = self.log.recall(self.shard, Slot::Purged)?;
        let purged = purged.map(|bytes| record::read_place(&bytes)).transpose();
        let last = self.log.last(self.shard)?;
        let last = last.map(|bytes| record::read_entry(&bytes)).transpose();
        let last_purged_log_id = purged.map_err(|unreadable| misread(&unreadable))?;
        let last = last.map_err(|unreadable| misread(&unreadable))?;
        let last_log_id = last.map(|entry| entry.log_id).or(last_purged_log_id);
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        self.growth().inherit(index(last_purged_log_id), index(last_log_id));
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    fn vote(&self) -> Result<Option<Vote>, Fault> {
        let vote = self.log.recall(self.shard, Slot::Vote)?;
        let vote = vote.map(|bytes| record::read_vote(&bytes)).transpose();
        vote.map_err(|unreadable| misread(&unreadable))
    }

    fn stored(&self, range: RangeInclusive<u64>) -> Result<Vec<Entry>, Fault> {
        let stored = self.log.entries(self.shard, range)?;
        let entries = stored.iter().map(|bytes| record::read_entry(bytes));
        entries.collect::<Result<_, _>>().map_err(|unreadable| misread(&unreadable))
    }

    /// The first entries of a range, as many as travel together; none where the first is missing.
    fn part(&self, start: u64, end: u64) -> Result<Vec<Entry>, Fault> {
        let mut part: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut next = start;
        while next < end {
            let some = next..=(end - 1).min(next + PART_ENTRIES - 1);
            let here = self.tail().range(&some);
            let entries = here.map_or_else(|| self.stored(some), Ok)?;
            if entries.first().is_none_or(|first| first.log_id.index != next) {
                break;
            }
            for entry in entries {
                bytes += weight(&entry);
                if bytes > PART_BYTES && !part.is_empty() {
                    return Ok(part);
                }
                next = entry.log_id.index + 1;
                part.push(entry);
            }
        }
        Ok(part)
    }

    /// Waits until the state is durable up to an entry, or never will be.
    async fn settled_up_to(&self, upto: LogId) {
        let (mut settled, mut health) = (self.settled.clone(), self.health.watch());
        let there = |settled: &Option<LogId>| settled.is_some_and(|at| at.index >= upto.index);
        tokio::select! {
            biased;
            // Where nobody tells any more, the shard was stopped.
            _ = settled.wait_for(there) => {}
            _ = health.wait_for(Option::is_some) => {}
        }
    }

    async fn change(&self, change: LogChange) -> Result<(), StorageError> {
        let (reply, answer) = oneshot::channel();
        // Nobody waits any more where the shard was stopped meanwhile.
        let done = move |outcome| drop(reply.send(outcome));
        self.log.order(self.shard, change, Box::new(done));
        answer.await.unwrap_or(Err(Fault::Closed)).map_err(|fault| failed(&fault))
    }
}

/// About how many bytes an entry has.
fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(Batch(proposals)) => proposals.iter().map(Proposal::weight).sum(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

fn misread(unreadable: &Unreadable) -> Fault {
    Fault::unreadable(StoreFile::Log, unreadable)
}

/// A fault, as openraft wants it.
pub(super) fn failed(fault: &Fault) -> StorageError {
    StorageIOError::new(ErrorSubject::Store, ErrorVerb::Write, AnyError::new(fault)).into()
}

impl RaftLogReader<Group> for ShardLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let Some(range) = inclusive(&range) else { return Ok(Vec::new()) };
        if let Some(entries) = self.tail().range(&range) {
            return Ok(entries);
        }
        self.stored(range).map_err(|fault| failed(&fault))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.part(start, end).map_err(|fault| failed(&fault))
    }
}

/// The same range with both ends in it; `None` where it is empty.
fn inclusive(range: &impl RangeBounds<u64>) -> Option<RangeInclusive<u64>> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => *end,
        Bound::Excluded(behind) => behind.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (start <= end).then_some(start..=end)
}

impl RaftLogStorage<Group> for ShardLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Group>, StorageError> {
        self.state().map_err(|fault| failed(&fault))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.change(LogChange::Remember(Slot::Vote, record::vote_bytes(vote))).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.vote().map_err(|fault| failed(&fault))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        flushed: LogFlushed<Group>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        {
            let (mut tail, mut growth) = (self.tail(), self.growth());
            for entry in entries {
                let bytes = record::entry_bytes(&entry);
                let index = entry.log_id.index;
                growth.add(index, bytes.len());
                tail.push(entry, bytes.len());
                rows.push((index, bytes));
            }
        }
        let done = |outcome: Result<(), Fault>| {
            flushed.log_io_completed(outcome.map_err(io::Error::other));
        };
        self.log.order(self.shard, LogChange::Append(rows), Box::new(done));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.tail().clear();
        self.change(LogChange::Truncate(from.index)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.settled_up_to(upto).await;
        self.health.check().map_err(|fault| failed(&fault))?;
        self.growth().purge(upto.index);
        self.change(LogChange::Purge(upto.index, record::place_bytes(upto))).await
    }
}
