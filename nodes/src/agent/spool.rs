//! The spool: what steps print, on the agent's disk until the control side has sealed it.
//!
//! Writing is plain and unsynced: a spool does not outlive its agent. On a full disk the writer
//! waits, so that the step waits too and nothing is lost; only beyond the log's limit, or when the
//! stage is ended meanwhile, bytes are passed over, and then the log says how many: it is closed
//! only when nobody writes into it any more, and when the disk has taken that last line.

use super::file_name;
use async_trait::async_trait;
use otto_actors::ports::logs::{LogError, Spool};
use otto_core::lease::LeaseId;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The most bytes of one attempt's log unless the agent is told otherwise.
pub const LOG_LIMIT_BYTES: u64 = 4 << 30;

/// Logs as files of a folder, one for each lease.
#[derive(Debug)]
pub struct DiskSpool {
    folder: PathBuf,
    limit_bytes: u64,
    logs: Mutex<BTreeMap<LeaseId, Arc<Log>>>,
}

impl DiskSpool {
    /// Opens the spool in a folder, and removes what an earlier agent left there.
    ///
    /// # Errors
    /// When the folder cannot be made or emptied.
    pub fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for left in fs::read_dir(folder)? {
            fs::remove_file(left?.path())?;
        }
        Ok(Self { folder: folder.to_owned(), limit_bytes, logs: Mutex::default() })
    }

    /// The log of a lease, begun where there is none.
    pub(super) fn log(&self, lease: LeaseId) -> Result<Arc<Log>, LogError> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(&lease) {
            return Ok(Arc::clone(log));
        }
        let path = self.path(lease);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| LogError(format!("begin {}: {error}", path.display())))?;
        let log = Arc::new(Log::new(file, self.limit_bytes));
        logs.insert(lease, Arc::clone(&log));
        Ok(log)
    }

    /// The log of a lease that has one.
    fn existing(&self, lease: LeaseId) -> Result<Arc<Log>, LogError> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.get(&lease).cloned().ok_or_else(|| LogError(format!("there is none of {lease}")))
    }

    fn path(&self, lease: LeaseId) -> PathBuf {
        self.folder.join(file_name(lease))
    }
}

#[async_trait]
impl Spool for DiskSpool {
    async fn read(&self, lease: LeaseId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let log = self.existing(lease)?;
        let there = log.extent().length.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(there).map_or(limit, |there| there.min(limit))];
        let read = log.file.read_exact_at(&mut bytes, offset);
        read.map(|()| bytes).map_err(|error| LogError(format!("read {lease}: {error}")))
    }

    async fn grown(&self, lease: LeaseId, length: u64) -> Result<(u64, bool), LogError> {
        let log = self.existing(lease)?;
        let mut extent = log.extent.subscribe();
        let grown = extent.wait_for(|now| now.length > length || now.closed).await;
        let now = *grown.map_err(|_| LogError(format!("{lease} is dropped")))?;
        Ok((now.length, now.closed))
    }

    async fn note(&self, lease: LeaseId, line: &str) -> Result<(), LogError> {
        let log = self.log(lease)?;
        log.note(line).map_err(|error| LogError(format!("write {lease}: {error}")))
    }

    async fn close(&self, lease: LeaseId) -> Result<u64, LogError> {
        let log = self.log(lease)?;
        log.without_writers().await;
        log.close().map_err(|error| LogError(format!("write {lease}: {error}")))
    }

    async fn drop_log(&self, lease: LeaseId) -> Result<(), LogError> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.remove(&lease) {
            log.extent.send_modify(|extent| extent.closed = true);
        }
        match fs::remove_file(self.path(lease)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LogError(format!("remove {lease}: {error}")))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// How far a log goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Extent {
    length: u64,
    closed: bool,
    /// How many may still print.
    writers: usize,
}

/// What is being written, under one lock so that lines of Otto's own fall between those of steps.
#[derive(Debug, Default)]
struct Tail {
    /// How many bytes of steps are there.
    printed: u64,
    /// How many bytes were passed over since the log last said so.
    cut_off: u64,
    /// The last byte, to begin Otto's own lines at the start of a line.
    last: Option<u8>,
}

/// One attempt's log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    limit_bytes: u64,
    tail: Mutex<Tail>,
    extent: watch::Sender<Extent>,
}

impl Log {
    fn new(file: File, limit_bytes: u64) -> Self {
        let extent = watch::Sender::new(Extent::default());
        Self { file, limit_bytes, tail: Mutex::default(), extent }
    }

    fn extent(&self) -> Extent {
        *self.extent.borrow()
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.extent().length
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what was cut off so far.
    fn say_cut_off(&self, tail: &mut Tail) -> io::Result<()> {
        if tail.cut_off == 0 {
            return Ok(());
        }
        let line = format!("… {} bytes cut off", tail.cut_off);
        self.write_line(tail, &line)?;
        tail.cut_off = 0;
        Ok(())
    }

    fn note(&self, line: &str) -> io::Result<()> {
        let mut tail = self.tail();
        if self.extent().closed {
            return Ok(());
        }
        self.say_cut_off(&mut tail)?;
        self.write_line(&mut tail, line)
    }

    /// Waits until nobody can print any more: what they leave unwritten is known then.
    async fn without_writers(&self) {
        let mut extent = self.extent.subscribe();
        // Its sender is in the log itself, so there is an end to wait for.
        extent.wait_for(|now| now.writers == 0).await.map(drop).ok();
    }

    fn close(&self) -> io::Result<u64> {
        let mut tail = self.tail();
        if !self.extent().closed {
            self.say_cut_off(&mut tail)?;
            self.extent.send_modify(|extent| extent.closed = true);
        }
        Ok(self.extent().length)
    }

    fn write_line(&self, tail: &mut Tail, line: &str) -> io::Result<()> {
        let begin = if tail.last.is_some_and(|last| last != b'\n') { "\n" } else { "" };
        let bytes = format!("{begin}{line}\n").into_bytes();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = self.write(tail, rest)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Writes as much as the disk takes, at least one byte.
    fn write(&self, tail: &mut Tail, bytes: &[u8]) -> io::Result<usize> {
        let written = match self.file.write_at(bytes, self.extent().length) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            written => written?,
        };
        tail.last = bytes[..written].last().copied();
        self.extent.send_modify(|extent| extent.length += written as u64);
        Ok(written)
    }
}

/// Somebody who prints into a log, which is not closed before this is dropped.
#[derive(Debug)]
pub(super) struct Writer(Arc<Log>);

impl Writer {
    pub(super) fn of(log: Arc<Log>) -> Self {
        log.extent.send_modify(|extent| extent.writers += 1);
        Self(log)
    }

    /// Adds what a step printed; answers how many of the bytes are dealt with. Those beyond the
    /// limit are: they are counted.
    ///
    /// # Errors
    /// When the disk takes nothing now; the same bytes may be offered again.
    pub(super) fn print(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut tail = self.0.tail();
        let room = self.0.limit_bytes.saturating_sub(tail.printed);
        let fits = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        // A log is closed under a writer only where nobody wants it any more.
        if fits == 0 || self.0.extent().closed {
            tail.cut_off += bytes.len() as u64;
            return Ok(bytes.len());
        }
        let written = self.0.write(&mut tail, &bytes[..fits])?;
        tail.printed += written as u64;
        Ok(written)
    }

    /// Passes over bytes that a step printed and that cannot be kept; the log will say so.
    pub(super) fn pass_over(&self, bytes: usize) {
        self.0.tail().cut_off += bytes as u64;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.extent.send_modify(|extent| extent.writers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskSpool, Writer};
    use otto_actors::ports::logs::Spool;
    use otto_core::ids::{Attempt, Epoch, ProjectId, RunId, StageId};
    use otto_core::lease::LeaseId;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    fn lease() -> LeaseId {
        LeaseId {
            run: RunId { project: ProjectId(7), number: 1 },
            stage: StageId(1),
            attempt: Attempt::FIRST,
            epoch: Epoch::default(),
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(value) = polled else { panic!("it waits") };
        value
    }

    #[test]
    fn a_log_says_what_it_cuts_off() {
        let check = |limit: u64, printed: &[&str], expected: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let spool = DiskSpool::open(folder.path(), limit).expect("a spool");
            let log = Writer::of(spool.log(lease()).expect("a log"));
            for mut text in printed.iter().map(|text| text.as_bytes()) {
                while !text.is_empty() {
                    let taken = log.print(text).expect("room on the disk");
                    text = &text[taken..];
                }
            }
            drop(log);
            now(spool.note(lease(), "step 2")).expect("a note");
            let length = now(spool.close(lease())).expect("an end");
            let bytes = now(spool.read(lease(), 0, 1000)).expect("a log");
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
            assert_eq!(length, bytes.len() as u64);
        };
        check(100, &["one\n", "two\n"], "one\ntwo\nstep 2\n");
        check(100, &["no line end"], "no line end\nstep 2\n");
        check(5, &["one\n", "two\n", "three\n"], "one\nt\n… 9 bytes cut off\nstep 2\n");
        check(0, &["x"], "… 1 bytes cut off\nstep 2\n");
        check(100, &[], "step 2\n");
    }

    #[test]
    fn whoever_waits_learns_of_growth_and_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = DiskSpool::open(folder.path(), 100).expect("a spool");
        let log = Writer::of(spool.log(lease()).expect("a log"));
        log.print(b"one").expect("room");
        assert_eq!(now(spool.grown(lease(), 0)), Ok((3, false)));
        {
            let mut waits = pin!(spool.grown(lease(), 3));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waits.as_mut().poll(&mut context).is_pending());
            log.print(b"two").expect("room");
            assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(Ok((6, false))));
        }
        drop(log);
        assert_eq!(now(spool.close(lease())), Ok(6));
        assert_eq!(now(spool.grown(lease(), 6)), Ok((6, true)));
        assert_eq!(now(spool.close(lease())), Ok(6));
        now(spool.drop_log(lease())).expect("removed");
        assert!(now(spool.read(lease(), 0, 10)).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_log_is_closed_when_nobody_prints_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = DiskSpool::open(folder.path(), 100).expect("a spool");
        let log = spool.log(lease()).expect("a log");
        let [first, last] = [Writer::of(Arc::clone(&log)), Writer::of(log)];
        let mut closes = pin!(spool.close(lease()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(closes.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(closes.as_mut().poll(&mut context).is_pending());
        last.pass_over(3);
        drop(last);
        assert_eq!(closes.as_mut().poll(&mut context), Poll::Ready(Ok(20)));
        let bytes = now(spool.read(lease(), 0, 100)).expect("a log");
        assert_eq!(String::from_utf8_lossy(&bytes), "… 3 bytes cut off\n");
    }

    #[test]
    fn what_an_earlier_agent_left_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("left"), "behind").expect("a file");
        DiskSpool::open(folder.path(), 100).expect("a spool");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
