//! The medium under the store, as a port: two files, and the right to use them alone.

use super::open::OpenError;
use redb::StorageBackend;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One of the store's two files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StoreFile {
    /// The logs of all shards: small, durable with every append, purged.
    Log,
    /// What the logs came to: journals, heads and the wake index. Durable about once a second.
    State,
}

impl StoreFile {
    /// Its name in the data folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log.redb",
            Self::State => "state.redb",
        }
    }
}

impl fmt::Display for StoreFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the two files are. Whoever holds a disk is the only one to use them.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file, empty if it was not there.
    ///
    /// # Errors
    /// What the medium says.
    fn open(&self, file: StoreFile) -> io::Result<Box<dyn StorageBackend>>;

    /// What error messages call this place: a path.
    fn place(&self) -> String;
}

/// A folder of a real file system, locked for this process as long as this exists.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holding the open file holds the lock; the kernel lets go of it when the process dies.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, readable by its owner alone, and locks it.
    ///
    /// # Errors
    /// [`OpenError::Locked`] where another process holds it; [`OpenError::Unusable`] or
    /// [`OpenError::Full`] where it can't be made or written.
    pub fn lock(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let path = path.into();
        let place = path.display().to_string();
        let failed = |error: io::Error| OpenError::from_io(&place, "", &error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        let lock = open_file(&path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { place }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Disk for Folder {
    fn open(&self, file: StoreFile) -> io::Result<Box<dyn StorageBackend>> {
        let opened = open_file(&self.path.join(file.name()))?;
        // A new file's name must be as durable as its bytes will be.
        File::open(&self.path)?.sync_all()?;
        let backend = redb::backends::FileBackend::new(opened).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Lets redb use a medium that is only known as a trait object. The store's lock is the disk's, so
/// the locks that redb would take by itself are left out.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Box<dyn StorageBackend>);

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
