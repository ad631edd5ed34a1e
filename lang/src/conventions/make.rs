//! Makefiles: those of the usual targets that exist.

use super::{Convention, Inferred, Listing};
use std::collections::{BTreeMap, BTreeSet};

const FILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

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
    if kept.is_empty() {
        return None;
    }
    let stages = kept
        .iter()
        .map(|name| Inferred::new(name, &["make"], &[&format!("make {name}")]))
        .collect();
    Some(Convention { name: "make", found: found.to_owned(), stages, reasons })
}

/// The targets of a makefile, with what each directly depends on.
fn targets(makefile: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut targets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in makefile.lines() {
        // Recipes begin with a tab; `:=` and its like assign.
        if line.starts_with(['\t', '#', ' ']) {
            continue;
        }
        let Some((names, rest)) = line.split_once(':') else { continue };
        if names.contains('=') || rest.starts_with('=') || rest.starts_with(":=") {
            continue;
        }
        let needs = rest.trim_start_matches(':').split(['#', ';', '|']).next().unwrap_or_default();
        for name in names.split_whitespace().filter(|name| !name.starts_with('.')) {
            let known = targets.entry(name).or_default();
            known.extend(needs.split_whitespace().filter(|need| *need != name));
        }
    }
    targets
}
