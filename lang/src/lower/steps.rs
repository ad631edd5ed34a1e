//! Step calls: every argument checked against the step's signature, folders flattened.

use super::types::{leaves, value_in_script};
use super::{Lowering, Scope};
use crate::diagnostic::{Diagnostic, Id, nearest};
use crate::tree::{Argument, Body, Expression, Kind, Name, Place, Shape, Statement};
use otto_core::capability::Need;
use otto_core::plan::StepCall;
use otto_core::step::{Entrypoint, Parameter, Signature};
use otto_core::value::{Value, ValueType};
use std::collections::BTreeMap;

/// The most steps that a plan may have.
const MAX_STEPS: usize = 100_000;

/// What the steps of a block share.
#[derive(Clone, Default)]
struct Around {
    /// Their folder, from the workspace.
    folder: String,
    settings: BTreeMap<String, String>,
}

/// What a statement gives to the step that it calls.
struct Given<'s> {
    name: &'s Name,
    arguments: &'s [Argument],
    block: Option<&'s Body>,
}

impl Lowering<'_> {
    /// The steps of `steps { … }` or `finally { … }`.
    pub(super) fn steps(&mut self, statement: &Statement, scope: &Scope) -> Vec<StepCall> {
        let mut calls = Vec::new();
        let Some(body) = self.block(statement, "sh 'make'") else { return calls };
        self.steps_of(&body.statements, scope, &Around::default(), &mut calls);
        let only_settings = body.statements.iter().all(|inner| inner.name.text == "settings");
        if only_settings {
            let message = format!("`{}` holds no step", statement.name.text);
            let problem = Diagnostic::error(Id::Nothing, statement.name.place, message)
                .help(format!("write for example `{} {{ sh 'make test' }}`", statement.name.text));
            self.tell(problem);
        }
        calls
    }

    fn steps_of(
        &mut self,
        statements: &[Statement],
        scope: &Scope,
        around: &Around,
        calls: &mut Vec<StepCall>,
    ) {
        let mut around = around.clone();
        let mut met = BTreeMap::new();
        for settings in statements.iter().filter(|inner| is_settings(inner)) {
            if self.once(&mut met, settings) {
                around.settings.extend(self.settings(settings, scope));
            }
        }
        let mut index = 0;
        while let Some(statement) = statements.get(index) {
            index += 1;
            if self.full {
                break;
            }
            if is_settings(statement) {
                continue;
            }
            let swallowed = self.unquoted_words(statement, &statements[index..]);
            index += swallowed;
            if swallowed == 0 {
                self.step(statement, scope, &around, calls);
            }
        }
    }

    /// `sh make test`: words where a quoted text was meant. Gives how many statements they are.
    fn unquoted_words(&mut self, first: &Statement, rest: &[Statement]) -> usize {
        if first.shape != Shape::Word || !self.is_step(&first.name.text) {
            return 0;
        }
        let line = self.lines.number(first.place.start);
        let words = rest
            .iter()
            .take_while(|next| self.lines.number(next.place.start) == line)
            .take_while(|next| next.shape == Shape::Word || !self.is_step(&next.name.text))
            .count();
        let Some(last) = words.checked_sub(1).and_then(|last| rest.get(last)) else { return 0 };
        let place = rest[0].place.to(last.place);
        let written = self.text.get(place.start..place.end).unwrap_or_default();
        let step = &first.name.text;
        let message = format!("what `{step}` gets must stand in quotes");
        let help = match written {
            "branch" | "tag" | "commit" => {
                format!("write `{step} \"${{{written}}}\"` for the value")
            }
            _ => format!("write `{step} '{}'`", written.replace('\'', "''")),
        };
        self.tell(Diagnostic::error(Id::UnquotedArgument, place, message).help(help));
        words
    }

    fn step(
        &mut self,
        statement: &Statement,
        scope: &Scope,
        around: &Around,
        calls: &mut Vec<StepCall>,
    ) {
        let name = &statement.name;
        let given = match &statement.shape {
            Shape::Call { arguments, body } => Given { name, arguments, block: body.as_ref() },
            Shape::Block { head: None, body } => Given { name, arguments: &[], block: Some(body) },
            Shape::Head(head) if head.is_empty() => Given { name, arguments: &[], block: None },
            shape => return self.no_step(name, shape),
        };
        if self.steps >= MAX_STEPS {
            let message = format!("this plan has more than {MAX_STEPS} steps");
            return self.error(Id::TooMany, name.place, message);
        }
        self.steps += 1;
        let Some((library, signature)) = self.signature(&name.text, name.place) else { return };
        if !signature.credentials.is_empty() {
            let what = format!("`{}`, a step that asks for credentials", name.text);
            return self.not_there_yet(name.place, &what);
        }
        let Some((arguments, timeout)) = self.arguments(&given, signature, scope) else {
            if let Entrypoint::Folder { .. } = signature.entrypoint {
                // The folder is not known, and the steps in it can be right or wrong all the same.
                let bodies = given.arguments.iter().filter_map(steps_in).chain(given.block);
                for body in bodies {
                    self.steps_of(&body.statements, scope, around, calls);
                }
            }
            return;
        };
        if let Entrypoint::Folder { parameter } = &signature.entrypoint {
            if timeout.is_some() {
                let message = format!("`{}` is no process, so it has no time limit", name.text);
                let problem = Diagnostic::error(Id::UnknownArgument, name.place, message)
                    .help("give one to the steps in it, or to the stage");
                self.tell(problem);
            }
            return self.folder(&given, arguments.get(parameter), scope, around, calls);
        }
        let mut settings = around.settings.clone();
        settings.extend(self.own_settings(&given, scope));
        self.call(&library, signature);
        self.needs_architecture(signature, scope);
        calls.push(StepCall {
            symbol: signature.symbol.clone(),
            library,
            arguments,
            folder: around.folder.clone(),
            settings,
            timeout,
        });
    }

    /// A step that runs on some architectures only makes its stage need one of them.
    fn needs_architecture(&mut self, signature: &Signature, scope: &Scope) {
        if signature.architectures.is_empty() {
            return;
        }
        let any = Need::Any(signature.architectures.iter().cloned().map(Need::Arch).collect());
        if let Need::All(needs) = &mut self.at(scope.stage).runtime
            && !needs.contains(&any)
        {
            needs.push(any);
        }
    }

    /// A statement that calls no step, whatever its word.
    fn no_step(&mut self, name: &Name, shape: &Shape) {
        let word = &name.text;
        if !self.is_step(word) {
            if super::words::STAGE.contains(&word.as_str()) {
                let message = format!("`{word}` is no step");
                let problem = Diagnostic::error(Id::UnknownWord, name.place, message)
                    .help(format!("`{word}` stands beside `steps`, in the stage"));
                return self.tell(problem);
            }
            self.signature(word, name.place);
            return;
        }
        let message = if *shape == Shape::Word {
            format!("`{word}` gets nothing here")
        } else {
            format!("`{word}` is not called like this")
        };
        let problem = Diagnostic::error(Id::WrongShape, name.place, message);
        let help = match shape {
            Shape::Head(arguments) => {
                let written: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                format!("write `{word} {}`", written.join(", "))
            }
            Shape::Property(value) => format!("write `{word} {value}`"),
            Shape::Arrow(_)
            | Shape::Call { .. }
            | Shape::Block { .. }
            | Shape::Word
            | Shape::Uses(_)
            | Shape::Conditions(_) => {
                format!("write `{word} '…'`, or `{word}()` where it needs nothing")
            }
        };
        self.tell(problem.help(help));
    }

    /// The settings of one step: `sh 'make' { settings { … } }`.
    fn own_settings(&mut self, given: &Given<'_>, scope: &Scope) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        if let Some(list) = given.arguments.iter().find_map(steps_in) {
            self.no_block(given.name, list.place);
        }
        for inner in given.block.iter().flat_map(|body| &body.statements) {
            if is_settings(inner) {
                settings.extend(self.settings(inner, scope));
            } else {
                self.no_block(given.name, inner.place);
            }
        }
        settings
    }

    fn no_block(&mut self, name: &Name, place: Place) {
        let message = format!("`{}` takes no steps", name.text);
        let problem = Diagnostic::error(Id::NoBlock, place, message)
            .help("write them behind it; a block behind this step holds `settings { … }`");
        self.tell(problem);
    }

    /// `dir 'web' { … }`: its steps run in that folder.
    fn folder(
        &mut self,
        given: &Given<'_>,
        folder: Option<&Value>,
        scope: &Scope,
        around: &Around,
        calls: &mut Vec<StepCall>,
    ) {
        let Some(Value::Text(folder)) = folder else { return };
        let joined = joined(&around.folder, folder);
        let place = given.name.place;
        if leaves(folder) || joined.is_none() {
            let message = format!("the folder '{folder}' leaves the workspace");
            return self.error(Id::OutsideWorkspace, place, message);
        }
        let inside =
            Around { folder: joined.unwrap_or_default(), settings: around.settings.clone() };
        let lists = given.arguments.iter().filter_map(steps_in).chain(given.block);
        let bodies: Vec<&Body> = lists.collect();
        if bodies.iter().all(|body| body.statements.is_empty()) {
            let message = format!("`{}` holds no steps", given.name.text);
            let problem = Diagnostic::error(Id::NoBlock, place, message)
                .help(format!("write `{} '{folder}' {{ sh 'make' }}`", given.name.text));
            return self.tell(problem);
        }
        for body in bodies {
            self.steps_of(&body.statements, scope, &inside, calls);
        }
    }

    /// The arguments by parameter, defaults filled in, and the step's time limit.
    fn arguments(
        &mut self,
        given: &Given<'_>,
        signature: &Signature,
        scope: &Scope,
    ) -> Option<(BTreeMap<String, Value>, Option<otto_core::time::Span>)> {
        let mut bound: BTreeMap<&str, Vec<&Expression>> = BTreeMap::new();
        let mut positions = signature.parameters.iter().enumerate().peekable();
        let (mut timeout, mut right) = (None, true);
        for argument in given.arguments {
            match argument {
                Argument::Steps(_) => {}
                Argument::Positional(value) => {
                    let Some((index, parameter)) = positions.peek().copied() else {
                        self.too_many(given.name, signature, value.place);
                        right = false;
                        continue;
                    };
                    // The last parameter takes all the rest where it is a list.
                    let last = index + 1 == signature.parameters.len();
                    if !(last && matches!(parameter.value_type, ValueType::List(_))) {
                        positions.next();
                    }
                    bound.entry(&parameter.name).or_default().push(value);
                }
                Argument::Option(name, value) => match signature.parameter(&name.text) {
                    Some(parameter) if !bound.contains_key(parameter.name.as_str()) => {
                        bound.insert(&parameter.name, vec![value]);
                    }
                    Some(_) => {
                        let message = format!("`{}` is given twice", name.text);
                        self.error(Id::Twice, name.place, message);
                        right = false;
                    }
                    None if name.text == "timeout" && timeout.is_none() => {
                        timeout = self.time_limit(value, scope);
                        right &= timeout.is_some();
                    }
                    None => {
                        self.unknown_argument(name, signature);
                        right = false;
                    }
                },
            }
        }
        let mut arguments = BTreeMap::new();
        for parameter in &signature.parameters {
            let values = bound.remove(parameter.name.as_str());
            match self.argument(given.name, parameter, values, scope) {
                Ok(Some(value)) => {
                    arguments.insert(parameter.name.clone(), value);
                }
                Ok(None) => {}
                Err(()) => right = false,
            }
        }
        right.then_some((arguments, timeout))
    }

    /// One parameter's value; nothing for an optional one; an error that was told.
    fn argument(
        &mut self,
        step: &Name,
        parameter: &Parameter,
        given: Option<Vec<&Expression>>,
        scope: &Scope,
    ) -> Result<Option<Value>, ()> {
        let Some(given) = given else {
            if parameter.default.is_some() || parameter.optional {
                return Ok(parameter.default.clone());
            }
            let message =
                format!("`{}` needs `{}`: {}", step.text, parameter.name, parameter.value_type);
            let problem = Diagnostic::error(Id::MissingArgument, step.place, message)
                .help(format!("write `{} {}: …`", step.text, parameter.name));
            self.tell(problem);
            return Err(());
        };
        if let [value] = given.as_slice() {
            let inserts = matches!(value.kind, Kind::Template(_));
            if parameter.value_type == ValueType::Script && inserts {
                self.tell(value_in_script(value.place));
                return Err(());
            }
            return self.value(value, &parameter.value_type, scope).map(Some).ok_or(());
        }
        // Several values for the last parameter, which is a list.
        let ValueType::List(item) = &parameter.value_type else { return Err(()) };
        let values: Vec<_> = given.iter().map(|value| self.value(value, item, scope)).collect();
        values.into_iter().collect::<Option<_>>().map(|list| Some(Value::List(list))).ok_or(())
    }

    fn too_many(&mut self, step: &Name, signature: &Signature, place: Place) {
        let most = signature.parameters.len();
        let message = match most {
            0 => format!("`{}` takes no arguments", step.text),
            1 => format!("`{}` takes one argument", step.text),
            _ => format!("`{}` takes {most} arguments", step.text),
        };
        self.error(Id::TooManyArguments, place, message);
    }

    fn unknown_argument(&mut self, name: &Name, signature: &Signature) {
        let mut known: Vec<&str> =
            signature.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        known.push("timeout");
        let message = format!("`{}` has no argument `{}`", signature.symbol, name.text);
        let problem = Diagnostic::error(Id::UnknownArgument, name.place, message);
        self.tell(match nearest(&name.text, known.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("it has: {}", known.join(", "))),
        });
    }
}

fn is_settings(statement: &Statement) -> bool {
    statement.name.text == "settings" && matches!(statement.shape, Shape::Block { .. })
}

fn steps_in(argument: &Argument) -> Option<&Body> {
    match argument {
        Argument::Steps(body) => Some(body),
        Argument::Positional(_) | Argument::Option(..) => None,
    }
}

/// A folder inside another one, in one way however it was written; `None` where it leaves.
fn joined(outer: &str, inner: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in outer.split('/').chain(inner.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn folders_nest_and_stay_inside() {
        let check = |outer: &str, inner: &str, whole: Option<&str>| {
            assert_eq!(joined(outer, inner).as_deref(), whole, "{outer} / {inner}");
        };
        check("", "web", Some("web"));
        check("web", "./a//b/", Some("web/a/b"));
        check("web", "a/../b", Some("web/b"));
        check("", "..", None);
    }
}
