//! Whatever the text, reading it ends, does not panic, and says something that can be drawn.

use crate::cases::case_files;
use crate::surroundings::{Asked, libraries};
use otto_core::step::Library;
use otto_lang::{Diagnostic, Severity, Source, check, parse, plan, render, uses};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static LIBRARIES: LazyLock<BTreeMap<String, Library>> = LazyLock::new(libraries);
static CASES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let texts = case_files().into_iter().map(std::fs::read_to_string);
    texts.collect::<Result<_, _>>().expect("cases")
});

/// Reads a text in every way there is, and checks what every caller relies on.
fn read(text: &str) -> Vec<Diagnostic> {
    let source = Source { name: "Ottofile".to_owned(), text: text.to_owned() };
    let asked = Asked::default();
    let surroundings = asked.surroundings("default", &LIBRARIES);
    let parsed = parse(&source);
    assert!(uses(&parsed).len() <= text.len());
    let problems = check(&parsed, &surroundings);
    for problem in &problems {
        for label in &problem.labels {
            let place = label.place;
            assert!(place.start <= place.end && place.end <= text.len(), "{problem} at {place:?}");
        }
    }
    // Drawing takes time in the length of the whole text, for each.
    for problem in problems.iter().take(if text.len() < 2_000 { 100 } else { 3 }) {
        assert!(!render(problem, &source, true).is_empty());
    }
    let planned = plan(&parsed, &surroundings);
    if let Ok((plan, _)) = &planned {
        plan.check().expect("a plan that holds together");
        assert!(parsed.is_whole());
    }
    let failed = |problems: &[Diagnostic]| problems.iter().any(|p| p.severity == Severity::Error);
    if let Err(problems) = &planned {
        assert!(failed(problems), "a refusal without a reason");
    }
    problems
}

/// Pieces that an Ottofile is made of, and some that it is not.
fn piece() -> impl Strategy<Value = &'static str> {
    const WORDS: &str = r#"pipeline stage ('B') { } ( ) [ ] steps sh 'x' "${ }" ' '' ''' " \ =
        == -> : , in matches when each it use parameters enter gates choose otherwise parallel
        needs dir // /* */ 20m 3.3.1 -1 true ! && || < output('B').x params.x branch é ${ runtime
        from settings A timeout finally retry any environment ; + @ concat( files('a') outputs"#;
    let gaps = ["\n", "\r\n", "  ", "\t", "'''\n", "\u{feff}", "\0"];
    prop::sample::select(WORDS.split_whitespace().chain(gaps).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn words_in_any_order(pieces in prop::collection::vec((piece(), any::<bool>()), 0..60)) {
        let spaced = |(piece, gap): &(&'static str, bool)| [*piece, if *gap { " " } else { "" }];
        let text: String = pieces.iter().flat_map(spaced).collect();
        read(&text);
        read(&format!("pipeline {{ stage('A') {{ {text} }} }}"));
    }

    #[test]
    fn any_characters(text in ".{0,200}") {
        read(&text);
    }

    #[test]
    fn cases_with_something_changed(
        case in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        taken in 0_usize..12,
        put in prop::option::of(piece()),
    ) {
        let text = case.get(&CASES);
        let start = text.floor_char_boundary(at.index(text.len() + 1));
        let end = text.ceil_char_boundary((start + taken).min(text.len()));
        read(&format!("{}{}{}", &text[..start], put.unwrap_or(""), &text[end..]));
    }
}

/// What opens something, and what may stand in front of an operand: the parser calls itself at most
/// of these, and nothing but the pass before it bounds how often.
fn opening() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a { ",
        "a(",
        "a [",
        "a ('b', ",
        "when (",
        "when { ",
        "a 'b' { ",
        "a [ b 'c' ",
        "a = [",
        "a = (",
        "a = !(",
        "!",
        "b == (",
        "b && (",
        "b || ",
        "f(",
        "f('x', [",
        "a c: [",
        "\"${",
        "/* ",
        "{ ",
        "( ",
        "[ ",
        "use { ",
        "parameters { ",
        "stage('x') { steps { ",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn openings_in_any_order_leave_the_stack_whole(
        openings in prop::collection::vec((opening(), 1_usize..80), 1..12),
        times in 1_usize..2_000,
    ) {
        let text: String = openings.iter().map(|(opening, count)| opening.repeat(*count)).collect();
        read(&text);
        read(&text.repeat(times.min(30_000 / text.len() + 1)));
    }
}

/// A statement whose end was put there ends where the text ends.
#[test]
fn what_is_never_closed_has_its_place_in_the_text() {
    let codes: Vec<&str> = read("pipeline { stage('A') { runtime { docker { image = 'x'")
        .iter()
        .map(|problem| problem.id.code())
        .collect();
    assert!(codes.contains(&"OTTO0901"), "{codes:?}");
}

#[test]
fn nothing_that_is_long_is_deep() {
    for piece in ["a && ", "!a == b || ", "!", "'x', ", "[1], ", "a.", "b('x') ", "sh 'x', "] {
        let text = piece.repeat(10_000);
        read(&format!("pipeline {{ when ({text}a) }}"));
        read(&format!("pipeline {{ when {{ {text}a }} a = [{text}'x'] }}"));
    }
}

#[test]
fn no_nesting_is_too_deep_for_the_stack() {
    for (open, close) in [
        ("a { ", "} "),
        ("a(", ")"),
        ("a [", "]"),
        ("/* ", "*/ "),
        ("when (", ") { } "),
        ("a 'b' { ", "}"),
        ("a [ b 'c' ", "]"),
        ("a = !(", ")"),
        ("\"${", "}\""),
    ] {
        for depth in [10, 60, 63, 64, 65, 100_000] {
            read(&format!("pipeline {{ {}{} }}", open.repeat(depth), close.repeat(depth)));
            read(&format!("pipeline {{ {} }}", open.repeat(depth)));
        }
    }
}

/// Were any of these read in more than about linear time, this test would not end.
#[test]
fn nothing_takes_much_longer_than_its_length() {
    let check = |piece: &str, count: usize| {
        let text = piece.repeat(count);
        read(&text);
        read(&format!("pipeline {{ stage('A') {{ when {{ {text} }} steps {{ sh 'x' }} }} }}"));
        read(&format!("pipeline {{ steps {{ echo \"{}\" }} }}", text.replace(['\n', '"'], "")));
    };
    check("/* /* */ ", 2_000);
    check("/*", 10_000);
    check("*/", 4_000);
    check("a 'b' c: [ d 'e' ] ", 1_000);
    check("!", 10_000);
    check("a && ", 1_000);
    check("a (b) ", 1_000);
    check("${/*}", 2_000);
    check("${'}", 2_000);
    check("'", 10_000);
    check("}", 4_000);
    check("{ }", 2_000);
    check("@ ", 2_000);
    check("a = \n", 2_000);
    check("x.", 4_000);
    check("'a' 'b' ", 2_000);
}

#[test]
fn a_plan_that_would_be_enormous_is_refused() {
    let values: Vec<String> = (0..256).map(|value| format!("'{value}'")).collect();
    let values = values.join(", ");
    let each = |inner: &str, name: &str| format!("each({name} in [{values}]) {{ {inner} }}");
    let many = (0..6).fold("stage(\"S ${a}\") { steps { sh 'x' } }".to_owned(), |inner, depth| {
        each(&inner, ["a", "b", "c", "d", "e", "f"][depth])
    });
    let codes = |text: &str| -> Vec<&str> { read(text).iter().map(|p| p.id.code()).collect() };
    assert!(codes(&format!("pipeline {{ {many} }}")).contains(&"OTTO0404"));
    let empty = (0..6).fold("nonsense".to_owned(), |inner, depth| {
        each(&inner, ["a", "b", "c", "d", "e", "f"][depth])
    });
    assert!(codes(&format!("pipeline {{ {empty} }}")).contains(&"OTTO0207"));
    let doubled = (0..40).fold("stage(\"${v}\") { steps { sh 'x' } }".to_owned(), |inner, _| {
        format!("each(v in [\"${{v}}${{v}}\"]) {{ {inner} }}")
    });
    let doubled = format!("pipeline {{ each(v in ['xy']) {{ {doubled} }} }}");
    assert!(codes(&doubled).contains(&"OTTO0113"));
}

/// A hundred problems are shown, errors first, and then one that says that there are more.
#[test]
fn more_problems_than_are_read_are_left_out() {
    let check = |text: &str, errors: usize, warnings: usize, more: Option<Severity>| {
        let problems = read(text);
        let (last, rest) = problems.split_last().expect("problems");
        let (last, rest) = match last.id.code() {
            "OTTO0904" => (Some(last.severity), rest),
            _ => (None, problems.as_slice()),
        };
        let count = |severity| rest.iter().filter(|one| one.severity == severity).count();
        let told = (count(Severity::Error), count(Severity::Warning), last);
        assert_eq!(told, (errors, warnings, more), "{}", &text[..40.min(text.len())]);
    };
    let right = "pipeline { steps { sh 'x' } }\n";
    let flat = "/* /* */ ";
    check(&format!("{right}{}", "foo ".repeat(100)), 100, 0, None);
    check(&format!("{right}{}", flat.repeat(100)), 0, 100, None);
    check(&format!("{right}{}", flat.repeat(101)), 0, 100, Some(Severity::Warning));
    check(&format!("{}{right}foo", flat.repeat(100)), 1, 99, Some(Severity::Warning));
    check(&format!("{right}{}", "foo\n".repeat(50_000)), 100, 0, Some(Severity::Error));
    check(&format!("{right}{}", "# foo\n".repeat(50_000)), 100, 0, Some(Severity::Error));
    check(&"sh 'x\n".repeat(50_000), 100, 0, Some(Severity::Error));
    check(&format!("{}{right}", "foo = \n".repeat(400_000)), 1, 0, None);
    let steps = "foo 'x'\n".repeat(20_000);
    check(&format!("pipeline {{ steps {{ {steps} }} }}"), 100, 0, Some(Severity::Error));
}
