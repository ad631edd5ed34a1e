//! What the book says about steps is what this crate does.

use otto_stdlib::builtin;
use otto_stdlib::control_socket::{Conversation, Incoming};
use otto_stdlib::http::{self, Length};
use otto_stdlib::invocation::Invocation;
use otto_stdlib::manifest::{Author, Manifest};

const PAGE: &str = include_str!("../../../docs/src/steps.md");

/// The blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    PAGE.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The cells of the table that begins with these.
fn table(first: &str) -> Vec<Vec<&'static str>> {
    PAGE.lines()
        .skip_while(|line| !line.starts_with(first))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The words of a cell that stand in backticks.
fn quoted(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn manifests_and_invocation_files_in_the_book_read() {
    let yaml = blocks("yaml");
    assert_eq!(yaml.len(), 4, "three manifests and an invocation file");
    for block in yaml {
        if block.starts_with("version:") {
            let invocation = Invocation::from_bytes(block.as_bytes()).expect("it reads");
            let control = invocation.control.expect("there");
            assert!(control.socket.is_some());
        } else {
            let read = Manifest::read("steps.md", block.as_bytes(), Author::Anybody);
            read.unwrap_or_else(|problems| panic!("{problems}\n{block}"));
        }
    }
}

#[test]
fn the_reference_of_the_manifest_names_every_key() {
    let named: Vec<&str> = table("| key |").iter().flat_map(|row| quoted(row[0])).collect();
    let manifest = format!("{}: x\n", "unknown");
    let said = Manifest::read("m", manifest.as_bytes(), Author::Anybody).expect_err("unknown");
    let known = said.to_string();
    let known = known.split("known here: ").nth(1).and_then(|rest| rest.lines().next());
    assert_eq!(named, known.expect("all are listed").split(", ").collect::<Vec<_>>());
}

#[test]
fn the_steps_in_the_book_are_those_that_come_with_otto() {
    let rows = table("| step |");
    let mut named: Vec<&str> = rows.iter().flat_map(|row| quoted(row[0])).collect();
    named.sort_unstable();
    assert_eq!(named, builtin().steps.keys().map(String::as_str).collect::<Vec<_>>());
    for row in rows {
        let signature = &builtin().steps[quoted(row[0])[0]];
        let parameters: Vec<&str> =
            signature.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(quoted(row[2]), parameters, "{}", signature.symbol);
    }
}

#[test]
fn every_request_in_the_book_is_understood() {
    let rows = table("| request |");
    assert_eq!(rows.len(), 8);
    for row in rows {
        let (method, target) = quoted(row[0])[0].split_once(' ').expect("a method and a path");
        let json = quoted(row[1]).first().copied().unwrap_or_default();
        let mut bytes = http::write_request(method, target, "s", Length::Known(json.len() as u64));
        bytes.extend_from_slice(json.as_bytes());
        let mut conversation = Conversation::default();
        conversation.received(&bytes);
        let arrived = conversation.arrived();
        assert!(matches!(arrived, Incoming::Call { .. }), "{method} {target}: {arrived:?}");
    }
}
