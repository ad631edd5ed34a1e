//! A shard's state taken over by another replica.

use super::{SHARD, entity, item, proposal, serve};
use crate::replica::machine::Machine;
use crate::replica::types::Snapshot;
use crate::store::{Folder, OpenError, Store, StoreConfig, Taken, Threads};
use openraft::storage::RaftStateMachine;
use otto_core::time::Timestamp;
use std::path::Path;
use std::sync::Arc;

fn open(folder: &Path) -> Result<Store, OpenError> {
    let config = StoreConfig { node: 2, shards: 8, birth: 99, incarnation: 1 };
    Store::open(Box::new(Folder::lock(folder)?), &Threads, config)
}

async fn close(store: Store) {
    store.state.close().await.expect("the disk is well");
    let (reply, closed) = tokio::sync::oneshot::channel();
    store.log.close(Box::new(move |outcome| drop(reply.send(outcome))));
    closed.await.expect("it answers").expect("the disk is well");
}

/// Brings what a picture shows into a new space of a store.
async fn travel(snapshot: Snapshot, store: &Store) -> Box<Snapshot> {
    let Snapshot::Picture(picture) = snapshot else { panic!("there is no picture") };
    let arrival = store.state.begin().await.expect("the disk is well");
    let mut taken = Taken::default();
    while let Some(rows) = picture.rows(&mut taken).expect("it can be read") {
        assert_eq!(arrival.receive(rows).await, Ok(true));
    }
    Box::new(Snapshot::Arrived(Arc::new(arrival)))
}

/// Counts the rows of the heads, journals and wake-ups on disk, of whatever space.
fn rows(folder: &Path) -> [u64; 3] {
    use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};
    let database = redb::Database::open(folder.join("state.redb")).expect("it opens");
    let read = database.begin_read().expect("it can be read");
    let heads: TableDefinition<(u32, u8, u128), &[u8]> = TableDefinition::new("heads");
    let journals: TableDefinition<(u32, u8, u128, u64), &[u8]> = TableDefinition::new("journals");
    let wakes: TableDefinition<(u32, u64, u8, u128), ()> = TableDefinition::new("wakes");
    [
        read.open_table(heads).expect("it is there").len().expect("it can be read"),
        read.open_table(journals).expect("it is there").len().expect("it can be read"),
        read.open_table(wakes).expect("it is there").len().expect("it can be read"),
    ]
}

#[tokio::test]
async fn another_replica_takes_over_a_picture_and_sweeps_what_it_replaced() {
    const ENTITIES: u128 = 1200;
    let (from, to) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (shards, journal) = serve(from.path()).await;
    let items = (0..ENTITIES).map(|id| item(id, 0, (id % 2 == 0).then_some(5)));
    journal.propose(proposal(items)).await.expect("it is applied");
    journal.propose(proposal([item(7, 1, Some(9))])).await.expect("it is applied");

    let mut source = Machine::new(SHARD, shards.store.state.clone());
    let store = open(to.path()).expect("it is new");
    let mut target = Machine::new(SHARD, store.state.clone());
    for _ in 0..2 {
        let snapshot = source.get_current_snapshot().await.expect("it can be read");
        let snapshot = snapshot.expect("there is a state");
        // What changes meanwhile is not in the picture.
        let version =
            journal.head(entity(1)).await.expect("it serves").map_or(0, |head| head.version);
        journal.propose(proposal([item(1, version, None)])).await.expect("it is applied");
        let arrived = travel(*snapshot.snapshot, &store).await;
        target.install_snapshot(&snapshot.meta, arrived).await.expect("it is taken over");
        let head = store.state.head(SHARD, entity(1)).expect("it can be read");
        assert_eq!(head.map_or(0, |head| head.version), version);
    }
    close(store).await;

    let store = open(to.path()).expect("it is whole");
    let mut target = Machine::new(SHARD, store.state.clone());
    let (applied, members) = target.applied_state().await.expect("it can be read");
    let (_, expected) = source.applied_state().await.expect("it can be read");
    assert_eq!(members, expected);
    assert!(applied.is_some());
    let due = store.state.due(SHARD, Timestamp(9), None, 2000).expect("it can be read");
    assert_eq!(due.last(), Some(&(Timestamp(9), entity(7))));
    assert_eq!(due.len() as u128, ENTITIES / 2 + 1);
    assert_eq!(store.state.entries(SHARD, entity(7), 0).expect("it can be read").len(), 2);
    // One more space, whose receipt is never finished.
    let picture = store.state.picture(SHARD).expect("it can be read").expect("there is a state");
    let lost = travel(Snapshot::Picture(picture), &store).await;
    close(store).await;
    drop(lost);

    let store = open(to.path()).expect("it is whole");
    while store.state.sweep().await.expect("the disk is well") {}
    close(store).await;
    let entities = u64::try_from(ENTITIES).expect("few");
    assert_eq!(rows(to.path()), [entities, entities + 2, entities / 2 + 1]);
    shards.close().await.expect("the disk is well");
}
