//! Shards on real files, from outside.

mod files;
mod golden;
mod group;
mod journal;
mod killed;
mod roll;
mod snapshot;

use super::{Alone, Shards, ShardsConfig};
use crate::store::{Folder, OpenError, Threads};
use otto_actors::ports::journal::SharedJournal;
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal};
use otto_core::time::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD: ShardId = ShardId(3);

static NEXT_SEED: AtomicU64 = AtomicU64::new(0);

async fn open(folder: &Path) -> Result<Shards, OpenError> {
    let disk = Box::new(Folder::lock(folder)?);
    // No two stores of a test may take themselves for one.
    let seed = NEXT_SEED.fetch_add(1, Ordering::Relaxed);
    let config = ShardsConfig { seed, ..ShardsConfig::default() };
    Shards::open(disk, &Threads, config, Arc::new(Alone)).await
}

/// Opens, and waits until the one shard that these tests use serves.
async fn serve(folder: &Path) -> (Shards, SharedJournal) {
    let shards = open(folder).await.expect("the folder is whole");
    shards.ready(SHARD).await.expect("the only voter serves");
    let journal = shards.journal(SHARD).expect("there are eight shards");
    (shards, journal)
}

fn entity(id: u128) -> EntityId {
    EntityId { kind: EntityKind::Run, id }
}

fn item(id: u128, expected: u64, wake: Option<u64>) -> Item {
    let entry = format!("entry {} of {id}", expected + 1).into_bytes();
    let head = Head { wake: wake.map(Timestamp), summary: format!("head of {id}").into_bytes() };
    Item { entity: entity(id), expected, entry, head }
}

fn proposal(items: impl IntoIterator<Item = Item>) -> Proposal {
    Proposal { items: items.into_iter().collect() }
}
