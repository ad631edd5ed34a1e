//! Writing below one folder and nowhere else, whatever a hostile archive asks for.
//!
//! Every folder on the way is opened by itself without following links, so neither a name nor a
//! link that lies there already leads out. Links of the archive are made last, and only where they
//! cannot lead out through one another either.

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

const MAX_PATH_BYTES: usize = 4_000;
const MAX_NAME_BYTES: usize = 255;
/// The deepest folder that is made.
const MAX_DEPTH: usize = 128;

/// A folder below which files are written.
#[derive(Debug)]
pub(super) struct Tree(OwnedFd);

/// A path from a tree's root, each part of which is a plain name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Inner(Vec<String>);

impl Inner {
    /// Checks a path. A `/` at its end is passed over, as is `./` in front.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let shown = || path.chars().take(200).collect::<String>().escape_debug().to_string();
        let wrong = |why: &str| Err(format!("'{}' {why}", shown()));
        let trimmed = path.strip_prefix("./").unwrap_or(path);
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        let parts: Vec<&str> = match trimmed {
            "" if path.is_empty() || path.starts_with('/') => return wrong("is no name"),
            "" | "." => Vec::new(),
            trimmed => trimmed.split('/').collect(),
        };
        if path.len() > MAX_PATH_BYTES || parts.len() > MAX_DEPTH {
            return wrong("is too long or too deep");
        }
        for part in &parts {
            match *part {
                "" => return wrong("is absolute or has an empty part"),
                "." | ".." => return wrong("has a '.' or '..' in it"),
                part if part.len() > MAX_NAME_BYTES => return wrong("has a part that is too long"),
                part if part.chars().any(char::is_control) => {
                    return wrong("has a control character in it");
                }
                _ => {}
            }
        }
        Ok(Self(parts.into_iter().map(str::to_owned).collect()))
    }

    /// Whether this is the root itself.
    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// Checks that a link stays inside: `../` no more often than its folder is deep, then names.
///
/// A `..` behind a name is refused: the name could be a link, and the `..` would lead out of where
/// that one leads.
pub(super) fn inner_link(at: &Inner, target: &str) -> Result<(), String> {
    let wrong = |why: &str| {
        let shown: String = target.chars().take(200).collect();
        Err(format!("'{at}' is a link to '{}', which {why}", shown.escape_debug()))
    };
    if target.is_empty() || target.len() > MAX_PATH_BYTES || target.chars().any(char::is_control) {
        return wrong("is no path");
    }
    if target.starts_with('/') {
        return wrong("is absolute");
    }
    let parts: Vec<&str> =
        target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let ups = parts.iter().take_while(|part| **part == "..").count();
    if ups >= at.0.len() && ups > 0 {
        return wrong("leads out");
    }
    if parts[ups..].contains(&"..") {
        return wrong("has a '..' behind a name");
    }
    Ok(())
}

impl Tree {
    /// Opens a folder below another one; what is missing is made, and no link is followed.
    pub(super) fn open(base: &Path, inner: &Inner) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let base = rustix::fs::open(base, flags, Mode::empty())?;
        Ok(Self(Self(base).descend(&inner.0)?))
    }

    /// Makes a folder, and those that it lies in.
    pub(super) fn folder(&self, path: &Inner) -> io::Result<()> {
        self.descend(&path.0).map(|_| ())
    }

    /// Writes a file. One that was there before is replaced, never written through.
    pub(super) fn file(
        &self,
        path: &Inner,
        executable: bool,
        content: &mut dyn Read,
    ) -> io::Result<u64> {
        let (folder, name) = self.place(path)?;
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match openat(&folder, name, flags, mode) {
            Err(Errno::EXIST) => {
                unlinkat(&folder, name, AtFlags::empty())?;
                openat(&folder, name, flags, mode)?
            }
            opened => opened?,
        };
        io::copy(content, &mut File::from(file))
    }

    /// Makes a link that [`inner_link`] accepted. Call it when all files are written.
    pub(super) fn link(&self, path: &Inner, target: &str) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        match symlinkat(target, &folder, name) {
            Err(Errno::EXIST) => {
                unlinkat(&folder, name, AtFlags::empty())?;
                Ok(symlinkat(target, &folder, name)?)
            }
            made => Ok(made?),
        }
    }

    /// The folder that a path lies in, and its last name.
    fn place<'p>(&self, path: &'p Inner) -> io::Result<(OwnedFd, &'p str)> {
        match path.0.split_last() {
            Some((name, parents)) => Ok((self.descend(parents)?, name)),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn descend(&self, parts: &[String]) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut folder = self.0.try_clone()?;
        for part in parts {
            let inner = match openat(&folder, part, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    mkdirat(&folder, part, Mode::from_raw_mode(0o777))?;
                    openat(&folder, part, flags, Mode::empty())
                }
                opened => opened,
            };
            folder = inner.map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => {
                    io::Error::other(format!("'{part}' is a link or a file where a folder must be"))
                }
                error => error.into(),
            })?;
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::{Inner, Tree, inner_link};

    #[test]
    fn paths_stay_inside() {
        let check = |path: &str, expected: Option<&str>| {
            let parsed = Inner::parse(path).ok().map(|inner| inner.to_string());
            assert_eq!(parsed.as_deref(), expected, "{path:?}");
        };
        check("a/b", Some("a/b"));
        check("./a/b/", Some("a/b"));
        check(".", Some(""));
        check("./", Some(""));
        check("", None);
        check("/", None);
        check("/etc/passwd", None);
        check("a//b", None);
        check("../a", None);
        check("a/../../b", None);
        check("a/./b", None);
        check("a\nb", None);
        check(&"a/".repeat(200), None);
        check(&"a".repeat(300), None);
    }

    #[test]
    fn links_stay_inside() {
        let check = |at: &str, target: &str, inside: bool| {
            let at = Inner::parse(at).expect("a path");
            assert_eq!(inner_link(&at, target).is_ok(), inside, "{at} -> {target}");
        };
        check("a", "b", true);
        check("a", "./b/c", true);
        check("a/b", "../c", true);
        check("a/b/c", "../../d", true);
        check("a", "../b", false);
        check("a/b", "../../c", false);
        check("a", "/etc/passwd", false);
        check("a", "", false);
        // `b` may be a link to the root: then `b/..` is outside.
        check("a", "b/../c", false);
        check("a", ".", true);
    }

    #[test]
    fn nothing_is_written_through_a_link_that_was_there() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = tempfile::tempdir().expect("a folder");
        let tree = Tree::open(folder.path(), &Inner::parse(".").expect("the root")).expect("opens");
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).expect("a link");
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "kept").expect("written");
        std::os::unix::fs::symlink(&victim, folder.path().join("file")).expect("a link");

        let through = Inner::parse("out/new").expect("a path");
        let error = tree.file(&through, false, &mut &b"x"[..]).expect_err("leads out");
        assert!(error.to_string().contains("'out' is a link"), "{error}");
        assert!(tree.folder(&through).is_err());
        assert!(tree.link(&through, "x").is_err());

        let replaced = Inner::parse("file").expect("a path");
        tree.file(&replaced, false, &mut &b"new"[..]).expect("replaces the link");
        assert_eq!(std::fs::read(&victim).expect("there"), b"kept");
        assert_eq!(std::fs::read(folder.path().join("file")).expect("there"), b"new");
    }
}
