//! Whether a value fits the type that its place expects, and how to say that it does not.

use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::Place;
use otto_core::capability::parse_size;
use otto_core::time::Span;
use otto_core::value::{Decimal, Value, ValueType};

pub(super) fn value_in_script(place: Place) -> Diagnostic {
    Diagnostic::error(Id::ValueInScript, place, "values never enter the text of a script")
        .help("write the script in '…', and give the value by a setting: settings { NAME = … }")
}

/// Why a value does not fit a type: the rule, the message, and help.
pub(super) fn misfit(
    value: &Value,
    expected: &ValueType,
    environments: &[String],
) -> Option<(Id, String, Option<String>)> {
    let wrong = |help: Option<String>| {
        let message = format!("{expected} is expected here, and this is {}", shown(value));
        Some((Id::WrongType, message, help))
    };
    match (expected, value) {
        (ValueType::List(item), Value::List(values)) => {
            values.iter().find_map(|value| misfit(value, item, environments))
        }
        (ValueType::Text | ValueType::Script, Value::Text(text)) if text.contains('\0') => {
            let message = "no step can be given a text with the character NUL".to_owned();
            Some((Id::BadSetting, message, None))
        }
        (ValueType::Text | ValueType::Script, Value::Text(_))
        | (ValueType::Number, Value::Number(_))
        | (ValueType::Boolean, Value::Boolean(_)) => None,
        (ValueType::Number, Value::Text(text)) if Decimal::parse(text).is_some() => {
            wrong(Some(format!("write {text} without quotes")))
        }
        (ValueType::Boolean, Value::Text(text)) if text == "true" || text == "false" => {
            wrong(Some(format!("write {text} without quotes")))
        }
        (ValueType::Text, Value::Number(_) | Value::Boolean(_)) => {
            wrong(Some(format!("write '{value}'")))
        }
        (ValueType::Enumeration(words), Value::Text(text)) => {
            not_one_of(text, words, "one of these words")
        }
        (ValueType::Environment(names), Value::Text(text)) => {
            let known = if names.is_empty() { environments } else { names };
            not_one_of(text, known, "an environment")
        }
        (ValueType::Duration, Value::Text(text)) => {
            Span::parse(text).err().map(|message| (Id::BadText, message, None))
        }
        (ValueType::Size, Value::Text(text)) => {
            parse_size(text).err().map(|message| (Id::BadText, message, None))
        }
        (ValueType::Path, Value::Text(text)) => leaves(text).then(|| {
            let message = format!("the path '{text}' leaves the workspace");
            (Id::OutsideWorkspace, message, Some("paths start in the workspace".to_owned()))
        }),
        (ValueType::Duration, _) => wrong(Some("write one such as '90s' or '20m'".to_owned())),
        (ValueType::Size, _) => wrong(Some("write one such as '512M' or '2G'".to_owned())),
        (
            ValueType::Text
            | ValueType::Script
            | ValueType::Number
            | ValueType::Boolean
            | ValueType::Enumeration(_)
            | ValueType::Environment(_)
            | ValueType::Path
            | ValueType::List(_),
            _,
        ) => wrong(None),
    }
}

fn not_one_of(text: &str, known: &[String], what: &str) -> Option<(Id, String, Option<String>)> {
    if known.iter().any(|word| word == text) {
        return None;
    }
    let help = match nearest(text, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is declared: write `environments { … }`".to_owned(),
        None => format!("possible are: {}", known.join(", ")),
    };
    Some((Id::NotOneOf, format!("`{text}` is not {what}"), Some(help)))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("the text '{text}'"),
        Value::Number(number) => format!("the number {number}"),
        Value::Boolean(truth) => format!("{truth}"),
        Value::List(_) => "a list".to_owned(),
        Value::Absent => "absent".to_owned(),
    }
}

/// Whether a path leaves the folder that it starts in.
pub(super) fn leaves(path: &str) -> bool {
    let mut depth = 0_i64;
    for part in path.split('/') {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return true;
        }
    }
    path.starts_with(['/', '~']) || path.contains('\0')
}
