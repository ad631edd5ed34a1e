//! Unpacking a stage's snapshot, in the confined process and before any step: nothing in the
//! archive is trusted, and nothing of it may land outside the workspace.

use super::messages::UnpackFault;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use tar::{Archive, Entry, EntryType};

/// The most entries of an archive.
const MAX_ENTRIES: usize = 1_000_000;
/// The most bytes of all files together.
const MAX_BYTES: u64 = 64 << 30;
/// The deepest folder.
const MAX_DEPTH: usize = 128;

/// Unpacks the archive behind the one descriptor into an empty folder.
pub(super) fn unpack(descriptors: Vec<OwnedFd>, into: &Path) -> Result<(), UnpackFault> {
    let Ok([archive]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(UnpackFault::Machine("unpack: there is no archive".to_owned()));
    };
    unpack_from(io::BufReader::with_capacity(256 * 1024, File::from(archive)), into)
}

fn unpack_from(archive: impl Read, into: &Path) -> Result<(), UnpackFault> {
    let unreadable = |error: io::Error| UnpackFault::Archive(format!("read the archive: {error}"));
    let mut archive = Archive::new(archive);
    let mut unpacking = Unpacking { into, seen: BTreeSet::new(), links: BTreeSet::new(), bytes: 0 };
    for (index, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        if index >= MAX_ENTRIES {
            return Err(UnpackFault::Archive(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path_bytes().into_owned();
        unpacking.take(&mut entry).map_err(|fault| fault.about(&String::from_utf8_lossy(&name)))?;
    }
    Ok(())
}

/// What is wrong with an entry.
#[derive(Debug)]
enum EntryFault {
    /// The entry itself, as the rest of a sentence that begins with its name.
    Entry(String),
    /// Writing it.
    Write(io::Error),
}

impl From<io::Error> for EntryFault {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl EntryFault {
    fn about(self, name: &str) -> UnpackFault {
        match self {
            Self::Entry(what) => UnpackFault::Archive(format!("'{name}' {what}")),
            Self::Write(error) => UnpackFault::Machine(format!("write '{name}': {error}")),
        }
    }
}

fn wrong<T>(what: &str) -> Result<T, EntryFault> {
    Err(EntryFault::Entry(what.to_owned()))
}

#[derive(Debug)]
struct Unpacking<'a> {
    into: &'a Path,
    /// All paths so far; folders may come twice, everything else only once.
    seen: BTreeSet<PathBuf>,
    /// The links among them: nothing is unpacked through one.
    links: BTreeSet<PathBuf>,
    bytes: u64,
}

impl Unpacking<'_> {
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), EntryFault> {
        let path = inside(&entry.path()?)?;
        let kind = entry.header().entry_type();
        if path.as_os_str().is_empty() {
            return if kind == EntryType::Directory { Ok(()) } else { wrong("names no file") };
        }
        if path.ancestors().skip(1).any(|part| self.links.contains(part)) {
            return wrong("lies behind a link");
        }
        let fresh = self.seen.insert(path.clone());
        if !fresh && kind != EntryType::Directory {
            return wrong("is there twice");
        }
        let target = self.into.join(&path);
        if let Some(parent) = target.parent() {
            folder(parent)?;
        }
        match kind {
            EntryType::Directory => folder(&target),
            EntryType::Regular | EntryType::Continuous => self.file(entry, &target),
            EntryType::Symlink => {
                link(entry, &path, &target)?;
                self.links.insert(path);
                Ok(())
            }
            other => wrong(&format!("is neither file, folder nor link, but {other:?}")),
        }
    }

    fn file(&mut self, entry: &mut Entry<'_, impl Read>, target: &Path) -> Result<(), EntryFault> {
        let mode = entry.header().mode()?;
        if mode & 0o7000 != 0 {
            return wrong("would run with another user's rights");
        }
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > MAX_BYTES {
            return wrong(&format!("exceeds the limit of {MAX_BYTES} bytes in all"));
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if mode & 0o100 == 0 { 0o644 } else { 0o755 })
            .open(target)?;
        if io::copy(entry, &mut file)? != entry.size() {
            return wrong("is cut off");
        }
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?);
        file.set_modified(modified)?;
        Ok(())
    }
}

/// Makes a link, where it leads nowhere but into the workspace.
fn link(entry: &Entry<'_, impl Read>, path: &Path, target: &Path) -> Result<(), EntryFault> {
    let Some(to) = entry.link_name()? else { return wrong("is a link to nothing") };
    let mut depth = path.components().count() - 1;
    for component in to.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return wrong(&format!(
                    "is a link that leads out of the repository, to '{}'",
                    to.display()
                ));
            }
        }
    }
    Ok(symlink(&to, target)?)
}

/// An entry's path, where it stays below the folder that it is unpacked into.
fn inside(path: &Path) -> Result<PathBuf, EntryFault> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return wrong("leads out of the workspace");
            }
        }
    }
    if clean.components().count() > MAX_DEPTH {
        return wrong("lies too deep");
    }
    Ok(clean)
}

/// Makes a folder and those around it.
fn folder(path: &Path) -> Result<(), EntryFault> {
    if fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
        return Ok(());
    }
    Ok(fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?)
}
