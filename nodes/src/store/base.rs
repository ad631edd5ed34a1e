//! One database file: transactions on it, and what happens when one fails.

use super::disk::StoreFile;
use super::fault::{Fault, Health};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Commit {
    /// Visible at once, on disk with the next durable one.
    Visible,
    /// On disk.
    Durable,
    /// On disk, and the file opens fast after a crash: two syncs instead of one.
    QuickToOpen,
}

/// One of the two databases, open until it is closed or fails.
#[derive(Clone)]
pub(super) struct Base {
    file: StoreFile,
    /// Taken out when the store is closed, though journals that actors hold still point here.
    database: Arc<RwLock<Option<Database>>>,
    health: Health,
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Base").field(&self.file).finish()
    }
}

impl Base {
    pub(super) fn new(file: StoreFile, database: Database, health: Health) -> Self {
        Self { file, database: Arc::new(RwLock::new(Some(database))), health }
    }

    /// Reads one consistent picture.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        self.picture(|transaction| read(&transaction))
    }

    /// Reads a picture that may be kept: it stays as it is while the database moves on.
    pub(super) fn picture<T>(
        &self,
        read: impl FnOnce(ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        self.on_database(|database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            read(transaction)
        })
    }

    /// Changes the database as one.
    pub(super) fn write<T>(
        &self,
        commit: Commit,
        write: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        self.on_database(|database| {
            let mut transaction = database.begin_write()?;
            match commit {
                Commit::Visible => transaction.set_durability(Durability::None)?,
                Commit::Durable => {}
                Commit::QuickToOpen => transaction.set_quick_repair(true),
            }
            let answer = write(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        })
    }

    /// Closes the file cleanly, after all that read from it are done.
    pub(super) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        // A database that can't be closed is damaged; whoever opens it next says so.
        unless_senseless(|| drop(database)).ok();
    }

    fn on_database<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        self.health.check()?;
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or(Fault::Closed)?;
        let outcome = unless_senseless(|| act(database)).and_then(|outcome| outcome);
        outcome.map_err(|error| {
            let fault = Fault::new(self.file, &error);
            self.health.raise(&fault);
            fault
        })
    }
}

/// redb trusts the pages that it reads, and panics where they make no sense: that is damage, not a
/// defect of ours.
pub(super) fn unless_senseless<T>(act: impl FnOnce() -> T) -> Result<T, redb::Error> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|_panic| damaged("its pages make no sense"))
}

/// Puts a checksum before bytes that go to disk. redb verifies its own only while it repairs.
pub(super) fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SUM_BYTES + bytes.len());
    sealed.extend_from_slice(&checksum(bytes));
    sealed.extend_from_slice(bytes);
    sealed
}

/// Takes off what [`seal`] put on.
pub(super) fn unseal(sealed: &[u8]) -> Result<&[u8], redb::Error> {
    match sealed.split_at_checked(SUM_BYTES) {
        Some((sum, bytes)) if *sum == checksum(bytes) => Ok(bytes),
        _ => Err(damaged("a record's checksum is wrong")),
    }
}

/// The error for what should not be in the file.
pub(super) fn damaged(detail: impl Into<String>) -> redb::Error {
    redb::Error::Corrupted(detail.into())
}

const SUM_BYTES: usize = 8;

fn checksum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..SUM_BYTES]);
    sum
}
