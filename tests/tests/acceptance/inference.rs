//! Repositories without an Ottofile.

use super::session::{Session, check, golden};

const MAKEFILE: (&str, &str) = ("Makefile", "check:\n\t@echo checked\nbuild:\n\t@echo built\n");

#[test]
fn a_makefile_is_enough() {
    check(
        "makefile",
        &[MAKEFILE],
        &["otto run --progress quiet --timeout 60s", "otto explain", "otto init"],
    );
}

/// What each kind of repository needs, on a machine that has nothing.
#[test]
fn a_missing_tool_is_named_before_anything_starts() {
    let repositories: [(&str, &[(&str, &str)]); 7] = [
        ("go", &[("go.mod", "module shop\n")]),
        ("cargo", &[("Cargo.toml", "[package]\nname = \"shop\"\n"), ("src/lib.rs", "")]),
        ("npm", &[("package.json", r#"{"scripts": {"test": "node --test"}}"#)]),
        ("pytest", &[("pytest.ini", "[pytest]\n"), ("tests/test_shop.py", "")]),
        ("python", &[("setup.py", ""), ("shop.py", "")]),
        ("make", &[MAKEFILE]),
        ("make-default", &[("Makefile", "shop: shop.c\n\tcc -o shop shop.c\n")]),
    ];
    for (name, files) in repositories {
        let mut session = Session::new(files);
        let line = "otto run";
        let output = session.command(line).env("PATH", "/nowhere").output().expect("otto starts");
        session.note(line, &output);
        session.run("otto runs");
        golden(&format!("missing-tool-{name}"), &session);
    }
}

#[test]
fn a_file_that_its_own_tool_could_not_read_is_named() {
    let files = [("Makefile", "check:\n\tls\n"), ("package.json", "{\n  \"scripts\": {,\n}\n")];
    check("broken-manifest", &files, &["otto run", "otto init --print", "otto check"]);
}

#[test]
fn tests_for_pytest_are_run_by_it() {
    let files = [
        ("pyproject.toml", "[project]\nname = 'shop'\n"),
        ("tests/test_shop.py", "def test_one():\n    assert True\n"),
    ];
    check("pytest", &files, &["otto init --print"]);
}

#[test]
fn what_suggests_nothing_is_named_with_what_it_lacks() {
    let commands = ["otto run", "otto explain nosuch", "otto explain OTTO9999"];
    let files = [("package.json", "{}"), ("Makefile", "deploy:\n\trsync . web:\n")];
    check("nothing-suggested", &files, &commands);
    check("nothing-there", &[], &commands);
}
