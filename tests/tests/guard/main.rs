//! The guard over the sources themselves: what each folder must never hold, held by tests.
//!
//! Every rule is a function from a text to what is wrong with it, and has a test that shows it
//! finding something.

mod arrows;
mod map;
mod sources;

use std::path::{Path, PathBuf};

/// A file of the repository, by its path from the root.
struct Source {
    path: String,
    text: String,
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root is there")
}

/// All files below a folder that `wanted` keeps, sorted by path; build output is passed over.
fn files(folder: &Path, wanted: fn(&Path) -> bool) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("folders of the repository are readable") {
            let path = entry.expect("their entries too").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.is_file() && wanted(&path) {
                let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                found.push(Source { path: shown, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// All Rust sources of the repository.
fn rust_sources() -> Vec<Source> {
    files(&root(), |path| path.extension().is_some_and(|extension| extension == "rs"))
}

/// Fails with all complaints at once.
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaint(s):\n{}", complaints.len(), complaints.join("\n"));
}
