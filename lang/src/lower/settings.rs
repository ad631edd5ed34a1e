//! `settings { … }` and `environments { … }`: the environment variables of steps.

use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Body, Expression, Kind, Place, Shape, Statement};
use otto_core::plan::Environment;
use otto_core::release::{self, Unserved};
use otto_core::value::{Value, ValueType};
use std::collections::BTreeMap;

impl Lowering<'_> {
    /// What a `settings` block sets.
    pub(super) fn settings(
        &mut self,
        statement: &Statement,
        scope: &Scope,
    ) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        let Some(body) = self.block(statement, "NAME = 'value'") else { return settings };
        let (mut met, mut unknown) = (BTreeMap::new(), Vec::new());
        for setting in &body.statements {
            let Some(value) = self.property(setting, "'value'") else { continue };
            if !self.once(&mut met, setting) || !self.may_be_set(setting) {
                continue;
            }
            match self.setting(value, scope) {
                Some(value) => drop(settings.insert(setting.name.text.clone(), value)),
                None => unknown.push(setting.name.text.clone()),
            }
        }
        // They can be seen from further inside, not from beside them.
        self.unknown_settings.extend(unknown);
        settings
    }

    /// A setting's value: text, a number, or true or false, as a script sees it.
    fn setting(&mut self, value: &Expression, scope: &Scope) -> Option<String> {
        use super::values::Known;
        match (&value.kind, self.known(value, scope)?) {
            (_, Known::Plan(Value::Absent)) => {
                let message = format!("`{value}` has no value here");
                let problem = Diagnostic::error(Id::AbsentInText, value.place, message).help(
                    format!("compare it in a `when` first: an absent {value} equals nothing"),
                );
                self.tell(problem);
                None
            }
            (_, Known::Plan(known @ (Value::Text(_) | Value::Number(_) | Value::Boolean(_)))) => {
                let text = known.to_string();
                if text.contains('\0') {
                    self.error(
                        Id::BadSetting,
                        value.place,
                        "a setting cannot hold the character NUL",
                    );
                    return None;
                }
                Some(text)
            }
            (_, Known::Plan(list @ Value::List(_))) => {
                self.fitting(list, &ValueType::Text, value.place);
                None
            }
            (_, Known::Run(..)) => {
                let message = "settings are made before the run, and this is known only then";
                self.error(Id::TooEarly, value.place, message);
                None
            }
        }
    }

    fn may_be_set(&mut self, setting: &Statement) -> bool {
        let name = setting.name.text.as_str();
        let place = setting.name.place;
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let message = format!("`{name}` is no name of an environment variable");
            let problem = Diagnostic::error(Id::BadSetting, place, message)
                .help("it has letters, digits and _, and starts with no digit");
            self.tell(problem);
            return false;
        }
        if name.starts_with("OTTO_") || name.starts_with("VAR_") {
            let message = format!("`{name}` cannot be set: OTTO_… and VAR_… are made by Otto");
            self.error(Id::BadSetting, place, message);
            return false;
        }
        true
    }

    /// The settings that hold at a place: the pipeline's, its environment's, its stages', the
    /// innermost first.
    pub(super) fn settings_in(&self, scope: &Scope) -> BTreeMap<String, String> {
        let mut settings = self.pipeline_settings.clone();
        let environment = scope.environment.as_ref().and_then(|name| self.environments.get(name));
        if let Some(environment) = environment {
            settings.extend(environment.settings.clone());
        }
        settings.extend(scope.settings.clone());
        settings
    }

    /// Declares environments. Names first, so that they can speak of each other.
    pub(super) fn declare_environments(&mut self, body: &Body) {
        let mut met = BTreeMap::new();
        let mut bodies = Vec::new();
        for statement in &body.statements {
            let Some(body) = self.block(statement, "settings { … }") else { continue };
            if self.once(&mut met, statement) {
                let environment = Environment { delivers: true, ..Environment::default() };
                self.environments.insert(statement.name.text.clone(), environment);
                bodies.push((&statement.name.text, body));
            }
        }
        for (name, body) in bodies {
            let environment = self.environment(body);
            self.environments.insert(name.clone(), environment);
        }
    }

    fn environment(&mut self, body: &Body) -> Environment {
        let scope = Scope::default();
        let mut environment = Environment { delivers: true, ..Environment::default() };
        let mut met = BTreeMap::new();
        for statement in &body.statements {
            if !self.once(&mut met, statement) {
                continue;
            }
            match statement.name.text.as_str() {
                "settings" => environment.settings = self.settings(statement, &scope),
                "after" => {
                    let value = self.property(statement, "preprod");
                    let name = value.and_then(|value| self.environment_name(value, &scope));
                    environment.after = name;
                }
                "lock" => {
                    let value = self.property(statement, "true");
                    let lock = value.and_then(|value| self.boolean(value, &scope));
                    environment.lock = lock.unwrap_or_default();
                }
                "freeze" => {
                    let value = self.property(statement, "'a window'");
                    environment.freeze = value.and_then(|value| self.text(value, &scope));
                }
                "approvers" => {
                    let value = self.property(statement, "['@group']");
                    let approvers = value.and_then(|value| self.texts(value, &scope));
                    environment.approvers = approvers.unwrap_or_default();
                }
                "delivers" => {
                    let value = self.property(statement, "false");
                    let delivers = value.and_then(|value| self.boolean(value, &scope));
                    environment.delivers = delivers.unwrap_or(true);
                }
                _ => self.unknown_word(statement, "an environment", words::ENVIRONMENT),
            }
        }
        environment
    }

    fn environment_name(&mut self, value: &Expression, scope: &Scope) -> Option<String> {
        let name = self.name_of(value, scope)?;
        if self.environments.contains_key(&name) {
            return Some(name);
        }
        let message = format!("there is no environment `{name}`");
        let problem = Diagnostic::error(Id::UnknownEnvironment, value.place, message);
        let near = nearest(&name, self.environments.keys().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it: environments {{ {name} {{ … }} }}"),
        };
        self.tell(problem.help(help));
        None
    }

    /// `environment -> preprod`, or `environment = preprod`: where a stage runs for.
    ///
    /// Only environments that are no delivery can be served yet: their settings.
    pub(super) fn enter_environment(&mut self, statement: &Statement, scope: &mut Scope) {
        let (Shape::Arrow(value) | Shape::Property(value)) = &statement.shape else {
            return self.wrong_shape(statement, "environment -> preprod");
        };
        if !matches!(value.kind, Kind::Path(_) | Kind::Text(_) | Kind::Template(_)) {
            return self.wrong_shape(statement, "environment -> preprod");
        }
        let Some(name) = self.environment_name(value, scope) else { return };
        let Some(environment) = self.environments.get(&name) else { return };
        let what = match release::unserved(environment) {
            None => None,
            Some(Unserved::Delivery) => Some(format!("delivering to the environment `{name}`")),
            Some(Unserved::HeldBack) => {
                Some(format!("what holds stages of `{name}` back: after, lock, freeze, approvers"))
            }
        };
        if let Some(what) = what {
            return self.not_there_yet(statement_place(statement), &what);
        }
        self.plan.environments.insert(name.clone(), environment.clone());
        scope.environment = Some(name);
    }
}

fn statement_place(statement: &Statement) -> Place {
    statement.place
}
