//! What makes a store unusable, and how everyone learns of it.

use super::disk::StoreFile;
use otto_core::journal::Unreadable;
use std::io;
use tokio::sync::watch;

/// Why the store can't be used any more. It stays so until the process opens it anew: after a
/// failed sync nobody knows what is on disk, so nothing is ever tried twice.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// There is no room.
    #[error(
        "write to {file}: the disk is full; free some space and start the node again, nothing \
         that was acknowledged is lost"
    )]
    Full {
        /// The file that could not grow.
        file: StoreFile,
    },
    /// The medium failed.
    #[error(
        "use {file}: {detail}; check the disk and start the node again, nothing that was \
         acknowledged is lost if the disk kept it"
    )]
    Io {
        /// The file that was used.
        file: StoreFile,
        /// What the operating system said.
        detail: String,
    },
    /// What is on the medium is not what was written.
    #[error("read {file}: it is damaged ({detail}); restore it from a backup")]
    Damaged {
        /// The damaged file.
        file: StoreFile,
        /// What does not fit.
        detail: String,
    },
    /// A defect of ours ended a part of the store.
    #[error("keep the store running: {0}; start the node again")]
    Stopped(String),
    /// The store was closed.
    #[error("use the store: it is closed")]
    Closed,
}

impl Fault {
    pub(super) fn new(file: StoreFile, error: &redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::from_io(file, error),
            redb::Error::Corrupted(detail) => Self::Damaged { file, detail: detail.clone() },
            redb::Error::DatabaseClosed => Self::Closed,
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_) => {
                let detail = "its tables are not those that this Otto writes".to_owned();
                Self::Damaged { file, detail }
            }
            other => Self::Io { file, detail: other.to_string() },
        }
    }

    /// A record that is whole, yet does not say what it must.
    pub(crate) fn unreadable(file: StoreFile, unreadable: &Unreadable) -> Self {
        Self::Damaged { file, detail: format!("failed to {unreadable}") }
    }

    fn from_io(file: StoreFile, error: &io::Error) -> Self {
        match error.kind() {
            kind if is_full(kind) => Self::Full { file },
            io::ErrorKind::UnexpectedEof => {
                Self::Damaged { file, detail: "it is shorter than it must be".to_owned() }
            }
            _ => Self::Io { file, detail: error.to_string() },
        }
    }
}

/// Whether an error means that there is no room.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The store's state of health: the first fault stays.
#[derive(Clone, Debug)]
pub(crate) struct Health(watch::Sender<Option<Fault>>);

impl Health {
    pub(crate) fn good() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Records a fault, unless there was one before.
    pub(crate) fn raise(&self, fault: &Fault) {
        self.0.send_if_modified(|found| {
            let first = found.is_none();
            if first {
                *found = Some(fault.clone());
            }
            first
        });
    }

    /// The fault that there is.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// What tells when a fault comes.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Fault>> {
        self.0.subscribe()
    }
}
