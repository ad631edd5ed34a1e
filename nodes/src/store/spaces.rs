//! Spaces: where in the file a shard's state is, and how another replica's takes its place.
//!
//! What is received goes to a new space, beside what is current and served meanwhile. One row makes
//! it current, in one durable commit. The space that it replaced, and one whose receipt was never
//! finished, is owned by nobody, and swept away in small batches.

use super::apply::{head_key, read_head};
use super::base::{Base, Commit, unseal};
use super::fault::Fault;
use super::state::{HEADS, JOURNALS, Picture, SHARDS, Standing, WAKES};
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, StoredHead};
use otto_core::time::Timestamp;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// The spaces that no shard owns.
pub(super) const UNOWNED: TableDefinition<u32, ()> = TableDefinition::new("unowned");

/// About how many bytes of rows travel together.
pub(super) const ROWS_BYTES: usize = 256 << 10;
/// How many rows of each table are swept at once: applying waits for them.
const SWEPT_ROWS: usize = 512;

/// Some rows of a shard, without their space, as they are on disk and as they travel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rows {
    heads: Vec<((u8, u128), ByteBuf)>,
    journals: Vec<((u8, u128, u64), ByteBuf)>,
}

/// Up to where a picture's rows were taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    head: Option<HeadPlace>,
    journal: Option<EntryPlace>,
}

/// Where a head is in its space: kind and identity.
type HeadPlace = (u8, u128);
/// Where an entry is in its space: kind, identity and version.
type EntryPlace = (u8, u128, u64);

impl Taken {
    /// Up to this head and this entry of a journal.
    pub(crate) fn upto(head: Option<HeadPlace>, journal: Option<EntryPlace>) -> Self {
        Self { head, journal }
    }

    /// The last head that was taken.
    pub(crate) fn head(self) -> Option<HeadPlace> {
        self.head
    }

    /// The last entry of a journal that was taken.
    pub(crate) fn entry(self) -> Option<EntryPlace> {
        self.journal
    }
}

impl Rows {
    /// The head of an entity, where it is one of these.
    pub(crate) fn head(&self, entity: EntityId) -> Option<StoredHead> {
        let key = (entity.kind as u8, entity.id);
        let (_, head) = self.heads.iter().find(|(found, _)| *found == key)?;
        read_head(head).ok()
    }

    /// Adds the rows to a digest.
    pub(crate) fn hash(&self, digest: &mut blake3::Hasher) {
        for ((kind, id), head) in &self.heads {
            digest.update(&[*kind]).update(&id.to_be_bytes()).update(head);
        }
        for ((kind, id, version), entry) in &self.journals {
            digest.update(&[*kind]).update(&id.to_be_bytes()).update(&version.to_be_bytes());
            digest.update(entry);
        }
    }

    /// Whether every row is as it was sealed.
    pub(crate) fn are_whole(&self) -> bool {
        self.heads.iter().all(|(_, head)| read_head(head).is_ok())
            && self.journals.iter().all(|(_, entry)| unseal(entry).is_ok())
    }
}

impl Picture {
    /// The head of an entity, as it is in the picture.
    pub(crate) fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, Fault> {
        let read = || {
            let heads = self.transaction.open_table(HEADS)?;
            let found = heads.get(head_key(self.space, entity))?;
            found.map(|head| read_head(head.value())).transpose()
        };
        read().map_err(|error: redb::Error| Fault::new(super::StoreFile::State, &error))
    }

    /// The next rows behind those that were taken; `None` when these were all.
    pub(crate) fn rows(&self, taken: &mut Taken) -> Result<Option<Rows>, Fault> {
        self.take(taken).map_err(|error| Fault::new(super::StoreFile::State, &error))
    }

    fn take(&self, taken: &mut Taken) -> Result<Option<Rows>, redb::Error> {
        let space = self.space;
        let mut rows = Rows::default();
        let mut bytes = 0;
        let (kind, id) = taken.head.unwrap_or_default();
        let behind = (space, kind, id)..=(space, u8::MAX, u128::MAX);
        for row in self.transaction.open_table(HEADS)?.range(behind)? {
            if bytes >= ROWS_BYTES {
                break;
            }
            let (key, head) = row?;
            let (_, kind, id) = key.value();
            if taken.head != Some((kind, id)) {
                bytes += head.value().len();
                rows.heads.push(((kind, id), ByteBuf::from(head.value())));
            }
        }
        let (kind, id, version) = taken.journal.unwrap_or_default();
        let behind = (space, kind, id, version)..=(space, u8::MAX, u128::MAX, u64::MAX);
        for row in self.transaction.open_table(JOURNALS)?.range(behind)? {
            if bytes >= ROWS_BYTES {
                break;
            }
            let (key, entry) = row?;
            let (_, kind, id, version) = key.value();
            if taken.journal != Some((kind, id, version)) {
                bytes += entry.value().len();
                rows.journals.push(((kind, id, version), ByteBuf::from(entry.value())));
            }
        }
        taken.head = rows.heads.last().map(|(key, _)| *key).or(taken.head);
        taken.journal = rows.journals.last().map(|(key, _)| *key).or(taken.journal);
        Ok((bytes > 0).then_some(rows))
    }
}

/// What the writer of the state is asked to do with spaces.
pub(super) enum SpaceOrder {
    /// Begin a new one.
    Begin(oneshot::Sender<Result<u32, Fault>>),
    /// Put rows into one; false where they are not whole, or the space is received no more.
    Receive(u32, Rows, oneshot::Sender<Result<bool, Fault>>),
    /// Receive no more into one; it is swept unless a shard owns it by now.
    Abandon(u32),
    /// Make one a shard's current, durably.
    Adopt(ShardId, Standing, oneshot::Sender<Result<(), Fault>>),
    /// Sweep a batch; answers whether there is more.
    Sweep(oneshot::Sender<Result<bool, Fault>>),
}

/// Which spaces there are, beside those that shards own.
pub(super) struct Spaces {
    next: u32,
    unowned: BTreeSet<u32>,
    /// Those of the unowned that are being received.
    receiving: BTreeSet<u32>,
}

impl Spaces {
    pub(super) fn read(base: &Base, owned: &BTreeMap<u16, Standing>) -> Result<Self, Fault> {
        let unowned: BTreeSet<u32> = base.read(|transaction| {
            let rows = transaction.open_table(UNOWNED)?;
            rows.iter()?.map(|row| Ok(row?.0.value())).collect()
        })?;
        let owned = owned.values().map(|standing| standing.space);
        let next = owned.chain(unowned.iter().copied()).max().unwrap_or(0) + 1;
        Ok(Self { next, unowned, receiving: BTreeSet::new() })
    }

    /// A number that no space has.
    pub(super) fn draw(&mut self) -> u32 {
        let space = self.next;
        self.next += 1;
        space
    }

    pub(super) fn begin(&mut self, base: &Base) -> Result<u32, Fault> {
        let space = self.draw();
        base.write(Commit::Visible, |transaction| {
            transaction.open_table(UNOWNED)?.insert(space, ())?;
            Ok(())
        })?;
        self.unowned.insert(space);
        self.receiving.insert(space);
        Ok(space)
    }

    /// Puts rows into a space that is being received; false where they are not whole, for what
    /// travelled badly must not spread, or where nothing is received there any more.
    pub(super) fn receive(&self, base: &Base, space: u32, rows: &Rows) -> Result<bool, Fault> {
        if !self.receiving.contains(&space) || !rows.are_whole() {
            return Ok(false);
        }
        base.write(Commit::Visible, |transaction| {
            let mut heads = transaction.open_table(HEADS)?;
            let mut wakes = transaction.open_table(WAKES)?;
            for ((kind, id), head) in &rows.heads {
                heads.insert((space, *kind, *id), head.as_slice())?;
                if let Some(Timestamp(wake)) = read_head(head)?.head.wake {
                    wakes.insert((space, wake, *kind, *id), ())?;
                }
            }
            let mut journals = transaction.open_table(JOURNALS)?;
            for ((kind, id, version), entry) in &rows.journals {
                journals.insert((space, *kind, *id, *version), entry.as_slice())?;
            }
            Ok(true)
        })
    }

    /// Receives no more into a space.
    pub(super) fn abandon(&mut self, space: u32) {
        self.receiving.remove(&space);
    }

    /// Makes a space a shard's current, and leaves the one before it to be swept.
    pub(super) fn adopt(
        &mut self,
        base: &Base,
        shard: ShardId,
        standing: &Standing,
        before: Option<u32>,
    ) -> Result<(), Fault> {
        base.write(Commit::QuickToOpen, |transaction| {
            let mut unowned = transaction.open_table(UNOWNED)?;
            unowned.remove(standing.space)?;
            if let Some(before) = before {
                unowned.insert(before, ())?;
            }
            let mut shards = transaction.open_table(SHARDS)?;
            shards.insert(shard.0, standing.to_bytes().as_slice())?;
            Ok(())
        })?;
        self.receiving.remove(&standing.space);
        self.unowned.remove(&standing.space);
        self.unowned.extend(before);
        Ok(())
    }

    /// Sweeps some rows of a space that nobody owns or receives. True if there is more to sweep.
    pub(super) fn sweep(&mut self, base: &Base) -> Result<bool, Fault> {
        let Some(space) = self.unowned.difference(&self.receiving).next().copied() else {
            return Ok(false);
        };
        if base.write(Commit::Visible, |transaction| sweep(transaction, space))? {
            self.unowned.remove(&space);
        }
        Ok(self.unowned.difference(&self.receiving).next().is_some())
    }
}

/// Removes some rows of a space; true when these were the last.
fn sweep(transaction: &WriteTransaction, space: u32) -> Result<bool, redb::Error> {
    let mut heads = transaction.open_table(HEADS)?;
    let mut journals = transaction.open_table(JOURNALS)?;
    let mut wakes = transaction.open_table(WAKES)?;
    let last_head = (space, u8::MAX, u128::MAX);
    let last_journal = (space, u8::MAX, u128::MAX, u64::MAX);
    let last_wake = (space, u64::MAX, u8::MAX, u128::MAX);
    let swept = remove_some(&mut heads, (space, 0, 0), last_head)?
        + remove_some(&mut journals, (space, 0, 0, 0), last_journal)?
        + remove_some(&mut wakes, (space, 0, 0, 0), last_wake)?;
    if swept == 0 {
        transaction.open_table(UNOWNED)?.remove(space)?;
    }
    Ok(swept == 0)
}

/// Removes rows from the beginning of a range, up to a bound; answers how many.
fn remove_some<K, V>(table: &mut Table<'_, K, V>, first: K, last: K) -> Result<usize, redb::Error>
where
    K: redb::Key + for<'k> redb::Value<SelfType<'k> = K> + Copy + 'static,
    V: redb::Value + 'static,
{
    let range = table.range(first..=last)?.take(SWEPT_ROWS);
    let keys: Vec<K> =
        range.map(|row| row.map(|(key, _)| key.value())).collect::<Result<_, _>>()?;
    for key in &keys {
        table.remove(*key)?;
    }
    Ok(keys.len())
}
