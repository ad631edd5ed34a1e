//! The files that a pattern names below a folder. Links are listed, never followed.

use super::tree::{Inner, inner_link};
use globset::{Glob, GlobBuilder, GlobMatcher};
use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The most files, folders and links of an archive.
pub(super) const MAX_ENTRIES: usize = 500_000;

/// A file, folder or link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Its path, from the folder that was looked into.
    pub(super) path: String,
    /// What it is.
    pub(super) kind: Kind,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A file.
    File {
        /// Whether it may be executed.
        executable: bool,
        /// Its length when it was looked at.
        bytes: u64,
    },
    /// A folder.
    Folder,
    /// A link that stays inside.
    Link {
        /// Where to.
        target: String,
    },
}

/// A pattern for paths: `*` and `?` stop at `/`, `**` does not; also `[abc]` and `{a,b}`.
#[derive(Debug)]
pub(super) struct Pattern {
    written: String,
    /// The folders in front that hold no pattern.
    fixed: Vec<String>,
    /// What the whole path must match; a plain path matches itself.
    glob: GlobMatcher,
    /// Whether all of it is fixed.
    plain: bool,
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let inner = crate::manifest::inner_path(written);
        let path = match inner {
            Ok(path) => path,
            Err(_) if matches!(written.trim_end_matches('/'), ".") => "**".to_owned(),
            Err(_) => return Err(format!("'{written}' is no pattern below the current folder")),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let fixed: Vec<String> = parts
            .iter()
            .take_while(|part| !part.contains(['*', '?', '[', '{', '\\']))
            .map(|part| (*part).to_owned())
            .collect();
        let plain = fixed.len() == parts.len();
        let glob: Result<Glob, _> = GlobBuilder::new(&path)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build();
        let glob = glob.map_err(|error| format!("'{written}' is no pattern: {error}"))?;
        Ok(Self { written: written.to_owned(), fixed, glob: glob.compile_matcher(), plain })
    }

    /// A name for what it matches: the last part that holds no pattern.
    pub(super) fn name(&self) -> Option<&str> {
        self.fixed.last().map(String::as_str)
    }

    /// Everything that matches below a folder, in the order of paths. A folder that matches brings
    /// all that is in it.
    pub(super) fn find(&self, base: &Path) -> Result<Vec<Found>, String> {
        let start = self.start(base)?;
        let mut found = Vec::new();
        let mut open = vec![(start, false)];
        while let Some((path, inside)) = open.pop() {
            let full = base.join(&path);
            let metadata = fs::symlink_metadata(&full)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let inside = inside || (path != Path::new("") && self.glob.is_match(&path));
            if metadata.is_dir() {
                let entries =
                    fs::read_dir(&full).map_err(|error| format!("{}: {error}", path.display()))?;
                for entry in entries {
                    let entry = entry.map_err(|error| format!("{}: {error}", path.display()))?;
                    open.push((path.join(entry.file_name()), inside));
                }
            }
            if inside {
                if found.len() == MAX_ENTRIES {
                    return Err(format!("more than {MAX_ENTRIES} files match"));
                }
                found.push(look(&full, &path, &metadata)?);
            }
        }
        if found.is_empty() {
            return Err(self.nothing(base));
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Where to begin to look. A link on the way would lead elsewhere.
    fn start(&self, base: &Path) -> Result<PathBuf, String> {
        let mut path = PathBuf::new();
        for (index, part) in self.fixed.iter().enumerate() {
            path.push(part);
            let last = self.plain && index + 1 == self.fixed.len();
            match fs::symlink_metadata(base.join(&path)) {
                Ok(metadata) if metadata.is_symlink() && !last => {
                    return Err(format!("'{}' is a link; name where it leads", path.display()));
                }
                Ok(_) => {}
                Err(_) => return Err(self.nothing(base)),
            }
        }
        Ok(path)
    }

    /// Says that nothing matches, and what is there instead.
    fn nothing(&self, base: &Path) -> String {
        let mut there = PathBuf::new();
        for part in &self.fixed {
            let next = there.join(part);
            if !base.join(&next).is_dir() {
                break;
            }
            there = next;
        }
        let mut names: Vec<String> = fs::read_dir(base.join(&there))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let count = names.len();
        names.truncate(8);
        let shown = if there.as_os_str().is_empty() {
            "this folder".to_owned()
        } else {
            format!("'{}'", there.display())
        };
        let holds = match count {
            0 => "is empty".to_owned(),
            1..=8 => format!("holds {}", names.join(", ")),
            _ => format!("holds {}, and {} more", names.join(", "), count - names.len()),
        };
        format!("nothing matches '{}'; {shown} {holds}", self.written)
    }
}

fn look(full: &Path, path: &Path, metadata: &Metadata) -> Result<Found, String> {
    let shown = path.display();
    let text = path.to_str().ok_or_else(|| format!("the name '{shown}' is no UTF-8"))?;
    let inner = Inner::parse(text)?;
    let kind = if metadata.is_dir() {
        Kind::Folder
    } else if metadata.is_symlink() {
        let target = fs::read_link(full).map_err(|error| format!("{shown}: {error}"))?;
        let target = target.to_str().ok_or_else(|| format!("{shown} is a link to no UTF-8"))?;
        inner_link(&inner, target)?;
        Kind::Link { target: target.to_owned() }
    } else if metadata.is_file() {
        let executable = metadata.permissions().mode() & 0o111 != 0;
        Kind::File { executable, bytes: metadata.len() }
    } else {
        return Err(format!("'{shown}' is a socket, a pipe or a device; archive files only"));
    };
    Ok(Found { path: text.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::Pattern;
    use std::fs;
    use std::path::Path;

    fn fill(folder: &Path) {
        for path in ["dist/a.tar.gz", "dist/b.txt", "dist/sub/c.txt", "out.log", "dist/sub/d"] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, "x").expect("written");
        }
        fs::create_dir(folder.join("dist/empty")).expect("made");
    }

    #[test]
    fn patterns_find_files_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path());
        let check = |pattern: &str, name: Option<&str>, expected: &[&str]| {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            let found = pattern.find(folder.path()).unwrap_or_default();
            let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
            assert_eq!(paths, expected, "{pattern:?}");
            assert_eq!(pattern.name(), name, "{pattern:?}");
        };
        check("dist/*.tar.gz", Some("dist"), &["dist/a.tar.gz"]);
        check("dist/*.{gz,txt}", Some("dist"), &["dist/a.tar.gz", "dist/b.txt"]);
        check("dist/**/*.txt", Some("dist"), &["dist/b.txt", "dist/sub/c.txt"]);
        check("./dist/sub/", Some("sub"), &["dist/sub", "dist/sub/c.txt", "dist/sub/d"]);
        check("out.log", Some("out.log"), &["out.log"]);
        check("*.log", None, &["out.log"]);
        check("dist/s*", Some("dist"), &["dist/sub", "dist/sub/c.txt", "dist/sub/d"]);
        check("dist/empty", Some("empty"), &["dist/empty"]);
        check("*.zip", None, &[]);
    }

    #[test]
    fn what_does_not_match_says_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path());
        let check = |pattern: &str, expected: &str| {
            let error = Pattern::parse(pattern).and_then(|pattern| pattern.find(folder.path()));
            assert_eq!(error.expect_err("nothing matches"), expected);
        };
        check(
            "dist/*.zip",
            "nothing matches 'dist/*.zip'; 'dist' holds a.tar.gz, b.txt, empty, sub",
        );
        check("build/x/*", "nothing matches 'build/x/*'; this folder holds dist, out.log");
        check("../x", "'../x' is no pattern below the current folder");
        check("/etc/*", "'/etc/*' is no pattern below the current folder");
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path());
        std::os::unix::fs::symlink("sub", folder.path().join("dist/inner")).expect("a link");
        std::os::unix::fs::symlink("/etc", folder.path().join("etc")).expect("a link");
        let find = |pattern: &str| Pattern::parse(pattern)?.find(folder.path());
        let paths = find("dist/in*").expect("found");
        assert_eq!(paths.len(), 1, "{paths:?}");
        assert!(find("etc").expect_err("leads out").contains("is absolute"));
        assert!(find("etc/*").expect_err("leads out").contains("is a link"));
    }
}
