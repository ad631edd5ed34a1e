//! New step libraries: what `otto steps new` writes.

use crate::library::{File, Files};
use crate::manifest::is_name;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The language that a step is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// A shell script.
    Shell,
    /// Python, with nothing but its standard library.
    Python,
    /// Rust, with this crate as its SDK.
    Rust,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 3] = [Self::Shell, Self::Python, Self::Rust];

    /// The word for it on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Python => "python",
            Self::Rust => "rust",
        }
    }

    /// The files of a new library: their path, whether they may be executed, and their text.
    fn templates(self) -> &'static [(&'static str, bool, &'static str)] {
        match self {
            Self::Shell => &[
                ("manifest.yml", false, include_str!("../templates/shell/manifest.yml")),
                ("run.sh", true, include_str!("../templates/shell/run.sh")),
            ],
            Self::Python => &[
                ("manifest.yml", false, include_str!("../templates/python/manifest.yml")),
                ("otto_step.py", false, include_str!("../templates/python/otto_step.py")),
                ("run.py", true, include_str!("../templates/python/run.py")),
            ],
            Self::Rust => &[
                (".gitignore", false, "/target\n"),
                ("Cargo.toml", false, include_str!("../templates/rust/Cargo.toml.in")),
                ("manifest.yml", false, include_str!("../templates/rust/manifest.yml")),
                ("run.sh", true, include_str!("../templates/rust/run.sh")),
                ("src/main.rs", false, include_str!("../templates/rust/main.rs")),
            ],
        }
    }
}

/// A library that could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// The name fits no library.
    #[error(
        "call a step '{0}': a name begins with a letter and holds letters, digits, '_' and '-'"
    )]
    Name(String),
    /// Something is there already.
    #[error("write a new step library: {0} is there already")]
    Occupied(String),
    /// The disk.
    #[error("write {path}: {cause}")]
    Write {
        /// The file.
        path: String,
        /// Why not.
        cause: io::Error,
    },
}

/// The files of a new library with one step of this name.
///
/// # Errors
/// When the name cannot be one.
pub fn new(name: &str, language: Language) -> Result<Files, ScaffoldError> {
    if !is_name(name) {
        return Err(ScaffoldError::Name(name.to_owned()));
    }
    let fill = |text: &str| {
        text.replace("{{symbol}}", &name.replace('-', "_"))
            .replace("{{name}}", name)
            .replace("{{version}}", env!("CARGO_PKG_VERSION"))
            .replace("{{repository}}", env!("CARGO_PKG_REPOSITORY"))
    };
    let files = language.templates().iter().map(|(path, executable, text)| {
        let content = fill(text).into_bytes();
        ((*path).to_owned(), File { executable: *executable, content })
    });
    Ok(files.collect())
}

/// Writes a library's files into a folder that is not there yet, or empty.
///
/// # Errors
/// When something is there already, or the disk refuses.
pub fn write(folder: &Path, files: &Files) -> Result<(), ScaffoldError> {
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || folder.is_file() {
        return Err(ScaffoldError::Occupied(folder.display().to_string()));
    }
    for (path, file) in files {
        let path = folder.join(path);
        write_file(&path, file)
            .map_err(|cause| ScaffoldError::Write { path: path.display().to_string(), cause })?;
    }
    Ok(())
}

fn write_file(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, &file.content)?;
    let mode = if file.executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
