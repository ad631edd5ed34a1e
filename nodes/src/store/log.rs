//! The file of logs: what replication appends, durable before anyone hears of it.
//!
//! One writer takes the appends of all shards and commits those that wait together: one sync, many
//! acknowledgements.

use super::base::{Base, Commit, seal, unseal};
use super::executor::Batcher;
use super::fault::Fault;
use otto_core::ids::ShardId;
use redb::{TableDefinition, WriteTransaction};
use std::fmt;
use std::ops::RangeInclusive;
use tokio::sync::mpsc;

/// (shard, index) → entry.
pub(super) const ENTRIES: TableDefinition<(u16, u64), &[u8]> = TableDefinition::new("entries");
/// (shard, slot) → what replication remembers beside its entries.
pub(super) const SLOTS: TableDefinition<(u16, u8), &[u8]> = TableDefinition::new("slots");

/// What replication remembers beside its entries. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Slot {
    /// For whom this node voted last.
    Vote = 1,
    /// Up to where the log was purged.
    Purged = 2,
    /// How often this node was started: one row, with *meta*.
    Starts = 3,
    /// What other nodes showed: one row, with *meta*.
    Roll = 4,
    /// Why others will not have this node any more: one row, with *meta*.
    Outcast = 5,
}

/// A change to one shard's log.
#[derive(Debug)]
pub(crate) enum LogChange {
    /// Adds entries, by index.
    Append(Vec<(u64, Vec<u8>)>),
    /// Remembers something.
    Remember(Slot, Vec<u8>),
    /// Removes the entries from this index on.
    Truncate(u64),
    /// Removes the entries up to this index, and remembers that.
    Purge(u64, Vec<u8>),
}

/// Called when a change is on disk, or never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

enum Order {
    Change(ShardId, LogChange, Done),
    Close(Done),
}

/// The logs of all shards of this node.
#[derive(Clone)]
pub(crate) struct Log {
    base: Base,
    orders: mpsc::UnboundedSender<Order>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.base).finish()
    }
}

impl Log {
    /// The log in a database, and its writer, still to be run.
    pub(super) fn new(base: Base) -> (Self, Box<dyn super::Writer>) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let writer = base.clone();
        let work = move |orders| commit(&writer, orders);
        (Self { base, orders }, Box::new(Batcher::new(inbox, work)))
    }

    /// Orders a change. Changes are made in the order in which they were ordered.
    pub(crate) fn order(&self, shard: ShardId, change: LogChange, done: Done) {
        if let Err(unsent) = self.orders.send(Order::Change(shard, change, done)) {
            let (Order::Change(_, _, done) | Order::Close(done)) = unsent.0;
            done(Err(Fault::Closed));
        }
    }

    /// Closes the file after all that was ordered.
    pub(crate) fn close(&self, done: Done) {
        if let Err(unsent) = self.orders.send(Order::Close(done)) {
            let (Order::Change(_, _, done) | Order::Close(done)) = unsent.0;
            done(Ok(()));
        }
    }

    /// What was remembered.
    pub(crate) fn recall(&self, shard: ShardId, slot: Slot) -> Result<Option<Vec<u8>>, Fault> {
        self.base.read(|transaction| {
            let slots = transaction.open_table(SLOTS)?;
            let found = slots.get((shard.0, slot as u8))?;
            found.map(|value| unseal(value.value()).map(<[u8]>::to_vec)).transpose()
        })
    }

    /// The entries of a range that are there, in order.
    pub(crate) fn entries(
        &self,
        shard: ShardId,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        self.base.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            entries
                .range((shard.0, *range.start())..=(shard.0, *range.end()))?
                .map(|row| unseal(row?.1.value()).map(<[u8]>::to_vec))
                .collect()
        })
    }

    /// The last entry.
    pub(crate) fn last(&self, shard: ShardId) -> Result<Option<Vec<u8>>, Fault> {
        self.base.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let last = entries.range((shard.0, 0)..=(shard.0, u64::MAX))?.next_back();
            last.map(|row| unseal(row?.1.value()).map(<[u8]>::to_vec)).transpose()
        })
    }
}

/// Commits what was ordered, all of it together, and tells everyone. False after a close.
fn commit(base: &Base, orders: Vec<Order>) -> bool {
    let mut changes = Vec::with_capacity(orders.len());
    let mut waiting = Vec::with_capacity(orders.len());
    let mut closing = Vec::new();
    for order in orders {
        match order {
            Order::Change(shard, change, done) => {
                changes.push((shard, change));
                waiting.push(done);
            }
            Order::Close(done) => closing.push(done),
        }
    }
    if !changes.is_empty() {
        // Purges come when there is little else to do, and leave a file that opens at once.
        let purges = changes.iter().any(|(_, change)| matches!(change, LogChange::Purge(..)));
        let how = if purges { Commit::QuickToOpen } else { Commit::Durable };
        let outcome = base.write(how, |transaction| make(transaction, &changes));
        for done in waiting {
            done(outcome.clone());
        }
    }
    if closing.is_empty() {
        return true;
    }
    base.close();
    for done in closing {
        done(Ok(()));
    }
    false
}

fn make(
    transaction: &WriteTransaction,
    changes: &[(ShardId, LogChange)],
) -> Result<(), redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut slots = transaction.open_table(SLOTS)?;
    for (ShardId(shard), change) in changes {
        match change {
            LogChange::Append(rows) => {
                for (index, bytes) in rows {
                    entries.insert((*shard, *index), seal(bytes).as_slice())?;
                }
            }
            LogChange::Remember(slot, bytes) => {
                slots.insert((*shard, *slot as u8), seal(bytes).as_slice())?;
            }
            LogChange::Truncate(from) => {
                entries.retain_in((*shard, *from)..=(*shard, u64::MAX), |_, _| false)?;
            }
            LogChange::Purge(upto, mark) => {
                entries.retain_in((*shard, 0)..=(*shard, *upto), |_, _| false)?;
                slots.insert((*shard, Slot::Purged as u8), seal(mark).as_slice())?;
            }
        }
    }
    Ok(())
}
