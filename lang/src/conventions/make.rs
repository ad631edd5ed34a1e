//! Makefiles: those of the usual targets that exist, or else what a bare `make` makes.

use super::{Convention, Inferred, Listing};
use std::collections::{BTreeMap, BTreeSet};
use std::iter::once;

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
    let makefile = joined(listing.content(found)?);
    let targets = targets(&makefile);
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
        let first = default_target(&makefile)?;
        reasons.push(format!("none of check, test, build, all; '{first}' is what make makes"));
        stages.push(Inferred::new("build", &["make"], &["make"]));
    }
    Some(Convention { name: "make", found: found.to_owned(), stages, reasons })
}

/// A makefile with each of its rules and recipes' commands on one line.
fn joined(makefile: &str) -> String {
    makefile.replace("\\\r\n", " ").replace("\\\n", " ")
}

/// What a target needs, or what it names by a variable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need<'a> {
    Target(&'a str),
    Variable(&'a str),
}

impl<'a> Need<'a> {
    fn of(word: &'a str) -> Self {
        match word.strip_prefix("$(").or_else(|| word.strip_prefix("${")) {
            // What follows a colon says how its words are changed.
            Some(name) => Self::Variable(name.split([')', '}', ':']).next().unwrap_or(name)),
            None => Self::Target(word.trim_end_matches(')')),
        }
    }

    /// Whether somebody must have asked for it: `install`, and `install-all` or `docker-push`.
    fn must_be_asked_for(self) -> bool {
        let Self::Target(name) = self else { return false };
        // A file is called as it pleases.
        let is_file = name.contains(['.', '/']);
        let mut words = once(name).chain(name.split(['-', '_']).filter(|_| !is_file));
        words.any(|word| NOT_ASKED_FOR.contains(&word))
    }
}

/// What a bare `make` makes, where neither that nor anything that it needs must be asked for.
fn default_target(makefile: &str) -> Option<&str> {
    let mut names = rules(makefile).flat_map(|(names, _)| names.split_whitespace());
    let goal = assignments(makefile).filter(|(name, _)| *name == ".DEFAULT_GOAL").last();
    let first = match goal.map(|(_, goal)| goal.trim()) {
        Some(goal) => goal,
        None => names.find(|name| !name.starts_with('.') && !name.contains('%'))?,
    };
    let needs = needs(makefile);
    let mut open = vec![Need::of(first)];
    let mut seen = BTreeSet::new();
    while let Some(need) = open.pop() {
        if need.must_be_asked_for() {
            return None;
        }
        if seen.insert(need) {
            open.extend(needs.get(&need).into_iter().flatten());
        }
    }
    Some(first)
}

/// What each target and each variable directly leads to, as far as the text tells: prerequisites,
/// the words of values, and what recipes have make make.
fn needs(makefile: &str) -> BTreeMap<Need<'_>, BTreeSet<Need<'_>>> {
    let mut needs: BTreeMap<Need<'_>, BTreeSet<Need<'_>>> = BTreeMap::new();
    for (name, value) in assignments(makefile) {
        let words = value.split_whitespace().map(Need::of);
        needs.entry(Need::Variable(name)).or_default().extend(words);
    }
    let mut names: Vec<&str> = Vec::new();
    for line in makefile.lines() {
        let (before, recipe) = match (line.strip_prefix('\t'), rules(line).next()) {
            (Some(recipe), _) => ("", recipe),
            (None, Some((targets, rest))) => {
                names = targets.split_whitespace().collect();
                let rest = rest.split('#').next().unwrap_or_default();
                rest.split_once(';').unwrap_or((rest, ""))
            }
            (None, None) => continue,
        };
        // A variable may have a value of its own for one target.
        let before = if before.contains('=') { "" } else { before };
        let words = before.split([':', '|', ' ', '\t']).filter(|word| !word.is_empty());
        let found: Vec<Need<'_>> = words.chain(made_by(recipe)).map(Need::of).collect();
        for name in &names {
            needs.entry(Need::Target(name)).or_default().extend(&found);
        }
    }
    needs
}

/// What the commands of a recipe have make make.
fn made_by(recipe: &str) -> impl Iterator<Item = &str> {
    recipe.split([';', '&', '|']).flat_map(|command| {
        let command = command.trim_start_matches(['@', '-', '+', '(', ' ', '\t']);
        let mut words = command.split_whitespace().filter(|word| !word.contains('='));
        let is_make = matches!(words.next(), Some("make" | "gmake" | "$(MAKE)" | "${MAKE}"));
        words.filter(move |word| is_make && !word.starts_with('-'))
    })
}

/// The variables of a makefile, each with a value that it is given.
fn assignments(makefile: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = makefile.lines().filter(|line| !line.starts_with(['\t', '#']));
    lines.filter_map(|line| {
        let (name, value) = line.split('#').next()?.split_once('=')?;
        let name = name.trim_end_matches([':', '?', '+', '!']).trim();
        (!name.contains([':', ' '])).then_some((name, value))
    })
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
