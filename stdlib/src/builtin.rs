//! The step library that comes with Otto, and the names of its steps that are not there yet.

use crate::library::{self, File, Files, MANIFEST};
use crate::manifest::Author;
use otto_core::step::{Library, LibrarySource};
use std::sync::LazyLock;

/// The name of the library that comes with Otto.
pub const NAME: &str = "stdlib";

/// Steps that Otto will come with and that are not there yet.
pub const PLANNED: &[&str] =
    &["fetch", "git_push", "http", "prompt", "publish", "registry_push", "report", "ssh", "store"];

const MANIFESTS: &[(&str, &str)] = &[
    ("archive", include_str!("steps/archive.yml")),
    ("dir", include_str!("steps/dir.yml")),
    ("drop", include_str!("steps/drop.yml")),
    ("echo", include_str!("steps/echo.yml")),
    ("error", include_str!("steps/error.yml")),
    ("git", include_str!("steps/git.yml")),
    ("sh", include_str!("steps/sh.yml")),
    ("sleep", include_str!("steps/sleep.yml")),
    ("unarchive", include_str!("steps/unarchive.yml")),
];

/// The library that comes with Otto. Its digest stands for the manifests and the build's version.
///
/// # Panics
/// When a manifest of Otto's own is wrong, which a test rules out.
#[must_use]
pub fn builtin() -> &'static Library {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
        let mut files = Files::new();
        for (step, manifest) in MANIFESTS {
            let content = manifest.as_bytes().to_vec();
            files.insert(format!("{step}/{MANIFEST}"), File { executable: false, content });
        }
        let version = env!("CARGO_PKG_VERSION").as_bytes().to_vec();
        files.insert("version".to_owned(), File { executable: false, content: version });
        let digest = library::digest(&files);
        let source = LibrarySource::Builtin;
        library::assemble(NAME.to_owned(), source, digest, &files, Author::Otto)
            .unwrap_or_else(|problems| panic!("the manifests in the image: {problems}"))
    });
    &LIBRARY
}

#[cfg(test)]
mod tests {
    use super::{PLANNED, builtin};

    #[test]
    fn the_manifests_in_the_image_are_right() {
        let symbols: Vec<&str> = builtin().steps.keys().map(String::as_str).collect();
        let expected =
            ["archive", "dir", "drop", "echo", "error", "git", "sh", "sleep", "unarchive"];
        assert_eq!(symbols, expected);
    }

    #[test]
    fn what_is_planned_is_not_there() {
        for symbol in PLANNED {
            assert!(!builtin().steps.contains_key(*symbol), "{symbol}");
        }
    }
}
