//! The pages of the rules and the language reference: their examples must be what they say.

use crate::cases::submitted;
use crate::surroundings::{Asked, libraries};
use otto_lang::{Diagnostic, Id, Source, explain_id, parse, plan};

fn problems(text: &str) -> Vec<Diagnostic> {
    let source = Source { name: "Ottofile".to_owned(), text: text.to_owned() };
    let (libraries, asked) = (libraries(), Asked::read(text));
    match plan(&parse(&source), &asked.surroundings("default", &libraries)) {
        Ok((plan, warnings)) => {
            assert_eq!(submitted(&plan), Ok(()), "{text}");
            warnings
        }
        Err(problems) => problems,
    }
}

/// The code blocks of a page: what stands behind the three signs, and the lines inside.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(kind), None) => open = Some((kind.to_owned(), String::new())),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn every_rule_is_broken_and_put_right_on_its_page() {
    // No example that anybody would want to read: they are long or deep.
    let without = [Id::TooDeep, Id::TooLong, Id::MoreProblems];
    let mut wrongs = Vec::new();
    for id in Id::ALL {
        let page = explain_id(id.code()).expect("a page");
        let blocks = blocks(page);
        if without.contains(id) {
            continue;
        }
        let [(_, wrong), (_, right)] = blocks.as_slice() else {
            panic!("{} has {} examples instead of two", id.code(), blocks.len());
        };
        let codes: Vec<&str> = problems(wrong).iter().map(|problem| problem.id.code()).collect();
        if codes != [id.code()] {
            wrongs.push(format!("the wrong example of {} gives {codes:?}", id.code()));
        }
        let told: Vec<String> = problems(right).iter().map(ToString::to_string).collect();
        if !told.is_empty() {
            wrongs.push(format!("the right example of {} gives {told:?}", id.code()));
        }
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}

/// In the reference, `otto` blocks are right, `otto,OTTO0109` blocks give that code and no other,
/// and `otto,later` blocks are read but not there yet.
#[test]
fn the_reference_says_what_is_true() {
    let page = include_str!("../../../docs/src/language.md");
    let (mut count, mut wrongs) = (0, Vec::new());
    for (kind, text) in blocks(page) {
        let Some(mark) = kind.strip_prefix("otto") else { continue };
        count += 1;
        let found = problems(&text);
        let mut codes: Vec<&str> = found.iter().map(|problem| problem.id.code()).collect();
        codes.dedup();
        let expected = match mark.strip_prefix(',') {
            None => vec![],
            Some("later") => vec!["OTTO0901"],
            Some(code) => vec![code],
        };
        if codes != expected {
            let told: Vec<String> = found.iter().map(ToString::to_string).collect();
            wrongs.push(format!("{text}gives {told:?} instead of {expected:?}"));
        }
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    assert!(count > 20, "the reference has {count} examples");
}
