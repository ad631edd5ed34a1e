//! The arrows between packages: a new one is a design decision, and changes the picture first.

use crate::{expect_none, root};

/// Each package, with those of ours that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("lang", &["core"]),
    ("stdlib", &["core"]),
    ("actors", &["core"]),
    ("nodes", &["actors", "core", "lang", "stdlib"]),
    ("sim", &["actors", "core", "lang", "nodes"]),
    ("tests", &["actors", "core", "lang", "nodes", "sim", "stdlib"]),
];

/// Our packages that a manifest depends on, development dependencies included.
fn dependencies(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .filter_map(|line| line.split(['=', '.']).next())
        .filter_map(|name| name.trim().strip_prefix("otto-"))
        .map(str::to_owned)
        .collect()
}

fn complaints(package: &str, manifest: &str, allowed: &[&str]) -> Vec<String> {
    dependencies(manifest)
        .into_iter()
        .filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{package} must not depend on {name}"))
        .collect()
}

#[test]
fn packages_depend_only_along_the_arrows() {
    let all = ARROWS.iter().flat_map(|(package, allowed)| {
        let path = root().join(package).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).expect("every package has a manifest");
        complaints(package, &manifest, allowed)
    });
    expect_none(&all.collect::<Vec<_>>());
}

#[test]
fn a_forbidden_arrow_is_found() {
    let manifest =
        "[dependencies]\notto-core = { workspace = true }\notto-nodes.workspace = true\n";
    assert_eq!(complaints("core", manifest, &["core"]), ["core must not depend on nodes"]);
}
