//! The repository that a command was started in: its root, its pipelines, its revision.

use super::fault::{Fault, Id};
use otto_core::plan::Revision;
use otto_lang::conventions::{FOLDERS, Listing, glances, reads};
use std::io::Read;
use std::path::{Path, PathBuf};

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

    /// Reads a text file of the repository; `None` where there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read as text.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, Fault> {
        let full = self.root.join(path);
        let bytes = match read_file(&full) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&full, &error)),
        };
        String::from_utf8(bytes).map(Some).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..valid).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            Fault::usage(Id::NoText, "this is no text in UTF-8")
                .at(format!("{}:{line}", full.display()))
                .help("write the file in UTF-8, as every editor can")
        })
    }

    /// What lies at its top, and in the folders of tests, for the conventions.
    ///
    /// # Errors
    /// When the folder or a file that matters cannot be read.
    pub(super) fn listing(&self) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        for (name, is_folder) in names(&self.root)? {
            if !is_folder {
                let content = if reads(&name) { self.text(&name)? } else { None };
                let content = content.unwrap_or_else(|| self.glance(&name));
                listing.add(name, content);
                continue;
            }
            if FOLDERS.contains(&name.as_str()) {
                self.list_within(&name, &mut listing);
            }
            listing.add(format!("{name}/"), "");
        }
        Ok(listing)
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

/// The longest file that is read: far more than the language takes.
const MAX_BYTES: u64 = 16 << 20;

/// So much of a file of tests tells what runs it.
const GLANCED_BYTES: u64 = 64 << 10;
/// So many names are looked at in each folder of tests.
const MAX_NAMES: usize = 1000;

/// Reads a file to its end, unless it is too long.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = read_start(path, MAX_BYTES + 1)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("it has over {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// Reads so many bytes of a file at most; anything that is no file is not opened, as a pipe would
/// never end.
fn read_start(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
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
