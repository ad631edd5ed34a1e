//! Logs on files: one a log, below a folder for each project and run.
//!
//! Appends go to the page cache and are durable with the seal: until then the agent keeps its own
//! copy. A large log is brought to the disk while it grows, so that its seal has little to wait
//! for.

use super::index::Index;
use async_trait::async_trait;
use otto_actors::ports::logs::{LogError, LogId, Logs};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

/// Logs below a folder.
#[derive(Debug)]
pub struct FileLogs {
    folder: PathBuf,
    open: Mutex<Open>,
}

/// The files that are open, so that an append costs one system call.
#[derive(Debug, Default)]
struct Open {
    turn: u64,
    files: BTreeMap<LogId, (u64, Arc<OpenLog>)>,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    extent: Mutex<Extent>,
    /// Nothing where it cannot be used: lines are no reason to take no log.
    index: Mutex<Option<Index>>,
}

/// How far a log goes.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The bytes that count: what a failed write left behind them does not.
    length: u64,
    /// How many of them are on the disk.
    durable: u64,
    /// They are being brought there.
    syncing: bool,
}

/// So many bytes are brought to the disk before the seal.
const SYNC_BYTES: u64 = 32 << 20;

impl OpenLog {
    fn new(file: File, length: u64, index: Option<Index>) -> Self {
        let extent = Extent { length, durable: 0, syncing: false };
        Self { file, extent: Mutex::new(extent), index: Mutex::new(index) }
    }

    /// Uses the index, and does without it from then on where that fails.
    fn index<T>(&self, usage: impl FnOnce(&mut Index) -> io::Result<T>) -> Option<T> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let used = usage(index.as_mut()?);
        if let Err(error) = &used {
            tracing::info!(%error, "the lines of a log are counted no more");
            *index = None;
        }
        used.ok()
    }

    /// How many line ends are in front of a byte that is there.
    fn lines_before(&self, offset: u64) -> Option<u64> {
        if offset > self.extent().length {
            return None;
        }
        self.index(|index| index.lines_before(&self.file, offset))
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is new of these bytes; answers the length, and whether it is time to sync. Where
    /// several add at a time, each finds what the one before it has added.
    fn append(&self, offset: u64, bytes: &[u8]) -> io::Result<(u64, bool)> {
        let mut extent = self.extent();
        if let Some(known) = extent.length.checked_sub(offset) {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            let fresh = bytes.get(known..).unwrap_or_default();
            self.file.write_all_at(fresh, extent.length)?;
            self.index(|index| index.add(&self.file, extent.length, fresh));
            extent.length += fresh.len() as u64;
        }
        let due = !extent.syncing && extent.length - extent.durable >= SYNC_BYTES;
        extent.syncing |= due;
        Ok((extent.length, due))
    }

    /// Removes what a failed write left behind the last byte that counts; answers false, and does
    /// nothing, where the log has another length than this.
    fn trim(&self, length: u64) -> io::Result<bool> {
        // Held over both, so that nothing is added in between and cut off then.
        let extent = self.extent();
        if extent.length != length {
            return Ok(false);
        }
        self.file.set_len(length).map(|()| true)
    }

    /// Brings to the disk what is there. What could not be brought there does not count any more:
    /// the agent, which still has it, sends it again.
    fn sync(&self) -> io::Result<()> {
        let reached = self.extent().length;
        let synced = self.file.sync_data();
        let mut extent = self.extent();
        extent.syncing = false;
        if synced.is_ok() {
            // Another one, begun later, may have been done earlier.
            extent.durable = extent.durable.max(reached);
        } else {
            extent.length = extent.durable;
            self.index(|index| index.cut(extent.durable));
        }
        synced
    }
}

/// The most files that are kept open, those apart that are in use; the one that was left alone for
/// longest is closed.
const MAX_OPEN: usize = 128;

impl FileLogs {
    /// Logs below this folder, which is made with the first log.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    fn path(&self, log: LogId) -> PathBuf {
        let name = format!("{}.{}.log", log.stage.0, log.attempt);
        self.folder.join(log.run.project.to_string()).join(log.run.number.to_string()).join(name)
    }

    /// The open file of a log; `None` where there is none and `create` is not wanted.
    fn open(&self, log: LogId, create: bool) -> Result<Option<Arc<OpenLog>>, LogError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.turn += 1;
        let turn = open.turn;
        if let Some((last, file)) = open.files.get_mut(&log) {
            *last = turn;
            return Ok(Some(file.clone()));
        }
        let path = self.path(log);
        let Some(file) = open_file(&path, create).map_err(|error| failed(&path, &error))? else {
            return Ok(None);
        };
        let length = file.metadata().map_err(|error| failed(&path, &error))?.len();
        let index = open_file(&path.with_extension("lines"), create).ok().flatten();
        let index = index.and_then(|file| Index::open(file, length).ok());
        let file = Arc::new(OpenLog::new(file, length, index));
        if open.files.len() >= MAX_OPEN {
            // Opened twice, a log would have two lengths.
            let unused = open.files.iter().filter(|(_, (_, file))| Arc::strong_count(file) == 1);
            let idle = unused.min_by_key(|(_, (turn, _))| *turn).map(|(log, _)| *log);
            idle.map(|log| open.files.remove(&log));
        }
        open.files.insert(log, (turn, file.clone()));
        Ok(Some(file))
    }
}

#[async_trait]
impl Logs for FileLogs {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let Some(open) = self.open(log, true)? else {
            return Err(LogError(format!("{} was not made", self.path(log).display())));
        };
        let appended = open.append(offset, bytes);
        let (length, due) = appended.map_err(|error| failed(&self.path(log), &error))?;
        if due {
            // Nobody waits for it; where it fails, the length says so.
            drop(in_background(move || open.sync()));
        }
        Ok(length)
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let Some(open) = self.open(log, length > 0)? else {
            return Ok(length == 0);
        };
        if open.extent().length != length {
            return Ok(false);
        }
        let (path, top) = (self.path(log), self.folder.clone());
        let sealed = in_background(move || {
            let is_whole = open.trim(length)?;
            if is_whole {
                open.sync()?;
                sync_folders(&path, &top)?;
            }
            Ok(is_whole)
        });
        let sealed = sealed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        sealed.map_err(|error| failed(&self.path(log), &error))
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let Some(open) = self.open(log, false)? else { return Ok(Vec::new()) };
        let length = open.extent().length;
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(limit)];
        let read = open.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| failed(&self.path(log), &error))?;
        Ok(bytes)
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        let open = self.open(log, false)?;
        Ok(open.map_or(0, |open| open.extent().length))
    }

    async fn lines_before(&self, log: LogId, offset: u64) -> Result<Option<u64>, LogError> {
        Ok(self.open(log, false)?.and_then(|open| open.lines_before(offset)))
    }
}

fn open_file(path: &Path, create: bool) -> io::Result<Option<File>> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false);
        options
    };
    match options().open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            options().open(path).map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the names durable that lead to a file: its folder, up to the folder of all logs.
fn sync_folders(path: &Path, top: &Path) -> io::Result<()> {
    let mut folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(top));
    folders.try_for_each(|folder| File::open(folder)?.sync_all())
}

/// Waits for the disk elsewhere: making a large log durable takes seconds.
#[expect(clippy::disallowed_methods, reason = "only files wait for a disk; simulation has memory")]
fn in_background<T, F>(work: F) -> JoinHandle<io::Result<T>>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

fn failed(path: &Path, error: &io::Error) -> LogError {
    LogError(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{FileLogs, MAX_OPEN, OpenLog, SYNC_BYTES};
    use otto_actors::ports::logs::{LogId, Logs};
    use otto_core::ids::{Attempt, ProjectId, RunId, StageId};
    use std::fs::OpenOptions;
    use std::sync::Arc;

    fn log(number: u64) -> LogId {
        let run = RunId { project: ProjectId(7), number };
        LogId { run, stage: StageId(3), attempt: Attempt::FIRST }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn several_who_add_the_same_bytes_add_them_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = Arc::new(FileLogs::new(folder.path().to_owned()));
        let text: Vec<u8> = (0..4000).flat_map(|n| format!("{n:07}\n").into_bytes()).collect();
        let write = |step: usize| {
            let (logs, text) = (Arc::clone(&logs), text.clone());
            tokio::spawn(async move {
                let mut offset = 0;
                while offset < text.len() {
                    let part = &text[offset..text.len().min(offset + step)];
                    let length = logs.append(log(1), offset as u64, part).await.expect("room");
                    offset = usize::try_from(length).expect("it fits");
                    // A short log of another run takes its turn among the open files.
                    logs.append(log(length % 300 + 2), 0, b"x").await.expect("room");
                }
            })
        };
        for writer in [7, 8, 100, 100, 3000].map(write) {
            writer.await.expect("no panic");
        }
        assert_eq!(logs.seal(log(1), text.len() as u64).await, Ok(true));
        assert_eq!(logs.read(log(1), 0, text.len() + 1).await.expect("a log"), text);
    }

    #[tokio::test]
    async fn a_log_in_use_stays_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = FileLogs::new(folder.path().to_owned());
        let held = logs.open(log(0), true).expect("opened").expect("made");
        for number in 1..=2 * MAX_OPEN as u64 {
            logs.append(log(number), 0, b"x").await.expect("room");
        }
        assert_eq!(logs.length(log(0)).await, Ok(0));
        assert_eq!(held.append(0, b"some").expect("written"), (4, false));
        assert_eq!(logs.length(log(0)).await, Ok(4));
    }

    #[test]
    fn what_was_added_since_is_not_trimmed() {
        let file = tempfile::tempfile().expect("a file");
        let log = OpenLog::new(file, 0, None);
        log.append(0, b"some").expect("written");
        assert!(!log.trim(3).expect("compared"));
        assert_eq!(log.file.metadata().expect("a file").len(), 4);
        assert!(log.trim(4).expect("trimmed"));
    }

    #[test]
    fn what_the_disk_does_not_take_is_asked_for_again() {
        let check = |path: &str, length: u64| {
            let file = OpenOptions::new().write(true).open(path).expect("a file");
            let log = OpenLog::new(file, 0, None);
            assert_eq!(log.append(0, b"some").expect("written"), (4, false));
            assert_eq!(log.sync().is_ok(), length > 0, "{path}");
            assert_eq!(log.append(4, b"").expect("written"), (length, false), "{path}");
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "").expect("a file");
        check(path.to_str().expect("a plain path"), 4);
        // The null device takes everything and cannot be synced.
        check("/dev/null", 0);
    }

    #[test]
    fn a_log_that_grows_is_synced_once_at_a_time() {
        let file = OpenOptions::new().write(true).open("/dev/null").expect("a file");
        let log = OpenLog::new(file, 0, None);
        let much = vec![b'x'; usize::try_from(SYNC_BYTES).expect("it fits")];
        assert_eq!(log.append(0, &much[1..]).expect("written"), (SYNC_BYTES - 1, false));
        assert_eq!(log.append(SYNC_BYTES - 1, b"x").expect("written"), (SYNC_BYTES, true));
        assert_eq!(log.append(SYNC_BYTES, b"x").expect("written"), (SYNC_BYTES + 1, false));
    }
}
