//! Step libraries: folders of steps, read, checked and pinned by the digest of their files.
//!
//! A library is a folder with one `manifest.yml`, or with one such file in each of several folders,
//! one for a step. Its digest covers path, executable bit and content of every file, so that what
//! was explained and granted is what runs. Files that git ignores are no part of it.

use crate::manifest::{Author, Manifest, is_name};
use crate::problem::{Problem, Problems};
use otto_core::ids::Digest;
use otto_core::step::{Entrypoint, Library, LibrarySource, Parameter};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The name of a step's description.
pub const MANIFEST: &str = "manifest.yml";
/// The most files that a library may have.
pub const MAX_FILES: usize = 2_000;
/// The most bytes that a library's files may have together.
pub const MAX_BYTES: u64 = 64 << 20;
/// The deepest folder below a library's.
const MAX_DEPTH: usize = 16;

/// One file of a library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Whether it may be executed.
    pub executable: bool,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// The files of a library, by their path from its folder with `/` between the parts.
pub type Files = BTreeMap<String, File>;

/// A library's folder that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no such folder.
    #[error("read the step library '{0}': there is no such folder")]
    Missing(String),
    /// It cannot be a library.
    #[error("read the step library '{folder}': {cause}")]
    Unfit {
        /// The folder.
        folder: String,
        /// Why not.
        cause: String,
    },
}

/// The digest of a library: of path, executable bit and content of each file, in the order of
/// paths.
#[must_use]
pub fn digest(files: &Files) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"otto step library 1\0");
    for (path, file) in files {
        // Lengths in front, so that no two lists of files have the same bytes.
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path.as_bytes());
        hasher.update(&[u8::from(file.executable)]);
        hasher.update(&(file.content.len() as u64).to_le_bytes());
        hasher.update(&file.content);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Reads the files of a library in a folder of a repository. `folder` is from the repository's
/// root, `./` in front allowed.
///
/// Files that git ignores are left out on every machine alike, as they are in snapshots.
///
/// # Errors
/// When the folder is missing, holds links or other things that are no files, or is too large.
pub fn read_folder(repository: &Path, folder: &str) -> Result<Files, FolderError> {
    read_folder_from(repository, repository, folder)
}

/// Reads the files of a library where the repository of git begins further up, at `top`: ignore
/// files from there on count, as they do in snapshots.
///
/// # Errors
/// Those of [`read_folder`].
pub fn read_folder_from(top: &Path, repository: &Path, folder: &str) -> Result<Files, FolderError> {
    let unfit = |cause: String| FolderError::Unfit { folder: folder.to_owned(), cause };
    let inner = crate::manifest::inner_path(folder)
        .map_err(|_| unfit("it must lie in the repository".to_owned()))?;
    let library = repository.join(&inner);
    if !library.is_dir() {
        return Err(FolderError::Missing(folder.to_owned()));
    }
    // The walk begins at the top, so that its ignore files count, and goes only where the library
    // is.
    let below = library.clone();
    let depth = library.strip_prefix(top).unwrap_or(&library).components().count() + MAX_DEPTH;
    let walk = ignore::WalkBuilder::new(top)
        .hidden(false)
        .parents(false)
        .ignore(false)
        .require_git(false)
        .max_depth(Some(depth))
        .filter_entry(move |entry| {
            let path = entry.path();
            entry.file_name() != ".git" && (below.starts_with(path) || path.starts_with(&below))
        })
        .build();
    let mut files = Files::new();
    let mut room = MAX_BYTES;
    for entry in walk {
        let entry = entry.map_err(|error| unfit(error.to_string()))?;
        let Ok(path) = entry.path().strip_prefix(&library) else { continue };
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            continue;
        }
        let path = path.to_str().ok_or_else(|| unfit(format!("{} is no UTF-8", path.display())))?;
        if !kind.is_file() {
            return Err(unfit(format!("{path} is a link or a device; a library holds files only")));
        }
        if files.len() == MAX_FILES {
            return Err(unfit(format!("it has more than {MAX_FILES} files")));
        }
        let file = read_file(entry.path(), room).map_err(|why| unfit(format!("{path}: {why}")))?;
        room = room.saturating_sub(file.content.len() as u64);
        files.insert(path.to_owned(), file);
    }
    Ok(files)
}

fn read_file(path: &Path, room: u64) -> Result<File, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mode = file.metadata().map_err(|error| error.to_string())?.permissions().mode();
    let mut content = Vec::new();
    file.take(room + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if content.len() as u64 > room {
        return Err(format!("the library has more than {} MiB", MAX_BYTES >> 20));
    }
    Ok(File { executable: mode & 0o111 != 0, content })
}

/// Reads a library in a folder of a repository and checks it.
///
/// # Errors
/// Everything that is wrong in it.
pub fn load_folder(repository: &Path, folder: &str) -> Result<Library, Problems> {
    load_folder_from(repository, repository, folder)
}

/// Reads a library as [`read_folder_from`] does, and checks it.
///
/// # Errors
/// Everything that is wrong in it.
pub fn load_folder_from(top: &Path, repository: &Path, folder: &str) -> Result<Library, Problems> {
    let files = read_folder_from(top, repository, folder)
        .map_err(|error| Problem::whole(folder, error.to_string(), None))?;
    load(folder, &files)
}

/// Checks the files of a library in a folder of a repository.
///
/// # Errors
/// Everything that is wrong in them.
pub fn load(folder: &str, files: &Files) -> Result<Library, Problems> {
    let path = crate::manifest::inner_path(folder)
        .map_err(|why| Problem::whole(folder, format!("the library '{folder}': {why}"), None))?;
    let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
    if !is_name(&name) {
        let help = "a name begins with a letter and holds letters, digits, '_' and '-'".to_owned();
        let message = format!("'{name}' cannot be the name of a step library");
        return Err(Problem::whole(&path, message, Some(help)).into());
    }
    let source = LibrarySource::Repository { path };
    assemble(name, source, digest(files), files, Author::Anybody)
}

/// Puts a library together from its manifests.
pub(crate) fn assemble(
    name: String,
    source: LibrarySource,
    digest: Digest,
    files: &Files,
    author: Author,
) -> Result<Library, Problems> {
    let shown = match &source {
        LibrarySource::Builtin => name.clone(),
        LibrarySource::Repository { path } => path.clone(),
    };
    let mut library =
        Library { name, source, digest, configuration: Vec::new(), steps: BTreeMap::new() };
    let mut problems = Vec::new();
    for folder in step_folders(&shown, files)? {
        let place = |file: &str| {
            if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
        };
        let manifest_path = place(MANIFEST);
        let Some(file) = files.get(&manifest_path) else { continue };
        let at = format!("{shown}/{manifest_path}");
        match Manifest::read(&at, &file.content, author) {
            Ok(manifest) => add(&mut library, manifest, &at, &place, files, &mut problems),
            Err(found) => problems.extend(found.0),
        }
    }
    if problems.is_empty() { Ok(library) } else { Err(Problems(problems)) }
}

/// The folders that hold a step: the top one, or those right below it.
fn step_folders(shown: &str, files: &Files) -> Result<Vec<String>, Problem> {
    if files.contains_key(MANIFEST) {
        return Ok(vec![String::new()]);
    }
    let folders: Vec<String> = files
        .keys()
        .filter_map(|path| path.strip_suffix(MANIFEST)?.strip_suffix('/'))
        .filter(|folder| !folder.contains('/'))
        .map(str::to_owned)
        .collect();
    if folders.is_empty() {
        let help = "write one, or see what `otto steps new` writes".to_owned();
        let message = format!("no {MANIFEST} in this folder, nor in a folder right below it");
        return Err(Problem::whole(shown, message, Some(help)));
    }
    Ok(folders)
}

/// Adds one step, once what its manifest says of other files and steps holds.
fn add(
    library: &mut Library,
    manifest: Manifest,
    at: &str,
    place: &impl Fn(&str) -> String,
    files: &Files,
    problems: &mut Vec<Problem>,
) {
    let mut signature = manifest.signature;
    if let Entrypoint::Program { path } = &mut signature.entrypoint {
        let written = std::mem::take(path);
        *path = place(&written);
        match files.get(path) {
            Some(file) if file.executable => {}
            Some(_) => problems.push(Problem::whole(
                at,
                format!("the entrypoint {written} is not executable"),
                Some(format!("run `chmod +x {written}`, and commit that")),
            )),
            None => problems.push(Problem::whole(
                at,
                format!("the entrypoint {written} is not there"),
                Some("its path is from the manifest's folder".to_owned()),
            )),
        }
    }
    for setting in manifest.configuration {
        match library.configuration.iter().find(|known| known.name == setting.name) {
            Some(known) if !same_setting(known, &setting) => problems.push(Problem::whole(
                at,
                format!("the setting '{}' differs from another step's", setting.name),
                Some("a library has one configuration: declare it alike in each step".to_owned()),
            )),
            Some(_) => {}
            None => library.configuration.push(setting),
        }
    }
    if library.steps.contains_key(&signature.symbol) {
        let message = format!("another step of this library is called '{}'", signature.symbol);
        problems.push(Problem::whole(at, message, None));
        return;
    }
    library.steps.insert(signature.symbol.clone(), signature);
}

fn same_setting(one: &Parameter, other: &Parameter) -> bool {
    one.value_type == other.value_type
        && one.default == other.default
        && one.optional == other.optional
}
