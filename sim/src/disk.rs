//! A simulated disk: what is written is seen at once, what is synced survives, the rest is luck.
//!
//! ```text
//!     write ──▶ seen ──sync──▶ kept        power cut: kept, and of the rest what the crash leaves
//! ```
//!
//! One disk has both of the store's files, so that the operations on them have one order, and a
//! fault can be placed at any of them. A process uses the disk through a [`Mount`]; when the
//! process or its machine ends, the mount is cut off, so that nothing that is still dropped there
//! writes. This module knows nothing of what is in the files.

use crate::setup::Dice;
use otto_nodes::store::{Disk, StoreFile};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit that a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// The unit in which a file takes up room.
const BLOCK_BYTES: usize = 4096;

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Nothing.
    LoseAll,
    /// What was written first, up to some operation.
    Prefix,
    /// Any of the operations.
    Subset,
    /// Any of the sectors of any of the operations.
    Torn,
}

impl Crash {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LoseAll, Self::Prefix, Self::Subset, Self::Torn];
}

/// What a disk did so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Writes, length changes and syncs, failed ones too.
    pub operations: u64,
    /// Syncs.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// The disk of one machine. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<Machine>>);

#[derive(Debug)]
struct Machine {
    log: Medium,
    state: Medium,
    dice: Dice,
    counts: Counts,
    /// Mounts of earlier lives are cut off.
    life: u64,
    /// From this operation on, everything fails.
    fails_at: Option<u64>,
    /// The next so-manieth sync from now fails, once.
    failing_sync: Option<u64>,
    full: bool,
    /// Syncs of the log say that they are done, and do nothing.
    forgetful: bool,
}

/// One file: what survives, what is seen, and what lies between.
#[derive(Clone, Debug, Default)]
struct Medium {
    kept: Vec<u8>,
    seen: Vec<u8>,
    unsynced: Vec<Change>,
    /// The blocks that have room on the disk.
    blocks: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn make(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => put(content, *offset, bytes),
            Self::Length(length) => content.resize(*length, 0),
        }
    }

    /// Makes some sectors of the change.
    fn make_torn(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Write(offset, bytes) => {
                let mut start = 0;
                while start < bytes.len() {
                    let within = (offset + start) % SECTOR_BYTES;
                    let end = bytes.len().min(start + SECTOR_BYTES - within);
                    if dice.chance(50) {
                        put(content, offset + start, &bytes[start..end]);
                    }
                    start = end;
                }
            }
            Self::Length(_) => {
                if dice.chance(50) {
                    self.make(content);
                }
            }
        }
    }
}

/// Writes bytes, behind the end too.
fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Medium {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.make(&mut self.kept);
        }
    }

    fn crash(&mut self, crash: Crash, dice: &mut Dice) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let first = dice.between(0, unsynced.len() as u64);
        for (position, change) in (0..).zip(&unsynced) {
            match crash {
                Crash::LoseAll => {}
                Crash::Prefix => {
                    if position < first {
                        change.make(&mut self.kept);
                    }
                }
                Crash::Subset => {
                    if dice.chance(50) {
                        change.make(&mut self.kept);
                    }
                }
                Crash::Torn => change.make_torn(&mut self.kept, dice),
            }
        }
        self.seen.clone_from(&self.kept);
    }
}

impl Machine {
    fn medium(&mut self, file: StoreFile) -> &mut Medium {
        match file {
            StoreFile::Log => &mut self.log,
            StoreFile::State => &mut self.state,
        }
    }

    /// Counts an operation that may change something, and decides whether it fails.
    fn operate(&mut self) -> io::Result<()> {
        self.counts.operations += 1;
        self.works()
    }

    fn works(&self) -> io::Result<()> {
        match self.fails_at {
            Some(at) if self.counts.operations >= at => Err(io::Error::other("simulated EIO")),
            Some(_) | None => Ok(()),
        }
    }

    /// Finds room for a range of a file.
    fn allot(&mut self, file: StoreFile, range: Range<usize>) -> io::Result<()> {
        let full = self.full;
        let blocks = &mut self.medium(file).blocks;
        let needed = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        if full && !needed.clone().all(|block| blocks.contains(&block)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        blocks.extend(needed);
        Ok(())
    }
}

impl SimulatedDisk {
    /// A blank disk. The seed chooses what crashes leave.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Machine {
            log: Medium::default(),
            state: Medium::default(),
            dice: Dice::new(seed),
            counts: Counts::default(),
            life: 0,
            fails_at: None,
            failing_sync: None,
            full: false,
            forgetful: false,
        })))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk for a process that starts now. Mounts of earlier processes are cut off.
    #[must_use]
    pub fn mount(&self) -> Mount {
        let mut machine = self.machine();
        machine.life += 1;
        Mount { disk: self.clone(), life: machine.life }
    }

    /// The process ends: its mount is cut off, the machine keeps what was written.
    pub fn kill(&self) {
        self.machine().life += 1;
    }

    /// The machine loses power, and has it again: faults that were planned are gone, but a full
    /// disk stays full.
    pub fn crash(&self, crash: Crash) {
        let mut guard = self.machine();
        let machine = &mut *guard;
        machine.life += 1;
        machine.fails_at = None;
        machine.failing_sync = None;
        machine.log.crash(crash, &mut machine.dice);
        machine.state.crash(crash, &mut machine.dice);
    }

    /// After so many more operations, everything on this disk fails until the next crash or repair.
    pub fn fail_after(&self, operations: u64) {
        let mut machine = self.machine();
        machine.fails_at = Some(machine.counts.operations + operations + 1);
    }

    /// After so many more syncs, one fails: what was written since the one before is dropped,
    /// though it can still be read, and the next sync succeeds. So Linux does it.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.machine().failing_sync = Some(syncs);
    }

    /// Whether a planned failure has come.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.machine().works().is_err()
    }

    /// The disk works again.
    pub fn repair(&self) {
        let mut machine = self.machine();
        machine.fails_at = None;
        machine.failing_sync = None;
    }

    /// Lets the disk have no more room, or room again.
    pub fn set_full(&self, full: bool) {
        self.machine().full = full;
    }

    /// Lets the disk say that the log is synced, and not do it.
    pub fn set_forgetful(&self, forgetful: bool) {
        self.machine().forgetful = forgetful;
    }

    /// Damages one sector of what survives, counted from the file's beginning; false where there is
    /// none.
    pub fn corrupt(&self, file: StoreFile, sector: usize) -> bool {
        let mut guard = self.machine();
        let machine = &mut *guard;
        let damage: Vec<u8> =
            (0..SECTOR_BYTES / 8).flat_map(|_| machine.dice.roll().to_le_bytes()).collect();
        let medium = machine.medium(file);
        let start = sector * SECTOR_BYTES;
        let there = start + SECTOR_BYTES <= medium.kept.len();
        if there {
            medium.kept[start..start + SECTOR_BYTES].copy_from_slice(&damage);
            put(&mut medium.seen, start, &damage);
        }
        there
    }

    /// Replaces a file, as an administrator might.
    pub fn replace(&self, file: StoreFile, content: &[u8]) {
        let mut machine = self.machine();
        *machine.medium(file) =
            Medium { kept: content.to_vec(), seen: content.to_vec(), ..Medium::default() };
    }

    /// Nothing is left on it.
    pub fn wipe(&self) {
        self.replace(StoreFile::Log, &[]);
        self.replace(StoreFile::State, &[]);
    }

    /// What survives of a file.
    #[must_use]
    pub fn content(&self, file: StoreFile) -> Vec<u8> {
        self.machine().medium(file).kept.clone()
    }

    /// What the disk did so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.machine().counts
    }
}

/// The disk, as one process uses it.
#[derive(Clone, Debug)]
pub struct Mount {
    disk: SimulatedDisk,
    life: u64,
}

impl Mount {
    fn machine(&self) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = self.disk.machine();
        if machine.life == self.life {
            Ok(machine)
        } else {
            Err(io::Error::other("the process that used this has ended"))
        }
    }
}

impl Disk for Mount {
    fn open(&self, file: StoreFile) -> io::Result<Box<dyn redb::StorageBackend>> {
        self.machine()?.works()?;
        Ok(Box::new(OpenFile { mount: self.clone(), file }))
    }

    fn place(&self) -> String {
        "the simulated disk".to_owned()
    }
}

/// One opened file.
#[derive(Debug)]
struct OpenFile {
    mount: Mount,
    file: StoreFile,
}

/// An offset or length on a disk that is a piece of memory.
fn within_memory(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl redb::StorageBackend for OpenFile {
    fn len(&self) -> io::Result<u64> {
        let mut machine = self.mount.machine()?;
        machine.works()?;
        Ok(machine.medium(self.file).seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = within_memory(offset)?;
        let mut machine = self.mount.machine()?;
        machine.works()?;
        let seen = &machine.medium(self.file).seen;
        let found = seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = within_memory(length)?;
        let mut machine = self.mount.machine()?;
        machine.operate()?;
        let medium = machine.medium(self.file);
        medium.seen.resize(length, 0);
        medium.blocks.split_off(&length.div_ceil(BLOCK_BYTES));
        medium.unsynced.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut machine = self.mount.machine()?;
        machine.counts.syncs += 1;
        machine.operate()?;
        let failing = machine.failing_sync.take();
        machine.failing_sync = failing.and_then(|syncs| syncs.checked_sub(1));
        let forgets = machine.forgetful && self.file == StoreFile::Log;
        let medium = machine.medium(self.file);
        if forgets {
            return Ok(());
        }
        if failing == Some(0) {
            medium.unsynced.clear();
            return Err(io::Error::other("simulated EIO on sync"));
        }
        medium.sync();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = within_memory(offset)?;
        let mut machine = self.mount.machine()?;
        machine.operate()?;
        machine.allot(self.file, offset..offset + bytes.len())?;
        machine.counts.bytes += bytes.len() as u64;
        let medium = machine.medium(self.file);
        put(&mut medium.seen, offset, bytes);
        medium.unsynced.push(Change::Write(offset, bytes.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
