//! The file of state: what the logs came to.
//!
//! One writer applies the entries of all shards, those that wait together in one commit that is
//! visible at once and durable later: what a crash takes away is applied again from the log. It
//! *settles* (makes all of it durable) about once a second, after some hundred kilobytes, and
//! before a log is purged.

use super::apply::{self, Applied};
use super::base::{Base, Commit, damaged, seal, unseal};
use super::executor::Batcher;
use super::fault::Fault;
use super::spaces::{self, Rows, SpaceOrder, Spaces};
use otto_core::ids::ShardId;
use otto_core::journal::{Proposal, Verdict};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// shard → its space and its mark: what is current, in one row.
pub(super) const SHARDS: TableDefinition<u16, &[u8]> = TableDefinition::new("shards");
/// (space, kind, id) → head.
pub(super) const HEADS: TableDefinition<HeadKey, &[u8]> = TableDefinition::new("heads");
/// (space, kind, id, version) → journal entry.
pub(super) const JOURNALS: TableDefinition<JournalKey, &[u8]> = TableDefinition::new("journals");
/// (space, wake-up in milliseconds, kind, id): who wants to be woken when.
pub(super) const WAKES: TableDefinition<WakeKey, ()> = TableDefinition::new("wakes");

/// Every key begins with a space, so that a snapshot can be received beside what is current.
pub(super) type HeadKey = (u32, u8, u128);
pub(super) type JournalKey = (u32, u8, u128, u64);
pub(super) type WakeKey = (u32, u64, u8, u128);

/// After this many bytes of applied entries the state is settled, whatever the time: a settling
/// commit stops applying for as long as it has bytes to write.
const SETTLE_BYTES: usize = 256 << 10;

/// What one shard's log came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// The key prefix under which its entities are.
    pub(super) space: u32,
    /// Up to where its log is applied, in replication's own encoding.
    pub(super) mark: Vec<u8>,
}

impl Standing {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        seal(&[&self.space.to_be_bytes(), self.mark.as_slice()].concat())
    }

    pub(super) fn from_bytes(sealed: &[u8]) -> Result<Self, redb::Error> {
        let (space, mark) = unseal(sealed)?
            .split_first_chunk()
            .ok_or_else(|| damaged("a shard's row is too short"))?;
        Ok(Self { space: u32::from_be_bytes(*space), mark: mark.to_vec() })
    }
}

/// Entries of one shard's log to apply, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whose they are.
    pub(crate) shard: ShardId,
    /// The proposals of each entry.
    pub(crate) entries: Vec<Arc<Vec<Proposal>>>,
    /// The mark when they are applied.
    pub(crate) mark: Vec<u8>,
}

/// The verdicts on the proposals of each entry of a batch.
pub(crate) type Verdicts = Vec<Vec<Verdict>>;

enum Order {
    Apply(Batch, oneshot::Sender<Result<Verdicts, Fault>>),
    Settle(ShardId, oneshot::Sender<Result<Vec<u8>, Fault>>),
    Space(SpaceOrder),
    Close(oneshot::Sender<Result<(), Fault>>),
}

/// The journals, heads and wake-ups of all shards of this node.
#[derive(Clone)]
pub(crate) struct State {
    pub(super) base: Base,
    orders: mpsc::UnboundedSender<Order>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.base).finish()
    }
}

impl State {
    /// The state in a database, and its writer, still to be run.
    pub(super) fn new(base: Base) -> Result<(Self, Box<dyn super::Writer>), Fault> {
        let (orders, inbox) = mpsc::unbounded_channel();
        let settled: BTreeMap<u16, Standing> = base.read(|transaction| {
            let shards = transaction.open_table(SHARDS)?;
            let rows = shards.iter()?.map(|row| {
                let (shard, standing) = row?;
                Ok((shard.value(), Standing::from_bytes(standing.value())?))
            });
            rows.collect::<Result<_, redb::Error>>()
        })?;
        let mut applier = Applier {
            base: base.clone(),
            spaces: Spaces::read(&base, &settled)?,
            current: settled.clone(),
            settled,
            unsettled_bytes: 0,
        };
        let work = move |orders| applier.work(orders);
        Ok((Self { base, orders }, Box::new(Batcher::new(inbox, work))))
    }

    /// Applies entries; when this returns, everyone can see it.
    pub(crate) async fn apply(&self, batch: Batch) -> Result<Verdicts, Fault> {
        self.order(|reply| Order::Apply(batch, reply)).await
    }

    /// Makes all that is applied durable, for all shards; answers the mark of this one, empty where
    /// nothing was applied yet.
    pub(crate) async fn settle(&self, shard: ShardId) -> Result<Vec<u8>, Fault> {
        self.order(|reply| Order::Settle(shard, reply)).await
    }

    /// Begins a new space, for what another replica sends.
    pub(crate) async fn begin(&self) -> Result<Arrival, Fault> {
        let space = self.order(|reply| Order::Space(SpaceOrder::Begin(reply))).await?;
        Ok(Arrival { space, state: self.clone() })
    }

    /// Puts a space into the place of what a shard has, durably, up to the mark that goes with it.
    pub(crate) async fn adopt(
        &self,
        shard: ShardId,
        arrival: &Arrival,
        mark: Vec<u8>,
    ) -> Result<(), Fault> {
        let standing = Standing { space: arrival.space, mark };
        self.order(|reply| Order::Space(SpaceOrder::Adopt(shard, standing, reply))).await
    }

    /// Sweeps some of what nobody owns any more; true if there is more.
    pub(crate) async fn sweep(&self) -> Result<bool, Fault> {
        self.order(|reply| Order::Space(SpaceOrder::Sweep(reply))).await
    }

    /// Settles, and closes the file.
    pub(crate) async fn close(&self) -> Result<(), Fault> {
        self.order(Order::Close).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, Fault>>) -> Order,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).map_err(|_| Fault::Closed)?;
        answer.await.unwrap_or(Err(Fault::Closed))
    }

    /// The mark of a shard; `None` where nothing was applied yet.
    pub(crate) fn mark(&self, shard: ShardId) -> Result<Option<Vec<u8>>, Fault> {
        self.base.read(|read| Ok(standing(read, shard)?.map(|standing| standing.mark)))
    }

    /// A picture of a shard that stays as it is, with its mark.
    pub(crate) fn picture(&self, shard: ShardId) -> Result<Option<Picture>, Fault> {
        self.base.picture(|transaction| {
            let standing = standing(&transaction, shard)?;
            let transaction = Arc::new(transaction);
            Ok(standing.map(|Standing { space, mark }| Picture { mark, space, transaction }))
        })
    }

    /// A picture of all shards that anything was applied to, at one moment.
    pub(crate) fn pictures(&self) -> Result<Vec<(ShardId, Picture)>, Fault> {
        self.base.picture(|transaction| {
            let transaction = Arc::new(transaction);
            let shards = transaction.open_table(SHARDS)?;
            let pictures = shards.iter()?.map(|row| {
                let (shard, standing) = row?;
                let Standing { space, mark } = Standing::from_bytes(standing.value())?;
                let transaction = Arc::clone(&transaction);
                Ok((ShardId(shard.value()), Picture { mark, space, transaction }))
            });
            pictures.collect()
        })
    }
}

/// A space that is being received. When it is dropped, nothing more is put into it, and unless it
/// was adopted it is swept.
#[derive(Debug)]
pub(crate) struct Arrival {
    space: u32,
    state: State,
}

impl Arrival {
    /// Puts rows into the space; false where they are not whole.
    pub(crate) async fn receive(&self, rows: Rows) -> Result<bool, Fault> {
        let order = |reply| Order::Space(SpaceOrder::Receive(self.space, rows, reply));
        self.state.order(order).await
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        // Where the store was closed, whoever opens it next sweeps.
        self.state.orders.send(Order::Space(SpaceOrder::Abandon(self.space))).ok();
    }
}

/// A shard as it was at one moment.
pub(crate) struct Picture {
    pub(crate) mark: Vec<u8>,
    pub(super) space: u32,
    /// Shared by the pictures that were taken together.
    pub(super) transaction: Arc<ReadTransaction>,
}

/// A shard's row as a transaction sees it.
pub(super) fn standing(
    transaction: &ReadTransaction,
    shard: ShardId,
) -> Result<Option<Standing>, redb::Error> {
    let shards = transaction.open_table(SHARDS)?;
    let found = shards.get(shard.0)?;
    found.map(|row| Standing::from_bytes(row.value())).transpose()
}

/// The writer of the state.
struct Applier {
    base: Base,
    spaces: Spaces,
    /// What is applied.
    current: BTreeMap<u16, Standing>,
    /// What of it is on disk.
    settled: BTreeMap<u16, Standing>,
    unsettled_bytes: usize,
}

type Waiting = Vec<oneshot::Sender<Result<Verdicts, Fault>>>;

impl Applier {
    fn work(&mut self, orders: Vec<Order>) -> bool {
        let mut batches = Vec::with_capacity(orders.len());
        let mut waiting = Waiting::with_capacity(orders.len());
        let mut spaces = Vec::new();
        let mut settling = Vec::new();
        let mut closing = Vec::new();
        for order in orders {
            match order {
                Order::Apply(batch, reply) => {
                    batches.push(batch);
                    waiting.push(reply);
                }
                Order::Settle(shard, reply) => settling.push((shard, reply)),
                Order::Space(order) => spaces.push(order),
                Order::Close(reply) => closing.push(reply),
            }
        }
        if !batches.is_empty() {
            self.apply(&batches, waiting);
        }
        for order in spaces {
            self.arrange(order);
        }
        if !settling.is_empty() || !closing.is_empty() || self.unsettled_bytes >= SETTLE_BYTES {
            let outcome = self.settle();
            for (shard, reply) in settling {
                let mark = || self.settled.get(&shard.0).map(|settled| settled.mark.clone());
                // Nobody waits any more where the shard was stopped meanwhile.
                reply.send(outcome.clone().map(|()| mark().unwrap_or_default())).ok();
            }
            if !closing.is_empty() {
                self.base.close();
                for reply in closing {
                    reply.send(outcome.clone()).ok();
                }
                return false;
            }
        }
        true
    }

    fn apply(&mut self, batches: &[Batch], waiting: Waiting) {
        let mut current = self.current.clone();
        for batch in batches {
            let fresh = || Standing { space: self.spaces.draw(), mark: Vec::new() };
            current.entry(batch.shard.0).or_insert_with(fresh).mark.clone_from(&batch.mark);
        }
        let outcome = self
            .base
            .write(Commit::Visible, |transaction| apply_all(transaction, &current, batches));
        match outcome {
            Ok(applied) => {
                self.current = current;
                self.unsettled_bytes += applied.bytes.max(1);
                for (verdicts, reply) in applied.verdicts.into_iter().zip(waiting) {
                    reply.send(Ok(verdicts)).ok();
                }
            }
            Err(fault) => {
                for reply in waiting {
                    reply.send(Err(fault.clone())).ok();
                }
            }
        }
    }

    /// Nobody waits any more for an answer where the shard was stopped meanwhile.
    fn arrange(&mut self, order: SpaceOrder) {
        match order {
            SpaceOrder::Begin(reply) => drop(reply.send(self.spaces.begin(&self.base))),
            SpaceOrder::Receive(space, rows, reply) => {
                self.unsettled_bytes += spaces::ROWS_BYTES;
                drop(reply.send(self.spaces.receive(&self.base, space, &rows)));
            }
            SpaceOrder::Abandon(space) => self.spaces.abandon(space),
            SpaceOrder::Adopt(shard, standing, reply) => {
                let before = self.current.get(&shard.0).map(|before| before.space);
                let adopted = self.spaces.adopt(&self.base, shard, &standing, before);
                if adopted.is_ok() {
                    self.current.insert(shard.0, standing);
                    self.settled = self.current.clone();
                    self.unsettled_bytes = 0;
                }
                drop(reply.send(adopted));
            }
            SpaceOrder::Sweep(reply) => {
                let swept = self.spaces.sweep(&self.base);
                self.unsettled_bytes += usize::from(matches!(swept, Ok(true)));
                drop(reply.send(swept));
            }
        }
    }

    fn settle(&mut self) -> Result<(), Fault> {
        if self.unsettled_bytes > 0 {
            self.base.write(Commit::QuickToOpen, |_| Ok(()))?;
            self.unsettled_bytes = 0;
            self.settled = self.current.clone();
        }
        Ok(())
    }
}

struct AllApplied {
    verdicts: Vec<Verdicts>,
    bytes: usize,
}

/// Applies batches to the tables, and moves the marks to where they are then.
fn apply_all(
    transaction: &WriteTransaction,
    moved: &BTreeMap<u16, Standing>,
    batches: &[Batch],
) -> Result<AllApplied, redb::Error> {
    let mut shards = transaction.open_table(SHARDS)?;
    let mut tables = apply::Tables::open(transaction)?;
    let mut all = AllApplied { verdicts: Vec::with_capacity(batches.len()), bytes: 0 };
    for batch in batches {
        let Some(standing) = moved.get(&batch.shard.0) else { continue };
        let mut verdicts = Verdicts::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let Applied { verdicts: of_entry, bytes } = tables.apply(standing.space, entry)?;
            verdicts.push(of_entry);
            all.bytes += bytes;
        }
        shards.insert(batch.shard.0, standing.to_bytes().as_slice())?;
        all.verdicts.push(verdicts);
    }
    Ok(all)
}
