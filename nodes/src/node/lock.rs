//! Locks between processes, held by open files.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A lock that this process holds until it is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock if nobody holds it.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until nobody else holds the lock.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Holds it for as long as this process lives.
    pub(super) fn hold(self) {
        std::mem::forget(self.0);
    }

    /// Writes down who holds it, for messages.
    pub(super) fn sign(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        write!(self.0, "{}", std::process::id())
    }

    /// Whether the lock's file is still what others find at its path.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let of =
            |metadata: io::Result<Metadata>| metadata.map(|file| (file.dev(), file.ino())).ok();
        of(self.0.metadata()).is_some_and(|ours| of(fs::metadata(path)) == Some(ours))
    }

    /// What the holder wrote down.
    pub(super) fn signature(path: &Path) -> Option<u32> {
        let mut text = String::new();
        open(path).ok()?.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
