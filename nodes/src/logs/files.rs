//! Logs on files: one a log, below a folder for each project and run.
//!
//! Appends go to the page cache and are made durable once, by the seal: until then the agent keeps
//! its own copy.

use async_trait::async_trait;
use otto_actors::ports::logs::{LogError, LogId, Logs};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// The bytes that count: what a failed write left behind them does not.
    length: Mutex<u64>,
}

/// The most files that are kept open; the one that was left alone for longest is closed.
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
        let file = Arc::new(OpenLog { file, length: Mutex::new(length) });
        if open.files.len() >= MAX_OPEN {
            let idle = open.files.iter().min_by_key(|(_, (turn, _))| *turn).map(|(log, _)| *log);
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
        let mut length = open.length.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = length.checked_sub(offset) {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            let fresh = bytes.get(known..).unwrap_or_default();
            let written = open.file.write_all_at(fresh, *length);
            written.map_err(|error| failed(&self.path(log), &error))?;
            *length += fresh.len() as u64;
        }
        Ok(*length)
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let Some(open) = self.open(log, length > 0)? else {
            return Ok(length == 0);
        };
        if *open.length.lock().unwrap_or_else(PoisonError::into_inner) != length {
            return Ok(false);
        }
        let path = self.path(log);
        let synced = in_background(move || {
            open.file.set_len(length)?;
            open.file.sync_all()
        });
        synced.await.map_err(|error| failed(&path, &error))?;
        sync_folders(&path, &self.folder).map_err(|error| failed(&path, &error))?;
        Ok(true)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let Some(open) = self.open(log, false)? else { return Ok(Vec::new()) };
        let length = *open.length.lock().unwrap_or_else(PoisonError::into_inner);
        let left = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(limit)];
        let read = open.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| failed(&self.path(log), &error))?;
        Ok(bytes)
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        let open = self.open(log, false)?;
        Ok(open.map_or(0, |open| *open.length.lock().unwrap_or_else(PoisonError::into_inner)))
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
async fn in_background<F>(work: F) -> io::Result<()>
where
    F: FnOnce() -> io::Result<()> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn failed(path: &Path, error: &io::Error) -> LogError {
    LogError(format!("{}: {error}", path.display()))
}
