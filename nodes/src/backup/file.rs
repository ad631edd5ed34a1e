//! A backup's file: records, each with a checksum over all before it, and a last one that says that
//! nothing is missing.
//!
//! ```text
//!   "otto backup\n"  format (4 bytes)
//!   length (4 bytes)  checksum (16 bytes)  header
//!   length            checksum             rows of a shard        as often as it takes
//!   length            checksum             end
//! ```
//!
//! Numbers have their most significant byte first. A record is MessagePack; its checksum is over
//! the one before and its own bytes, so what was changed, cut out or put into another order is
//! noticed. Rows are as they are on disk, and carry checksums of their own.

use crate::rpc::backup::Picture;
use crate::store::Rows;
use otto_core::journal::{decode, encode};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 12] = b"otto backup\n";
/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// The longest record: rows travel in parts that are far shorter, but for a single long entry.
const MAX_RECORD: usize = 32 << 20;
const SUM_BYTES: usize = 16;

/// Why a backup cannot be written or read. Worded to fit behind "failed to".
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It could not be read or written.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no backup.
    #[error("restore {}: it is no backup of otto's", .path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A later release wrote it.
    #[error("restore {}: its format is {found}, and this build knows up to {FORMAT}", .path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not what was written.
    #[error("restore {}: it is damaged behind byte {at} ({cause})", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Up to where it is whole.
        at: u64,
        /// What is wrong.
        cause: String,
    },
}

impl FileError {
    /// What to do now.
    #[must_use]
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "see that this user may read and write there, and that the disk works"
            }
            Self::Foreign { .. } => "name a file that `otto-node backup` wrote",
            Self::Newer { .. } => "restore it with the release that wrote it, or a later one",
            Self::Damaged { .. } => "use another copy of it, or an earlier backup",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Header(Picture),
    Rows {
        /// In the how-manieth shard of the header.
        shard: u32,
        rows: ByteBuf,
    },
    End {
        /// How many records came before.
        records: u64,
    },
}

/// A part of a backup that is read.
#[derive(Debug)]
pub(super) struct Part {
    /// In the how-manieth shard of the header.
    pub(super) shard: usize,
    /// Its rows.
    pub(super) rows: Rows,
}

/// A checksum over all records so far.
#[derive(Clone, Copy, Default)]
struct Chain([u8; SUM_BYTES]);

impl Chain {
    fn add(&mut self, bytes: &[u8]) -> [u8; SUM_BYTES] {
        let hash = blake3::Hasher::new().update(&self.0).update(bytes).finalize();
        self.0.copy_from_slice(&hash.as_bytes()[..SUM_BYTES]);
        self.0
    }
}

/// Writes a backup. Until it is finished, nothing is at its path.
pub(super) struct Writer {
    path: PathBuf,
    fresh: PathBuf,
    file: BufWriter<File>,
    chain: Chain,
    records: u64,
    bytes: u64,
}

impl Writer {
    /// Begins a file, for its owner alone.
    pub(super) fn begin(path: &Path) -> Result<Self, FileError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let fresh = path.with_file_name(name);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        let failed = |source| FileError::Io { doing: "write", path: path.to_owned(), source };
        let file = BufWriter::new(opened.map_err(failed)?);
        let path = path.to_owned();
        let chain = Chain::default();
        let mut writer = Self { path, fresh, file, chain, records: 0, bytes: 0 };
        writer.bytes(MAGIC)?;
        writer.bytes(&FORMAT.to_be_bytes())?;
        Ok(writer)
    }

    /// Says what it is a backup of. This comes first.
    pub(super) fn header(&mut self, picture: &Picture) -> Result<(), FileError> {
        self.record(&Record::Header(picture.clone()))
    }

    /// Adds rows of the how-manieth shard.
    pub(super) fn rows(&mut self, shard: u32, rows: ByteBuf) -> Result<(), FileError> {
        self.record(&Record::Rows { shard, rows })
    }

    /// Makes the file durable, and puts it at its path; answers how many bytes it has.
    pub(super) fn finish(mut self) -> Result<u64, FileError> {
        let records = self.records;
        self.record(&Record::End { records })?;
        let mut durable = || -> io::Result<()> {
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            fs::rename(&self.fresh, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        let finished = durable();
        let path = self.path.clone();
        finished.map_err(|source| FileError::Io { doing: "write", path, source })?;
        Ok(self.bytes)
    }

    fn record(&mut self, record: &Record) -> Result<(), FileError> {
        let bytes = encode(record);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let sum = self.chain.add(&bytes);
        self.bytes(&length.to_be_bytes())?;
        self.bytes(&sum)?;
        self.bytes(&bytes)?;
        self.records += 1;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.bytes += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        let path = &self.path;
        written.map_err(|source| FileError::Io { doing: "write", path: path.clone(), source })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Where it was finished, it is not there any more; else it is of no use to anybody.
        fs::remove_file(&self.fresh).ok();
    }
}

/// Reads a backup.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    chain: Chain,
    records: u64,
    at: u64,
    /// What the backup says of itself.
    pub(super) picture: Picture,
}

impl Reader {
    /// Opens a file, and reads what it says of itself.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Io { doing: "read", path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let foreign = || FileError::Foreign { path: path.to_owned() };
        let mut magic = [0; MAGIC.len()];
        if !fill(&mut file, &mut magic).map_err(failed)? || magic != *MAGIC {
            return Err(foreign());
        }
        let mut format = [0; 4];
        if !fill(&mut file, &mut format).map_err(failed)? {
            let (at, cause) = (MAGIC.len() as u64, "its end is missing".to_owned());
            return Err(FileError::Damaged { path: path.to_owned(), at, cause });
        }
        let found = u32::from_be_bytes(format);
        if found > FORMAT {
            return Err(FileError::Newer { path: path.to_owned(), found });
        }
        let at = (MAGIC.len() + format.len()) as u64;
        let (path, chain) = (path.to_owned(), Chain::default());
        let picture = Picture::default();
        let mut reader = Self { path, file, chain, records: 0, at, picture };
        match reader.record()? {
            Record::Header(picture) => reader.picture = picture,
            Record::Rows { .. } | Record::End { .. } => {
                return Err(reader.damaged("it does not say what it is"));
            }
        }
        Ok(reader)
    }

    /// The next rows; `None` at the end, where nothing is missing.
    pub(super) fn next(&mut self) -> Result<Option<Part>, FileError> {
        let records = self.records;
        match self.record()? {
            Record::Header(_) => Err(self.damaged("it begins twice")),
            Record::Rows { shard, rows } => {
                let rows: Rows = decode("rows of a backup", &rows)
                    .map_err(|error| self.damaged(&error.to_string()))?;
                let shard = usize::try_from(shard).unwrap_or(usize::MAX);
                if shard >= self.picture.contents.len() || !rows.are_whole() {
                    return Err(self.damaged("a row is not whole"));
                }
                Ok(Some(Part { shard, rows }))
            }
            Record::End { records: told } if told != records => {
                Err(self.damaged("records are missing"))
            }
            Record::End { .. } => match self.file.read(&mut [0]) {
                Ok(0) => Ok(None),
                Ok(_) => Err(self.damaged("something was added to it")),
                Err(source) => Err(self.unread(source)),
            },
        }
    }

    fn record(&mut self) -> Result<Record, FileError> {
        let mut head = [0; 4 + SUM_BYTES];
        self.fill(&mut head)?;
        let [a, b, c, d, sum @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MAX_RECORD {
            return Err(self.damaged("a record is too long"));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if self.chain.add(&bytes) != sum {
            return Err(self.damaged("a checksum is wrong"));
        }
        let record = decode("record of a backup", &bytes);
        let record = record.map_err(|error| self.damaged(&error.to_string()))?;
        self.at += (head.len() + length) as u64;
        self.records += 1;
        Ok(record)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        match fill(&mut self.file, bytes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.damaged("its end is missing")),
            Err(source) => Err(self.unread(source)),
        }
    }

    fn unread(&self, source: io::Error) -> FileError {
        FileError::Io { doing: "read", path: self.path.clone(), source }
    }

    fn damaged(&self, cause: &str) -> FileError {
        FileError::Damaged { path: self.path.clone(), at: self.at, cause: cause.to_owned() }
    }
}

/// Fills a buffer; false where there is not enough.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
