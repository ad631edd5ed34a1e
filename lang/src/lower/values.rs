//! Expressions: what the plan knows becomes a value, what only the run knows stays an expression.

use super::types::{misfit, value_in_script};
use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Expression, Kind, Piece, Place};
use otto_core::gate;
use otto_core::time::Span;
use otto_core::value::{Decimal, Value, ValueType};

/// How long a text may become when values are put into it, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// What is known of an expression.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Its value.
    Plan(Value),
    /// Its type, and how the run computes it.
    Run(gate::Expression, ValueType),
}

impl Known {
    /// The type's name, for messages.
    pub(super) fn type_name(&self) -> String {
        match self {
            Self::Plan(value) => value.type_name().to_owned(),
            Self::Run(_, value_type) => plain_type(value_type).to_owned(),
        }
    }
}

/// The type's name as values know it: an enumeration's words are text.
fn plain_type(value_type: &ValueType) -> &'static str {
    match value_type {
        ValueType::Number => "number",
        ValueType::Boolean => "boolean",
        ValueType::List(_) => "list",
        ValueType::Text
        | ValueType::Script
        | ValueType::Enumeration(_)
        | ValueType::Environment(_)
        | ValueType::Duration
        | ValueType::Size
        | ValueType::Path => "text",
    }
}

impl Lowering<'_> {
    /// The value of an expression at a place that expects a type; `None` where it was refused.
    pub(super) fn value(
        &mut self,
        expression: &Expression,
        expected: &ValueType,
        scope: &Scope,
    ) -> Option<Value> {
        let place = expression.place;
        match (&expression.kind, expected) {
            (Kind::Unit(text), _) => self.unquoted(text, place),
            (Kind::List(items), ValueType::List(item)) => {
                let values: Vec<_> =
                    items.iter().map(|each| self.value(each, item, scope)).collect();
                values.into_iter().collect::<Option<Vec<_>>>().map(Value::List)
            }
            (_, ValueType::List(item)) => match self.known(expression, scope)? {
                Known::Plan(list @ Value::List(_)) => self.fitting(list, expected, place),
                Known::Plan(
                    Value::Text(_) | Value::Number(_) | Value::Boolean(_) | Value::Absent,
                )
                | Known::Run(..) => {
                    self.value(expression, item, scope).map(|value| Value::List(vec![value]))
                }
            },
            (Kind::Path(words), ValueType::Enumeration(_) | ValueType::Environment(_))
                if words.len() == 1 && !scope.values.contains_key(&words[0]) =>
            {
                self.fitting(Value::Text(words[0].clone()), expected, place)
            }
            (Kind::Template(_) | Kind::Path(_) | Kind::Function { .. }, ValueType::Script) => {
                self.tell(value_in_script(place));
                None
            }
            (
                Kind::Text(_)
                | Kind::Template(_)
                | Kind::Number(_)
                | Kind::Boolean(_)
                | Kind::List(_)
                | Kind::Path(_)
                | Kind::Function { .. }
                | Kind::Compare(..)
                | Kind::Not(_)
                | Kind::And(_)
                | Kind::Or(_),
                expected,
            ) => match self.known(expression, scope)? {
                Known::Plan(value) => self.fitting(value, expected, place),
                Known::Run(..) => {
                    let message =
                        "this is known only when the run is there, too late for this place";
                    let problem = Diagnostic::error(Id::TooEarly, place, message)
                        .help("what steps captured can decide a `when` or a gate");
                    self.tell(problem);
                    None
                }
            },
        }
    }

    /// A text of the plan.
    pub(super) fn text(&mut self, expression: &Expression, scope: &Scope) -> Option<String> {
        let Value::Text(text) = self.value(expression, &ValueType::Text, scope)? else {
            return None;
        };
        Some(text)
    }

    /// A list of texts of the plan.
    pub(super) fn texts(&mut self, expression: &Expression, scope: &Scope) -> Option<Vec<String>> {
        let expected = ValueType::List(ValueType::Text.into());
        let Value::List(values) = self.value(expression, &expected, scope)? else { return None };
        Some(values.iter().map(Value::to_string).collect())
    }

    /// True or false.
    pub(super) fn boolean(&mut self, expression: &Expression, scope: &Scope) -> Option<bool> {
        let Value::Boolean(truth) = self.value(expression, &ValueType::Boolean, scope)? else {
            return None;
        };
        Some(truth)
    }

    /// A whole number.
    pub(super) fn count(&mut self, expression: &Expression, scope: &Scope) -> Option<u64> {
        let Value::Number(number) = self.value(expression, &ValueType::Number, scope)? else {
            return None;
        };
        let count = number.as_count().filter(|count| *count > 0);
        if count.is_none() {
            self.error(Id::WrongType, expression.place, "a whole number above zero stands here");
        }
        count
    }

    /// A length of time.
    pub(super) fn duration(&mut self, expression: &Expression, scope: &Scope) -> Option<Span> {
        let Value::Text(text) = self.value(expression, &ValueType::Duration, scope)? else {
            return None;
        };
        Span::parse(&text).ok()
    }

    /// A length of time after which something ends: at zero it would end before it began.
    pub(super) fn time_limit(&mut self, expression: &Expression, scope: &Scope) -> Option<Span> {
        let span = self.duration(expression, scope)?;
        if span == Span(0) {
            let problem =
                Diagnostic::error(Id::BadText, expression.place, "a time above zero stands here")
                    .help("write one such as '20m'");
            self.tell(problem);
            return None;
        }
        Some(span)
    }

    fn unquoted<T>(&mut self, text: &str, place: Place) -> Option<T> {
        let message = format!("{text} is no number");
        let problem = Diagnostic::error(Id::UnquotedUnit, place, message)
            .help(format!("durations, sizes and versions stand in quotes: write '{text}'"));
        self.tell(problem);
        None
    }

    /// The value, if it is of the type that its place expects.
    pub(super) fn fitting(
        &mut self,
        value: Value,
        expected: &ValueType,
        place: Place,
    ) -> Option<Value> {
        let environments: Vec<String> = self.environments.keys().cloned().collect();
        match misfit(&value, expected, &environments) {
            None => Some(value),
            Some((id, message, help)) => {
                let mut problem = Diagnostic::error(id, place, message);
                problem.help.extend(help);
                self.tell(problem);
                None
            }
        }
    }

    /// What is known of an expression, whatever its type.
    pub(super) fn known(&mut self, expression: &Expression, scope: &Scope) -> Option<Known> {
        let place = expression.place;
        let value = match &expression.kind {
            Kind::Text(text) => Value::Text(text.clone()),
            Kind::Template(pieces) => Value::Text(self.template(pieces, place, scope)?),
            Kind::Number(text) => Value::Number(self.number(text, place)?),
            Kind::Unit(text) => return self.unquoted(text, place),
            Kind::Boolean(truth) => Value::Boolean(*truth),
            Kind::List(items) => Value::List(self.list(items, scope)?),
            Kind::Path(words) => self.look_up(words, place, scope)?,
            Kind::Function { name, arguments, fields } => {
                return self.function(name, arguments, fields, place, scope);
            }
            Kind::Compare(..) | Kind::Not(_) | Kind::And(_) | Kind::Or(_) => {
                return self.decide(expression, scope).map(|decision| decision.known);
            }
        };
        Some(Known::Plan(value))
    }

    fn number(&mut self, text: &str, place: Place) -> Option<Decimal> {
        let number = Decimal::parse(text);
        if number.is_none() {
            let message =
                "this number has too many digits: at most twelve, and six behind the point";
            self.error(Id::BadText, place, message);
        }
        number
    }

    fn list(&mut self, items: &[Expression], scope: &Scope) -> Option<Vec<Value>> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match self.known(item, scope)? {
                Known::Plan(Value::List(_)) => {
                    self.error(Id::WrongType, item.place, "a list holds no further lists");
                    return None;
                }
                Known::Plan(value) => values.push(value),
                Known::Run(..) => {
                    self.error(Id::TooEarly, item.place, "a list holds only what the plan knows");
                    return None;
                }
            }
        }
        Some(values)
    }

    /// A text with the values of the plan put into it.
    pub(super) fn template(
        &mut self,
        pieces: &[Piece],
        place: Place,
        scope: &Scope,
    ) -> Option<String> {
        let mut text = String::new();
        let mut complete = true;
        for piece in pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Value(value) => match self.inserted(value, scope) {
                    Some(inserted) => text.push_str(&inserted),
                    None => complete = false,
                },
            }
        }
        if text.len() > MAX_TEXT {
            let message = format!("this text becomes longer than {} KiB", MAX_TEXT >> 10);
            self.error(Id::TooLong, place, message);
            return None;
        }
        complete.then_some(text)
    }

    fn inserted(&mut self, value: &Expression, scope: &Scope) -> Option<String> {
        match self.known(value, scope)? {
            Known::Plan(Value::Absent) => {
                let message = format!("`{value}` has no value here");
                let problem = Diagnostic::error(Id::AbsentInText, value.place, message).help(
                    format!("compare it in a `when` first: an absent {value} equals nothing"),
                );
                self.tell(problem);
                None
            }
            Known::Plan(Value::List(_)) => {
                self.error(Id::WrongType, value.place, "a list cannot stand inside a text");
                None
            }
            Known::Plan(known) => Some(known.to_string()),
            Known::Run(..) => {
                let message = "this is known only when the run is there, and texts are made before";
                self.error(Id::TooEarly, value.place, message);
                None
            }
        }
    }

    /// A value of the plan, by its path.
    fn look_up(&mut self, words: &[String], place: Place, scope: &Scope) -> Option<Value> {
        let revision = &self.surroundings.revision;
        let text = |text: &Option<String>| text.clone().map_or(Value::Absent, Value::Text);
        let path: Vec<&str> = words.iter().map(String::as_str).collect();
        let short = |commit: &Option<String>| {
            text(&commit.as_ref().map(|commit| commit.chars().take(7).collect()))
        };
        match path.as_slice() {
            [word] if scope.values.contains_key(*word) => {
                // An `each` over what nobody knows.
                scope.values.get(*word).filter(|value| **value != Value::Absent).cloned()
            }
            ["branch"] => Some(text(&revision.branch)),
            ["tag"] => Some(text(&revision.tag)),
            ["commit"] => Some(text(&revision.commit)),
            ["commit", "short"] => Some(short(&revision.commit)),
            ["params" | "parameters" | "vars", name] if self.unknown.contains_key(*name) => None,
            ["params" | "parameters" | "vars", name] => {
                let known = self.plan.parameters.get(*name).cloned();
                known.or_else(|| {
                    self.no_such("parameter", name, place, |it| {
                        it.plan.parameters.keys().cloned().collect()
                    })
                })
            }
            ["settings", name] => {
                let settings = self.settings_in(scope);
                let known = settings.get(*name).cloned().map(Value::Text);
                if known.is_none() && self.unknown_settings.contains(*name) {
                    return None;
                }
                known.or_else(|| {
                    self.no_such("setting", name, place, |_| settings.keys().cloned().collect())
                })
            }
            ["trigger", ..] => {
                self.not_there_yet(place, "`trigger`, the value that says what started a run");
                None
            }
            _ => self.unknown_value(words, place, scope),
        }
    }

    fn no_such(
        &mut self,
        what: &str,
        name: &str,
        place: Place,
        known: impl Fn(&Self) -> Vec<String>,
    ) -> Option<Value> {
        let known = known(self);
        let message = format!("there is no {what} `{name}` here");
        let problem = Diagnostic::error(Id::UnknownValue, place, message);
        self.tell(match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem,
        });
        None
    }

    fn unknown_value(&mut self, words: &[String], place: Place, scope: &Scope) -> Option<Value> {
        let written = words.join(".");
        let mut known: Vec<String> =
            ["branch", "tag", "commit", "commit.short"].map(str::to_owned).into();
        known.extend(self.plan.parameters.keys().map(|name| format!("params.{name}")));
        known.extend(scope.values.keys().cloned());
        let message = format!("`{written}` is no value that the plan knows");
        let problem = Diagnostic::error(Id::UnknownValue, place, message);
        let meant = nearest(&written, known.iter().map(String::as_str));
        let parameter = self.plan.parameters.contains_key(&written);
        self.tell(match meant {
            _ if parameter => problem.help(format!("write `params.{written}`")),
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!(
                "for text write '{written}', for the shell's variables use '…'; values are: {}",
                known.join(", ")
            )),
        });
        None
    }
}
