//! Backups of real stores, restored into empty folders.

use super::file::{FileError, Reader, Writer};
use super::source::Pictures;
use super::{Restored, Restoring, restore};
use crate::identity::files::Folder;
use crate::identity::join::Introduction;
use crate::node::system::SystemClock;
use crate::replica::{Alone, Shards, ShardsConfig};
use crate::rpc::backup::{BackUp, BackedUp, Cursor, Picture};
use crate::store::{self, Threads};
use crate::wire::hello::{Build, Refused};
use crate::wire::release::Release;
use otto_actors::ports::clock::Clock;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Newcomer, Wish};
use otto_core::cluster::state::{By, UserRole};
use otto_core::ids::{ClusterId, KeyId, NodeId, ShardId, TokenHash};
use otto_core::journal::{EntityId, EntityKind, Head, Item, Proposal, Verdict, encode};
use otto_core::time::{Span, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHARDS: u16 = 2;

/// A node's store, open.
async fn open(folder: &Path, node: u64) -> Shards {
    let disk = Box::new(store::Folder::lock(folder.join("store")).unwrap());
    let config = ShardsConfig { node, shards: SHARDS, seed: node, ..ShardsConfig::default() };
    let shards = Shards::open(disk, &Threads, config, Arc::new(Alone)).await.unwrap();
    for shard in ids() {
        shards.ready(shard).await.unwrap();
    }
    shards
}

fn ids() -> Vec<ShardId> {
    (0..SHARDS).map(ShardId).chain([ShardId::META]).collect()
}

fn entity(id: u128) -> EntityId {
    EntityId { kind: EntityKind::Run, id }
}

/// The first entry of a run that is no part of a backup.
fn late() -> Item {
    Item { entity: entity(999), expected: 0, entry: vec![1], head: Head::default() }
}

async fn append(shards: &Shards, shard: ShardId, item: Item) {
    let proposal = Proposal { items: vec![item] };
    let verdict = shards.journal(shard).unwrap().propose(proposal).await.unwrap();
    assert_eq!(verdict, Verdict::Applied);
}

/// Some hundred entries in each shard, one of which is long; and a cluster with a token.
async fn write(shards: &Shards, founded: bool) {
    for shard in [ShardId(0), ShardId(1)] {
        for version in 0..150 {
            let long = usize::from(version == 7) << 20;
            let entry = [format!("{shard} {version}").into_bytes(), vec![9; long]].concat();
            let wake = (version % 2 == 0).then_some(Timestamp(version));
            let head = Head { wake, summary: entry[..3].to_vec() };
            let id = u128::from(version % 50);
            append(shards, shard, Item { entity: entity(id), expected: version / 50, entry, head })
                .await;
        }
    }
    if !founded {
        return;
    }
    let node = Newcomer {
        name: "n1".to_owned(),
        addresses: Vec::new(),
        key: KeyId([3; 32]),
        levels: Release::NEWEST.levels,
    };
    let (cluster, authority) = (ClusterId([1; 16]), KeyId([2; 32]));
    let by = By::owner("ada");
    let token = Wish::CreateUserToken {
        token: TokenHash([5; 32]),
        name: "bob".to_owned(),
        role: UserRole::User,
        lifetime: Span::hours(9),
        by,
    };
    let wishes = [Wish::Found { cluster, shards: SHARDS, authority, node }, token];
    let mut cluster = Cluster::default();
    let entry = cluster.decide_all(&wishes, SystemClock::new().now()).entry.unwrap();
    cluster.apply(&entry);
    let (entity, entry, head) = (EntityId::CLUSTER, encode(&entry), cluster.to_head());
    append(shards, ShardId::META, Item { entity, expected: 0, entry, head }).await;
}

/// Copies a store to a file, as whoever asks a node would.
async fn back_up(shards: &Shards, file: &Path) -> Picture {
    let clock = Arc::new(SystemClock::new());
    let pictures = Pictures::new(shards.archive(), None, Build::default(), clock);
    let Ok(BackedUp::Begun(picture)) = pictures.answer(BackUp::Begin).await else {
        panic!("it was not begun")
    };
    // What comes now is not in the picture any more.
    append(shards, ShardId(0), late()).await;
    let mut writer = Writer::begin(file).unwrap();
    writer.header(&picture).unwrap();
    let mut next = Some(Cursor::default());
    while let Some(cursor) = next {
        let part = BackUp::Part { picture: picture.picture, cursor };
        let again = pictures.answer(part).await.unwrap();
        let answer = pictures.answer(part).await.unwrap();
        assert_eq!(answer, again, "a part may be asked for again");
        let BackedUp::Part { rows, next: behind } = answer else { panic!("it is no part") };
        if !rows.is_empty() {
            writer.rows(cursor.shard, rows).unwrap();
        }
        next = behind;
    }
    writer.finish().unwrap();
    picture
}

async fn restored(file: &Path, data: &Path) -> Result<Restored, Refused> {
    let restoring = Restoring {
        file,
        store: &data.join("store"),
        identity: &Folder::new(data),
        introduction: Introduction {
            name: "phoenix".to_owned(),
            addresses: Vec::new(),
            levels: Release::NEWEST.levels,
            build: Build::default(),
        },
        birth: 77,
        now: SystemClock::new().now(),
    };
    restore(restoring).await
}

/// Everything that a shard holds, but for one entity.
async fn contents(shards: &Shards, shard: ShardId, but: EntityId) -> Vec<String> {
    let journal = shards.journal(shard).unwrap();
    let mut all = Vec::new();
    for kind in [EntityKind::Run, EntityKind::Cluster] {
        for (entity, head) in journal.heads(kind, None, 1000).await.unwrap() {
            if entity != but {
                let entries = journal.entries(entity, 0).await.unwrap();
                all.push(format!("{entity} {head:?} {entries:?}"));
            }
        }
    }
    let due = journal.due(Timestamp(u64::MAX), None, 1000).await.unwrap();
    all.extend(due.iter().filter(|(_, entity)| *entity != but).map(|due| format!("{due:?}")));
    all
}

#[tokio::test]
async fn what_was_copied_is_there_again_under_another_incarnation() {
    for founded in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        let shards = open(&before, 1).await;
        write(&shards, founded).await;
        let picture = back_up(&shards, &file).await;
        assert_eq!((picture.shards, picture.incarnation), (SHARDS, 1));
        assert_eq!(picture.cluster, founded.then_some(ClusterId([1; 16])));
        std::fs::create_dir(&after).unwrap();
        let done = restored(&file, &after).await.unwrap();
        assert_eq!((done.is_cluster, done.node), (founded, NodeId(if founded { 2 } else { 1 })));
        let reborn = open(&after, done.node.0).await;
        assert_eq!(reborn.incarnation(), 2);
        for shard in [ShardId(0), ShardId(1)] {
            let then = contents(&shards, shard, entity(999)).await;
            assert!(then == contents(&reborn, shard, entity(999)).await, "{shard} differs");
            assert!(then.len() > 50);
        }
        let head = reborn.journal(ShardId::META).unwrap().head(EntityId::CLUSTER).await.unwrap();
        let cluster = Cluster::from_head(head.as_ref().map(|stored| &stored.head)).unwrap();
        if founded {
            assert_eq!(cluster.incarnation(), 1);
            assert_eq!(cluster.nodes().map(|(node, _)| node).collect::<Vec<_>>(), [NodeId(2)]);
            assert_eq!(cluster.user_tokens().count(), 0, "no token counts any more");
            assert!(cluster.register().denied(KeyId([3; 32])).is_some(), "nobody comes back");
            let stored = Folder::new(&after).load().unwrap().unwrap();
            assert_eq!(cluster.holder(stored.said.key), Some(stored.said.subject.holder));
        }
        // It goes on: what it takes now is there after another start.
        append(&reborn, ShardId(0), late()).await;
        reborn.close().await.unwrap();
        let again = open(&after, done.node.0).await;
        let journal = again.journal(ShardId(0)).unwrap();
        assert_eq!(journal.head(entity(999)).await.unwrap().unwrap().version, 1);
        again.close().await.unwrap();
        shards.close().await.unwrap();
    }
}

/// A backup of some hundred entries.
async fn sample(folder: &Path) -> PathBuf {
    let shards = open(&folder.join("sample"), 1).await;
    write(&shards, true).await;
    let file = folder.join("backup");
    back_up(&shards, &file).await;
    shards.close().await.unwrap();
    file
}

/// Reads all of a file.
fn read(file: &Path) -> Result<(), FileError> {
    let mut reader = Reader::open(file)?;
    while reader.next()?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = sample(folder.path()).await;
    read(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let newer = [&whole[..12], &[0, 0, 0, 9], &whole[16..]].concat();
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("empty", Vec::new(), "it is no backup of otto's"),
        ("another program's", b"SQLite format 3\0 and more".to_vec(), "it is no backup of otto's"),
        ("newer", newer, "its format is 9, and this build knows up to 1"),
        ("cut in its format", whole[..14].to_vec(), "its end is missing"),
        ("cut in its header", whole[..60].to_vec(), "its end is missing"),
        ("cut in its rows", whole[..whole.len() / 2].to_vec(), "its end is missing"),
        ("without its last record", whole[..whole.len() - 40].to_vec(), "is damaged"),
        ("flipped in its header", flipped(50), "a checksum is wrong"),
        ("flipped in its rows", flipped(whole.len() / 2), "a checksum is wrong"),
        ("longer", [whole.clone(), vec![0]].concat(), "something was added to it"),
    ];
    let data = folder.path().join("data");
    for (what, bytes, part) in cases {
        std::fs::write(&file, bytes).unwrap();
        let refused = restored(&file, &data).await.unwrap_err();
        assert!(refused.what.contains(part), "{what}: {}", refused.what);
        assert!(!data.exists(), "{what}: something was made");
    }
    let missing = restored(&folder.path().join("nowhere"), &data).await.unwrap_err();
    assert!(missing.what.contains("No such file"), "{}", missing.what);
}

#[tokio::test]
async fn every_byte_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = sample(folder.path()).await;
    let whole = std::fs::read(&file).unwrap();
    // A prime step meets all places of records sooner or later.
    for at in (0..whole.len()).step_by(40_009) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, &bytes).unwrap();
        assert!(read(&file).is_err(), "byte {at} was changed");
        std::fs::write(&file, &whole[..at]).unwrap();
        assert!(read(&file).is_err(), "cut at {at}");
    }
}
