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

#[test]
fn a_missing_tool_is_named_before_anything_starts() {
    let mut session = Session::new(&[("go.mod", "module shop\n")]);
    let line = "otto run";
    let output = session.command(line).env("PATH", "/nowhere").output().expect("otto starts");
    session.note(line, &output);
    session.run("otto runs");
    golden("missing-tool", &session);
}
