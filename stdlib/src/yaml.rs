//! A bounded reading of YAML into a tree in which every node knows its place.
//!
//! Manifests come from repositories, so from anybody: size, depth and the number of nodes are
//! limited, and anchors, aliases, merge keys and tags are refused, because a small text could stand
//! for a huge tree with them. The tree is walked by hand, so that all errors are found at once.

use crate::problem::Problem;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Budget, Options, Spanned};
use std::fmt;

/// The most bytes that a YAML file may have.
pub(crate) const MAX_BYTES: usize = 64 * 1024;
const MAX_DEPTH: usize = 16;
const MAX_NODES: usize = 4_000;

/// A value, and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    /// The line, from 1.
    pub(crate) line: u64,
    /// The column, from 1.
    pub(crate) column: u64,
    /// What stands there.
    pub(crate) content: Content,
}

/// What stands at a place.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Content {
    /// Nothing, `null` or `~`.
    Nothing,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, in its shortest decimal form.
    Number(String),
    /// Text.
    Text(String),
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping, in written order.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// What kind of thing this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.content {
            Content::Nothing => "nothing",
            Content::Boolean(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "text",
            Content::Sequence(_) => "a sequence",
            Content::Mapping(_) => "a mapping",
        }
    }

    /// The text, where it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            Content::Nothing
            | Content::Boolean(_)
            | Content::Number(_)
            | Content::Sequence(_)
            | Content::Mapping(_) => None,
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// The first place that is no YAML, or passes a limit.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Node, Problem> {
    if bytes.len() > MAX_BYTES {
        let message = format!("a manifest of {} bytes; at most {MAX_BYTES} are read", bytes.len());
        return Err(Problem::whole(file, message, None));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Problem::whole(file, format!("not UTF-8 text: {error}"), None))?;
    let spanned: Spanned<Content> =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
            let place = error.location();
            let message = error.without_snippet().to_string();
            Problem {
                file: file.to_owned(),
                line: place.map_or(0, |place| place.line()),
                column: place.map_or(0, |place| place.column()),
                message: plain(&message),
                help: help_for(&message),
            }
        })?;
    Ok(Node::from(spanned))
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_reader_input_bytes = Some(MAX_BYTES);
    budget.flow_nesting_limit = MAX_DEPTH;
    budget.max_depth = MAX_DEPTH;
    budget.max_nodes = MAX_NODES;
    budget.max_events = 3 * MAX_NODES;
    budget.max_documents = 1;
    budget.max_aliases = 0;
    budget.max_anchors = 0;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

/// The first line of the parser's message, without its own note of the place and without advice
/// that is for those who write programs.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or("not YAML");
    if let Some(rest) = line.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return format!("'{key}' is written twice");
    }
    if line.starts_with("budget breached: ") {
        let known = [
            ("Anchors", "an anchor stands here"),
            ("Aliases", "an alias stands here"),
            ("Documents", "a second document begins here, and a manifest is one"),
            ("Depth", "it nests too deep"),
        ];
        let found = known.iter().find(|(word, _)| line.contains(word));
        return found.map_or("it holds more than is read", |(_, what)| what).to_owned();
    }
    let cut = line.find(" at line ").unwrap_or(line.len());
    line[..cut].trim_end_matches(['.', ',', ':']).to_owned()
}

/// What to write instead, where the parser's message says what was written.
fn help_for(message: &str) -> Option<String> {
    let lower = message.to_lowercase();
    let known = [
        ("anchor", "anchors and aliases are not read here; write the value out"),
        ("alias", "anchors and aliases are not read here; write the value out"),
        ("illegal placement of ':'", "put a text that holds a `: ` in quotes"),
        ("tab", "indent with spaces"),
        ("unsupported tag", "tags are not read here; write the value alone"),
    ];
    known.iter().find(|(word, _)| lower.contains(word)).map(|(_, help)| (*help).to_owned())
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        let place = spanned.referenced;
        Self { line: place.line(), column: place.column(), content: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Nothing)
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Content, E> {
        Ok(Content::Boolean(truth))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Number(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Number(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Content, E> {
        Ok(Content::Number(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut nodes = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Content>>()? {
            nodes.push(Node::from(item));
        }
        Ok(Content::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<Content>>()? {
            let value = entries.next_value::<Spanned<Content>>()?;
            pairs.push((Node::from(key), Node::from(value)));
        }
        Ok(Content::Mapping(pairs))
    }
}
