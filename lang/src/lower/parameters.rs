//! `parameters { … }`: what they declare, and the values that were given.

use super::types::misfit;
use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Body, Expression, Kind, Name, Place, Shape, Statement};
use otto_core::value::{Decimal, Value, ValueType};
use std::collections::BTreeMap;

/// How types are written.
const TYPES: &[&str] = &["string", "text", "number", "boolean", "environment", "enumeration"];

impl Lowering<'_> {
    /// Declares parameters, and gives them their values.
    pub(super) fn parameters(&mut self, body: &Body) {
        let mut met = BTreeMap::new();
        for statement in &body.statements {
            if !self.once(&mut met, statement) {
                continue;
            }
            let Shape::Block { body, .. } = &statement.shape else { continue };
            let Some((value_type, default)) = self.declaration(statement, body) else {
                self.unknown.insert(statement.name.text.clone(), None);
                continue;
            };
            self.give(statement, &value_type, default);
        }
    }

    /// Refuses values that were given to parameters that do not exist.
    pub(super) fn given_parameters(&mut self, declared: &[&Body]) {
        let names: Vec<&str> = declared
            .iter()
            .flat_map(|body| body.statements.iter().map(|statement| statement.name.text.as_str()))
            .collect();
        for name in self.surroundings.parameters.keys() {
            if names.contains(&name.as_str()) {
                continue;
            }
            let message = format!("this pipeline has no parameter `{name}`");
            let problem = Diagnostic::elsewhere(Id::UnknownParameter, message);
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "declare it: parameters { … }".to_owned(),
                None => format!("it has: {}", names.join(", ")),
            };
            self.errors += 1;
            self.problems.push(problem.help(help));
        }
    }

    /// The type and default that a parameter's body declares.
    fn declaration(
        &mut self,
        parameter: &Statement,
        body: &Body,
    ) -> Option<(ValueType, Option<(Value, Place)>)> {
        let mut met = BTreeMap::new();
        let (mut written, mut values, mut default) = (None, None, None);
        for statement in &body.statements {
            if !self.once(&mut met, statement) {
                continue;
            }
            let Some(value) = self.property(statement, "…") else { continue };
            match statement.name.text.as_str() {
                "type" => written = Some(value),
                "values" => values = Some(value),
                "default" => default = Some(value),
                "description" => {
                    self.text(value, &Scope::default());
                }
                _ => self.unknown_word(statement, "a parameter", words::PARAMETER),
            }
        }
        let value_type = match written {
            Some(written) => self.type_of(written, values)?,
            None if values.is_some() => ValueType::Enumeration(self.allowed(values)?),
            None => default.map_or(ValueType::Text, inferred),
        };
        if value_type == ValueType::Enumeration(Vec::new()) {
            let message = format!("the parameter `{}` has no possible value", parameter.name.text);
            let problem = Diagnostic::error(Id::Missing, parameter.name.place, message)
                .help("write `values = ['a', 'b']`");
            self.tell(problem);
            return None;
        }
        let default = match default {
            None => None,
            Some(default) => {
                let value = self.value(default, &value_type, &Scope::default())?;
                Some((value, default.place))
            }
        };
        Some((value_type, default))
    }

    /// The type that a word names, with the values that it is limited to.
    pub(super) fn type_of(
        &mut self,
        written: &Expression,
        values: Option<&Expression>,
    ) -> Option<ValueType> {
        let word = if let Kind::Text(text) = &written.kind {
            text
        } else if let Kind::Path(words) = &written.kind
            && let [word] = words.as_slice()
        {
            word.as_str()
        } else {
            ""
        };
        let value_type = match word {
            "string" | "text" if values.is_none() => ValueType::Text,
            "string" | "text" | "enumeration" => ValueType::Enumeration(self.allowed(values)?),
            "number" => ValueType::Number,
            "boolean" => ValueType::Boolean,
            "environment" => {
                let names = self.allowed(values)?;
                for name in &names {
                    let expected = ValueType::Environment(Vec::new());
                    self.fitting(Value::Text(name.clone()), &expected, values?.place)?;
                }
                ValueType::Environment(names)
            }
            _ => {
                let message = format!("`{written}` is no type");
                let problem = Diagnostic::error(Id::NotOneOf, written.place, message);
                self.tell(match nearest(word, TYPES.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("types are: {}", TYPES.join(", "))),
                });
                return None;
            }
        };
        if let (ValueType::Number | ValueType::Boolean, Some(values)) = (&value_type, values) {
            self.error(Id::WrongType, values.place, "only words can be limited to some values");
            return None;
        }
        Some(value_type)
    }

    /// The words of `values = [preprod, 'production']`.
    fn allowed(&mut self, values: Option<&Expression>) -> Option<Vec<String>> {
        let Some(values) = values else { return Some(Vec::new()) };
        let Kind::List(items) = &values.kind else {
            self.error(Id::WrongType, values.place, "a list of words stands here");
            return None;
        };
        items.iter().map(|item| self.name_of(item, &Scope::default())).collect()
    }

    /// Gives a parameter its value: the one from outside, else its default.
    fn give(
        &mut self,
        parameter: &Statement,
        value_type: &ValueType,
        default: Option<(Value, Place)>,
    ) {
        let name = &parameter.name;
        let value = match self.surroundings.parameters.get(&name.text) {
            Some(text) => self.given(name, text, value_type),
            None if default.is_none() && self.only_checks => None,
            None if default.is_none() => {
                let message =
                    format!("the parameter `{}` got no value and has no default", name.text);
                let problem = Diagnostic::error(Id::NoParameter, name.place, message)
                    .help(format!("give one with --param {}=…, or write `default = …`", name.text));
                self.tell(problem);
                None
            }
            None => default.map(|(value, _)| value),
        };
        if value.is_none() {
            self.unknown.insert(name.text.clone(), Some(value_type.clone()));
        }
        let value = value.unwrap_or_else(|| stand_in(value_type));
        self.plan.parameters.insert(name.text.clone(), value);
    }

    /// The value that was given from outside, if it is one of the parameter's.
    fn given(&mut self, name: &Name, text: &str, value_type: &ValueType) -> Option<Value> {
        let environments: Vec<String> = self.environments.keys().cloned().collect();
        let value = read(text, value_type);
        let Some((_, message, help)) = misfit(&value, value_type, &environments) else {
            return Some(value);
        };
        let message = format!("the parameter `{}` got '{text}': {message}", name.text);
        let mut problem = Diagnostic::error(Id::BadParameter, name.place, message);
        problem.help.extend(help.filter(|help| !help.starts_with("write")));
        self.tell(problem);
        None
    }
}

/// A given text as a value of a type.
fn read(text: &str, value_type: &ValueType) -> Value {
    let read = match value_type {
        ValueType::Number => Decimal::parse(text).map(Value::Number),
        ValueType::Boolean => text.parse().ok().map(Value::Boolean),
        ValueType::Text
        | ValueType::Script
        | ValueType::Enumeration(_)
        | ValueType::Environment(_)
        | ValueType::Duration
        | ValueType::Size
        | ValueType::Path
        | ValueType::List(_) => None,
    };
    read.unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// A value of the type, for a place that cannot do without one.
pub(super) fn stand_in(value_type: &ValueType) -> Value {
    match value_type {
        ValueType::Number => Value::Number(Decimal(0)),
        ValueType::Boolean => Value::Boolean(false),
        ValueType::Enumeration(words) | ValueType::Environment(words) => {
            Value::Text(words.first().cloned().unwrap_or_default())
        }
        ValueType::List(_) => Value::List(Vec::new()),
        ValueType::Text
        | ValueType::Script
        | ValueType::Duration
        | ValueType::Size
        | ValueType::Path => Value::Text(String::new()),
    }
}

/// The type of a parameter that has only a default.
fn inferred(default: &Expression) -> ValueType {
    if matches!(default.kind, Kind::Number(_)) {
        ValueType::Number
    } else if matches!(default.kind, Kind::Boolean(_)) {
        ValueType::Boolean
    } else {
        ValueType::Text
    }
}
