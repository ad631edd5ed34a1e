//! One check: a listing goes in, the golden file says which Ottofile comes out.

use super::{Listing, broken, glances, matters, named, ottofile, reads, recognise};

/// The content of a file matters only where a convention reads it, so the check refuses others.
fn listing(files: &[(&str, &str)]) -> Listing {
    let mut listing = Listing::default();
    for (path, content) in files {
        assert!(content.is_empty() || reads(path) || glances(path), "{path} is not read");
        listing.add(*path, *content);
    }
    listing
}

fn check(name: &str, files: &[(&str, &str)]) {
    let conventions = recognise(&listing(files));
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, ottofile(&conventions));
    });
    for convention in conventions {
        assert_eq!(named(convention.name, &listing(files)), Some(convention), "{name} by name");
    }
}

#[test]
fn rust() {
    check("cargo", &[("Cargo.toml", "[package]\nname = 'x'\n")]);
    check("cargo-workspace", &[("Cargo.toml", "[workspace]\n"), ("Cargo.lock", "")]);
}

#[test]
fn node() {
    let scripts = r#"{"scripts": {"lint": "eslint .", "test": "jest", "build": "tsc"}}"#;
    check("npm-locked", &[("package.json", scripts), ("package-lock.json", "")]);
    check("pnpm", &[("package.json", scripts), ("pnpm-lock.yaml", "")]);
    check("yarn-modern", &[("package.json", scripts), ("yarn.lock", ""), (".yarnrc.yml", "")]);
    let placeholder = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"},
        "dependencies": {"left-pad": "1"}}"#;
    check("npm-placeholder", &[("package.json", placeholder)]);
    let bare = r#"{"scripts": {"test": "node --test"}}"#;
    check("npm-without-packages", &[("package.json", bare)]);
}

#[test]
fn python() {
    check("python-tox", &[("tox.ini", "[tox]"), ("setup.py", "")]);
    check(
        "python-pytest-ruff",
        &[
            ("pyproject.toml", "[project]\ndependencies = ['httpx']\n[tool.ruff]\n[tool.pytest]\n"),
            ("tests/test_one.py", ""),
        ],
    );
    check(
        "python-unittest",
        &[("pyproject.toml", "[project]\nname = 'x'\n"), ("tests/test_one.py", "")],
    );
    let package = [("setup.py", ""), ("tests/__init__.py", ""), ("tests/test_one.py", "")];
    check("python-unittest-package", &package);
    check("python-requirements", &[("requirements.txt", "flask\n"), ("test_app.py", "")]);
    check("python-scripts", &[("app.py", ""), ("test_app.py", "")]);
    check("python-without-tests", &[("setup.py", "")]);
    check(
        "python-uv",
        &[("pyproject.toml", "[dependency-groups]\ndev = ['pytest']\n"), ("uv.lock", "")],
    );
}

/// Which module runs the tests of a plain project, and what said so.
#[test]
fn tests_say_themselves_what_runs_them() {
    let check = |path: &str, text: &str, module: &str, why: &str| {
        let files = [("pyproject.toml", "[project]\nname = 'shop'\n"), (path, text)];
        let found = recognise(&listing(&files)).pop().expect("it is Python");
        let last = found.stages[0].scripts.last().expect("a script");
        assert!(last.ends_with(module), "{path}: {last}");
        assert!(found.reasons.iter().any(|reason| reason.contains(why)), "{:?}", found.reasons);
    };
    let pytest = |text: &str, why: &str| check("tests/test_shop.py", text, "-m pytest", why);
    pytest("def test_one():\n    assert True\n", "def test_… in tests/test_shop.py: pytest");
    pytest("\"\"\"x\"\"\"\nasync def test_one(): ...\n", "def test_… in");
    pytest("import os\nimport pytest\n", "import pytest in tests/test_shop.py: pytest");
    pytest("from pytest import raises\n", "import pytest in");
    pytest("class TestShop:\n\n    def test_one(self): ...\n", "a class without TestCase in");
    let unittest = |text: &str| {
        check("tests/test_shop.py", text, "-m unittest discover -s tests", "unittest");
    };
    unittest("class TestShop(unittest.TestCase):\n    def test_one(self): ...\n");
    unittest("class TestShop:\n    x = 1\nclass It(TestCase):\n    def test_one(self): ...\n");
    unittest("# import pytest\n");
    check("tests/unit/conftest.py", "", "-m pytest", "tests/unit/conftest.py: pytest");
    check("shop_test.py", "def test_one(): ...\n", "-m pytest", "def test_… in shop_test.py");
    check("tests/unit/test_shop.py", "", "-m unittest discover -s tests/unit", "unittest");
    check("tox.ini", "[flake8]\n[pytest]\n", "-m pytest", "pytest in tox.ini: pytest");
}

/// Which module runs tests wherever they lie, with what kind of project, and what said so.
#[test]
fn tests_are_found_wherever_they_lie() {
    const PYTEST: &str = "def test_a(): assert 0\n";
    const UNITTEST: &str = "class TestIt(unittest.TestCase):\n    def test_a(self): ...\n";
    let check = |mark: &str, tests: &[(&str, &str)], module: &str, why: &str| {
        let mut files = vec![(mark, "")];
        for (path, content) in tests {
            assert!(matters(path) || !path.contains('/'), "{path} is not listed");
            files.push((path, content));
        }
        let found = recognise(&listing(&files)).pop().unwrap_or_else(|| panic!("{tests:?}"));
        let last = found.stages[0].scripts.last().expect("a script");
        assert!(last.ends_with(module), "{tests:?}: {last}");
        assert!(found.reasons.iter().any(|reason| reason.contains(why)), "{:?}", found.reasons);
    };
    let init = ("pkg/__init__.py", "");
    let inner = ("pkg/tests/__init__.py", "");
    for mark in ["pyproject.toml", "mod.py"] {
        let pytest = |path: &str| {
            let why = format!("def test_… in {path}: pytest");
            check(mark, &[init, inner, (path, PYTEST)], "-m pytest", &why);
        };
        pytest("pkg/tests/test_x.py");
        pytest("pkg/test_x.py");
        pytest("src/pkg/tests/test_x.py");
        pytest("a/tests/b/test_x.py");
        pytest("tests/x_test.py");
        pytest("tests/test_mod.py");
        let unittest = |path: &str, start: &str| {
            let module = format!("-m unittest discover{start}");
            check(mark, &[init, inner, (path, UNITTEST)], &module, "unittest");
        };
        unittest("pkg/tests/test_x.py", "");
        unittest("pkg/test_x.py", "");
        unittest("src/test_x.py", " -s src");
        unittest("a/tests/b/test_x.py", " -s a/tests/b");
    }
    let last = |tests: &[(&str, &str)], why: &str| check("mod.py", tests, "-m pytest", why);
    last(&[("tests/x_test.py", UNITTEST)], "unittest does not look for tests/x_test.py: pytest");
    last(&[("my tests/test_x.py", UNITTEST)], "unittest does not look for my tests/test_x.py");
    last(&[("a/test_x.py", UNITTEST), ("b/test_x.py", UNITTEST)], "would start in a, b: pytest");
    let web = [("manage.py", ""), ("shop/tests/test_x.py", UNITTEST)];
    check("pyproject.toml", &web, "python3 manage.py test", "manage.py");
}

#[test]
fn what_is_built_or_installed_holds_no_tests() {
    for folder in ["node_modules/a", "build/lib", "venv/lib", ".tox/py", "a/dist", "b.egg/b"] {
        assert!(!matters(&format!("{folder}/test_x.py")), "{folder}");
    }
    let within = [("my/env/pyvenv.cfg", ""), ("my/env/lib/a/test_x.py", "def test_a(): ...\n")];
    assert_eq!(recognise(&listing(&within)), Vec::new());
    let told = |listing: &Listing| recognise(listing)[0].reasons[0].clone();
    let mut listing = listing(&[("setup.py", ""), within[0], within[1]]);
    assert_eq!(told(&listing), "no tests were found: every file is compiled instead");
    listing.leave_rest_unseen();
    assert!(told(&listing).starts_with("no tests were found among the files that were looked at"));
}

#[test]
fn tests_further_down_say_less_than_another_language() {
    let check = |file: &str, content: &str, name: &str| {
        let tests = ("tools/test_x.py", "def test_a(): ...\n");
        let names: Vec<&str> =
            recognise(&listing(&[(file, content), tests])).iter().map(|it| it.name).collect();
        assert_eq!(names, [name], "{file}");
    };
    check("Cargo.toml", "[package]\n", "rust");
    check("Makefile", "test:\n\tpytest\n", "make");
    check("Makefile", "deploy:\n\trsync\n", "python");
}

#[test]
fn the_others() {
    check("ruby", &[("Gemfile", "gem 'rspec'\ngem 'rubocop'\n")]);
    check("rails", &[("Gemfile", "gem 'rails'\n"), ("bin/rails", ""), ("test/", "")]);
    check("go", &[("go.mod", "module x\n")]);
    check("maven", &[("pom.xml", "<project/>")]);
    check("gradle-wrapper", &[("build.gradle.kts", ""), ("gradlew", "")]);
}

#[test]
fn make() {
    check("make", &[("Makefile", "CC := cc\n.PHONY: test\ntest: lib\n\tls\nall: lib\n\tls: x\n")]);
    check(
        "make-default",
        &[("Makefile", "X = 1\n.PHONY: x\n%.o: %.c\n\tcc\nprog: prog.o\n\tcc\n")],
    );
    check("make-covered", &[("Makefile", "check: test lint\ntest:\n\tls\nbuild all:\n\tls\n")]);
}

#[test]
fn several_stand_side_by_side() {
    let scripts = r#"{"scripts": {"test": "jest"}}"#;
    check(
        "several",
        &[
            ("Cargo.toml", "[package]\n"),
            ("package.json", scripts),
            ("Makefile", "test:\n\tcargo test\n"),
        ],
    );
}

#[test]
fn what_follows_no_convention_is_not_guessed() {
    for files in [
        &[("README.md", "")][..],
        &[("Makefile", "install: prog\n\tcp x /usr\nprog:\n\tcc x.c\n")],
        &[("Makefile", "default: install\ninstall:\n\tcp x /usr\n")],
        &[("Makefile", "default: clean\nclean:\n\trm -r out\n")],
        &[("Makefile", "it: prog | \\\n  post\nprog post: install-all\ninstall-all:\n\tls\n")],
        &[("Makefile", "WHAT = prog web-deploy\nit: ${WHAT}\nprog:\n\tcc x.c\n")],
        &[("Makefile", "it: prog\n\t@$(MAKE) -C . DIR=x install\nprog:\n\tcc x.c\n")],
        &[("Makefile", ".DEFAULT_GOAL := install\nprog:\n\tcc x.c\ninstall: prog\n")],
        &[("Makefile", "it: prog; cc -o prog\nit: deploy\n")],
        &[("package.json", "{ not json")],
        &[("package.json", "{}")],
    ] {
        assert_eq!(recognise(&listing(files)), Vec::new(), "{files:?}");
    }
}

#[test]
fn what_a_bare_make_makes_is_made_where_it_stays_in_the_workspace() {
    for makefile in [
        "OBJS = run.o lib/install.o\nINSTALL = install\nprog: $(OBJS)\n\tcc\nclean:\n\trm x\n",
        "prog: lib # no install\n\tcc; ls install\nlib: prog\ninstall: prog\n",
        ".DEFAULT_GOAL = prog\ninstall: prog\n\t$(MAKE) clean\nprog:\n\tcc\n",
    ] {
        let found = recognise(&listing(&[("Makefile", makefile)]));
        let [found] = found.as_slice() else { panic!("{makefile:?} comes to {found:?}") };
        assert_eq!(found.stages[0].scripts, ["make"], "{makefile}");
        assert!(found.reasons[0].contains("'prog' is what make makes"), "{:?}", found.reasons);
    }
}

#[test]
fn what_its_own_tool_could_not_read_is_named() {
    let check = |file: &str, text: &str, line: Option<usize>, what: &str| {
        let found = broken(&listing(&[(file, text)]));
        let [found] = found.as_slice() else { panic!("{file} {text:?} is said to be {found:?}") };
        assert_eq!((found.file, found.line), (file, line));
        assert!(found.what.starts_with(what), "{}", found.what);
    };
    check("package.json", "{\n  \"scripts\": {,\n}", Some(2), "it is no JSON: key must be");
    check("package.json", "", Some(1), "it is no JSON: EOF");
    check("package.json", "[]", None, "it is no JSON object");
    check("Cargo.toml", "[package]\nname = \n", Some(2), "it is no TOML: ");
    check("pyproject.toml", "[project\n", Some(1), "it is no TOML: ");
    let right = [("package.json", "\u{feff}{}"), ("Cargo.toml", ""), ("pyproject.toml", "a = 1\n")];
    assert_eq!(broken(&listing(&right)), Vec::new());
}
