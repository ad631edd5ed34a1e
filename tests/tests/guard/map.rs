//! README's map of the folders, held against the tree.

use crate::{expect_none, root};
use std::collections::BTreeSet;
use std::path::Path;

/// The folders that README's map names: the first word of each line of its block.
fn mapped(readme: &str) -> BTreeSet<String> {
    let after = readme.split("## Map").nth(1).unwrap_or_default();
    let block = after.split("```").nth(1).unwrap_or_default();
    block
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.ends_with('/'))
        .map(str::to_owned)
        .collect()
}

/// The folders of the repository that a map must name: each top folder, and each module folder.
fn folders(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let below = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for top in below(root).into_iter().filter(|name| !name.starts_with('.') && name != "target") {
        for module in below(&root.join(&top).join("src")) {
            found.insert(format!("{top}/src/{module}/"));
        }
        found.insert(format!("{top}/"));
    }
    found
}

fn complaints(mapped: &BTreeSet<String>, there: &BTreeSet<String>) -> Vec<String> {
    let missing = there.difference(mapped).map(|path| format!("README's map lacks {path}"));
    let gone = mapped.difference(there).map(|path| format!("README's map names {path}: gone"));
    missing.chain(gone).collect()
}

#[test]
fn the_map_in_the_readme_equals_the_tree() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let mapped = mapped(&readme);
    assert!(mapped.len() > 5, "README has a section `## Map` with a block of folders");
    expect_none(&complaints(&mapped, &folders(&root())));
}

#[test]
fn a_map_that_differs_is_found() {
    let readme = "## Map\n```text\ncore/       the domain\ngone/       left\n```\n";
    let there = BTreeSet::from(["core/".to_owned(), "lang/".to_owned()]);
    let expected = ["README's map lacks lang/", "README's map names gone/: gone"];
    assert_eq!(complaints(&mapped(readme), &there), expected);
}
