//! Python projects: tox, or pytest, or unittest; ruff where it is configured.

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
        let pyproject: toml::Table = text.parse().unwrap_or_default();
        let tool = |name: &str| pyproject.get("tool").and_then(|tool| tool.get(name)).is_some();
        let setup = listing.content("setup.cfg").unwrap_or_default();
        let tox = listing
            .first(&["tox.ini"])
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
        let configured = self.listing.first(&["pytest.ini", "conftest.py", "tests/conftest.py"]);
        let tool = self.pyproject.get("tool").and_then(|tool| tool.get("pytest"));
        let mentions = |path: &&str| {
            self.listing.content(path).is_some_and(|content| content.contains("pytest"))
        };
        configured
            .map(str::to_owned)
            .or_else(|| tool.map(|_| "[tool.pytest] in pyproject.toml".to_owned()))
            .or_else(|| {
                let files = REQUIREMENTS.iter().chain(&["setup.cfg", "pyproject.toml", "setup.py"]);
                files.copied().find(mentions).map(|path| format!("pytest in {path}"))
            })
    }

    /// How unittest finds the tests, where there are any.
    fn unittest(&self) -> Option<&'static str> {
        let within = |folder: &str| {
            self.listing.paths().any(|path| path.strip_prefix(folder).is_some_and(is_test))
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
