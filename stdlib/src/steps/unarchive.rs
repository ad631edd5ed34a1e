//! `unarchive`: unpacks an artifact of the run, below the target folder and nowhere else.
//!
//! Whoever archived may be hostile: there are limits on entries, on bytes and on how much larger
//! they are than what was fetched, and only files, folders and links that stay inside are made.

use super::failed;
use super::files::MAX_ENTRIES;
use super::tree::{Inner, Tree, inner_link};
use crate::sdk::{Exit, Step, StepError};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;
use tar::EntryType;

/// What an archive may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// The most files, folders and links.
    pub(super) entries: usize,
    /// The most bytes, unpacked.
    pub(super) bytes: u64,
    /// So many bytes are unpacked from however few.
    pub(super) free_bytes: u64,
    /// How many bytes may come from one that was fetched, above that.
    pub(super) ratio: u64,
}

/// What the step itself allows.
const LIMITS: Limits =
    Limits { entries: MAX_ENTRIES, bytes: 64 << 30, free_bytes: 1 << 30, ratio: 1000 };
/// The largest window of zstd that is accepted, as a power of two: 128 MiB of memory.
const MAX_WINDOW_LOG: u32 = 27;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The longest path or link target in an entry of its own.
const MAX_LONG_NAME_BYTES: u64 = 4096;

pub(super) fn run(step: &Step) -> Result<Exit, StepError> {
    let name = step.text("name")?;
    let into = Inner::parse(step.text("into")?).map_err(|why| failed("unarchive into", why))?;
    let artifact = step.fetch_artifact(name)?;
    let tree =
        Tree::open(Path::new("."), &into).map_err(|error| failed("open the folder", error))?;
    let count = unpack(artifact, &tree, LIMITS)
        .map_err(|error| failed(&format!("unarchive '{name}'"), error))?;
    let noun = if count == 1 { "file" } else { "files" };
    println!("unarchived {count} {noun} from '{name}'");
    Ok(Exit::Success)
}

/// Unpacks a tar file, plain or in zstd; answers how many files and links were made.
pub(super) fn unpack(artifact: impl Read, tree: &Tree, limits: Limits) -> io::Result<usize> {
    let fetched = Rc::new(Cell::new(0));
    let mut counted = Counted { inner: artifact, count: Rc::clone(&fetched) };
    let mut magic = Vec::new();
    (&mut counted).take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic)?;
    let packed = magic == ZSTD_MAGIC;
    let whole = BufReader::new(Cursor::new(magic).chain(counted));
    let plain: Box<dyn Read + '_> = if packed {
        let mut decoder = zstd::Decoder::with_buffer(whole)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    };
    let mut bounded = Bounded { inner: plain, limits, unpacked: 0, fetched };
    let count = Unpacking::new(tree, limits).all(&mut bounded)?;
    // What follows the archive is read too, so that one that was cut off is noticed.
    io::copy(&mut bounded, &mut io::sink())?;
    Ok(count)
}

/// Whether an error is the reader's of archives, in its own words: about the format alone.
fn is_malformed(error: &io::Error) -> bool {
    let text = error.to_string();
    ["numeric field", "checksum mismatch", "entire block", "header", "size overflow"]
        .iter()
        .any(|part| text.contains(part))
}

/// Counts the bytes that come through.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.count.set(self.count.get().saturating_add(count as u64));
        Ok(count)
    }
}

/// Ends when an archive unpacks to more than it may.
struct Bounded<R> {
    inner: R,
    limits: Limits,
    unpacked: u64,
    fetched: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.unpacked = self.unpacked.saturating_add(count as u64);
        let Limits { bytes, free_bytes, ratio, .. } = self.limits;
        if self.unpacked > bytes {
            return Err(io::Error::other(format!("it unpacks to more than {bytes} bytes")));
        }
        let from_fetched = self.fetched.get().saturating_mul(ratio).max(free_bytes);
        if self.unpacked > from_fetched {
            let fetched = self.fetched.get();
            return Err(io::Error::other(format!(
                "{fetched} bytes unpack to more than {ratio} times as many"
            )));
        }
        Ok(count)
    }
}

/// The way through one archive.
struct Unpacking<'a> {
    tree: &'a Tree,
    limits: Limits,
    seen: BTreeSet<Inner>,
    links: Vec<(Inner, String)>,
    long_path: Option<String>,
    long_target: Option<String>,
    count: usize,
}

impl<'a> Unpacking<'a> {
    fn new(tree: &'a Tree, limits: Limits) -> Self {
        Self {
            tree,
            limits,
            seen: BTreeSet::new(),
            links: Vec::new(),
            long_path: None,
            long_target: None,
            count: 0,
        }
    }

    fn all(mut self, plain: &mut impl Read) -> io::Result<usize> {
        let mut archive = tar::Archive::new(plain);
        // Raw: extensions are read here, where their length has a limit.
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry.map_err(|error| match error.kind() {
                // Limits and broken connections say themselves what they are.
                io::ErrorKind::Other if is_malformed(&error) => {
                    let no_archive = "it is no archive: no tar file, plain or in zstd";
                    let what = if self.seen.is_empty() { no_archive } else { "it is damaged" };
                    refused(what.to_owned())
                }
                _ => error,
            })?;
            self.entry(&mut entry)?;
        }
        for (path, target) in &self.links {
            self.tree.link(path, target).map_err(|error| at(path, &error))?;
        }
        Ok(self.count)
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                self.long_path = Some(long_name(entry)?);
                return Ok(());
            }
            EntryType::GNULongLink => {
                self.long_target = Some(long_name(entry)?);
                return Ok(());
            }
            _ => {}
        }
        let written = match self.long_path.take() {
            Some(path) => path,
            None => utf8(&entry.path_bytes())?,
        };
        let path = Inner::parse(&written).map_err(refused)?;
        let target = self.long_target.take();
        let mode = entry.header().mode()?;
        if mode & 0o7000 != 0 && kind != EntryType::Directory {
            return Err(refused(format!("'{path}' is setuid, setgid or sticky")));
        }
        if path.is_root() && kind == EntryType::Directory {
            return Ok(());
        }
        if self.seen.len() == self.limits.entries {
            return Err(refused(format!("it holds more than {} files", self.limits.entries)));
        }
        if !self.seen.insert(path.clone()) {
            return Err(refused(format!("'{path}' is in it twice")));
        }
        match kind {
            EntryType::Regular => {
                let size = entry.header().entry_size()?;
                let written = self
                    .tree
                    .file(&path, mode & 0o111 != 0, entry)
                    .map_err(|error| at(&path, &error))?;
                if written != size {
                    return Err(refused(format!("it is cut off in '{path}'")));
                }
                self.count += 1;
            }
            EntryType::Directory => self.tree.folder(&path).map_err(|error| at(&path, &error))?,
            EntryType::Symlink => {
                let target = match target {
                    Some(target) => target,
                    None => utf8(&entry.link_name_bytes().unwrap_or_default())?,
                };
                inner_link(&path, &target).map_err(refused)?;
                self.links.push((path, target));
                self.count += 1;
            }
            other => {
                let what = what(other);
                return Err(refused(format!("'{path}' is {what}, which is not unpacked")));
            }
        }
        Ok(())
    }
}

fn what(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::XHeader | EntryType::XGlobalHeader => "a header in pax format",
        _ => "of an unknown kind",
    }
}

fn long_name<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<String> {
    let mut name = Vec::new();
    entry.take(MAX_LONG_NAME_BYTES + 1).read_to_end(&mut name)?;
    if name.len() as u64 > MAX_LONG_NAME_BYTES {
        return Err(refused(format!("a name in it has more than {MAX_LONG_NAME_BYTES} bytes")));
    }
    while name.last() == Some(&0) {
        name.pop();
    }
    utf8(&name)
}

fn utf8(bytes: &[u8]) -> io::Result<String> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| refused("a name in it is no UTF-8".to_owned()))
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn at(path: &Inner, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("'{path}': {error}"))
}

#[cfg(test)]
mod hostile;
