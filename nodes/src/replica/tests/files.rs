//! What is in the folder: refused where it is not ours, and never lost.

use super::{entity, item, open, proposal, serve};
use crate::replica::{Alone, Shards, ShardsConfig};
use crate::store::{FORMAT, Folder, OpenError, StoreFile, Threads};
use otto_core::journal::Verdict;
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[tokio::test]
async fn one_folder_has_one_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shards, _journal) = serve(folder.path()).await;
    let place = folder.path().display().to_string();
    assert_eq!(open(folder.path()).await.map(drop), Err(OpenError::Locked { place }));
    shards.close().await.expect("the disk is well");
    let (shards, _journal) = serve(folder.path()).await;
    shards.close().await.expect("the disk is well");
}

/// What became of an opening, without its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Newer(StoreFile),
    Damaged(StoreFile),
    Foreign(StoreFile),
    Other,
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Newer { file, found, known, .. } => {
                assert!(found > known, "{found} is not newer than {known}");
                Self::Newer(file)
            }
            OpenError::Damaged { file, .. } => Self::Damaged(file),
            OpenError::Foreign { file, .. } => Self::Foreign(file),
            OpenError::Locked { .. } | OpenError::Full { .. } | OpenError::Unusable { .. } => {
                Self::Other
            }
        }
    }
}

const LOG: StoreFile = StoreFile::Log;
const STATE: StoreFile = StoreFile::State;

/// Makes a folder in which a proposal is applied, and closes it.
async fn used_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (shards, journal) = serve(folder.path()).await;
    let applied = journal.propose(proposal([item(1, 0, None)])).await;
    assert_eq!(applied, Ok(Verdict::Applied));
    shards.close().await.expect("the disk is well");
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("files can be copied");
}

fn shorten(path: &Path, divisor: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("it is there");
    let length = file.metadata().expect("it is there").len();
    file.set_len(length / divisor).expect("files can be shortened");
}

fn edit<K, V>(path: &Path, table: &str, key: K::SelfType<'_>, value: V::SelfType<'_>)
where
    K: redb::Key + 'static,
    V: redb::Value + 'static,
{
    let database = redb::Database::create(path).expect("it opens");
    let transaction = database.begin_write().expect("it can be written");
    {
        let table = redb::TableDefinition::<K, V>::new(table);
        let mut table = transaction.open_table(table).expect("it can be written");
        table.insert(key, value).expect("it can be written");
    }
    transaction.commit().expect("it can be written");
}

/// Tampers with one file of a folder, with the help of another folder.
type Tamper = fn(&Path, &Path);

fn write_words(path: &Path, _other: &Path) {
    fs::write(path, "a letter").expect("files can be written");
}

fn write_noise(path: &Path, _other: &Path) {
    fs::write(path, vec![7; 99_999]).expect("files can be written");
}

fn remove(path: &Path, _other: &Path) {
    fs::remove_file(path).expect("files can be removed");
}

fn empty(path: &Path, _other: &Path) {
    shorten(path, u64::MAX);
}

fn halve(path: &Path, _other: &Path) {
    shorten(path, 2);
}

fn decimate(path: &Path, _other: &Path) {
    shorten(path, 10);
}

fn take_the_log(path: &Path, other: &Path) {
    copy(&other.join(LOG.name()), path);
}

fn take_the_state(path: &Path, other: &Path) {
    copy(&other.join(STATE.name()), path);
}

fn raise_the_format(path: &Path, _other: &Path) {
    edit::<&str, u64>(path, "otto", "format", FORMAT + 1);
}

fn keep_songs(path: &Path, other: &Path) {
    remove(path, other);
    edit::<&str, &str>(path, "songs", "title", "words");
}

fn keep_songs_of_our_name(path: &Path, other: &Path) {
    remove(path, other);
    edit::<&str, &str>(path, "otto", "title", "words");
}

#[tokio::test]
async fn what_is_not_ours_or_not_whole_is_refused_and_nothing_is_lost() {
    let cases: &[(&str, StoreFile, Tamper, Refusal)] = &[
        ("words", LOG, write_words, Refusal::Foreign(LOG)),
        ("noise", STATE, write_noise, Refusal::Foreign(STATE)),
        ("no log", LOG, remove, Refusal::Damaged(LOG)),
        ("no state", STATE, remove, Refusal::Damaged(STATE)),
        ("an empty log", LOG, empty, Refusal::Damaged(LOG)),
        ("half a log", LOG, halve, Refusal::Damaged(LOG)),
        ("half a state", STATE, halve, Refusal::Damaged(STATE)),
        ("a tenth of a state", STATE, decimate, Refusal::Damaged(STATE)),
        ("another's log", LOG, take_the_log, Refusal::Foreign(LOG)),
        ("another's state", STATE, take_the_state, Refusal::Foreign(LOG)),
        ("a state for a log", LOG, take_the_state, Refusal::Foreign(LOG)),
        ("a later format", STATE, raise_the_format, Refusal::Newer(STATE)),
        ("a later format of the log", LOG, raise_the_format, Refusal::Newer(LOG)),
        ("another program's", STATE, keep_songs, Refusal::Foreign(STATE)),
        ("another program's of our name", LOG, keep_songs_of_our_name, Refusal::Foreign(LOG)),
    ];
    let (folder, other) = (used_folder().await, used_folder().await);
    let aside = tempfile::tempdir().expect("a folder");
    for (case, file, tamper, refusal) in cases {
        let path = folder.path().join(file.name());
        let kept = aside.path().join(file.name());
        copy(&path, &kept);
        tamper(&path, other.path());
        let refused = open(folder.path()).await.map(drop);
        let said = refused.as_ref().err().map(ToString::to_string);
        assert_eq!(refused.map_err(Refusal::from), Err(*refusal), "{case}: {said:?}");
        copy(&kept, &path);
    }
    let (shards, journal) = serve(folder.path()).await;
    assert_eq!(journal.entries(entity(1), 0).await.map(|entries| entries.len()), Ok(1));
    shards.close().await.expect("the disk is well");
}

#[tokio::test]
async fn a_folder_belongs_to_one_node_and_keeps_its_number_of_shards() {
    let folder = used_folder().await;
    let as_node = async |node| {
        let disk = Box::new(Folder::lock(folder.path())?);
        let config = ShardsConfig { node, shards: 99, seed: 1, ..ShardsConfig::default() };
        Shards::open(disk, &Threads, config, Arc::new(Alone)).await
    };
    let refused = as_node(2).await.map(drop).map_err(Refusal::from);
    assert_eq!(refused, Err(Refusal::Foreign(STATE)));
    let shards = as_node(1).await.expect("it is node 1's");
    assert_eq!(shards.count(), 8);
    assert_eq!(shards.incarnation(), 1);
    shards.close().await.expect("the disk is well");
}

#[tokio::test]
async fn a_place_that_is_no_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    for place in [file.clone(), file.join("below")] {
        let refused = open(&place).await.map(drop).expect_err("it is no folder");
        let said = refused.to_string();
        assert!(matches!(refused, OpenError::Unusable { .. }), "{said}");
        assert!(said.contains(&place.display().to_string()), "{said}");
    }
}
