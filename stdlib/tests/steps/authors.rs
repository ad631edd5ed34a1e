//! Step libraries as authors write them: in shell and in Python.

use crate::{Bench, text};
use otto_core::run::outcome::Outcome;
use otto_core::value::{Decimal, Value};
use otto_stdlib::library;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

#[test]
fn a_library_in_shell_greets_and_captures() {
    let library = library::load_folder(&fixtures(), "libraries/greet-sh").expect("it loads");
    let arguments = [("name", text("World")), ("loud", Value::Boolean(true))];
    let trial = Bench::new().run(&library, &fixtures(), "greet_sh", &arguments).expect("it runs");
    assert_eq!(trial.code, 0, "{trial:?}");
    assert_eq!(trial.asked.captured.get("greeted"), Some(&text("World")));
}

#[test]
fn a_library_in_python_greets_and_keeps_an_artifact() {
    let library = library::load_folder(&fixtures(), "libraries/greet-py").expect("it loads");
    let times = Value::Number(Decimal::whole(2).expect("small"));
    let arguments = [("name", text("Zoë")), ("times", times)];
    let trial = Bench::new().run(&library, &fixtures(), "greet_py", &arguments).expect("it runs");
    assert_eq!(trial.code, 0, "{trial:?}");
    assert_eq!(trial.asked.captured.get("greeted"), Some(&text("Zoë")));
    assert_eq!(
        trial.asked.artifacts.get("greeting").map(Vec::as_slice),
        Some("Hello, Zoë!".as_bytes())
    );
    assert_eq!(trial.outcome, Outcome::Unstable, "its exit code was 0, and it said so itself");
}

#[test]
fn what_does_not_fit_is_said_before_anything_runs() {
    let library = library::load_folder(&fixtures(), "libraries/greet-sh").expect("it loads");
    let check = |symbol: &str, arguments: &[(&str, Value)], expected: &str| {
        let error =
            Bench::new().run(&library, &fixtures(), symbol, arguments).expect_err("refused");
        assert_eq!(error.to_string(), expected);
    };
    check("greet_hs", &[], "find the step 'greet_hs' in 'greet-sh'; did you mean 'greet_sh'?");
    check("greet_sh", &[], "use 'name': it must be given");
    check(
        "greet_sh",
        &[("nmae", text("x"))],
        "use 'nmae': there is no such parameter; did you mean 'name'?",
    );
    check(
        "greet_sh",
        &[("name", text("x")), ("loud", text("yes"))],
        "use 'loud': expected boolean, found 'yes'",
    );
}
