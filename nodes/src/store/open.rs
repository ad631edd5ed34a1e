//! Opening the two files: new ones are made, foreign, damaged and newer ones are refused untouched.
//!
//! A pair is made in four durable steps, each of which a crash may end: the state's identity, the
//! log's identity, then the state's word that the pair is complete. Only before that word may a
//! missing file be made anew; behind it, it is damage.

use super::base::{Base, Commit, unless_senseless};
use super::disk::{Disk, Handle, StoreFile};
use super::executor::Executor;
use super::fault::{Fault, Health, is_full};
use super::log::{self, Log};
use super::spaces;
use super::state::{self, State};
use redb::{Builder, Database, ReadTransaction, StorageBackend, TableDefinition, TableHandle};
use std::io;

/// The format that this build writes, and the newest it reads.
pub const FORMAT: u64 = 1;

/// What every store file says of itself, whatever its format.
const IDENTITY: TableDefinition<&str, u64> = TableDefinition::new("otto");

/// Memory for pages of the log; it holds what is not purged yet.
const LOG_CACHE_BYTES: usize = 16 << 20;
/// Memory for pages of the state; it may be far larger on disk.
const STATE_CACHE_BYTES: usize = 64 << 20;

/// Why a store could not be opened. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the folder.
    #[error("open {place}: another node uses it; stop that one, or name another folder")]
    Locked {
        /// The folder.
        place: String,
    },
    /// A later release wrote it.
    #[error(
        "open {place}/{file}: its format is {found} and this build knows up to {known}; \
         start the release that wrote it, or a later one"
    )]
    Newer {
        /// The folder.
        place: String,
        /// The file.
        file: StoreFile,
        /// The format that it has.
        found: u64,
        /// The newest that this build reads.
        known: u64,
    },
    /// It was ours, and is not whole.
    #[error("open {place}/{file}: it is damaged ({detail}); restore the folder from a backup")]
    Damaged {
        /// The folder.
        place: String,
        /// The file.
        file: StoreFile,
        /// What does not fit.
        detail: String,
    },
    /// It was never ours, or it is of another node.
    #[error("open {place}/{file}: {detail}; name another folder, or move this file away")]
    Foreign {
        /// The folder.
        place: String,
        /// The file.
        file: StoreFile,
        /// What it is instead.
        detail: String,
    },
    /// There is no room.
    #[error("open {place}: its disk is full; free some space and start again")]
    Full {
        /// The folder.
        place: String,
    },
    /// It can't be read or written.
    #[error("open {place}: {detail}; it must be a folder that this user may write")]
    Unusable {
        /// The folder or file.
        place: String,
        /// What the operating system said.
        detail: String,
    },
}

impl OpenError {
    /// Sorts an error of the operating system.
    pub(super) fn from_io(place: &str, file: &str, error: &io::Error) -> Self {
        let path = if file.is_empty() { place.to_owned() } else { format!("{place}/{file}") };
        if is_full(error.kind()) {
            Self::Full { place: place.to_owned() }
        } else {
            Self::Unusable { place: path, detail: error.to_string() }
        }
    }
}

/// How a store is to be, where it is new; a store that exists keeps its number of shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreConfig {
    /// Whose store this is.
    pub(crate) node: u64,
    /// Into how many shards it is divided.
    pub(crate) shards: u16,
    /// A number that no other store has: it tells which two files belong together.
    pub(crate) birth: u64,
    /// How often its cluster was restored from a backup, and one more.
    pub(crate) incarnation: u32,
}

/// An opened store: two databases, with a writer each.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) log: Log,
    pub(crate) state: State,
    pub(crate) health: Health,
    /// How many shards there are, as chosen when it was made.
    pub(crate) shards: u16,
    /// Raised whenever a backup is restored.
    pub(crate) incarnation: u32,
    /// A number that no other store has.
    pub(crate) birth: u64,
    /// Held, since it is the right to use the files.
    disk: Box<dyn Disk>,
}

impl Store {
    /// Opens or makes a store, and starts its writers. Nothing is scanned.
    pub(crate) fn open(
        disk: Box<dyn Disk>,
        executor: &dyn Executor,
        config: StoreConfig,
    ) -> Result<Self, OpenError> {
        let opening = Opening { disk: disk.as_ref(), health: Health::good() };
        let pair = opening.pair(config)?;
        let (log, log_writer) = Log::new(pair.log);
        let (state, state_writer) =
            State::new(pair.state).map_err(|fault| opening.refuse(StoreFile::State, fault))?;
        for (name, writer) in [("otto-log", log_writer), ("otto-state", state_writer)] {
            let started = executor.run(name, writer);
            started.map_err(|error| OpenError::from_io(&disk.place(), "", &error))?;
        }
        let health = opening.health;
        let Identity { shards, incarnation, birth, .. } = pair.identity;
        Ok(Self { log, state, health, shards, incarnation, birth, disk })
    }

    /// Why this store can't be used after all: its fault, or else what its user says.
    pub(crate) fn refused(&self, detail: String) -> OpenError {
        let opening = Opening { disk: self.disk.as_ref(), health: self.health.clone() };
        match self.health.check() {
            Err(fault) => opening.refuse(StoreFile::Log, fault),
            Ok(()) => opening.damaged(StoreFile::Log, detail),
        }
    }
}

/// What a store file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    format: u64,
    birth: u64,
    node: u64,
    shards: u16,
    incarnation: u32,
    complete: bool,
}

impl Identity {
    fn rows(self, file: StoreFile) -> [(&'static str, u64); 7] {
        [
            ("format", self.format),
            ("file", number(file)),
            ("birth", self.birth),
            ("node", self.node),
            ("shards", self.shards.into()),
            ("incarnation", self.incarnation.into()),
            ("complete", self.complete.into()),
        ]
    }
}

/// What a file is, as a number on disk.
fn number(file: StoreFile) -> u64 {
    match file {
        StoreFile::Log => 1,
        StoreFile::State => 2,
    }
}

struct Pair {
    log: Base,
    state: Base,
    identity: Identity,
}

struct Opening<'d> {
    disk: &'d dyn Disk,
    health: Health,
}

impl Opening<'_> {
    fn pair(&self, config: StoreConfig) -> Result<Pair, OpenError> {
        let (log, log_identity) = self.file(StoreFile::Log)?;
        let (state, state_identity) = self.file(StoreFile::State)?;
        let fresh = Identity {
            format: FORMAT,
            birth: config.birth,
            node: config.node,
            shards: config.shards.max(1),
            incarnation: config.incarnation.max(1),
            complete: false,
        };
        let empty = |file, other: StoreFile| {
            self.damaged(file, format!("it is empty, though {other} is not"))
        };
        let identity = match (state_identity, log_identity) {
            (None, None) => {
                self.identify(&state, StoreFile::State, fresh)?;
                self.identify(&log, StoreFile::Log, fresh)?;
                fresh
            }
            (Some(identity), None) if !identity.complete => {
                self.identify(&log, StoreFile::Log, identity)?;
                identity
            }
            (Some(_), None) => return Err(empty(StoreFile::Log, StoreFile::State)),
            (None, Some(_)) => return Err(empty(StoreFile::State, StoreFile::Log)),
            (Some(identity), Some(other)) if identity.birth != other.birth => {
                let detail = format!("it belongs to another {} than this one", StoreFile::State);
                return Err(self.foreign(StoreFile::Log, detail));
            }
            (Some(identity), Some(_)) => identity,
        };
        if identity.node != config.node {
            let detail = format!("it belongs to node {}, not {}", identity.node, config.node);
            return Err(self.foreign(StoreFile::State, detail));
        }
        if !identity.complete {
            let identity = Identity { complete: true, ..identity };
            self.identify(&state, StoreFile::State, identity)?;
        }
        Ok(Pair { log, state, identity })
    }

    /// Opens one file as a database, and reads what it says of itself; `None` where it is new.
    fn file(&self, file: StoreFile) -> Result<(Base, Option<Identity>), OpenError> {
        let place = self.disk.place();
        let failed = |error: io::Error| OpenError::from_io(&place, file.name(), &error);
        let backend = self.disk.open(file).map_err(failed)?;
        start_over_if_unfinished(backend.as_ref()).map_err(failed)?;
        let database = self.database(file, backend)?;
        let base = Base::new(file, database, self.health.clone());
        let found = base.read(read_identity).map_err(|fault| self.refuse(file, fault))?;
        let identity = match found {
            Found::Nothing => None,
            Found::Identity { format, .. } if format > FORMAT => {
                return Err(OpenError::Newer { place, file, found: format, known: FORMAT });
            }
            Found::Identity { file: found, .. } if found != number(file) => {
                return Err(self.foreign(file, "it is another of the store's files".to_owned()));
            }
            Found::Identity { identity: Some(identity), .. } => Some(identity),
            Found::Identity { identity: None, .. } => {
                return Err(self.damaged(file, "it does not say what it is".to_owned()));
            }
            Found::Foreign => {
                let detail = "it is the database of another program".to_owned();
                return Err(self.foreign(file, detail));
            }
        };
        Ok((base, identity))
    }

    fn database(
        &self,
        file: StoreFile,
        backend: Box<dyn StorageBackend>,
    ) -> Result<Database, OpenError> {
        let cache_bytes = match file {
            StoreFile::Log => LOG_CACHE_BYTES,
            StoreFile::State => STATE_CACHE_BYTES,
        };
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let open = || builder.create_with_backend(Handle(backend));
        let opened = unless_senseless(open).and_then(|opened| opened.map_err(redb::Error::from));
        opened.map_err(|error| match error {
            redb::Error::DatabaseAlreadyOpen => OpenError::Locked { place: self.disk.place() },
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.foreign(file, "it is no database of Otto's".to_owned())
            }
            other => self.refuse(file, Fault::new(file, &other)),
        })
    }

    /// Writes, durably, what a file is to say of itself, and makes its tables where they are
    /// missing.
    fn identify(&self, base: &Base, file: StoreFile, identity: Identity) -> Result<(), OpenError> {
        let written = base.write(Commit::QuickToOpen, |transaction| {
            let mut table = transaction.open_table(IDENTITY)?;
            for (name, value) in identity.rows(file) {
                table.insert(name, value)?;
            }
            match file {
                StoreFile::Log => {
                    transaction.open_table(log::ENTRIES)?;
                    transaction.open_table(log::SLOTS)?;
                }
                StoreFile::State => {
                    transaction.open_table(state::SHARDS)?;
                    transaction.open_table(state::HEADS)?;
                    transaction.open_table(state::JOURNALS)?;
                    transaction.open_table(state::WAKES)?;
                    transaction.open_table(spaces::UNOWNED)?;
                }
            }
            Ok(())
        });
        written.map_err(|fault| self.refuse(file, fault))
    }

    /// What a fault means for whoever wants to open the store.
    fn refuse(&self, file: StoreFile, fault: Fault) -> OpenError {
        match fault {
            Fault::Full { .. } => OpenError::Full { place: self.disk.place() },
            Fault::Damaged { detail, .. } => self.damaged(file, detail),
            Fault::Io { detail, .. } | Fault::Stopped(detail) => {
                OpenError::Unusable { place: format!("{}/{file}", self.disk.place()), detail }
            }
            Fault::Closed => self.damaged(file, "it closed while it was opened".to_owned()),
        }
    }

    fn damaged(&self, file: StoreFile, detail: String) -> OpenError {
        OpenError::Damaged { place: self.disk.place(), file, detail }
    }

    fn foreign(&self, file: StoreFile, detail: String) -> OpenError {
        OpenError::Foreign { place: self.disk.place(), file, detail }
    }
}

/// What there is in a database.
enum Found {
    Nothing,
    Foreign,
    /// Ours. What a later format says beyond these two is not known.
    Identity {
        format: u64,
        file: u64,
        identity: Option<Identity>,
    },
}

fn read_identity(transaction: &ReadTransaction) -> Result<Found, redb::Error> {
    let mut tables = transaction.list_tables()?.peekable();
    if tables.peek().is_none() {
        return Ok(Found::Nothing);
    }
    if !tables.any(|table| table.name() == IDENTITY.name()) {
        return Ok(Found::Foreign);
    }
    let table = match transaction.open_table(IDENTITY) {
        Ok(table) => table,
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_of_another_type) => return Ok(Found::Foreign),
    };
    let row = |name| Ok::<_, redb::Error>(table.get(name)?.map(|value| value.value()));
    let (Some(format), Some(file)) = (row("format")?, row("file")?) else {
        return Ok(Found::Foreign);
    };
    let rows = (
        row("birth")?,
        row("node")?,
        row("shards")?.and_then(|shards| u16::try_from(shards).ok()),
        row("incarnation")?.and_then(|incarnation| u32::try_from(incarnation).ok()),
        row("complete")?,
    );
    let identity = match rows {
        (Some(birth), Some(node), Some(shards), Some(incarnation), Some(complete)) => {
            Some(Identity { format, birth, node, shards, incarnation, complete: complete != 0 })
        }
        _ => None,
    };
    Ok(Found::Identity { format, file, identity })
}

/// A crash while redb makes a new file leaves one that redb then takes for a foreign one: it has a
/// length, and its first page lacks the magic number that is written last. Nothing else was ever
/// written to such a file, so it is made again; any other file is left to redb.
fn start_over_if_unfinished(backend: &dyn StorageBackend) -> io::Result<()> {
    const MAGIC_BYTES: usize = 9;
    const FIRST_PAGE_BYTES: usize = 4096;
    const NEW_FILE_BYTES: usize = 16 << 20;
    let length = usize::try_from(backend.len()?).unwrap_or(usize::MAX);
    if length == 0 || length > NEW_FILE_BYTES {
        return Ok(());
    }
    let mut magic = [0; MAGIC_BYTES];
    backend.read(0, &mut magic[..length.min(MAGIC_BYTES)])?;
    if magic != [0; MAGIC_BYTES] {
        return Ok(());
    }
    let mut content = vec![0; length];
    backend.read(0, &mut content)?;
    if content.iter().skip(FIRST_PAGE_BYTES).any(|byte| *byte != 0) {
        return Ok(());
    }
    backend.set_len(0)
}
