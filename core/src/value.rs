//! Values of the plan phase: what is known when a run is submitted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A decimal number in millionths, so that every machine computes and prints the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Decimal(pub i64);

impl Decimal {
    const UNIT: i64 = 1_000_000;

    /// A whole number; `None` beyond ±9,223,372,036,854.
    #[must_use]
    pub fn whole(number: i64) -> Option<Self> {
        number.checked_mul(Self::UNIT).map(Self)
    }

    /// Reads `-3`, `0.25`; at most six digits behind the point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || fraction.len() > 6 {
            return None;
        }
        let millionths: i64 = format!("{fraction:0<6}").parse().ok()?;
        let value = whole.parse::<i64>().ok()?.checked_mul(Self::UNIT)?.checked_add(millionths)?;
        Some(Self(if negative { -value } else { value }))
    }

    /// The number, where it is whole and not negative.
    #[must_use]
    pub fn as_count(self) -> Option<u64> {
        (self.0 % Self::UNIT == 0).then(|| u64::try_from(self.0 / Self::UNIT).ok()).flatten()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let unit = Self::UNIT.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", magnitude / unit)?;
        match magnitude % unit {
            0 => Ok(()),
            fraction => write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0')),
        }
    }
}

/// A value that is known before anything runs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(Decimal),
    /// True or false.
    Boolean(bool),
    /// Several values.
    List(Vec<Value>),
    /// Nothing: a tag on a run without one. It equals nothing, not even itself.
    Absent,
}

impl Value {
    /// The name of this value's type, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "number",
            Self::Boolean(_) => "boolean",
            Self::List(_) => "list",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Display for Value {
    /// As a script sees it in an environment variable; lists are joined by line ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(truth) => write!(f, "{truth}"),
            Self::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    let gap = if index == 0 { "" } else { "\n" };
                    write!(f, "{gap}{value}")?;
                }
                Ok(())
            }
            Self::Absent => Ok(()),
        }
    }
}

/// The type that a place expects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// Any text.
    Text,
    /// Text that is run by an interpreter; it may not hold `${}`.
    Script,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// One of these words.
    Enumeration(Vec<String>),
    /// The name of an environment, of these where any are given.
    Environment(Vec<String>),
    /// A length of time.
    Duration,
    /// A number of bytes.
    Size,
    /// A path below the workspace.
    Path,
    /// Several values of one type.
    List(Box<ValueType>),
}

impl ValueType {
    /// Whether a captured value is of this type. How words for paths, durations and sizes are
    /// written was checked where they came from.
    #[must_use]
    pub fn admits(&self, value: &Value) -> bool {
        match (value, self) {
            (Value::Text(word), Self::Enumeration(words)) => words.contains(word),
            (
                Value::Text(_),
                Self::Text
                | Self::Script
                | Self::Path
                | Self::Environment(_)
                | Self::Duration
                | Self::Size,
            )
            | (Value::Number(_), Self::Number | Self::Size)
            | (Value::Boolean(_), Self::Boolean) => true,
            (Value::List(items), Self::List(item)) => items.iter().all(|each| item.admits(each)),
            (
                Value::Text(_)
                | Value::Number(_)
                | Value::Boolean(_)
                | Value::List(_)
                | Value::Absent,
                _,
            ) => false,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Script => f.write_str("script"),
            Self::Number => f.write_str("number"),
            Self::Boolean => f.write_str("boolean"),
            Self::Enumeration(words) => write!(f, "one of {}", words.join(", ")),
            Self::Environment(names) if names.is_empty() => f.write_str("environment"),
            Self::Environment(names) => write!(f, "environment, one of {}", names.join(", ")),
            Self::Duration => f.write_str("duration"),
            Self::Size => f.write_str("size"),
            Self::Path => f.write_str("path"),
            Self::List(item) => write!(f, "list of {item}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Value, ValueType};
    use proptest::prelude::*;

    #[test]
    fn decimals_read_back_as_written() {
        let check = |text: &str, millionths: i64, written: &str| {
            assert_eq!(Decimal::parse(text), Some(Decimal(millionths)), "{text}");
            assert_eq!(Decimal(millionths).to_string(), written, "{text}");
        };
        check("0", 0, "0");
        check("-3", -3_000_000, "-3");
        check("0.25", 250_000, "0.25");
        check("-0.000001", -1, "-0.000001");
        check("007.500", 7_500_000, "7.5");
        check("9223372036854.775807", i64::MAX, "9223372036854.775807");
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "+1", "1.0000001", "1e3", "--1", "9223372036855"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_whole_numbers_count() {
        assert_eq!(Decimal::whole(7).and_then(Decimal::as_count), Some(7));
        assert_eq!(Decimal::whole(-7).and_then(Decimal::as_count), None);
        assert_eq!(Decimal(1).as_count(), None);
        assert_eq!(Decimal::whole(i64::MAX), None);
    }

    #[test]
    fn values_are_written_as_scripts_see_them() {
        let text = |word: &str| Value::Text(word.to_owned());
        let check = |value: Value, written: &str| assert_eq!(value.to_string(), written);
        check(Value::List(vec![text("a"), Value::Number(Decimal(1_500_000))]), "a\n1.5");
        check(Value::Boolean(true), "true");
        check(Value::Absent, "");
        check(Value::List(Vec::new()), "");
        let words = ValueType::Enumeration(vec!["red".to_owned(), "blue".to_owned()]);
        assert_eq!(ValueType::List(Box::new(words)).to_string(), "list of one of red, blue");
    }

    proptest! {
        #[test]
        fn every_decimal_but_the_least_reads_back(millionths in (i64::MIN + 1)..=i64::MAX) {
            let decimal = Decimal(millionths);
            prop_assert_eq!(Decimal::parse(&decimal.to_string()), Some(decimal));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,12}") {
            let _ = Decimal::parse(&text);
        }
    }
}
