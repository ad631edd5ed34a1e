//! The steps that do little: their exit codes, and what they ask.

use crate::{Bench, text};
use otto_core::run::outcome::Outcome;
use otto_core::value::{Decimal, Value};

#[test]
fn exit_codes_count_as_the_manifest_says() {
    let run = |symbol: &str, arguments: &[(&str, Value)]| Bench::new().step(symbol, arguments);
    let exits = |code: &str| ("script", text(&format!("exit {code}")));
    let three = Value::Number(Decimal::whole(3).expect("small"));
    let unstable = ("unstable", Value::List(vec![three]));
    assert_eq!(run("sh", &[exits("0")]).outcome, Outcome::Success);
    assert_eq!(run("sh", &[exits("3")]).outcome, Outcome::Failed);
    assert_eq!(run("sh", &[exits("2")]).outcome, Outcome::Failed);
    assert_eq!(run("sh", &[exits("3"), unstable.clone()]).outcome, Outcome::Unstable);
    assert_eq!(run("sh", &[exits("2"), unstable]).outcome, Outcome::Failed);
    assert_eq!(run("error", &[("message", text("no"))]).outcome, Outcome::Failed);
}

fn check(symbol: &str, arguments: &[(&str, Value)], code: i32) {
    let trial = Bench::new().step(symbol, arguments);
    assert_eq!(trial.code, code, "{symbol}: {}", trial.detail);
}

#[test]
fn small_steps_end_as_they_should() {
    check("echo", &[("text", text("hello"))], 0);
    check("error", &[("message", text("this is meant to fail"))], 1);
    check("sleep", &[("time", text("1ms"))], 0);
    check("sh", &[("script", text("exit 3"))], 3);
    check("sh", &[("script", text("false\ntrue"))], 1);
    check("sh", &[("script", text("#!/bin/sh\nfalse\ntrue"))], 0);
    check("sh", &[("script", text("kill -9 $$"))], 137);
}

#[test]
fn scripts_capture_and_drop_forgets() {
    let bench = Bench::new();
    let script = "otto-step-capture color green; otto-step-parameter script >said";
    let trial = bench.step("sh", &[("script", text(script))]);
    assert_eq!(trial.code, 0);
    assert_eq!(trial.asked.captured.get("color"), Some(&text("green")));
    assert_eq!(bench.read("said").trim_end(), script);

    let trial = bench.step("drop", &[("name", text("color"))]);
    assert_eq!((trial.code, trial.asked.dropped), (0, vec!["color".to_owned()]));
}

#[test]
fn a_refusal_of_the_agent_fails_the_step() {
    check("sh", &[("script", text("otto-step-capture 'not a name' x"))], 1);
    check("sh", &[("script", text("otto-step-capture color"))], 1);
    check("drop", &[("name", text("../x"))], 1);
}
