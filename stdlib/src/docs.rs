//! Step libraries as text for people: what `otto steps list` and `otto steps docs` print.

use otto_core::step::{Library, LibrarySource, Parameter, Signature};
use otto_core::value::{Value, ValueType};
use std::fmt::Write;

/// One line for each step of a library, below a line about the library itself.
#[must_use]
pub fn list(library: &Library) -> String {
    let width = library.steps.keys().map(|symbol| symbol.chars().count()).max().unwrap_or(0);
    let mut text = heading(library);
    for (symbol, signature) in &library.steps {
        push(&mut text, &format!("  {symbol:width$}  {}", signature.description));
    }
    text
}

/// All about a library: its configuration and each of its steps.
#[must_use]
pub fn library(library: &Library) -> String {
    let mut text = heading(library);
    push(&mut text, &format!("digest {}", library.digest));
    if !library.configuration.is_empty() {
        push(&mut text, "\nConfiguration:");
        push(&mut text, &table(&library.configuration));
    }
    for signature in library.steps.values() {
        push(&mut text, "");
        push(&mut text, step(signature).trim_end());
    }
    text
}

/// All about one step.
#[must_use]
pub fn step(signature: &Signature) -> String {
    let mut text = String::new();
    push(&mut text, &format!("{} — {}", signature.symbol, signature.description));
    push(&mut text, &format!("    {}", example(signature)));
    if !signature.parameters.is_empty() {
        push(&mut text, &table(&signature.parameters));
    }
    let list = |words: &std::collections::BTreeSet<String>| {
        words.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    if !signature.credentials.is_empty() {
        push(&mut text, &format!("  asks for credentials: {}", list(&signature.credentials)));
    }
    if !signature.architectures.is_empty() {
        push(&mut text, &format!("  runs on: {}", list(&signature.architectures)));
    }
    if signature.cache {
        push(&mut text, "  keeps a folder of its own between runs");
    }
    text
}

fn heading(library: &Library) -> String {
    match &library.source {
        LibrarySource::Builtin => format!("{} (comes with Otto)\n", library.name),
        LibrarySource::Repository { path } => format!("{} (./{path})\n", library.name),
    }
}

/// A call as one writes it: required parameters in order, optional ones by name.
fn example(signature: &Signature) -> String {
    let required = |parameter: &&Parameter| !parameter.optional && parameter.default.is_none();
    let mut words: Vec<String> = signature
        .parameters
        .iter()
        .take_while(required)
        .map(|parameter| sample(&parameter.value_type))
        .collect();
    let named = signature.parameters.iter().skip(words.len()).filter(required);
    words.extend(
        named.map(|parameter| format!("{}: {}", parameter.name, sample(&parameter.value_type))),
    );
    let block = if signature.takes_block() { " { … }" } else { "" };
    if words.is_empty() {
        return format!("{}(){block}", signature.symbol);
    }
    format!("{} {}{block}", signature.symbol, words.join(", "))
}

fn sample(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Text | ValueType::Script | ValueType::Path => "'…'".to_owned(),
        ValueType::Number => "1".to_owned(),
        ValueType::Boolean => "true".to_owned(),
        ValueType::Enumeration(words) => match words.first() {
            Some(word) => format!("'{word}'"),
            None => "'…'".to_owned(),
        },
        ValueType::Environment(names) => match names.first() {
            Some(name) => format!("'{name}'"),
            None => "'production'".to_owned(),
        },
        ValueType::Duration => "'10s'".to_owned(),
        ValueType::Size => "'512M'".to_owned(),
        ValueType::List(item) => format!("[{}]", sample(item)),
    }
}

fn table(parameters: &[Parameter]) -> String {
    let rows: Vec<(String, String, &str)> = parameters
        .iter()
        .map(|parameter| (parameter.name.clone(), kind(parameter), parameter.description.as_str()))
        .collect();
    let name_width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    let kind_width = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, kind, description)| {
            let line = format!("  {name:name_width$}  {kind:kind_width$}  {description}");
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn kind(parameter: &Parameter) -> String {
    let written = |value: &Value| match value {
        Value::Text(text) => format!("'{text}'"),
        Value::List(values) if values.is_empty() => "[]".to_owned(),
        Value::Number(_) | Value::Boolean(_) | Value::List(_) | Value::Absent => {
            value.to_string().replace('\n', ", ")
        }
    };
    match &parameter.default {
        Some(default) => format!("{}, else {}", parameter.value_type, written(default)),
        None if parameter.optional => format!("{}, optional", parameter.value_type),
        None => parameter.value_type.to_string(),
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::{library, list, step};
    use crate::builtin;

    #[test]
    fn a_step_is_told_in_full() {
        let expected = "\
git — Checks out a git repository.
    git '…'
  url         text              Where it is: https://…, ssh://…, user@host:path or file:///….
  ref         text, optional    A branch, a tag or a full commit id; without it the default branch.
  into        path, else '.'    The folder to check it out into; it must be empty or missing.
  history     boolean, else false  All commits and not only the newest.
";
        let told = step(&builtin().steps["git"]);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeeze(&told).starts_with(&squeeze(expected)), "{told}");
        assert!(step(&builtin().steps["dir"]).contains("dir '…' { … }"));
    }

    #[test]
    fn a_library_is_told_with_each_of_its_steps() {
        let told = library(builtin());
        for symbol in builtin().steps.keys() {
            assert!(told.contains(&format!("\n{symbol} — ")), "{symbol}");
            assert!(list(builtin()).contains(&format!("\n  {symbol} ")), "{symbol}");
        }
    }
}
