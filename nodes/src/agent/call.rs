//! From a step call of the plan to a process: its program, arguments and environment, and how its
//! end counts.

use super::host::Host;
use super::workspace::Grounds;
use crate::launcher::STEP_PREFIX;
use crate::launcher::messages::{Exit, StepStart};
use otto_actors::ports::control::Assignment;
use otto_core::plan::StepCall;
use otto_core::run::outcome::{Outcome, Section, StepPlace};
use otto_core::step::{Entrypoint, Library, LibrarySource, Signature, Word};
use otto_core::value::Value;
use otto_stdlib::invocation::{Control, Identity, Invocation, VARIABLE, VERSION};
use otto_stdlib::plain::Plain;
use std::collections::{BTreeMap, BTreeSet};

/// The longest script that is an argument of its shell. The kernel takes 128 KiB for one argument.
const ARGUMENT_BYTES: usize = 96 * 1024;
/// The first thing beyond the standard descriptors that a step finds open.
const FIRST: &str = "/proc/self/fd/3";

/// One call with all that the plan says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) place: StepPlace,
    pub(super) call: &'a StepCall,
    pub(super) library: &'a Library,
    pub(super) signature: &'a Signature,
}

/// What a step is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Command {
    /// The program.
    pub(super) program: String,
    /// The arguments, its own name first.
    pub(super) arguments: Vec<String>,
    /// Text that it finds open as descriptor 3.
    pub(super) text: Option<String>,
}

impl<'a> Called<'a> {
    /// Finds a step of an assignment; `None` where there is none at this place.
    pub(super) fn find(assignment: &'a Assignment, place: StepPlace) -> Option<Self> {
        let steps = match place.section {
            Section::Steps => &assignment.steps,
            Section::Finally => &assignment.finally,
        };
        let call = steps.get(usize::try_from(place.index).ok()?)?;
        let library = assignment.libraries.get(&call.library)?;
        let signature = library.steps.get(&call.symbol)?;
        Some(Self { assignment, place, call, library, signature })
    }

    /// What to execute; `None` where the step has no process.
    pub(super) fn command(&self, grounds: &Grounds) -> Option<Command> {
        match &self.signature.entrypoint {
            Entrypoint::Script { parameter } => Some(script(self.argument(parameter).to_string())),
            Entrypoint::Arguments(words) => Some(self.vector(words)),
            Entrypoint::Program { path } => {
                let program = grounds.library(&self.library.name).join(path);
                let program = program.to_string_lossy().into_owned();
                let arguments = vec![program.clone(), grounds.invocation_path()];
                Some(Command { program, arguments, text: None })
            }
            Entrypoint::Image { name } => Some(Command {
                program: "/proc/self/exe".to_owned(),
                arguments: vec![format!("{STEP_PREFIX}{name}"), grounds.invocation_path()],
                text: None,
            }),
            Entrypoint::Folder { .. } => None,
        }
    }

    fn argument(&self, parameter: &str) -> &Value {
        self.call.arguments.get(parameter).unwrap_or(&Value::Absent)
    }

    fn vector(&self, words: &[Word]) -> Command {
        let mut arguments = Vec::new();
        for word in words {
            match word {
                Word::Literal(text) => arguments.push(text.clone()),
                Word::Parameter(name) => match self.argument(name) {
                    Value::Absent => {}
                    Value::List(values) => arguments.extend(values.iter().map(Value::to_string)),
                    value @ (Value::Text(_) | Value::Number(_) | Value::Boolean(_)) => {
                        arguments.push(value.to_string());
                    }
                },
            }
        }
        let program = arguments.first().cloned().unwrap_or_default();
        Command { program, arguments, text: None }
    }

    /// The message by which the stage process starts it.
    pub(super) fn start(
        &self,
        command: &Command,
        host: &Host,
        grounds: &Grounds,
        captured: &BTreeMap<String, Value>,
    ) -> StepStart {
        let mut variables = host.variables(&grounds.temporary(), &grounds.commands());
        let settings = self.assignment.settings.iter().chain(&self.call.settings);
        variables.extend(settings.map(|(name, value)| (name.clone(), value.clone())));
        // What says who a step is and what earlier ones captured is not an author's to set.
        variables.retain(|name, _| !is_reserved(name));
        let ours = self.assignment.settings.iter().filter(|(name, _)| name.starts_with("OTTO_"));
        variables.extend(ours.map(|(name, value)| (name.clone(), value.clone())));
        variables.extend(captured.iter().map(|(name, value)| (variable(name), value.to_string())));
        variables.insert(VARIABLE.to_owned(), grounds.invocation_path());
        let environment = variables.into_iter().map(|(name, value)| format!("{name}={value}"));
        StepStart {
            program: command.program.clone(),
            arguments: command.arguments.clone(),
            environment: environment.collect(),
            workspace: grounds.workspace(),
            folder: self.call.folder.clone(),
        }
    }

    /// The invocation file's content.
    pub(super) fn invocation(&self, grounds: &Grounds, control: Control) -> Invocation {
        let lease = self.assignment.lease;
        let section = match self.place.section {
            Section::Steps => "steps",
            Section::Finally => "finally",
        };
        let plain = |(name, value): (&String, &Value)| (name.clone(), Plain(value.clone()));
        let configured = self.library.configuration.iter();
        Invocation {
            version: VERSION,
            identity: Identity {
                project: self.assignment.project.clone(),
                run: lease.run.number,
                stage: self.assignment.path.clone(),
                attempt: lease.attempt.0,
                epoch: lease.epoch.to_string(),
                step: self.call.symbol.clone(),
                place: format!("{section}/{}", self.place.index),
            },
            parameters: self.call.arguments.iter().map(plain).collect(),
            configuration: configured
                .filter_map(|setting| Some(plain((&setting.name, setting.default.as_ref()?))))
                .collect(),
            library: match self.library.source {
                LibrarySource::Builtin => None,
                LibrarySource::Repository { .. } => Some(grounds.library(&self.library.name)),
            },
            cache: self.signature.cache.then(|| grounds.cache(&self.library.name)),
            control: Some(control),
        }
    }

    /// How the end of the step's process counts, and what to say of it.
    pub(super) fn judge(&self, exit: Exit) -> (Outcome, String) {
        let code = match exit {
            Exit::Signal(signal) => return (Outcome::Failed, format!("signal {signal}")),
            Exit::Code(code) => code,
        };
        let detail = format!("exit code {code}");
        if code == 0 {
            return (Outcome::Success, detail);
        }
        let outcome = match &self.signature.entrypoint {
            Entrypoint::Program { .. } | Entrypoint::Image { .. } => match code {
                2 => Outcome::Cancelled,
                3 => Outcome::Unstable,
                _ => Outcome::Failed,
            },
            Entrypoint::Script { .. } | Entrypoint::Arguments(_) | Entrypoint::Folder { .. } => {
                let unstable = self.unstable().contains(&code.into());
                if unstable { Outcome::Unstable } else { Outcome::Failed }
            }
        };
        (outcome, detail)
    }

    /// The exit codes that count as unstable, where the step has such an argument.
    fn unstable(&self) -> BTreeSet<i64> {
        let numbers = match self.argument("unstable") {
            Value::List(values) => values.as_slice(),
            single @ (Value::Number(_) | Value::Text(_) | Value::Boolean(_) | Value::Absent) => {
                std::slice::from_ref(single)
            }
        };
        let code = |value: &Value| match value {
            Value::Number(number) => i64::try_from(number.as_count()?).ok(),
            Value::Text(_) | Value::Boolean(_) | Value::List(_) | Value::Absent => None,
        };
        numbers.iter().filter_map(code).collect()
    }
}

fn is_reserved(name: &str) -> bool {
    name.starts_with("OTTO_") || name.starts_with("VAR_")
}

/// The environment variable of a captured value, in capitals like all of them; shells know no `-`
/// in names.
fn variable(name: &str) -> String {
    format!("VAR_{}", name.replace('-', "_").to_ascii_uppercase())
}

/// Hands a script to the interpreter that its first line names, else to `sh -xe`. Its text is never
/// changed; an interpreter finds it as a file.
fn script(text: String) -> Command {
    let named = text.strip_prefix("#!").and_then(|rest| rest.lines().next()).map(str::trim);
    if let Some(line) = named.filter(|line| !line.is_empty()) {
        // As the kernel does it: everything behind the program is one argument.
        let (program, argument) =
            line.split_once([' ', '\t']).map_or((line, ""), |(program, rest)| (program, rest));
        let argument = argument.trim();
        let mut arguments = vec![program.to_owned()];
        arguments.extend((!argument.is_empty()).then(|| argument.to_owned()));
        arguments.push(FIRST.to_owned());
        return Command { program: program.to_owned(), arguments, text: Some(text) };
    }
    let mut arguments = vec!["sh".to_owned()];
    if text.len() <= ARGUMENT_BYTES {
        arguments.extend(["-xec".to_owned(), "--".to_owned(), text]);
        return Command { program: "sh".to_owned(), arguments, text: None };
    }
    arguments.extend(["-xe".to_owned(), FIRST.to_owned()]);
    Command { program: "sh".to_owned(), arguments, text: Some(text) }
}
