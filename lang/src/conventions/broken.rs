//! Files that a convention must be able to read, and cannot: nothing is inferred past them.

use super::Listing;

/// A file that is not what its name promises.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The convention that reads it.
    pub convention: &'static str,
    /// Its name.
    pub file: &'static str,
    /// The first line that cannot be read, where one can be told.
    pub line: Option<usize>,
    /// What is wrong with it, such as `it is no JSON: expected value`.
    pub what: String,
}

/// The files at the top of a repository whose tools would refuse them, too.
#[must_use]
pub fn broken(listing: &Listing) -> Vec<Broken> {
    let known = [
        ("rust", "Cargo.toml", toml as fn(&str) -> Option<(Option<usize>, String)>),
        ("npm", "package.json", json),
        ("python", "pyproject.toml", toml),
    ];
    known
        .into_iter()
        .filter_map(|(convention, file, read)| {
            let (line, what) = read(without_mark(listing.content(file)?))?;
            Some(Broken { convention, file, line, what })
        })
        .collect()
}

/// The line that is no JSON, and what is wrong there.
fn json(text: &str) -> Option<(Option<usize>, String)> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_)) => None,
        Ok(_) => Some((None, "it is no JSON object".to_owned())),
        Err(error) => {
            // The place is told apart from what is wrong there.
            let text = error.to_string();
            let cause = text.split(" at line ").next().unwrap_or(&text);
            Some((Some(error.line()), format!("it is no JSON: {cause}")))
        }
    }
}

/// The line that is no TOML, and what is wrong there.
fn toml(text: &str) -> Option<(Option<usize>, String)> {
    let error = text.parse::<toml::Table>().err()?;
    let start = error.span().map(|span| span.start.min(text.len()));
    let line = start.map(|start| text.as_bytes()[..start].split(|byte| *byte == b'\n').count());
    let cause = error.message().lines().collect::<Vec<_>>().join(", ");
    Some((line, format!("it is no TOML: {cause}")))
}

/// A text without the mark that some editors put in front of it.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
