//! Python projects: tox, or pytest, or unittest; ruff where it is configured.

use super::broken::without_mark;
use super::{Convention, Inferred, Listing};

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

pub(super) fn recognise(listing: &Listing) -> Option<Convention> {
    let script = || listing.paths().find(|path| !path.contains('/') && is_test(path));
    let found = listing.first(&MARKS).or_else(script)?;
    let project = Project::read(listing);
    let mut reasons = Vec::new();
    let mut stages = Vec::new();
    if let Some(why) = project.ruff {
        reasons.push(format!("{why}: ruff check"));
        stages.push(project.lint());
    }
    stages.push(project.tests(&mut reasons));
    Some(Convention { name: "python", found: found.to_owned(), stages, reasons })
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
        let run = match (self.pytest(), self.unittest()) {
            (Some(why), _) => {
                reasons.push(format!("{why}: pytest"));
                "pytest"
            }
            (None, Some(run)) => {
                reasons.push("test files, and no other runner is configured: unittest".to_owned());
                run
            }
            (None, None) => {
                reasons.push("no tests were found: every file is compiled instead".to_owned());
                return Inferred::new(
                    "compile",
                    &["python3"],
                    &["python3 -m compileall -q -x '[/\\\\]\\.' ."],
                );
            }
        };
        self.with_packages(run, reasons)
    }

    /// What says that pytest runs the tests.
    fn pytest(&self) -> Option<String> {
        let configured = self
            .listing
            .first(&["pytest.ini", ".pytest.ini"])
            .or_else(|| self.listing.paths().find(|path| file_name(path) == "conftest.py"));
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
                let mut tests = self.listing.files().filter(|(path, _)| is_test_file(path));
                tests.find_map(|(path, text)| Some(format!("{} in {path}", for_pytest(text)?)))
            })
    }

    /// How unittest finds the tests, where there are any.
    fn unittest(&self) -> Option<&'static str> {
        // Below its start, unittest looks into packages only.
        let packaged = |folder: &str, inner: &str| {
            let mut folders = inner.match_indices('/').map(|(end, _)| &inner[..end]);
            folders.all(|package| self.listing.has(&format!("{folder}{package}/__init__.py")))
        };
        let within = |folder: &str| {
            let mut inner = self.listing.paths().filter_map(|path| path.strip_prefix(folder));
            inner.any(|inner| is_test(file_name(inner)) && packaged(folder, inner))
        };
        let at_top = self.listing.paths().any(|path| !path.contains('/') && is_test(path));
        match (at_top || self.listing.has("tests/__init__.py"), within("tests/"), within("test/")) {
            (true, _, _) => Some("-m unittest discover"),
            (false, true, _) => Some("-m unittest discover -s tests"),
            (false, false, true) => Some("-m unittest discover -s test"),
            (false, false, false) => None,
        }
    }

    /// Puts what installs the project's packages in front of its tests.
    fn with_packages(&self, run: &str, reasons: &mut Vec<String>) -> Inferred {
        let module = if run == "pytest" { "-m pytest" } else { run };
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
        wanted.extend((run == "pytest").then(|| "pytest".to_owned()));
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

/// The files that hold tests, by the names that unittest or pytest look for.
pub(super) fn is_test_file(path: &str) -> bool {
    let name = file_name(path);
    is_test(name) || name.ends_with("_test.py")
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
