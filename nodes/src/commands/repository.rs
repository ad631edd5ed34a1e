//! The repository that a command was started in: its root, its pipelines, its revision.

use super::fault::{Fault, Id};
use super::snapshot;
use otto_core::plan::Revision;
use otto_lang::conventions::{FOLDERS, Listing, glances, matters, reads};
use rustix::io::Errno;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The default pipeline's file.
pub(super) const OTTOFILE: &str = "Ottofile";
/// The folder of named pipelines.
pub(super) const PIPELINES: &str = "ci";
/// What the name of a named pipeline's file ends with.
pub(super) const EXTENSION: &str = "otto";

/// A repository: the nearest folder upwards that holds an Ottofile or `.git`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Repository {
    /// Its root.
    pub(super) root: PathBuf,
    /// The folder with `.git`, which can lie further up.
    pub(super) git: Option<PathBuf>,
}

impl Repository {
    /// Looks upwards from a folder; where nothing is found, that folder itself is the root.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be read.
    pub(super) fn find(from: &Path) -> Result<Self, Fault> {
        let from = from.canonicalize().map_err(|error| unreadable(from, &error))?;
        let upwards = |name: &str| from.ancestors().find(|folder| folder.join(name).exists());
        let git = upwards(".git").map(Path::to_owned);
        // An Ottofile above the repository belongs to somebody else.
        let ottofile = upwards(OTTOFILE)
            .filter(|folder| git.as_deref().is_none_or(|git| folder.starts_with(git)));
        let root = ottofile.map(Path::to_owned).or_else(|| git.clone()).unwrap_or(from);
        Ok(Self { root, git })
    }

    /// The repository around the working folder.
    ///
    /// # Errors
    /// When there is no working folder any more.
    pub(super) fn here() -> Result<Self, Fault> {
        Self::find(Path::new("."))
    }

    /// The name under which its runs are numbered.
    #[must_use]
    pub(super) fn project(&self) -> String {
        self.root.display().to_string()
    }

    /// The file of a pipeline, from the root.
    #[must_use]
    pub(super) fn file(pipeline: Option<&str>) -> String {
        pipeline
            .map_or_else(|| OTTOFILE.to_owned(), |name| format!("{PIPELINES}/{name}.{EXTENSION}"))
    }

    /// The names of the named pipelines, in order.
    #[must_use]
    pub(super) fn pipelines(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(PIPELINES)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// A folder that was named at the command line, from the root: it counts from the working
    /// folder, or, where nothing is there, from the root.
    ///
    /// # Errors
    /// When it lies outside of the repository.
    pub(super) fn folder(&self, named: &str) -> Result<String, Fault> {
        let here = std::env::current_dir().unwrap_or_else(|_| self.root.clone());
        let here = here.canonicalize().unwrap_or(here);
        let inside = here.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let outside = || {
            Fault::usage(Id::BadArgument, "this folder lies outside of the repository")
                .at(named.to_owned())
                .help(format!("name one in {}", self.root.display()))
        };
        let from_here = within(inside, named, &self.root);
        let from_root = within(Path::new(""), named, &self.root);
        let there = |path: &Option<PathBuf>| {
            path.as_ref().is_some_and(|path| self.root.join(path).is_dir())
        };
        let chosen = if !there(&from_here) && there(&from_root) { from_root } else { from_here };
        let path = chosen.ok_or_else(outside)?;
        // A link on the way may lead out.
        let full = self.root.join(&path);
        let existing = full.ancestors().find(|folder| folder.exists());
        let real = existing.and_then(|folder| folder.canonicalize().ok());
        if real.is_none_or(|real| !real.starts_with(&self.root)) {
            return Err(outside());
        }
        path.into_os_string().into_string().map_err(|_| {
            Fault::usage(Id::NoText, "this name is no text in UTF-8").at(named.to_owned())
        })
    }

    /// Reads a text file of the repository; `None` where there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read as text.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, Fault> {
        text_of(&self.root.join(path))
    }

    /// What lies at its top, in the folders of tests, and what matters further down, for the
    /// conventions.
    ///
    /// # Errors
    /// When the folder or a file that matters cannot be read.
    pub(super) fn listing(&self) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        for (name, is_folder) in names(&self.root)? {
            if !is_folder {
                let content = if reads(&name) { self.lossy(&name)? } else { self.glance(&name) };
                listing.add(name, content);
                continue;
            }
            if FOLDERS.contains(&name.as_str()) {
                self.list_within(&name, &mut listing);
            }
            listing.add(format!("{name}/"), "");
        }
        // Whoever walks the tree would wait for a pipe here.
        self.lossy(".gitignore")?;
        self.list_further_down(&mut listing);
        Ok(listing)
    }

    /// Lists what matters wherever it lies, of the files that a run would have.
    fn list_further_down(&self, listing: &mut Listing) {
        let mut glances_left = MAX_NAMES;
        for (seen, path) in snapshot::paths(self).enumerate() {
            if seen == MAX_FILES {
                listing.leave_rest_unseen();
                return;
            }
            if !path.contains('/') || !matters(&path) {
                continue;
            }
            glances_left = glances_left.saturating_sub(1);
            let content = if glances_left > 0 { self.glance(&path) } else { String::new() };
            listing.add(path, content);
        }
    }

    /// Lists what lies in a folder and below it, as far as it can be read and is not too much.
    fn list_within(&self, folder: &str, listing: &mut Listing) {
        let mut left = MAX_NAMES;
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            for (name, is_folder) in names(&self.root.join(&folder)).unwrap_or_default() {
                let Some(fewer) = left.checked_sub(1) else { return };
                left = fewer;
                let path = format!("{folder}/{name}");
                if is_folder {
                    listing.add(format!("{path}/"), "");
                    let is_link = self.root.join(&path).is_symlink();
                    open.extend((!is_link && !name.starts_with('.')).then_some(path));
                } else {
                    let content = self.glance(&path);
                    listing.add(path, content);
                }
            }
        }
    }

    /// What a file holds, whatever its encoding: a tool may understand it all the same.
    pub(super) fn lossy(&self, path: &str) -> Result<String, Fault> {
        let full = self.root.join(path);
        match read_file(&full) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => no_file(&full, &error).map_or(Ok(String::new()), Err),
        }
    }

    /// The beginning of a file that is worth a look, whatever it holds; nothing of the others.
    fn glance(&self, path: &str) -> String {
        if !glances(path) {
            return String::new();
        }
        let bytes = read_start(&self.root.join(path), GLANCED_BYTES).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The branch, tag and commit that are checked out; empty where this is no git repository.
    #[must_use]
    pub(super) fn revision(&self) -> Revision {
        self.git.as_deref().map(super::revision::read).unwrap_or_default()
    }
}

/// Reads a text; `None` where there is none. What is no file is told, and never waited for.
///
/// # Errors
/// When it is there and cannot be read as text.
pub(super) fn text_of(path: &Path) -> Result<Option<String>, Fault> {
    let bytes = match read_file(path) {
        Ok(bytes) => bytes,
        Err(error) => return no_file(path, &error).map_or(Ok(None), Err),
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        Fault::usage(Id::NoText, "this is no text in UTF-8")
            .at(format!("{}:{line}", path.display()))
            .help("write the file in UTF-8, as every editor can")
    })
}

/// The longest file that is read: far more than the language takes.
const MAX_BYTES: u64 = 16 << 20;

/// So much of a file of tests tells what runs it.
const GLANCED_BYTES: u64 = 64 << 10;
/// So many names are looked at in each folder of tests, and so many files of tests are read.
const MAX_NAMES: usize = 1000;
/// So many files are looked at all in all.
const MAX_FILES: usize = 100_000;

/// Why a file was not read.
enum NotRead {
    /// The system refused.
    Refused(std::io::Error),
    /// It is something else than a file, or too long.
    Unfit(String),
}

impl From<std::io::Error> for NotRead {
    fn from(error: std::io::Error) -> Self {
        Self::Refused(error)
    }
}

/// Reads a file to its end, unless it is too long.
fn read_file(path: &Path) -> Result<Vec<u8>, NotRead> {
    let bytes = read_start(path, MAX_BYTES + 1)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(NotRead::Unfit(format!("this file is longer than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// Reads so many bytes of a file at most; anything that is no file is not opened, as a pipe would
/// never end.
fn read_start(path: &Path, most: u64) -> Result<Vec<u8>, NotRead> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        let what = if found.is_dir() { "a folder" } else { "a pipe, a device or the like" };
        return Err(NotRead::Unfit(format!("a file is expected here, and this is {what}")));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What to say of a file that was not read; nothing where there is none at all.
fn no_file(path: &Path, why: &NotRead) -> Option<Fault> {
    let unfit = |what: &str| {
        let fault = Fault::usage(Id::Unreadable, what).at(path.display().to_string());
        Some(fault.help("take it away, or put a file in its place"))
    };
    match why {
        NotRead::Unfit(what) => unfit(what),
        NotRead::Refused(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            unfit("a file is expected here, and this is a link that leads to itself")
        }
        NotRead::Refused(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let dangles = path.symlink_metadata().is_ok();
            dangles.then(|| unfit("a file is expected here, and this is a link to nothing"))?
        }
        NotRead::Refused(error) => Some(unreadable(path, error)),
    }
}

/// A path from a folder of the repository, from its root; nothing where it leads out.
fn within(start: &Path, named: &str, root: &Path) -> Option<PathBuf> {
    let named = Path::new(named);
    let (start, named) = match named.strip_prefix(root) {
        Ok(inside) => (Path::new(""), inside),
        Err(_) => (start, named),
    };
    let mut path = start.to_owned();
    for component in named.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => path.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// The names in a folder, in order, each with whether it is a folder.
fn names(folder: &Path) -> Result<Vec<(String, bool)>, Fault> {
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Links count as what they lead to.
        names.push((name, entry.path().is_dir()));
    }
    names.sort();
    Ok(names)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    Fault::infrastructure(Id::Unreadable, format!("cannot read: {error}"))
        .at(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{OTTOFILE, Repository, within};
    use crate::commands::fault::{Exit, Fault};
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    #[test]
    fn what_is_no_file_is_the_users_to_mend_and_is_never_waited_for() {
        let check = |make: &dyn Fn(&Path), expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            make(&folder.path().join(OTTOFILE));
            let repository = Repository { root: folder.path().to_owned(), git: None };
            let Err(Fault::Told(told)) = repository.text(OTTOFILE) else { panic!("{expected}") };
            assert_eq!((told.exit, told.what.contains(expected)), (Exit::Usage, true), "{told}");
        };
        check(&|path| fs::create_dir(path).unwrap(), "this is a folder");
        let pipe = |path: &Path| {
            mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        };
        check(&pipe, "this is a pipe");
        check(&|path| symlink(path, path).unwrap(), "leads to itself");
        check(&|path| symlink("nowhere", path).unwrap(), "a link to nothing");
    }

    #[test]
    fn folders_count_from_where_they_are_named_and_stay_inside() {
        let check = |start: &str, named: &str, expected: Option<&str>| {
            let path = within(Path::new(start), named, Path::new("/shop"));
            assert_eq!(path, expected.map(PathBuf::from), "{start} {named}");
        };
        check("", "ci/greet", Some("ci/greet"));
        check("", "./ci//greet/", Some("ci/greet"));
        check("ci", "greet", Some("ci/greet"));
        check("ci/deep", "../greet", Some("ci/greet"));
        check("ci", "/shop/greet", Some("greet"));
        check("ci", "../../evil", None);
        check("", "/tmp/evil", None);
    }
}
