//! The stores that releases left behind: this build opens them, reads them, and goes on.
//!
//! `golden/RELEASE` holds a release's two files without their empty sectors, and `rows.txt`: their
//! rows as bytes, which this build must write as well. What is missing of this release is made with
//! `OTTO_BLESS=1`; what is there is never changed.

use super::{entity, item, proposal};
use crate::replica::roll::{Introduction, Known};
use crate::replica::{Alone, Shards, ShardsConfig};
use crate::store::{Folder, StoreFile, Threads};
use otto_actors::ports::journal::SharedJournal;
use otto_core::ids::ShardId;
use otto_core::journal::{EntityKind, Verdict};
use otto_core::time::Timestamp;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHARD: ShardId = ShardId(0);
const FILES: [StoreFile; 2] = [StoreFile::Log, StoreFile::State];
const SECTOR_BYTES: usize = 512;
/// What another node showed, in the words of the roll.
const NEIGHBOUR: &str = r#"{
    "sign": {"node": 2, "birth": 22, "starts": 3, "session": 33},
    "sessions": [31, 32, 33],
    "marks": [{"shard": 0, "vote": {"term": 1, "node": 1, "committed": true}, "last": null}]
}"#;

async fn open(folder: &Path) -> Shards {
    let disk = Box::new(Folder::lock(folder).expect("nobody else uses it"));
    let config = ShardsConfig { shards: 1, seed: 7, ..ShardsConfig::default() };
    let shards = Shards::open(disk, &Threads, config, Arc::new(Alone)).await;
    shards.expect("a golden store opens for ever")
}

async fn serve(folder: &Path) -> (Shards, SharedJournal) {
    let shards = open(folder).await;
    for shard in [SHARD, ShardId::META] {
        shards.ready(shard).await.expect("the only voter serves");
    }
    let journal = shards.journal(SHARD).expect("there is a shard");
    (shards, journal)
}

fn neighbour() -> Introduction {
    serde_json::from_str(NEIGHBOUR).expect("it is an introduction")
}

/// What is in a golden store: two entities, one of them waiting, and a neighbour.
async fn tell(folder: &Path) {
    let (shards, journal) = serve(folder).await;
    let proposals = [
        (proposal([item(1, 0, Some(5)), item(2, 0, None)]), Verdict::Applied),
        (proposal([item(1, 1, Some(9))]), Verdict::Applied),
        (proposal([item(2, 7, None)]), Verdict::Conflict { entity: entity(2), found: 1 }),
    ];
    for (proposal, verdict) in proposals {
        assert_eq!(journal.propose(proposal).await, Ok(verdict));
    }
    assert_eq!(shards.roll.admit(&neighbour()).await, Ok(Known::Yes));
    shards.close().await.expect("the disk is well");
}

/// What must be found in such a store, and that it can be used.
async fn read(folder: &Path) {
    let (shards, journal) = serve(folder).await;
    let head = journal.head(entity(1)).await.expect("it serves").expect("it is there");
    assert_eq!((head.version, head.head.wake), (2, Some(Timestamp(9))));
    assert_eq!(head.head.summary, b"head of 1");
    let entries = journal.entries(entity(1), 0).await.expect("it serves");
    assert_eq!(entries, [&b"entry 1 of 1"[..], b"entry 2 of 1"]);
    let heads = journal.heads(EntityKind::Run, None, 9).await.expect("it serves");
    assert_eq!(heads.iter().map(|(it, _)| *it).collect::<Vec<_>>(), [entity(2), entity(1)]);
    let due = journal.due(Timestamp(9), None, 9).await.expect("it serves");
    assert_eq!(due, [(Timestamp(9), entity(1))]);
    assert_eq!(shards.roll.check(&neighbour().sign()), Known::Yes);
    let goes_on = journal.propose(proposal([item(2, 1, None)])).await;
    assert_eq!(goes_on, Ok(Verdict::Applied));
    shards.roll.cast_out("its disk was taken back").await.expect("the disk is well");
    shards.close().await.expect("the disk is well");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The rows of both files. Spaces are left out: which shard gets the first is chance.
fn rows(folder: &Path) -> String {
    const CHECKSUM_AND_SPACE_BYTES: usize = 12;
    let mut text = String::new();
    let open = |file: StoreFile| Database::open(folder.join(file.name())).expect("it opens");
    let bases = FILES.map(open);
    let log = bases[0].begin_read().expect("it can be read");
    let entries: TableDefinition<(u16, u64), &[u8]> = TableDefinition::new("entries");
    for row in log.open_table(entries).expect("it is there").iter().expect("it can be read") {
        let (key, value) = row.expect("it can be read");
        writeln!(text, "entry {:?}: {}", key.value(), hex(value.value())).expect("memory");
    }
    let slots: TableDefinition<(u16, u8), &[u8]> = TableDefinition::new("slots");
    for row in log.open_table(slots).expect("it is there").iter().expect("it can be read") {
        let (key, value) = row.expect("it can be read");
        writeln!(text, "slot {:?}: {}", key.value(), hex(value.value())).expect("memory");
    }
    let state = bases[1].begin_read().expect("it can be read");
    let shards: TableDefinition<u16, &[u8]> = TableDefinition::new("shards");
    for row in state.open_table(shards).expect("it is there").iter().expect("it can be read") {
        let (key, value) = row.expect("it can be read");
        let mark = &value.value()[CHECKSUM_AND_SPACE_BYTES..];
        writeln!(text, "shard {}: {}", key.value(), hex(mark)).expect("memory");
    }
    let heads: TableDefinition<(u32, u8, u128), &[u8]> = TableDefinition::new("heads");
    for row in state.open_table(heads).expect("it is there").iter().expect("it can be read") {
        let (key, value) = row.expect("it can be read");
        let (_, kind, id) = key.value();
        writeln!(text, "head {kind} {id}: {}", hex(value.value())).expect("memory");
    }
    let journals: TableDefinition<(u32, u8, u128, u64), &[u8]> = TableDefinition::new("journals");
    for row in state.open_table(journals).expect("it is there").iter().expect("it can be read") {
        let (key, value) = row.expect("it can be read");
        let (_, kind, id, version) = key.value();
        writeln!(text, "journal {kind} {id} {version}: {}", hex(value.value())).expect("memory");
    }
    let wakes: TableDefinition<(u32, u64, u8, u128), ()> = TableDefinition::new("wakes");
    for row in state.open_table(wakes).expect("it is there").iter().expect("it can be read") {
        let (_, at, kind, id) = row.expect("it can be read").0.value();
        writeln!(text, "wake {at} {kind} {id}").expect("memory");
    }
    for (read, name) in [(&log, "log"), (&state, "state")] {
        let otto: TableDefinition<&str, u64> = TableDefinition::new("otto");
        for row in read.open_table(otto).expect("it is there").iter().expect("it can be read") {
            let (key, value) = row.expect("it can be read");
            writeln!(text, "{name} says {}: {}", key.value(), value.value()).expect("memory");
        }
    }
    text
}

/// A file without its empty sectors: its length, then each sector behind its number.
fn pack(file: &[u8]) -> Vec<u8> {
    let mut packed = (file.len() as u64).to_be_bytes().to_vec();
    for (number, sector) in (0_u32..).zip(file.chunks(SECTOR_BYTES)) {
        if sector.iter().any(|byte| *byte != 0) {
            packed.extend(number.to_be_bytes());
            packed.extend(sector);
            packed.resize(packed.len() + SECTOR_BYTES - sector.len(), 0);
        }
    }
    packed
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let (length, mut rest) = packed.split_first_chunk().expect("it has a length");
    let length = usize::try_from(u64::from_be_bytes(*length)).expect("it fits");
    let mut file = vec![0; length.next_multiple_of(SECTOR_BYTES)];
    while let Some((number, behind)) = rest.split_first_chunk() {
        let start = u32::from_be_bytes(*number) as usize * SECTOR_BYTES;
        let (sector, behind) = behind.split_at(SECTOR_BYTES);
        file[start..start + SECTOR_BYTES].copy_from_slice(sector);
        rest = behind;
    }
    file.truncate(length);
    file
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/replica/golden")
}

#[tokio::test]
async fn the_rows_of_a_store_are_written_as_ever() {
    let made = tempfile::tempdir().expect("a folder");
    tell(made.path()).await;
    let text = rows(made.path());
    let release = env!("CARGO_PKG_VERSION").rsplit_once('.').expect("it has three parts").0;
    let golden = folder().join(release);
    if std::env::var_os("OTTO_BLESS").is_some() && !golden.exists() {
        fs::create_dir_all(&golden).expect("folders can be made");
        fs::write(golden.join("rows.txt"), &text).expect("files can be written");
        for file in FILES {
            let content = fs::read(made.path().join(file.name())).expect("it is there");
            fs::write(golden.join(file.name()), pack(&content)).expect("files can be written");
        }
    }
    let stored = fs::read_to_string(golden.join("rows.txt")).expect("see this file's head");
    for (ours, theirs) in text.lines().zip(stored.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(text.lines().count(), stored.lines().count());
}

#[tokio::test]
async fn the_stores_of_all_releases_open() {
    let mut releases = 0;
    for release in fs::read_dir(folder()).expect("there are releases") {
        let release = release.expect("it can be listed").path();
        let copy = tempfile::tempdir().expect("a folder");
        for file in FILES {
            let packed = fs::read(release.join(file.name())).expect("a release has both files");
            fs::write(copy.path().join(file.name()), unpack(&packed)).expect("room");
        }
        read(copy.path()).await;
        let shards = open(copy.path()).await;
        assert!(shards.outcast().borrow().is_some(), "{}", release.display());
        shards.close().await.expect("the disk is well");
        releases += 1;
    }
    assert!(releases > 0);
}
