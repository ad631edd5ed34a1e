//! Reading the parts of a manifest: mappings, names, words, and typed parameters with defaults.

use super::{MAX_PARAMETERS, RESERVED, Reader, write};
use crate::plain;
use crate::problem::{instead, nearest};
use crate::yaml::{Content, Node};
use otto_core::step::Parameter;
use otto_core::value::{Decimal, Value, ValueType};
use std::collections::BTreeSet;

const PARAMETER_KEYS: &[&str] = &["type", "values", "default", "optional", "description"];
const TYPES: &[&str] = &[
    "text",
    "script",
    "number",
    "boolean",
    "enumeration",
    "environment",
    "duration",
    "size",
    "path",
];
const MAX_NAME_CHARS: usize = 64;
const MAX_TEXT_CHARS: usize = 1_000;
const MAX_VALUES: usize = 256;

impl Reader<'_> {
    /// The entries of a mapping with these keys; an unknown one is noted and passed over.
    pub(super) fn mapping<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
    ) -> Option<Vec<(String, &'n Node)>> {
        let Content::Mapping(entries) = &node.content else {
            let example = known.first().map(|key| format!("{key}: …"));
            let help = example.as_deref().map(write);
            return self.wrong(node, format!("expected {what}, found {}", node.kind()), help);
        };
        let mut found = Vec::new();
        for (key, value) in entries {
            match key.text() {
                Some(name) if known.contains(&name) => found.push((name.to_owned(), value)),
                Some(name) => {
                    let message = format!("'{name}' is nothing that {what} has");
                    self.wrong::<()>(key, message, instead(name, known));
                }
                None => {
                    self.wrong::<()>(key, format!("a key that is {}", key.kind()), None);
                }
            }
        }
        Some(found)
    }

    /// The one entry of a mapping.
    pub(super) fn only_entry<'n>(
        &mut self,
        node: &'n Node,
        known: &[&str],
    ) -> Option<(String, &'n Node)> {
        let before = self.problems.len();
        let mut entries = self.mapping(node, "an entrypoint", known)?;
        match (entries.pop(), entries.is_empty()) {
            (Some(entry), true) => Some(entry),
            _ if self.problems.len() > before => None,
            _ => {
                let message = format!("expected one of {} here", known.join(", "));
                self.wrong(node, message, None)
            }
        }
    }

    /// A name: a letter, then letters, digits, `_` and `-`.
    pub(super) fn name(&mut self, node: &Node, what: &str, reserved: &[&str]) -> Option<String> {
        let Some(name) = node.text() else {
            let message = format!("expected the name of {what}, found {}", node.kind());
            return self.wrong(node, message, None);
        };
        if !is_name(name) {
            let message = format!("'{name}' cannot be the name of {what}");
            let rule =
                "a name begins with a letter and holds letters, digits, '_' and '-', at most 64";
            return self.wrong(node, message, Some(rule.to_owned()));
        }
        if reserved.contains(&name) {
            let message = format!("'{name}' is reserved and cannot be the name of {what}");
            return self.wrong(node, message, None);
        }
        Some(name.to_owned())
    }

    /// Text for people.
    pub(super) fn sentence(&mut self, node: &Node) -> Option<String> {
        match node.text() {
            Some(text) if text.chars().count() > MAX_TEXT_CHARS => {
                self.wrong(node, format!("a text of more than {MAX_TEXT_CHARS} characters"), None)
            }
            Some(text) if text.trim().is_empty() => self.wrong(node, "an empty description", None),
            Some(text) => Some(text.trim().to_owned()),
            None => {
                let message = format!("expected a description, found {}", node.kind());
                self.wrong(node, message, Some("put it in quotes".to_owned()))
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.content {
            Content::Boolean(truth) => Some(truth),
            Content::Nothing
            | Content::Number(_)
            | Content::Text(_)
            | Content::Sequence(_)
            | Content::Mapping(_) => {
                let message = format!("{what} takes true or false, not {}", node.kind());
                self.wrong(node, message, None)
            }
        }
    }

    /// One of some words.
    pub(super) fn one_of(&mut self, node: &Node, what: &str, known: &[&str]) -> Option<String> {
        match node.text() {
            Some(word) if known.contains(&word) => Some(word.to_owned()),
            Some(word) => {
                self.wrong(node, format!("unknown {what} '{word}'"), instead(word, known))
            }
            None => self.wrong(node, format!("expected {what}, found {}", node.kind()), None),
        }
    }

    /// Several different words.
    pub(super) fn words(
        &mut self,
        node: &Node,
        what: &str,
        most: usize,
        read: impl Fn(&mut Self, &Node) -> Option<String>,
    ) -> Option<BTreeSet<String>> {
        let Content::Sequence(items) = &node.content else {
            let message = format!("expected a list such as [a, b], found {}", node.kind());
            return self.wrong(node, message, None);
        };
        if items.len() > most {
            return self.wrong(node, format!("more than {most} here"), None);
        }
        let mut words = BTreeSet::new();
        for item in items {
            let word = read(self, item)?;
            if !words.insert(word.clone()) {
                return self.wrong(item, format!("{what} that stands here twice: '{word}'"), None);
            }
        }
        Some(words)
    }

    /// The typed parameters of a step or of a configuration, in written order.
    pub(super) fn parameters(&mut self, node: &Node) -> Option<Vec<Parameter>> {
        let entries = match &node.content {
            Content::Mapping(entries) => entries,
            Content::Nothing => return Some(Vec::new()),
            Content::Boolean(_) | Content::Number(_) | Content::Text(_) | Content::Sequence(_) => {
                let message = format!("expected parameters by name, found {}", node.kind());
                return self.wrong(node, message, Some(write("name: { type: text }")));
            }
        };
        if entries.len() > MAX_PARAMETERS {
            return self.wrong(node, format!("more than {MAX_PARAMETERS} parameters"), None);
        }
        let read: Vec<Option<Parameter>> =
            entries.iter().map(|(name, of)| self.parameter(name, of)).collect();
        read.into_iter().collect()
    }

    fn parameter(&mut self, name: &Node, node: &Node) -> Option<Parameter> {
        let name = self.name(name, "a parameter", RESERVED);
        if let Some(word) = node.text() {
            let help = Some(write(&format!("{{ type: {word} }}")));
            return self.wrong(node, "expected a parameter's type in braces, found text", help);
        }
        let entries = self.mapping(node, "a parameter", PARAMETER_KEYS)?;
        let find = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, node)| *node);
        let value_type = self.value_type(node, find("type"), find("values"));
        let optional = find("optional").map_or(Some(false), |node| self.truth(node, "`optional`"));
        let description =
            find("description").map_or(Some(String::new()), |node| self.sentence(node));
        let value_type = value_type?;
        let default = match find("default") {
            Some(node) => Some(self.value(node, &value_type)?),
            None => None,
        };
        if let (Some(_), Some(node), Some(true)) = (&default, find("optional"), optional) {
            return self.wrong(node, "a parameter with a default need not be optional", None);
        }
        Some(Parameter {
            name: name?,
            value_type,
            default,
            optional: optional?,
            description: description?,
        })
    }

    fn value_type(
        &mut self,
        parameter: &Node,
        node: Option<&Node>,
        values: Option<&Node>,
    ) -> Option<ValueType> {
        let Some(node) = node else {
            return self.wrong(parameter, "a parameter without `type`", Some(write("type: text")));
        };
        let Some(written) = node.text() else {
            return self.wrong(node, format!("expected a type, found {}", node.kind()), None);
        };
        let (list, word) = match written.strip_prefix("list of ") {
            Some(word) => (true, word.trim()),
            None => (false, written),
        };
        let values = match values {
            Some(values) if word == "enumeration" || word == "environment" => {
                Some(self.values(values)?)
            }
            Some(values) => {
                let message = format!("`values` beside the type '{word}'");
                let help = Some(write("type: enumeration"));
                return self.wrong(values, message, help);
            }
            None => None,
        };
        let value_type = match (word, values) {
            ("text", _) => ValueType::Text,
            ("script", _) if !list => ValueType::Script,
            ("number", _) => ValueType::Number,
            ("boolean", _) => ValueType::Boolean,
            ("duration", _) => ValueType::Duration,
            ("size", _) => ValueType::Size,
            ("path", _) => ValueType::Path,
            ("enumeration", Some(values)) => ValueType::Enumeration(values),
            ("enumeration", None) => {
                let help = Some(write("values: [small, large]"));
                return self.wrong(node, "an enumeration without `values`", help);
            }
            ("environment", values) => ValueType::Environment(values.unwrap_or_default()),
            (word, _) => {
                let help = match nearest(word, TYPES.iter().copied()) {
                    Some(meant) => Some(format!("did you mean '{meant}'?")),
                    None => Some(format!("types: {}, and 'list of' one of them", TYPES.join(", "))),
                };
                return self.wrong(node, format!("unknown type '{written}'"), help);
            }
        };
        Some(if list { ValueType::List(Box::new(value_type)) } else { value_type })
    }

    /// The words of an enumeration, in written order.
    fn values(&mut self, node: &Node) -> Option<Vec<String>> {
        self.words(node, "a value", MAX_VALUES, |reader, node| match node.text() {
            Some(word) if !word.is_empty() => Some(word.to_owned()),
            Some(_) => reader.wrong(node, "an empty value", None),
            None => {
                let help = Some("put it in quotes".to_owned());
                reader.wrong(node, format!("expected a word, found {}", node.kind()), help)
            }
        })?;
        let Content::Sequence(items) = &node.content else { return Some(Vec::new()) };
        if items.is_empty() {
            return self.wrong(node, "no values to choose from", None);
        }
        Some(items.iter().filter_map(Node::text).map(str::to_owned).collect())
    }

    /// A default of this type.
    fn value(&mut self, node: &Node, value_type: &ValueType) -> Option<Value> {
        let value = match &node.content {
            Content::Boolean(truth) => Value::Boolean(*truth),
            Content::Text(text) => Value::Text(text.clone()),
            Content::Number(number) => {
                let Some(number) = Decimal::parse(number) else {
                    let message = format!("the number {number} is too large or too fine");
                    return self.wrong(node, message, None);
                };
                Value::Number(number)
            }
            Content::Sequence(items) => {
                let ValueType::List(item_type) = value_type else {
                    let message = format!("a default of type {value_type} cannot be a sequence");
                    return self.wrong(node, message, None);
                };
                let values: Vec<Option<Value>> =
                    items.iter().map(|item| self.value(item, item_type)).collect();
                Value::List(values.into_iter().collect::<Option<_>>()?)
            }
            Content::Nothing | Content::Mapping(_) => {
                let help = Some("without a default, leave the line out".to_owned());
                return self.wrong(node, format!("a default that is {}", node.kind()), help);
            }
        };
        match plain::check(&value, value_type) {
            Ok(()) => Some(value),
            Err(why) => self.wrong(node, format!("a default that does not fit: {why}"), None),
        }
    }
}

/// A letter, then letters, digits, `_`, and `-` in front of a letter or digit; at most 64.
pub(crate) fn is_name(text: &str) -> bool {
    let dashes_between = text
        .split('-')
        .skip(1)
        .all(|part| part.starts_with(|first: char| first.is_ascii_alphanumeric()));
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().count() <= MAX_NAME_CHARS
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && dashes_between
}
