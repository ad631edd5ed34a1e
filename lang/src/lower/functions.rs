//! Functions, and the stages that are named in them.

use super::values::Known;
use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Expression, Piece, Place};
use otto_core::gate;
use otto_core::plan::ended_before;
use otto_core::value::Value;

impl Lowering<'_> {
    /// What a call gives.
    pub(super) fn function(
        &mut self,
        name: &str,
        arguments: &[Expression],
        fields: &[String],
        place: Place,
        scope: &Scope,
    ) -> Option<Known> {
        match (name, fields) {
            ("output", [field]) => return self.output(arguments, field, place, scope),
            ("answer", [_]) => {
                self.not_there_yet(place, "`answer(…)`, what somebody answered at a gate");
                return None;
            }
            ("output" | "answer", _) => {
                let message = format!("`{name}(…)` stands with one field: {name}('Name').field");
                self.error(Id::UnknownFunction, place, message);
                return None;
            }
            (_, [field, ..]) => {
                let message = format!("what `{name}(…)` gives has no field `{field}`");
                self.error(Id::UnknownFunction, place, message);
                return None;
            }
            (_, []) => {}
        }
        let value = match name {
            "concat" => self.concat(arguments, place, scope),
            "files" => self.files(arguments, place, scope),
            "changed" => self.changed(arguments, place, scope),
            _ => self.unknown_function(name, place),
        };
        value.map(Known::Plan)
    }

    fn unknown_function(&mut self, name: &str, place: Place) -> Option<Value> {
        const FUNCTIONS: [&str; 5] = ["files", "changed", "concat", "output", "answer"];
        const WAITS: [&str; 6] = ["approval", "callback", "poll", "input", "webhook", "confirm"];
        let message = format!("there is no function `{name}`");
        let problem = Diagnostic::error(Id::UnknownFunction, place, message);
        let help = match nearest(name, FUNCTIONS) {
            Some(near) => format!("did you mean `{near}`?"),
            None if WAITS.contains(&name) => format!("a wait has no parentheses: {name} '…'"),
            None => format!("functions are: {}", FUNCTIONS.join(", ")),
        };
        self.tell(problem.help(help));
        None
    }

    fn concat(&mut self, parts: &[Expression], place: Place, scope: &Scope) -> Option<Value> {
        let pieces: Vec<Piece> = parts.iter().cloned().map(Piece::Value).collect();
        self.template(&pieces, place, scope).map(Value::Text)
    }

    fn patterns(
        &mut self,
        arguments: &[Expression],
        place: Place,
        scope: &Scope,
    ) -> Option<Vec<String>> {
        if arguments.is_empty() {
            self.error(Id::UnknownFunction, place, "a path or a pattern is missing");
            return None;
        }
        let mut patterns = Vec::new();
        for argument in arguments {
            for pattern in self.texts(argument, scope)? {
                patterns.push(pattern);
            }
        }
        Some(patterns)
    }

    fn files(&mut self, arguments: &[Expression], place: Place, scope: &Scope) -> Option<Value> {
        let patterns = self.patterns(arguments, place, scope)?;
        match self.surroundings.repository.files(&patterns) {
            Ok(digest) => Some(Value::Text(digest)),
            Err(cause) => {
                self.error(Id::BadText, place, format!("failed to read these files: {cause}"));
                None
            }
        }
    }

    fn changed(&mut self, arguments: &[Expression], place: Place, scope: &Scope) -> Option<Value> {
        let patterns = self.patterns(arguments, place, scope)?;
        let Some(paths) = self.surroundings.repository.changed() else {
            let problem = Diagnostic::warning(
                Id::UnknownChanges,
                place,
                "nobody can tell what changed here, so everything counts as changed",
            );
            self.tell(problem);
            return Some(Value::Boolean(true));
        };
        let hit = paths.iter().any(|path| patterns.iter().any(|glob| gate::matches(glob, path)));
        Some(Value::Boolean(hit))
    }

    /// What an earlier stage captured.
    fn output(
        &mut self,
        arguments: &[Expression],
        field: &str,
        place: Place,
        scope: &Scope,
    ) -> Option<Known> {
        let [name] = arguments else {
            self.error(Id::UnknownFunction, place, "`output(…)` takes the name of one stage");
            return None;
        };
        let stage = self.earlier_stage(name, scope, true)?;
        let outputs = &self.plan.stages[stage.index()].outputs;
        if let Some(value_type) = outputs.get(field) {
            let expression = gate::Expression::Output { stage, field: field.to_owned() };
            return Some(Known::Run(expression, value_type.clone()));
        }
        let path = self.plan.stages[stage.index()].path.clone();
        let message = format!("the stage '{path}' declares no output `{field}`");
        let problem = Diagnostic::error(Id::UnknownOutput, place, message);
        let near = nearest(field, outputs.keys().map(String::as_str)).map(str::to_owned);
        self.tell(match near {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => {
                problem.help(format!("write `outputs {{ {field} {{ type = string }} }}` there"))
            }
        });
        None
    }

    /// The stage that a name means, which must be earlier: written before, and, where what it
    /// captured matters, surely ended.
    pub(super) fn earlier_stage(
        &mut self,
        name: &Expression,
        scope: &Scope,
        ended: bool,
    ) -> Option<otto_core::ids::StageId> {
        let written = self.name_of(name, scope)?;
        let found = self.names.find(&self.plan.stages, scope.stage, &written);
        let ends = |found: &otto_core::ids::StageId| {
            !ended || ended_before(&self.plan.stages, *found, scope.stage)
        };
        if let Some(found) = found.filter(ends) {
            return Some(found);
        }
        if found.is_some() || self.written.contains(&written) {
            let message =
                format!("the stage '{written}' has not surely ended when this is decided");
            let later = format!("the stage '{written}' is not earlier than this");
            let message = if found.is_some() { message } else { later };
            let problem = Diagnostic::error(Id::NotEarlier, name.place, message);
            self.tell(match found {
                Some(_) => {
                    problem.help(format!("write `needs = ['{written}']`, or move it behind"))
                }
                None => problem.help("only stages that are written before can be named"),
            });
            return None;
        }
        let message = format!("there is no stage '{written}'");
        let problem = Diagnostic::error(Id::UnknownStage, name.place, message);
        let near = nearest(&written, self.written.iter().map(String::as_str)).map(str::to_owned);
        self.tell(match near {
            Some(near) => problem.help(format!("did you mean '{near}'?")),
            None => problem,
        });
        None
    }
}
