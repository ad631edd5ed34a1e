//! The store under crashes: what was acknowledged survives, and nothing is there in halves.

use super::{Crash, SimulatedDisk};
use crate::setup::Dice;
use crate::writers::Tasks;
use otto_actors::ports::journal::{JournalError, SharedJournal};
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal, Verdict};
use otto_core::time::Timestamp;
use otto_nodes::replica::{Alone, Shards, ShardsConfig};
use otto_nodes::store::{Fault, OpenError, StoreFile};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const SHARDS: u16 = 2;

/// Runs one life of a process: what it still held is dropped at its end.
fn live<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, life)
}

async fn open(disk: &SimulatedDisk) -> Result<Shards, OpenError> {
    let config = ShardsConfig { shards: SHARDS, seed: 7, ..ShardsConfig::default() };
    Shards::open(Box::new(disk.mount()), &Tasks::default(), config, Arc::new(Alone)).await
}

/// Opens, and waits until every shard serves.
async fn serve(disk: &SimulatedDisk) -> Result<Option<Shards>, OpenError> {
    let shards = open(disk).await?;
    for shard in 0..shards.count() {
        if shards.ready(ShardId(shard)).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(shards))
}

fn journal(shards: &Shards, shard: u16) -> SharedJournal {
    shards.journal(ShardId(shard)).expect("the shard is there")
}

/// A proposal of these tests: one more entry, with the proposal's tag, for each of two entities.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Tag {
    shard: u16,
    proposer: u64,
    number: u64,
}

impl Tag {
    /// The proposer's own entity, and one that the shard's proposers take turns at.
    fn entities(self) -> [EntityId; 2] {
        let run = EntityId { kind: EntityKind::Run, id: self.proposer.into() };
        let shared = EntityId { kind: EntityKind::Project, id: (self.number % 3).into() };
        [run, shared]
    }

    fn entry(self) -> Vec<u8> {
        let mut entry = format!("{} {} {} ", self.shard, self.proposer, self.number).into_bytes();
        entry.resize(700, b'.');
        entry
    }

    fn read(entry: &[u8]) -> Self {
        let text = String::from_utf8(entry.to_vec()).expect("an entry is text");
        let mut numbers = text.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok).expect("an entry has three numbers");
        let shard = u16::try_from(next()).expect("shards are few");
        Self { shard, proposer: next(), number: next() }
    }

    fn wake(self) -> Option<Timestamp> {
        (!self.number.is_multiple_of(4)).then_some(Timestamp(self.number))
    }
}

/// What the proposers saw.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: BTreeSet<Tag>,
    unknown: BTreeSet<Tag>,
    next: u64,
}

type SharedSeen = Rc<RefCell<Seen>>;

/// Proposes until something fails, or so many times.
async fn propose(
    journal: SharedJournal,
    seen: SharedSeen,
    shard: u16,
    proposer: u64,
    times: u64,
) -> Option<JournalError> {
    for _ in 0..times {
        let number = {
            let mut seen = seen.borrow_mut();
            seen.next += 1;
            seen.next
        };
        let tag = Tag { shard, proposer, number };
        let mut items = Vec::new();
        for entity in tag.entities() {
            let expected = match journal.head(entity).await {
                Ok(head) => head.map_or(0, |head| head.version),
                Err(error) => return Some(error),
            };
            let head = Head { wake: tag.wake(), summary: tag.entry() };
            items.push(Item { entity, expected, entry: tag.entry(), head });
        }
        match journal.propose(Proposal { items }).await {
            Ok(Verdict::Applied) => {
                seen.borrow_mut().acknowledged.insert(tag);
            }
            Ok(Verdict::Conflict { .. }) => {}
            Err(error) => {
                if matches!(error, JournalError::Unknown(_)) {
                    seen.borrow_mut().unknown.insert(tag);
                }
                return Some(error);
            }
        }
    }
    None
}

/// Four proposers on two shards, until the disk fails or all have proposed so many times.
async fn work(shards: &Shards, seen: &SharedSeen, times: u64) {
    let proposers = (0..4).map(|proposer: u64| {
        let shard = u16::try_from(proposer % 2).expect("small");
        let journal = journal(shards, shard);
        tokio::task::spawn_local(propose(journal, Rc::clone(seen), shard, proposer, times))
    });
    for proposer in proposers.collect::<Vec<_>>() {
        proposer.await.expect("a proposer does not panic");
    }
}

/// Compares what is there with what was seen.
async fn verify(shards: &Shards, seen: &SharedSeen, case: &str) {
    let mut found: BTreeMap<Tag, u64> = BTreeMap::new();
    for shard in 0..SHARDS {
        let journal = journal(shards, shard);
        let mut wakes = BTreeSet::new();
        for kind in [EntityKind::Run, EntityKind::Project] {
            for (entity, head) in journal.heads(kind, None, 100).await.expect("it serves") {
                let entries = journal.entries(entity, 0).await.expect("it serves");
                assert_eq!(entries.len() as u64, head.version, "{case}: {entity}");
                let tags: Vec<Tag> = entries.iter().map(|entry| Tag::read(entry)).collect();
                let last = *tags.last().expect("a head has entries");
                assert_eq!(head.head.summary, last.entry(), "{case}: {entity}");
                wakes.extend(last.wake().map(|at| (at, entity)));
                for tag in tags {
                    *found.entry(tag).or_default() += 1;
                }
            }
        }
        let due = journal.due(Timestamp(u64::MAX), None, 100).await.expect("it serves");
        assert_eq!(due, wakes.into_iter().collect::<Vec<_>>(), "{case}: wake-ups");
    }
    let seen = seen.borrow();
    for (tag, times) in &found {
        assert_eq!(*times, 2, "{case}: {tag:?} is there in halves, or twice");
        let known = seen.acknowledged.contains(tag) || seen.unknown.contains(tag);
        assert!(known, "{case}: {tag:?} was refused, yet is there");
    }
    for tag in &seen.acknowledged {
        assert!(found.contains_key(tag), "{case}: {tag:?} was acknowledged, yet is lost");
    }
}

/// Opens after crashes, and crashes while it does; then all must be well.
fn recover(disk: &SimulatedDisk, seen: &SharedSeen, dice: &mut Dice, case: &str) {
    for attempt in 0..3 {
        disk.fail_after(dice.between(0, 40));
        live(async {
            if let Ok(Some(shards)) = serve(disk).await {
                work(&shards, seen, 2).await;
            }
        });
        disk.crash(Crash::ALL[attempt]);
    }
    live(async {
        let shards = serve(disk).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        verify(&shards.expect("the disk is well"), seen, case).await;
    });
}

#[test]
fn what_was_acknowledged_survives_crash_upon_crash() {
    for seed in 0..12 {
        let mut dice = Dice::new(seed);
        let disk = SimulatedDisk::new(seed);
        let seen = SharedSeen::default();
        for (round, crash) in Crash::ALL.into_iter().enumerate() {
            let case = format!("seed {seed}, round {round}, {crash:?}");
            disk.fail_after(dice.between(0, 400));
            live(async {
                if let Ok(Some(shards)) = serve(&disk).await {
                    work(&shards, &seen, 40).await;
                }
            });
            disk.crash(crash);
            recover(&disk, &seen, &mut dice, &case);
        }
        assert!(!seen.borrow().acknowledged.is_empty(), "seed {seed} acknowledged nothing");
    }
}

#[test]
fn a_crash_at_any_operation_of_a_first_life_is_survived() {
    for crash in Crash::ALL {
        let mut operation = 0;
        loop {
            let case = format!("{crash:?} at operation {operation}");
            let disk = SimulatedDisk::new(operation);
            let seen = SharedSeen::default();
            disk.fail_after(operation);
            live(async {
                if let Ok(Some(shards)) = serve(&disk).await {
                    work(&shards, &seen, 1).await;
                    shards.close().await.ok();
                }
            });
            let finished = !disk.failed();
            disk.crash(crash);
            live(async {
                let shards = serve(&disk).await.unwrap_or_else(|error| panic!("{case}: {error}"));
                verify(&shards.expect("the disk is well"), &seen, &case).await;
            });
            if finished {
                assert!(operation > 50, "so few operations are no scenario");
                break;
            }
            operation += 1;
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_tried_again() {
    for syncs in 0..40 {
        let case = format!("failed sync {syncs}");
        let disk = SimulatedDisk::new(syncs);
        let seen = SharedSeen::default();
        live(async {
            let shards = serve(&disk).await.expect("the disk is well").expect("the disk is well");
            disk.fail_sync_after(syncs);
            let health = shards.health();
            work(&shards, &seen, 40).await;
            let fault = health.borrow().clone();
            let Some(Fault::Io { file, .. }) = fault else { panic!("{case}: {fault:?}") };
            let kept = disk.content(file);
            let proposer = propose(journal(&shards, 0), Rc::clone(&seen), 0, 9, 1);
            let refused = proposer.await;
            assert!(matches!(refused, Some(JournalError::Store(_))), "{case}: {refused:?}");
            shards.close().await.expect_err("what failed stays failed");
            assert!(disk.content(file) == kept, "{case}: {file} was written to again");
        });
        disk.crash(Crash::LoseAll);
        live(async {
            let shards = serve(&disk).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            verify(&shards.expect("the disk is well"), &seen, &case).await;
        });
    }
}

#[test]
fn a_full_disk_is_said_and_it_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new(1);
    let seen = SharedSeen::default();
    let case = "full disk";
    live(async {
        let shards = serve(&disk).await.expect("there is room").expect("there is room");
        work(&shards, &seen, 10).await;
        disk.set_full(true);
        work(&shards, &seen, 400).await;
        let fault = shards.health().borrow().clone();
        assert!(matches!(fault, Some(Fault::Full { .. })), "{fault:?}");
    });
    disk.kill();
    live(async {
        match open(&disk).await {
            Err(error) => assert!(matches!(error, OpenError::Full { .. }), "{error}"),
            // What is there can be opened; that it is led from here on has no room.
            Ok(shards) => {
                let refused = shards.ready(ShardId(0)).await.expect_err("there is no room");
                assert!(refused.to_string().contains("the disk is full"), "{refused}");
            }
        }
    });
    disk.kill();
    disk.set_full(false);
    live(async {
        let shards = serve(&disk).await.expect("there is room again").expect("it serves");
        verify(&shards, &seen, case).await;
        let before = seen.borrow().acknowledged.len();
        work(&shards, &seen, 10).await;
        assert!(seen.borrow().acknowledged.len() > before, "it goes on");
        verify(&shards, &seen, case).await;
    });
}

#[test]
fn a_full_disk_refuses_a_new_store() {
    let disk = SimulatedDisk::new(1);
    disk.set_full(true);
    let refused = live(async { open(&disk).await.map(drop) });
    assert!(matches!(refused, Err(OpenError::Full { .. })), "{refused:?}");
    disk.set_full(false);
    live(async { serve(&disk).await.expect("there is room").expect("there is room") });
}

/// What is read of a damaged store is right, or it is not read at all.
#[test]
fn a_damaged_sector_is_never_believed() {
    let disk = SimulatedDisk::new(3);
    let seen = SharedSeen::default();
    live(async {
        let shards = serve(&disk).await.expect("the disk is well").expect("the disk is well");
        work(&shards, &seen, 30).await;
        shards.close().await.expect("the disk is well");
    });
    let whole = [StoreFile::Log, StoreFile::State].map(|file| (file, disk.content(file)));
    let mut noticed = 0;
    for (file, content) in &whole {
        let sectors = content.chunks(super::SECTOR_BYTES).enumerate();
        let used = sectors.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        for (sector, _) in used.step_by(8) {
            for (file, content) in &whole {
                disk.replace(*file, content);
            }
            assert!(disk.corrupt(*file, sector));
            let read = live(read_all(&disk, &seen));
            noticed += u64::from(read.is_err());
        }
    }
    assert!(noticed > 10, "only {noticed} damages were noticed");
}

/// Reads everything that was acknowledged; fails where it is said to be unreadable.
async fn read_all(disk: &SimulatedDisk, seen: &SharedSeen) -> Result<(), String> {
    let shards = serve(disk).await.map_err(|error| error.to_string())?;
    let shards = shards.ok_or("it does not serve")?;
    let acknowledged = seen.borrow().acknowledged.clone();
    for tag in acknowledged {
        let journal = journal(&shards, tag.shard);
        for entity in tag.entities() {
            let entries = journal.entries(entity, 0).await.map_err(|error| error.to_string())?;
            assert!(entries.contains(&tag.entry()), "{tag:?} is lost, and nobody said so");
        }
    }
    Ok(())
}

/// Counts the entries in the logs on a disk that no process uses.
fn log_entries(disk: &SimulatedDisk) -> u64 {
    use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};
    let copy = redb::backends::InMemoryBackend::new();
    let content = disk.content(StoreFile::Log);
    redb::StorageBackend::set_len(&copy, content.len() as u64).expect("memory grows");
    redb::StorageBackend::write(&copy, 0, &content).expect("memory can be written");
    let database = redb::Builder::new().create_with_backend(copy).expect("it is whole");
    let read = database.begin_read().expect("it can be read");
    let entries: TableDefinition<(u16, u64), &[u8]> = TableDefinition::new("entries");
    read.open_table(entries).expect("it is there").len().expect("it can be read")
}

#[test]
fn logs_are_trimmed_of_what_is_durable_and_nothing_else() {
    let disk = SimulatedDisk::new(5);
    let seen = SharedSeen::default();
    let upkeep = Duration::from_secs(3);
    live(async {
        let shards = serve(&disk).await.expect("the disk is well").expect("the disk is well");
        work(&shards, &seen, 500).await;
        tokio::time::sleep(upkeep).await;
    });
    disk.crash(Crash::LoseAll);
    assert!(log_entries(&disk) < 20, "{} entries are left after much work", log_entries(&disk));
    // Lives that do nothing but begin add an entry each.
    for _ in 0..80 {
        live(async {
            let shards = serve(&disk).await.expect("the disk is well").expect("the disk is well");
            tokio::time::sleep(upkeep).await;
            drop(shards);
        });
        disk.crash(Crash::LoseAll);
    }
    assert!(log_entries(&disk) < 150, "{} entries are left by many lives", log_entries(&disk));
    live(async {
        let shards = serve(&disk).await.expect("the disk is well").expect("the disk is well");
        verify(&shards, &seen, "trimmed").await;
    });
}
