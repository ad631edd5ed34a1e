//! Conventions: what a repository without an Ottofile most likely wants, and why.
//!
//! Pure: a listing of the repository's top goes in, an Ottofile comes out, which is read like any
//! other. So there is one way from text to plan, and `otto init` writes down exactly what would
//! run. A convention never guesses a delivery, and never turns warnings into failures.

mod broken;
mod go;
mod java;
mod make;
mod node;
mod python;
mod ruby;
mod rust;

#[cfg(test)]
mod tests;

pub use broken::{Broken, broken};

use std::collections::BTreeMap;

/// The names by which a pipeline can ask for a convention: `pipeline { from 'rust' }`.
pub const NAMES: [&str; 8] = ["go", "gradle", "make", "maven", "npm", "python", "ruby", "rust"];

/// The files whose content a convention reads; of all others the name is enough.
const READ: [&str; 21] = [
    "Cargo.toml",
    "GNUmakefile",
    "Gemfile",
    "Makefile",
    "build.gradle",
    "build.gradle.kts",
    "dev-requirements.txt",
    "go.mod",
    "makefile",
    "package.json",
    "pom.xml",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements.txt",
    "setup.cfg",
    "setup.py",
    "test-requirements.txt",
    "tox.ini",
    "Rakefile",
    "settings.gradle",
];

/// The folders whose own names count too, as `tests/test_one.py`.
pub const FOLDERS: [&str; 4] = ["bin", "spec", "test", "tests"];

/// Whether the content of this file matters to a convention.
#[must_use]
pub fn reads(name: &str) -> bool {
    READ.contains(&name)
}

/// Whether the content of this file is worth a look: a file of tests tells what runs it. Its path
/// is from the root. Unlike a file that [`reads`] names it may be unreadable, or no text.
#[must_use]
pub fn glances(path: &str) -> bool {
    python::is_test_file(path)
}

/// Whether a convention wants to know of a file wherever it lies. Its path is from the root.
#[must_use]
pub fn matters(path: &str) -> bool {
    python::matters(path)
}

/// What lies at the top of a repository, and what [`matters`] further down: names, with the content
/// of those that [`reads`] and [`glances`] name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    files: BTreeMap<String, String>,
    is_partial: bool,
}

impl Listing {
    /// Adds a file by its path from the root; a folder's path ends in `/` and has no content.
    pub fn add(&mut self, path: impl Into<String>, content: impl Into<String>) {
        self.files.insert(path.into(), content.into());
    }

    /// Says that there are more files than were looked at.
    pub fn leave_rest_unseen(&mut self) {
        self.is_partial = true;
    }

    fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    fn content(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The first of these that is there.
    fn first<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().find(|path| self.has(path)).copied()
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_str()))
    }
}

/// A recognised kind of repository and the stages that follow from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Convention {
    /// Its name: one of [`NAMES`].
    pub name: &'static str,
    /// The file that gave it away.
    pub found: String,
    /// Its stages, all independent of each other.
    pub stages: Vec<Inferred>,
    /// What else was seen, and what follows from it.
    pub reasons: Vec<String>,
}

impl Convention {
    /// What was found and which stages follow: `Cargo.toml: fmt, clippy, test, build`.
    #[must_use]
    pub fn headline(&self) -> String {
        let names: Vec<&str> = self.stages.iter().map(|stage| stage.name.as_str()).collect();
        format!("{}: {}", self.found, names.join(", "))
    }
}

/// One inferred stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inferred {
    /// Its name.
    pub name: String,
    /// The tools that its machine must have.
    pub tools: Vec<&'static str>,
    /// Its scripts, one a step.
    pub scripts: Vec<String>,
}

impl Inferred {
    fn new(name: &str, tools: &[&'static str], scripts: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            tools: tools.to_vec(),
            scripts: scripts.iter().map(|script| (*script).to_owned()).collect(),
        }
    }
}

/// All conventions that a repository follows. Make is asked only where no language was recognised:
/// elsewhere its targets mostly wrap the language's own tools. Where nothing else says what the
/// repository is, tests further down do.
#[must_use]
pub fn recognise(listing: &Listing) -> Vec<Convention> {
    let languages = [
        rust::recognise,
        node::recognise,
        python::recognise,
        ruby::recognise,
        go::recognise,
        java::recognise_maven,
        java::recognise_gradle,
    ];
    let found: Vec<Convention> =
        languages.iter().filter_map(|recognise| recognise(listing)).collect();
    if !found.is_empty() {
        return found;
    }
    make::recognise(listing).or_else(|| python::recognise_tests(listing)).into_iter().collect()
}

/// What is there and suggests nothing, in words for people: a file that a convention looks for, and
/// what it would have to hold.
#[must_use]
pub fn passed_over(listing: &Listing) -> Vec<String> {
    let known = [
        (
            "npm",
            "package.json",
            "has no dependencies, and none of the scripts lint, typecheck, check, \
          test, build",
        ),
        (
            "make",
            "Makefile",
            "has none of the targets check, test, build, all, and makes nothing by itself \
          that may be made unasked",
        ),
    ];
    let suggests = |convention: &str| named(convention, listing).is_some();
    let there = known.iter().filter(|(by, file, _)| listing.has(file) && !suggests(by));
    there.map(|(_, file, lacks)| format!("{file} {lacks}")).collect()
}

/// The convention of this name, where the repository follows it.
#[must_use]
pub fn named(name: &str, listing: &Listing) -> Option<Convention> {
    match name {
        "go" => go::recognise(listing),
        "gradle" => java::recognise_gradle(listing),
        "make" => make::recognise(listing),
        "maven" => java::recognise_maven(listing),
        "npm" => node::recognise(listing),
        "python" => python::recognise(listing).or_else(|| python::recognise_tests(listing)),
        "ruby" => ruby::recognise(listing),
        "rust" => rust::recognise(listing),
        _ => None,
    }
}

/// Why a plan was inferred, a line for each thing that was seen.
#[must_use]
pub fn reasons(conventions: &[Convention]) -> Vec<String> {
    conventions
        .iter()
        .flat_map(|convention| {
            std::iter::once(convention.headline()).chain(convention.reasons.iter().cloned())
        })
        .collect()
}

/// The Ottofile that these conventions come to.
#[must_use]
pub fn ottofile(conventions: &[Convention]) -> String {
    let mut page = Page { text: String::new(), depth: 0 };
    for reason in reasons(conventions) {
        page.line(&format!("// {reason}"));
    }
    page.block("pipeline", |page| match conventions {
        [one] => page.stages(&one.stages),
        several => page.block("parallel", |page| {
            for convention in several {
                let head = format!("stage({})", quoted(convention.name));
                page.block(&head, |page| page.stages(&convention.stages));
            }
        }),
    });
    page.text
}

/// An Ottofile under construction.
struct Page {
    text: String,
    depth: usize,
}

impl Page {
    fn line(&mut self, line: &str) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn block(&mut self, head: &str, inside: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.line("}");
    }

    fn stages(&mut self, stages: &[Inferred]) {
        match stages {
            [one] => self.stage(one),
            several => self.block("parallel", |page| {
                for stage in several {
                    page.stage(stage);
                }
            }),
        }
    }

    fn stage(&mut self, stage: &Inferred) {
        self.block(&format!("stage({})", quoted(&stage.name)), |page| {
            page.line(&format!("runtime {{ {} }}", stage.tools.join("  ")));
            match stage.scripts.as_slice() {
                [one] => page.line(&format!("steps {{ sh {} }}", quoted(one))),
                several => page.block("steps", |page| {
                    for script in several {
                        page.line(&format!("sh {}", quoted(script)));
                    }
                }),
            }
            page.line("retry { on = [lost] }");
        });
    }
}

/// A raw string of the language.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
