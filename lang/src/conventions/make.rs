//! Makefiles: those of the usual targets that exist, or else what a bare `make` makes.

use super::{Convention, Inferred, Listing};
use std::collections::{BTreeMap, BTreeSet};

const FILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// What a bare `make` may make without anybody having asked for it: nothing is guessed that changes
/// other machines, or this one outside of the workspace, or that does not end.
const NOT_ASKED_FOR: [&str; 16] = [
    "clean",
    "deploy",
    "dev",
    "distclean",
    "help",
    "install",
    "publish",
    "push",
    "release",
    "run",
    "serve",
    "start",
    "uninstall",
    "up",
    "upload",
    "watch",
];

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    let found = listing.first(&FILES)?;
    let targets = targets(listing.content(found)?);
    let mut reasons = Vec::new();
    let mut names: Vec<&str> =
        ["check", "test", "build"].into_iter().filter(|name| targets.contains_key(name)).collect();
    if !targets.contains_key("build") && targets.contains_key("all") {
        names.push("all");
    }
    // Running `check` and then again the `test` that it is made of would tell nothing new.
    let covered: BTreeSet<&str> =
        names.iter().flat_map(|name| targets[name].iter().copied()).collect();
    let (left_out, kept): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| covered.contains(*name));
    for name in left_out {
        reasons.push(format!("'{name}' is made by another target: left out"));
    }
    let mut stages: Vec<Inferred> = kept
        .iter()
        .map(|name| Inferred::new(name, &["make"], &[&format!("make {name}")]))
        .collect();
    if stages.is_empty() {
        let first = default_target(listing.content(found)?)?;
        reasons.push(format!("none of check, test, build, all; '{first}' is what make makes"));
        stages.push(Inferred::new("build", &["make"], &["make"]));
    }
    Some(Convention { name: "make", found: found.to_owned(), stages, reasons })
}

/// What a bare `make` makes: the first target, where it is no pattern and may be made unasked.
fn default_target(makefile: &str) -> Option<&str> {
    let mut names = rules(makefile).flat_map(|(names, _)| names.split_whitespace());
    let first = names.find(|name| !name.starts_with('.') && !name.contains('%'))?;
    (!NOT_ASKED_FOR.contains(&first)).then_some(first)
}

/// The rules of a makefile: their targets, and what stands behind the colon.
fn rules(makefile: &str) -> impl Iterator<Item = (&str, &str)> {
    // Recipes begin with a tab; `:=` and its like assign.
    let lines = makefile.lines().filter(|line| !line.starts_with(['\t', '#', ' ']));
    lines.filter_map(|line| line.split_once(':')).filter(|(names, rest)| {
        !names.contains('=') && !rest.starts_with('=') && !rest.starts_with(":=")
    })
}

/// The targets of a makefile, with what each directly depends on.
fn targets(makefile: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut targets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (names, rest) in rules(makefile) {
        let needs = rest.trim_start_matches(':').split(['#', ';', '|']).next().unwrap_or_default();
        for name in names.split_whitespace().filter(|name| !name.starts_with('.')) {
            let known = targets.entry(name).or_default();
            known.extend(needs.split_whitespace().filter(|need| *need != name));
        }
    }
    targets
}
