//! The snapshot that stages start with: the working tree without what git ignores, as one archive.
//!
//! The archive is the same for the same working tree whenever it is made: entries in the order of
//! their paths, no owners, only the executable bit of the modes. So its digest says whether the
//! node has it already. The times of the files are kept, because tools such as make and cargo
//! tell by them what changed. Files may change while they are packed: what was read is what is
//! packed, the archive stays whole, and the person is told.

use super::fault::{Fault, Id};
use super::repository::Repository;
use crate::node::place::Place;
use globset::{GlobBuilder, GlobSetBuilder};
use ignore::{DirEntry, WalkBuilder};
use otto_core::ids::Digest;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};
use std::time::UNIX_EPOCH;
use tar::{Builder, EntryType, Header};
use tempfile::SpooledTempFile;

/// Archives up to this size stay in memory, in bytes.
const IN_MEMORY: usize = 32 << 20;
/// So many of the links that are left out are named.
const LINKS_NAMED: usize = 3;
/// Files up to this size are read at once, in bytes.
const AT_ONCE: u64 = 4 << 20;

/// A packed working tree.
pub(super) struct Snapshot {
    /// The archive's digest.
    pub(super) digest: Digest,
    /// The archive, from its beginning.
    pub(super) archive: SpooledTempFile,
    /// What a person should know: what changed meanwhile, what was left out.
    pub(super) notes: Vec<String>,
}

/// Packs a repository's working tree.
///
/// # Errors
/// When a file that is not ignored cannot be read, or the archive cannot be written.
pub(super) fn pack(repository: &Repository) -> Result<Snapshot, Fault> {
    // Whoever walks the tree would wait for a pipe here.
    repository.lossy(".gitignore")?;
    let spool = Hashing { inner: SpooledTempFile::new(IN_MEMORY), hasher: blake3::Hasher::new() };
    let mut packing =
        Packing { builder: Builder::new(spool), notes: Vec::new(), astray: Vec::new() };
    for entry in walk(repository) {
        let entry = entry.map_err(|error| unreadable(&repository.root, &error))?;
        let Ok(path) = entry.path().strip_prefix(&repository.root) else { continue };
        packing.add(&entry, path).map_err(|error| unreadable(entry.path(), &error))?;
    }
    let full = |error: io::Error| {
        Fault::infrastructure(Id::Unreadable, format!("cannot pack the working tree: {error}"))
            .help("it is packed in the folder for temporary files; TMPDIR names another one")
    };
    packing.notes.extend(left_out(&packing.astray));
    let spool = packing.builder.into_inner().map_err(full)?;
    let mut archive = spool.inner;
    archive.seek(SeekFrom::Start(0)).map_err(full)?;
    let digest = Digest(*spool.hasher.finalize().as_bytes());
    Ok(Snapshot { digest, archive, notes: packing.notes })
}

/// A digest of the paths and contents of the files that match one of the patterns.
///
/// # Errors
/// When a pattern is none, or a file cannot be read; the text says which and why.
pub(super) fn digest_of(repository: &Repository, patterns: &[String]) -> Result<String, String> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        globs.add(glob.map_err(|error| error.to_string())?);
    }
    let globs = globs.build().map_err(|error| error.to_string())?;
    let mut hasher = blake3::Hasher::new();
    for entry in walk(repository) {
        let entry = entry.map_err(|error| error.to_string())?;
        let Ok(path) = entry.path().strip_prefix(&repository.root) else { continue };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) || !globs.is_match(path) {
            continue;
        }
        let place = path.display();
        let content = fs::read(entry.path()).map_err(|error| format!("{place}: {error}"))?;
        // Lengths in front, so that no two lists of files have the same bytes.
        for part in [path.as_os_str().as_encoded_bytes(), &content] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The paths from the root of the files that a run would have, in their order; what cannot be read
/// is left out.
pub(super) fn paths(repository: &Repository) -> impl Iterator<Item = String> {
    let root = repository.root.clone();
    walk(repository).filter_map(Result::ok).filter_map(move |entry| {
        let path = entry.path().strip_prefix(&root).ok()?.to_str()?;
        let is_folder = entry.file_type().is_none_or(|kind| kind.is_dir());
        (!is_folder).then(|| path.to_owned())
    })
}

/// The files that count, in the order of their paths. Where the repository of git begins further
/// up, the walk does too, because ignore files there count.
fn walk(repository: &Repository) -> ignore::Walk {
    let top = repository.git.as_deref().unwrap_or(&repository.root);
    let root = repository.root.clone();
    // A node's data may lie in the repository; it changes while it is packed, and is no part of it.
    let data = Place::of_user().ok().and_then(|place| place.data().canonicalize().ok());
    WalkBuilder::new(top)
        .hidden(false)
        .parents(false)
        .ignore(false)
        .require_git(false)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(move |entry| {
            let path = entry.path();
            let is_data = data.as_deref().is_some_and(|data| {
                entry.file_type().is_some_and(|kind| kind.is_dir())
                    && data.file_name() == Some(entry.file_name())
                    && path.canonicalize().is_ok_and(|path| path == data)
            });
            !is_data
                && entry.file_name() != ".git"
                && (root.starts_with(path) || path.starts_with(&root))
        })
        .build()
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> Fault {
    Fault::infrastructure(Id::Unreadable, format!("cannot pack the working tree: {error}"))
        .at(path.display().to_string())
        .help("what no stage needs can be ignored: add it to .gitignore")
}

/// Tells of links that lead out of the repository: stages find nothing there.
fn left_out(astray: &[String]) -> Option<String> {
    let (named, rest) = astray.split_at(astray.len().min(LINKS_NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let (links, lead) = match astray.len() {
        0 => return None,
        1 => ("1 link".to_owned(), "leads"),
        many => (format!("{many} links"), "lead"),
    };
    let named = named.join(", ");
    Some(format!("left out {links} that {lead} out of the repository: {named}{more}"))
}

struct Packing {
    builder: Builder<Hashing>,
    notes: Vec<String>,
    /// The links that lead out of the repository, and where to.
    astray: Vec<String>,
}

impl Packing {
    fn add(&mut self, entry: &DirEntry, path: &Path) -> io::Result<()> {
        let Some(kind) = entry.file_type() else { return Ok(()) };
        if kind.is_symlink() {
            return self.link(entry.path(), path);
        }
        if kind.is_dir() {
            // Folders come with what is in them, as they do in git.
            return Ok(());
        }
        if !kind.is_file() {
            self.notes.push(format!("{}: left out, it is no file", path.display()));
            return Ok(());
        }
        match File::open(entry.path()) {
            Ok(file) => self.file(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.notes.push(format!("{}: removed while it was packed", path.display()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn link(&mut self, full: &Path, path: &Path) -> io::Result<()> {
        let to = fs::read_link(full)?;
        if !stays_inside(path, &to) {
            self.astray.push(format!("{} -> {}", path.display(), to.display()));
            return Ok(());
        }
        let mut header = header(EntryType::Symlink, 0o777, 0, 0);
        self.builder.append_link(&mut header, path, to)
    }

    fn file(&mut self, mut file: File, path: &Path) -> io::Result<()> {
        let before = file.metadata()?;
        let modified_s = modified(&before);
        let mode = if before.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        if before.len() <= AT_ONCE {
            let mut content = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
            file.read_to_end(&mut content)?;
            let mut header = header(EntryType::Regular, mode, content.len() as u64, modified_s);
            self.builder.append_data(&mut header, path, content.as_slice())?;
        } else {
            let mut header = header(EntryType::Regular, mode, before.len(), modified_s);
            let whole = (&file).chain(io::repeat(0)).take(before.len());
            self.builder.append_data(&mut header, path, whole)?;
        }
        if changed(&before, &file.metadata()?) {
            self.notes.push(format!("{}: changed while it was packed", path.display()));
        }
        Ok(())
    }
}

fn changed(before: &Metadata, after: &Metadata) -> bool {
    before.len() != after.len() || before.modified().ok() != after.modified().ok()
}

/// When a file was changed, in seconds since 1970. Rounded up: a tool that compares it with the
/// time of an earlier build must never take a changed file for an unchanged one.
fn modified(file: &Metadata) -> u64 {
    let since = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs() + u64::from(since.subsec_nanos() > 0))
}

fn header(kind: EntryType, mode: u32, size: u64, modified_s: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(modified_s);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Whether a link at `path` that leads `to` stays below the root.
fn stays_inside(path: &Path, to: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in to.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Hashes what is written.
struct Hashing {
    inner: SpooledTempFile,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{Snapshot, pack};
    use crate::commands::repository::Repository;
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    /// Writes files, packs the folder, and answers with the paths in the archive.
    fn check(make: impl Fn(&Path), root: &str, expected: &[&str]) -> Snapshot {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let repository = Repository::find(&folder.path().join(root)).unwrap();
        let mut snapshot = pack(&repository).unwrap();
        let mut bytes = Vec::new();
        snapshot.archive.read_to_end(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.header().mode().unwrap();
                let rounded_up = if entry.header().entry_type().is_file() { 2 } else { 0 };
                assert_eq!(entry.header().mtime().unwrap(), rounded_up);
                format!("{mode:o} {}", entry.path().unwrap().display())
            })
            .collect();
        assert_eq!(paths, expected);
        snapshot
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(1500)).unwrap();
    }

    fn tree(root: &Path) {
        for (path, text) in [
            (".git/HEAD", "x"),
            (".gitignore", "target/\n"),
            ("Ottofile", "pipeline { }"),
            ("a/b", "b"),
            ("target/big", "built"),
        ] {
            write(root, path, text);
        }
        fs::set_permissions(root.join("a/b"), PermissionsExt::from_mode(0o700)).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
    }

    #[test]
    fn what_git_ignores_is_left_out_and_the_rest_is_the_same_whenever_packed() {
        let expected = ["644 .gitignore", "644 Ottofile", "755 a/b"];
        let one = check(tree, ".", &expected);
        let other = check(tree, ".", &expected);
        assert_eq!(one.digest, other.digest);
        let changed = |root: &Path| {
            tree(root);
            write(root, "a/b", "c");
        };
        assert_ne!(check(changed, ".", &expected).digest, one.digest);
    }

    #[test]
    fn ignore_files_further_up_count() {
        let make = |root: &Path| {
            tree(root);
            write(root, "inner/Ottofile", "");
            write(root, "inner/target/big", "built");
        };
        check(make, "inner", &["644 Ottofile"]);
    }

    #[test]
    fn links_that_lead_out_are_left_out_and_told_at_once() {
        let told = |links: &[(&str, &str)], note: Option<&str>| {
            let make = |root: &Path| {
                write(root, "a/b", "b");
                symlink("b", root.join("a/inside")).unwrap();
                symlink("nowhere/yet", root.join("a/loose")).unwrap();
                for (path, to) in links {
                    symlink(to, root.join(path)).unwrap();
                }
            };
            let snapshot = check(make, ".", &["644 a/b", "777 a/inside", "777 a/loose"]);
            assert_eq!(snapshot.notes, note.map(str::to_owned).into_iter().collect::<Vec<_>>());
        };
        told(&[], None);
        told(
            &[("a/outside", "../../etc")],
            Some("left out 1 link that leads out of the repository: a/outside -> ../../etc"),
        );
        told(
            &[("1", "/etc"), ("2", ".."), ("3", "a/../../x"), ("4", "/"), ("5", "/")],
            Some(
                "left out 5 links that lead out of the repository: \
                 1 -> /etc, 2 -> .., 3 -> a/../../x and 2 more",
            ),
        );
    }
}
