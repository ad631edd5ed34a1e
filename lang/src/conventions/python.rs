//! Python projects: tox, or pytest, or unittest; ruff where it is configured.

use super::broken::without_mark;
use super::{Convention, Inferred, Listing};
use std::collections::BTreeSet;

const REQUIREMENTS: [&str; 5] = [
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
];
const MARKS: [&str; 7] = [
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "requirements.txt",
    "tox.ini",
    "pytest.ini",
    "conftest.py",
];

/// Lies at the top of an environment with packages of its own.
const VENV: &str = "pyvenv.cfg";
/// Folders that pytest does not look into, and where packages are installed.
const NOT_LOOKED_INTO: [&str; 7] =
    ["CVS", "_darcs", "build", "dist", "node_modules", "site-packages", "venv"];

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    let script = || listing.paths().find(|path| !path.contains('/') && is_test_file(path));
    Some(convention(listing, listing.first(&MARKS).or_else(script)?))
}

/// What tests alone suggest, wherever they lie.
pub(super) fn recognise_tests(listing: &Listing) -> Option<Convention> {
    let (path, _) = tests(listing).next()?;
    Some(convention(listing, path))
}

fn convention(listing: &Listing, found: &str) -> Convention {
    let project = Project::read(listing);
    let mut reasons = Vec::new();
    let mut stages = Vec::new();
    if let Some(why) = project.ruff {
        reasons.push(format!("{why}: ruff check"));
        stages.push(project.lint());
    }
    stages.push(project.tests(&mut reasons));
    Convention { name: "python", found: found.to_owned(), stages, reasons }
}

/// What runs the tests.
#[derive(Clone, PartialEq, Eq)]
enum Runner {
    Pytest,
    /// From this folder on; empty where it is the root.
    Unittest {
        start: String,
    },
    Django,
}

impl Runner {
    fn name(&self) -> &'static str {
        match self {
            Self::Pytest => "pytest",
            Self::Unittest { .. } => "unittest",
            Self::Django => "manage.py test",
        }
    }

    /// What Python is called with.
    fn arguments(&self) -> String {
        match self {
            Self::Pytest => "-m pytest".to_owned(),
            Self::Unittest { start } if start.is_empty() => "-m unittest discover".to_owned(),
            Self::Unittest { start } => format!("-m unittest discover -s {start}"),
            Self::Django => "manage.py test".to_owned(),
        }
    }
}

/// What is to be known of a Python project.
struct Project<'a> {
    listing: &'a Listing,
    pyproject: toml::Table,
    /// What configures tox.
    tox: Option<&'static str>,
    /// What configures ruff.
    ruff: Option<&'static str>,
}

impl<'a> Project<'a> {
    fn read(listing: &'a Listing) -> Self {
        let text = listing.content("pyproject.toml").unwrap_or_default();
        let pyproject: toml::Table = without_mark(text).parse().unwrap_or_default();
        let tool = |name: &str| pyproject.get("tool").and_then(|tool| tool.get(name)).is_some();
        let setup = listing.content("setup.cfg").unwrap_or_default();
        // A tox.ini may hold nothing but the settings of other tools.
        let settings = |text: &str| text.contains("[tox") || text.contains("[testenv");
        let tox = listing
            .content("tox.ini")
            .and_then(|text| settings(text).then_some("tox.ini"))
            .or_else(|| tool("tox").then_some("[tool.tox] in pyproject.toml"))
            .or_else(|| setup.contains("[tox:tox]").then_some("[tox:tox] in setup.cfg"));
        let ruff = listing
            .first(&["ruff.toml", ".ruff.toml"])
            .or_else(|| tool("ruff").then_some("[tool.ruff] in pyproject.toml"));
        Self { listing, pyproject, tox, ruff }
    }

    fn lint(&self) -> Inferred {
        if self.listing.has("uv.lock") {
            return Inferred::new("lint", &["uv"], &["uvx ruff check ."]);
        }
        let scripts =
            ["python3 -m venv .venv", ".venv/bin/pip install ruff", ".venv/bin/ruff check ."];
        Inferred::new("lint", &["python3"], &scripts)
    }

    fn tests(&self, reasons: &mut Vec<String>) -> Inferred {
        if let Some(why) = self.tox {
            reasons.push(format!("{why}: tox"));
            return Inferred::new("test", &["python3", "tox"], &["tox"]);
        }
        let pytest = self.pytest().map(|why| (Runner::Pytest, why));
        let Some((runner, why)) = pytest.or_else(|| self.other_runner()) else {
            let among = if self.listing.is_partial {
                " among the files that were looked at, and there are more"
            } else {
                ""
            };
            reasons.push(format!("no tests were found{among}: every file is compiled instead"));
            return Inferred::new(
                "compile",
                &["python3"],
                &["python3 -m compileall -q -x '[/\\\\]\\.' ."],
            );
        };
        reasons.push(format!("{why}: {}", runner.name()));
        self.with_packages(&runner, reasons)
    }

    /// What says that pytest runs the tests.
    fn pytest(&self) -> Option<String> {
        let configured = self.listing.first(&["pytest.ini", ".pytest.ini"]).or_else(|| {
            let mut paths = self.listing.paths().filter(|path| matters(path));
            paths.find(|path| file_name(path) == "conftest.py")
        });
        let tool = self.pyproject.get("tool").and_then(|tool| tool.get("pytest"));
        let mentions = |path: &&str| {
            self.listing.content(path).is_some_and(|content| content.contains("pytest"))
        };
        configured
            .map(str::to_owned)
            .or_else(|| tool.map(|_| "[tool.pytest] in pyproject.toml".to_owned()))
            .or_else(|| {
                let others = ["setup.cfg", "pyproject.toml", "setup.py", "tox.ini"];
                let mut files = REQUIREMENTS.iter().chain(&others).copied();
                files.find(mentions).map(|path| format!("pytest in {path}"))
            })
            .or_else(|| {
                let mut tests = tests(self.listing);
                tests.find_map(|(path, text)| Some(format!("{} in {path}", for_pytest(text)?)))
            })
    }

    /// What runs tests that do not ask for pytest, where there are any, and why.
    fn other_runner(&self) -> Option<(Runner, String)> {
        tests(self.listing).next()?;
        if self.listing.has("manage.py") {
            let why = "manage.py, and tests that name no other runner".to_owned();
            return Some((Runner::Django, why));
        }
        // Pytest runs what is written for unittest, too, and needs no start.
        if let Some((path, _)) = tests(self.listing).find(|(path, _)| !self.is_for_unittest(path)) {
            return Some((Runner::Pytest, format!("unittest does not look for {path}")));
        }
        let starts: BTreeSet<&str> =
            tests(self.listing).map(|(path, _)| self.start(path)).collect();
        let starts: Vec<&str> = starts.into_iter().collect();
        match starts.as_slice() {
            [start] => {
                let why = "test files, and no other runner is configured".to_owned();
                Some((Runner::Unittest { start: (*start).to_owned() }, why))
            }
            several => {
                let named: Vec<&str> = several
                    .iter()
                    .map(|start| if start.is_empty() { "." } else { start })
                    .collect();
                Some((Runner::Pytest, format!("unittest would start in {}", named.join(", "))))
            }
        }
    }

    /// Where unittest must start to find a file: below its start it looks into packages only.
    fn start<'p>(&self, path: &'p str) -> &'p str {
        let mut folder = folder_of(path);
        while !folder.is_empty() && self.listing.has(&format!("{folder}/__init__.py")) {
            folder = folder_of(folder);
        }
        folder
    }

    /// Whether unittest finds a file where it starts next to it, and the start is a plain word.
    fn is_for_unittest(&self, path: &str) -> bool {
        let start = self.start(path);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        is_test(file_name(path)) && !start.starts_with('-') && start.chars().all(plain)
    }

    /// Puts what installs the project's packages in front of its tests.
    fn with_packages(&self, runner: &Runner, reasons: &mut Vec<String>) -> Inferred {
        let module = runner.arguments();
        let locked = [
            ("uv.lock", "uv", "uv sync --locked", "uv run python"),
            ("poetry.lock", "poetry", "poetry install", "poetry run python"),
        ];
        for (lock, tool, install, python) in locked {
            if self.listing.has(lock) {
                reasons.push(format!("{lock}: {install}"));
                let run = format!("{python} {module}");
                return Inferred::new("test", &["python3", tool], &[install, &run]);
            }
        }
        let mut wanted: Vec<String> = REQUIREMENTS
            .iter()
            .filter(|path| self.listing.has(path))
            .map(|path| format!("-r {path}"))
            .collect();
        wanted.extend(self.installs_itself().then(|| "-e .".to_owned()));
        if !wanted.is_empty() {
            reasons.push(format!("packages are installed into .venv: {}", wanted.join(" ")));
        }
        wanted.extend((*runner == Runner::Pytest).then(|| "pytest".to_owned()));
        if wanted.is_empty() {
            reasons.push("no dependencies are declared: nothing is installed".to_owned());
            return Inferred::new("test", &["python3"], &[&format!("python3 {module}")]);
        }
        let install = format!(".venv/bin/pip install {}", wanted.join(" "));
        let run = format!(".venv/bin/python {module}");
        Inferred::new("test", &["python3"], &["python3 -m venv .venv", &install, &run])
    }

    /// Whether the tests need the project installed: it declares packages, or lies below `src`.
    fn installs_itself(&self) -> bool {
        let project = self.pyproject.get("project");
        let declares = project
            .and_then(|project| project.get("dependencies"))
            .and_then(toml::Value::as_array)
            .is_some_and(|packages| !packages.is_empty());
        let poetry = self
            .pyproject
            .get("tool")
            .and_then(|tool| tool.get("poetry"))
            .and_then(|poetry| poetry.get("dependencies"))
            .is_some();
        let setup = ["setup.py", "setup.cfg"].iter().any(|path| {
            self.listing.content(path).is_some_and(|content| content.contains("install_requires"))
        });
        let packaged =
            project.is_some() || self.listing.has("setup.py") || self.listing.has("setup.cfg");
        declares || poetry || setup || (packaged && self.listing.has("src/"))
    }
}

/// The names that unittest's discovery takes for tests.
fn is_test(name: &str) -> bool {
    name.starts_with("test") && name.strip_suffix(".py").is_some()
}

/// The files that hold tests, by the names that unittest or pytest look for. Further down, and
/// outside of folders of tests, `test` alone begins other names as well.
pub(super) fn is_test_file(path: &str) -> bool {
    let Some(stem) = file_name(path).strip_suffix(".py") else { return false };
    let folder = folder_of(path);
    let is_for_tests =
        || folder.is_empty() || folder.split('/').any(|name| matches!(name, "test" | "tests"));
    let is_named = stem.starts_with("test_") || stem.ends_with("_test");
    (is_named || (stem.starts_with("test") && is_for_tests())) && is_looked_into(folder)
}

/// The files that tell where tests are, and what runs them.
pub(super) fn matters(path: &str) -> bool {
    let tells = ["__init__.py", "conftest.py", VENV].contains(&file_name(path));
    is_test_file(path) || (tells && is_looked_into(folder_of(path)))
}

/// The files of tests, but those of what is installed.
fn tests(listing: &Listing) -> impl Iterator<Item = (&str, &str)> {
    let venvs: Vec<&str> =
        listing.paths().filter(|path| file_name(path) == VENV).map(folder_of).collect();
    listing.files().filter(move |(path, _)| {
        let mut folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        is_test_file(path) && !folders.any(|folder| venvs.contains(&folder))
    })
}

fn is_looked_into(folder: &str) -> bool {
    folder.split('/').all(|name| {
        !name.starts_with('.')
            && name.strip_suffix(".egg").is_none()
            && !NOT_LOOKED_INTO.contains(&name)
    })
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What in a file of tests only pytest runs: unittest would find nothing there, and be green.
fn for_pytest(text: &str) -> Option<&'static str> {
    let mut in_plain_class = false;
    for line in text.lines() {
        let inner = line.trim_start();
        let defined = inner.strip_prefix("async ").unwrap_or(inner);
        let is_test = defined.starts_with("def test_");
        if line.len() > inner.len() || inner.is_empty() {
            if is_test && in_plain_class {
                return Some("a class without TestCase");
            }
            continue;
        }
        if is_test {
            return Some("def test_…");
        }
        if line.starts_with("import pytest") || line.starts_with("from pytest ") {
            return Some("import pytest");
        }
        let class = line.strip_prefix("class Test");
        in_plain_class = class.is_some_and(|rest| {
            let name = rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            name.starts_with(':') || name.starts_with("()") || name.starts_with("(object)")
        });
    }
    None
}
