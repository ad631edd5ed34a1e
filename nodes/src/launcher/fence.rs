//! What keeps steps away from the rest of the machine without namespaces (level L1): landlock for
//! processes and files, a filter for system calls. It stands on top of namespaces, too.

use super::calls;
use super::messages::Confinement;
use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What the kernel let a stage process put up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fence {
    /// Steps can send no signal to processes outside of their stage, and not read their memory.
    pub processes: bool,
    /// Steps can neither read nor write the node's files.
    pub files: bool,
    /// Calls that reach deep into the kernel are refused.
    pub calls: bool,
}

/// What landlock knew when the rights below were chosen; an older kernel gets less.
const KNOWN: ABI = ABI::V6;

/// Puts it up around this process and all that it will start; what the kernel does not know is left
/// out. `folder` stays open although it may lie in what is hidden.
pub(super) fn raise(confinement: &Confinement, folder: &Path, namespaces: bool) -> Fence {
    // Namespaces hide the files already, and rules on files would forbid mounts in nested ones.
    let files = !namespaces && can_be_fenced(confinement);
    let grants = if files { grants(&confinement.hidden, folder) } else { Vec::new() };
    let enforced = restrict(files, &grants).unwrap_or(RulesetStatus::NotEnforced);
    Fence {
        processes: enforced == RulesetStatus::FullyEnforced,
        files: files && enforced != RulesetStatus::NotEnforced,
        calls: calls::refuse(!namespaces).is_ok(),
    }
}

/// Landlock only grants, and grants whole trees: what is hidden costs steps the right to make new
/// files directly in the folders around it. In a home or a folder for temporary files they need it.
fn can_be_fenced(confinement: &Confinement) -> bool {
    let Confinement { hidden, commons, .. } = confinement;
    !hidden.iter().any(|hidden| commons.iter().any(|common| hidden.starts_with(common)))
}

fn restrict(files: bool, grants: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let mut ruleset = Ruleset::default().scope(Scope::Signal)?;
    if files {
        ruleset = ruleset.handle_access(AccessFs::from_all(KNOWN))?;
    }
    let mut created = ruleset.create()?;
    if files {
        created = created.add_rules(path_beneath_rules(grants, AccessFs::from_all(KNOWN)))?;
        // Names are no secret, and `ls /` is no crime.
        if let Ok(top) = PathFd::new("/") {
            created = created.add_rule(PathBeneath::new(top, AccessFs::ReadDir))?;
        }
    }
    Ok(created.restrict_self()?.ruleset)
}

/// All that there is but for the hidden folders and those around them, and the one that is kept.
fn grants(hidden: &[PathBuf], kept: &Path) -> Vec<PathBuf> {
    let mut granted = vec![kept.to_owned()];
    let mut around = vec![PathBuf::from("/")];
    while let Some(folder) = around.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) || hidden.contains(&path) {
                // What a link leads to has its own place in the tree.
                continue;
            }
            let is_around = hidden.iter().any(|hidden| hidden.starts_with(&path));
            if is_around { &mut around } else { &mut granted }.push(path);
        }
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::grants;

    #[test]
    fn all_but_what_is_hidden_is_granted() {
        let around = tempfile::tempdir().expect("a folder");
        let top = around.path().canonicalize().expect("a real path");
        for folder in ["a/hidden/work/1", "a/hidden/store", "a/open", "b"] {
            std::fs::create_dir_all(top.join(folder)).expect("folders");
        }
        std::os::unix::fs::symlink(top.join("a/hidden"), top.join("link")).expect("a link");
        let kept = top.join("a/hidden/work/1");
        let granted = grants(&[top.join("a/hidden")], &kept);
        let mut inside: Vec<_> =
            granted.iter().filter_map(|path| path.strip_prefix(&top).ok()).collect();
        inside.sort();
        assert_eq!(inside, ["a/hidden/work/1", "a/open", "b"].map(std::path::Path::new));
        assert!(!granted.iter().any(|path| top.starts_with(path)), "{granted:?}");
        assert!(granted.contains(&"/proc".into()), "{granted:?}");
    }
}
