//! Packing a step library: one file that anybody can make again from the same sources.

use crate::library::{self, Files};
use crate::problem::{Problem, Problems};
use crate::tarball::header;
use otto_core::ids::Digest;
use otto_core::step::Library;
use std::path::Path;
use tar::EntryType;

/// A packed library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// What it holds.
    pub library: Library,
    /// The tar file: the library's files in the order of their paths.
    pub bytes: Vec<u8>,
}

impl Package {
    /// The digest that pins the library: of its files, not of the tar file around them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.library.digest
    }
}

/// Checks and packs the library in a folder of a repository. `top` is where the repository of git
/// begins, as in [`library::read_folder_from`].
///
/// # Errors
/// Everything that is wrong in it.
pub fn pack(top: &Path, repository: &Path, folder: &str) -> Result<Package, Problems> {
    let whole = |message: String| Problem::whole(folder, message, None);
    let files = library::read_folder_from(top, repository, folder)
        .map_err(|error| whole(error.to_string()))?;
    let library = library::load(folder, &files)?;
    let bytes = tar_of(&files).map_err(|error| whole(format!("pack the library: {error}")))?;
    Ok(Package { library, bytes })
}

fn tar_of(files: &Files) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, file) in files {
        let bytes = file.content.len() as u64;
        let mut header = header(EntryType::Regular, file.executable, bytes);
        tar.append_data(&mut header, path, file.content.as_slice())?;
    }
    tar.into_inner()
}
