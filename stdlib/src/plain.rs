//! Values as people and programs write them in JSON and YAML: text, numbers, booleans, lists.

use otto_core::time::Span;
use otto_core::value::{Decimal, Value, ValueType};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value as Json};

/// The deepest nesting of lists that is read.
const MAX_DEPTH: usize = 8;

/// A value in its plain form: what an invocation file and the control socket hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plain(pub Value);

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_json(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Json::deserialize(deserializer)?;
        from_json(&json).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Writes a value as JSON.
#[must_use]
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Text(text) => Json::String(text.clone()),
        Value::Number(number) => {
            let text = number.to_string();
            let whole = text.parse::<i64>().ok().map(Number::from);
            let number = whole.or_else(|| text.parse().ok().and_then(Number::from_f64));
            number.map_or(Json::String(text), Json::Number)
        }
        Value::Boolean(truth) => Json::Bool(*truth),
        Value::List(values) => Json::Array(values.iter().map(to_json).collect()),
        Value::Absent => Json::Null,
    }
}

/// Reads a value from JSON.
///
/// # Errors
/// What cannot be a value: objects, numbers that are too large or too fine, deep nesting.
pub fn from_json(json: &Json) -> Result<Value, String> {
    from_json_at(json, 0)
}

fn from_json_at(json: &Json, depth: usize) -> Result<Value, String> {
    match json {
        Json::Null => Ok(Value::Absent),
        Json::Bool(truth) => Ok(Value::Boolean(*truth)),
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Number(number) => {
            let number = number.as_f64().filter(|_| number.is_f64()).map_or_else(
                || number.to_string(),
                // The shortest decimal form, without an exponent.
                |float| float.to_string(),
            );
            let read = Decimal::parse(&number).map(Value::Number);
            read.ok_or_else(|| format!("the number {number} is too large or too fine"))
        }
        Json::Array(_) if depth >= MAX_DEPTH => Err("lists nested too deeply".to_owned()),
        Json::Array(items) => {
            let items: Result<_, _> =
                items.iter().map(|item| from_json_at(item, depth + 1)).collect();
            items.map(Value::List)
        }
        Json::Object(_) => Err("an object is no value; give text, a number or a list".to_owned()),
    }
}

/// Reads what somebody typed as a value of a type: `name=value` on a command line. Items of a list
/// stand between commas.
///
/// # Errors
/// What was expected and what was found.
pub fn parse(text: &str, value_type: &ValueType) -> Result<Value, String> {
    let expected = || format!("expected {value_type}, found '{text}'");
    let value = match value_type {
        ValueType::Number => Value::Number(Decimal::parse(text).ok_or_else(expected)?),
        ValueType::Boolean => Value::Boolean(text.parse().map_err(|_| expected())?),
        ValueType::List(_) if text.is_empty() => Value::List(Vec::new()),
        ValueType::List(item) => {
            let items: Result<_, _> = text.split(',').map(|text| parse(text, item)).collect();
            Value::List(items?)
        }
        ValueType::Text
        | ValueType::Script
        | ValueType::Enumeration(_)
        | ValueType::Environment(_)
        | ValueType::Duration
        | ValueType::Size
        | ValueType::Path => Value::Text(text.to_owned()),
    };
    check(&value, value_type).map(|()| value)
}

/// Checks that a value is of a type.
///
/// # Errors
/// What was expected and what was found.
pub fn check(value: &Value, value_type: &ValueType) -> Result<(), String> {
    let fits = match (value_type, value) {
        (ValueType::Text | ValueType::Script, Value::Text(_))
        | (ValueType::Number, Value::Number(_))
        | (ValueType::Boolean, Value::Boolean(_)) => true,
        (ValueType::Enumeration(words), Value::Text(word)) => words.contains(word),
        (ValueType::Environment(names), Value::Text(name)) => {
            names.is_empty() || names.contains(name)
        }
        (ValueType::Duration, Value::Text(text)) => return Span::parse(text).map(|_| ()),
        (ValueType::Size, Value::Text(text)) => {
            return otto_core::capability::parse_size(text).map(|_| ());
        }
        (ValueType::Path, Value::Text(path)) => {
            let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
            return if inside {
                Ok(())
            } else {
                Err(format!("'{path}' is no path below the workspace"))
            };
        }
        (ValueType::List(item), Value::List(values)) => {
            return values.iter().try_for_each(|value| check(value, item));
        }
        (
            ValueType::Text
            | ValueType::Script
            | ValueType::Number
            | ValueType::Boolean
            | ValueType::Enumeration(_)
            | ValueType::Environment(_)
            | ValueType::Duration
            | ValueType::Size
            | ValueType::Path
            | ValueType::List(_),
            _,
        ) => false,
    };
    if fits {
        return Ok(());
    }
    let found = match value {
        Value::Text(text) => format!("'{text}'"),
        Value::Number(_) | Value::Boolean(_) => value.to_string(),
        Value::List(_) => "a list".to_owned(),
        Value::Absent => "nothing".to_owned(),
    };
    Err(format!("expected {value_type}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use otto_core::value::{Decimal, Value, ValueType};

    #[test]
    fn typed_text_becomes_a_value_of_its_type() {
        let check = |text: &str, value_type: ValueType, expected: Option<Value>| {
            assert_eq!(parse(text, &value_type).ok(), expected, "{text} as {value_type}");
        };
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        let numbers = || ValueType::List(Box::new(ValueType::Number));
        let words = || ValueType::Enumeration(vec!["small".to_owned(), "large".to_owned()]);
        check("7", ValueType::Text, text("7"));
        check("-0.5", ValueType::Number, Some(Value::Number(Decimal(-500_000))));
        check("seven", ValueType::Number, None);
        check("true", ValueType::Boolean, Some(Value::Boolean(true)));
        check("yes", ValueType::Boolean, None);
        check("small", words(), text("small"));
        check("tiny", words(), None);
        check("1h30m", ValueType::Duration, text("1h30m"));
        check("90", ValueType::Duration, None);
        check("2G", ValueType::Size, text("2G"));
        check("a/b", ValueType::Path, text("a/b"));
        check("../a", ValueType::Path, None);
        check("", numbers(), Some(Value::List(Vec::new())));
        check("1,x", numbers(), None);
        let two = vec![Value::Number(Decimal(1_000_000)), Value::Number(Decimal(2_000_000))];
        check("1,2", numbers(), Some(Value::List(two)));
    }
}
