//! The revision that is checked out, read from the files of `.git`.
//!
//! A process of git would cost more than the rest of a small run together, so that the files that
//! every version of git writes are read here; whatever cannot be found there is left out.

use otto_core::plan::Revision;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads the revision of the repository whose folder holds `.git`.
#[must_use]
pub(super) fn read(folder: &Path) -> Revision {
    let Some(git) = git_folder(folder) else { return Revision::default() };
    let common = common_folder(&git);
    let Some(head) = line(&git.join("HEAD")) else { return Revision::default() };
    let (branch, commit) = match head.strip_prefix("ref: ") {
        Some(name) => {
            let branch = name.strip_prefix("refs/heads/").map(str::to_owned);
            (branch, resolve(&git, &common, name))
        }
        None => (None, is_commit(&head).then_some(head)),
    };
    let tag = commit.as_deref().and_then(|commit| tag_of(&common, commit));
    Revision { branch, tag, commit }
}

/// The folder behind `.git`, which in a worktree or submodule is a file that names it.
fn git_folder(folder: &Path) -> Option<PathBuf> {
    let git = folder.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let named = line(&git)?;
    Some(folder.join(named.strip_prefix("gitdir: ")?))
}

/// The folder that the worktrees of a repository share.
fn common_folder(git: &Path) -> PathBuf {
    line(&git.join("commondir")).map_or_else(|| git.to_owned(), |path| git.join(path))
}

fn resolve(git: &Path, common: &Path, name: &str) -> Option<String> {
    // A reference may stand for another one; more than a few would be a circle.
    let mut name = name.to_owned();
    for _ in 0..5 {
        let loose = line(&git.join(&name)).or_else(|| line(&common.join(&name)));
        match loose {
            Some(text) => match text.strip_prefix("ref: ") {
                Some(next) => next.clone_into(&mut name),
                None => return is_commit(&text).then_some(text),
            },
            None => return packed(common).remove(&name).map(|reference| reference.commit),
        }
    }
    None
}

/// The name of a tag that stands for a commit, the last one in order where there are several.
fn tag_of(common: &Path, commit: &str) -> Option<String> {
    let prefix = "refs/tags/";
    let mut names: Vec<String> = packed(common)
        .into_iter()
        .filter(|(name, reference)| name.starts_with(prefix) && reference.stands_for(commit))
        .filter_map(|(name, _)| name.strip_prefix(prefix).map(str::to_owned))
        .collect();
    let loose = std::fs::read_dir(common.join("refs").join("tags")).into_iter().flatten().flatten();
    names.extend(
        loose
            .filter(|entry| line(&entry.path()).as_deref() == Some(commit))
            .filter_map(|entry| entry.file_name().into_string().ok()),
    );
    names.sort();
    names.pop()
}

struct Reference {
    commit: String,
    /// The commit behind an annotated tag.
    peeled: Option<String>,
}

impl Reference {
    fn stands_for(&self, commit: &str) -> bool {
        self.peeled.as_deref().unwrap_or(&self.commit) == commit
    }
}

fn packed(common: &Path) -> BTreeMap<String, Reference> {
    let text = text(&common.join("packed-refs")).unwrap_or_default();
    let mut references: BTreeMap<String, Reference> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(peeled) = line.strip_prefix('^') {
            let reference = last.as_ref().and_then(|name| references.get_mut(name));
            if let Some(reference) = reference {
                reference.peeled = Some(peeled.to_owned());
            }
        } else if let Some((commit, name)) = line.split_once(' ') {
            let reference = Reference { commit: commit.to_owned(), peeled: None };
            references.insert(name.to_owned(), reference);
            last = Some(name.to_owned());
        }
    }
    references
}

/// What a file holds; a pipe in its place is not waited for.
fn text(path: &Path) -> Option<String> {
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    is_file.then(|| std::fs::read_to_string(path).ok())?
}

fn line(path: &Path) -> Option<String> {
    let text = text(path)?;
    Some(text.lines().next()?.trim_end().to_owned())
}

/// A commit's name is 40 hexadecimal digits, or 64 in repositories that use SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::read;
    use otto_core::plan::Revision;
    use std::fs;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn check(files: &[(&str, String)], expected: (Option<&str>, Option<&str>, Option<&str>)) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (branch, tag, commit) = expected;
        let expected = Revision { branch: owned(branch), tag: owned(tag), commit: owned(commit) };
        assert_eq!(read(folder.path()), expected, "{files:?}");
    }

    #[test]
    fn what_is_checked_out_is_read_from_the_files() {
        let head = (".git/HEAD", "ref: refs/heads/main\n".to_owned());
        check(&[], (None, None, None));
        // A branch without a commit yet.
        check(std::slice::from_ref(&head), (Some("main"), None, None));
        let loose = (".git/refs/heads/main", format!("{COMMIT}\n"));
        check(&[head.clone(), loose.clone()], (Some("main"), None, Some(COMMIT)));
        let packed = (
            ".git/packed-refs",
            format!("# pack-refs\n{COMMIT} refs/heads/main\n{OTHER} refs/tags/v1\n^{COMMIT}\n"),
        );
        check(&[head.clone(), packed], (Some("main"), Some("v1"), Some(COMMIT)));
        let tag = (".git/refs/tags/v2", format!("{COMMIT}\n"));
        check(&[head, loose, tag], (Some("main"), Some("v2"), Some(COMMIT)));
        check(&[(".git/HEAD", format!("{COMMIT}\n"))], (None, None, Some(COMMIT)));
        check(&[(".git/HEAD", "nonsense".to_owned())], (None, None, None));
    }

    #[test]
    fn a_worktree_shares_the_references() {
        check(
            &[
                (".git", "gitdir: shared/worktrees/one\n".to_owned()),
                ("shared/worktrees/one/HEAD", "ref: refs/heads/fix\n".to_owned()),
                ("shared/worktrees/one/commondir", "../..\n".to_owned()),
                ("shared/refs/heads/fix", format!("{COMMIT}\n")),
            ],
            (Some("fix"), None, Some(COMMIT)),
        );
    }
}
