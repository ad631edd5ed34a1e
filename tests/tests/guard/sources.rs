//! Rules over each source file: what a folder must never hold, and how a file must look.

use crate::{Source, expect_none, rust_sources};

/// Words that must not stand in the code below a folder, and why.
const BANS: &[(&str, &[&str], &str)] = &[
    (
        "core/src/",
        &["tokio", "async fn", "std::fs", "std::net", "std::process", "std::thread", "std::env"],
        "the domain does no input or output and is not asynchronous",
    ),
    ("core/src/", &["SystemTime", "Instant::"], "time is an argument"),
    ("core/src/", &["HashMap", "HashSet", "rand::"], "the domain is deterministic"),
    (
        "lang/src/",
        &["std::fs", "std::net", "std::process", "std::env", "tokio", "HashMap"],
        "the language does no input or output, and its order is visible",
    ),
    (
        "actors/src/",
        &["redb", "tarpc", "openraft", "std::fs", "std::net", "tokio::net", "SystemTime"],
        "actors know the outside only through ports",
    ),
    (
        "actors/src/",
        &["ractor::pg", "ractor::registry", "where_is("],
        "simulated hosts share names",
    ),
    ("stdlib/src/", &["tarpc", "ractor", "redb", "openraft"], "steps know nothing of the runtime"),
    ("", &["todo!(", "unimplemented!(", "dbg!(", "TODO", "FIXME", "XXX"], "finish it, or leave it"),
    ("", &["#[allow("], "write `#[expect(…, reason = \"…\")]`"),
    ("", &["#[ignore"], "a test that cannot run says so and fails"),
    ("", &["thread::sleep"], "no sleeps for synchronisation"),
    (
        "",
        &["Manager", "Helper", "mod util", "mod common", "Worker", "Workflow"],
        "use the glossary",
    ),
];

/// Files in which a ban does not hold, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[("tests/tests/guard/sources.rs", "it lists the bans")];

/// The most lines of a file.
const MAX_LINES: usize = 500;
/// The most columns of a line.
const MAX_COLUMNS: usize = 100;
/// Files that may be longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// The code of a line, without a comment at its end.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn banned(source: &Source) -> Vec<String> {
    let excepted = EXCEPTIONS.iter().any(|(path, _)| *path == source.path);
    let bans = BANS.iter().filter(|(folder, ..)| source.path.starts_with(folder) && !excepted);
    let mut found = Vec::new();
    for (_, words, reason) in bans {
        for (number, line) in source.text.lines().enumerate() {
            for word in words.iter().filter(|word| code(line).contains(**word)) {
                found.push(format!("{}:{}: `{word}`: {reason}", source.path, number + 1));
            }
        }
    }
    found
}

fn badly_shaped(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        found.push(format!("{}: opens without its purpose (`//! …`)", source.path));
    }
    let lines = source.text.lines().count();
    if lines > MAX_LINES && !LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        found.push(format!("{}: {lines} lines, at most {MAX_LINES}", source.path));
    }
    for (number, line) in source.text.lines().enumerate() {
        if line.chars().count() > MAX_COLUMNS && !line.contains("http") && !line.contains('"') {
            found.push(format!("{}:{}: over {MAX_COLUMNS} columns", source.path, number + 1));
        }
    }
    found
}

/// `select!` polls its branches in random order unless it says `biased`.
fn unbiased(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let opens = |line: &&str| code(line).contains("select! {") || code(line).contains("select!{");
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| opens(line))
        .filter(|(number, line)| {
            let next = lines.get(number + 1).copied().unwrap_or_default();
            !line.contains("biased") && !next.contains("biased")
        })
        .map(|(number, _)| format!("{}:{}: `select!` without `biased`", source.path, number + 1))
        .collect()
}

fn all(rule: fn(&Source) -> Vec<String>) -> Vec<String> {
    let sources = rust_sources();
    assert!(sources.len() > 20, "the guard must see the sources");
    let guarded = |source: &&Source| source.path != "tests/tests/guard/sources.rs";
    sources.iter().filter(guarded).flat_map(rule).collect()
}

#[test]
fn no_folder_holds_what_it_must_not() {
    expect_none(&all(banned));
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
    expect_none(&all(badly_shaped));
}

#[test]
fn every_select_is_biased() {
    expect_none(&all(unbiased));
}

#[test]
fn each_rule_can_fail() {
    let check = |rule: fn(&Source) -> Vec<String>, path: &str, text: &str, complaint: &str| {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let found = rule(&source);
        assert!(found.iter().any(|found| found.contains(complaint)), "{path}: {found:?}");
    };
    check(banned, "core/src/x.rs", "//! X.\nuse std::fs;", "std::fs");
    check(banned, "nodes/src/x.rs", "//! X.\nfn f() { todo!() }", "todo!(");
    check(badly_shaped, "core/src/x.rs", "use std::fmt;", "purpose");
    check(badly_shaped, "core/src/x.rs", &"//! X.\n".repeat(501), "501 lines");
    check(badly_shaped, "core/src/x.rs", &format!("//! {}", "x".repeat(100)), "columns");
    check(unbiased, "nodes/src/x.rs", "tokio::select! {\n    a = b => {}", "biased");
}

#[test]
fn exceptions_are_still_needed() {
    let sources = rust_sources();
    let stale = LONG_FILES.iter().filter(|(path, _)| {
        let file = sources.iter().find(|source| source.path == *path);
        file.is_none_or(|file| file.text.lines().count() <= MAX_LINES)
    });
    expect_none(&stale.map(|(path, _)| format!("{path} is not long")).collect::<Vec<_>>());
}
