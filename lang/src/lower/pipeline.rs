//! A whole file, and `pipeline { … }` in it.

use super::stages::is_stage;
use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id};
use crate::tree::{Argument, Body, Expression, Kind, Piece, Place, Shape, Statement};
use otto_core::ids::StageId;
use otto_core::plan::Work;
use std::collections::BTreeMap;

/// The convention that `from 'rust'` names: one word, and nothing behind it.
pub(crate) fn convention_named(from: &Statement) -> Option<String> {
    let Shape::Call { arguments, body: None } = &from.shape else { return None };
    let [Argument::Positional(Expression { kind: Kind::Text(name), .. })] = arguments.as_slice()
    else {
        return None;
    };
    (!name.contains('/')).then(|| name.clone())
}

impl Lowering<'_> {
    /// Everything in a file. What others refer to comes first: libraries, environments, parameters.
    pub(super) fn file(&mut self, statements: &[Statement]) {
        let whole = Place { start: 0, end: self.text.len() };
        if statements.is_empty() {
            let problem =
                Diagnostic::error(Id::EmptyFile, Place::default(), "this file holds nothing").help(
                    "write `pipeline { steps { sh 'make test' } }`, or `pipeline { }` to let \
                       Otto look what the repository holds",
                );
            return self.tell(problem);
        }
        collect_names(statements, &mut self.written);
        self.use_libraries(statements);
        let mut met: BTreeMap<&str, Place> = BTreeMap::new();
        let mut pipelines = Vec::new();
        let mut bodies: BTreeMap<&str, Vec<&Body>> = BTreeMap::new();
        for statement in statements {
            if self.full {
                return;
            }
            let word = statement.name.text.as_str();
            match word {
                "use" => {}
                "pipeline" | "plan" => pipelines.push(statement),
                "environments" | "parameters" | "vars" | "configure" => {
                    let body = self.block(statement, "…");
                    if self.once(&mut met, statement) {
                        bodies.entry(word).or_default().extend(body);
                    }
                }
                "triggers" | "concurrency" => {
                    self.not_there_yet(statement.name.place, &format!("`{word}`"));
                }
                "blueprint" => self.not_there_yet(statement.name.place, "a blueprint"),
                "step" => self.not_there_yet(statement.name.place, "a step that the file defines"),
                _ => self.unknown_word(statement, "a file", words::FILE),
            }
        }
        let of = |word: &str| bodies.get(word).cloned().unwrap_or_default();
        for body in of("environments") {
            self.declare_environments(body);
        }
        let declared = [of("parameters"), of("vars")].concat();
        for body in &declared {
            self.parameters(body);
        }
        self.given_parameters(&declared);
        for body in of("configure") {
            self.configure(body);
        }
        match pipelines.as_slice() {
            [] => {
                let end = Place { start: whole.end, end: whole.end };
                let problem = Diagnostic::error(Id::NoPipeline, end, "this file has no pipeline")
                    .help("write `pipeline { steps { sh 'make test' } }`");
                self.tell(problem);
            }
            [pipeline] => self.pipeline(pipeline),
            [first, second, ..] => {
                let problem =
                    Diagnostic::error(Id::Twice, second.name.place, "a file has one pipeline")
                        .also(first.name.place, "here is the first one")
                        .help("a further pipeline is a file of its own: ci/nightly.otto");
                self.tell(problem);
                self.pipeline(first);
            }
        }
    }

    fn pipeline(&mut self, statement: &Statement) {
        let Some(body) = self.block(statement, "steps { sh 'make test' }") else { return };
        let mut scope = Scope::default();
        let mut met = BTreeMap::new();
        let mut stages = Vec::new();
        for inner in &body.statements {
            let word = inner.name.text.as_str();
            if is_stage(word) {
                stages.push(inner);
                continue;
            }
            if word == "plan" {
                // `plan { stages { } }`, as in one of the original dialects.
                let nested = self.block(inner, "stages { … }").into_iter();
                stages.extend(nested.flat_map(|body| &body.statements));
                continue;
            }
            if !self.once(&mut met, inner) {
                continue;
            }
            match word {
                "settings" => self.pipeline_settings = self.settings(inner, &scope),
                "runtime" => {
                    if let Some(runtime) = self.runtime(inner, &scope) {
                        scope.runtime = runtime;
                    }
                }
                "timeout" => {
                    let value = self.property(inner, "'1h'");
                    let timeout = value.and_then(|value| self.time_limit(value, &scope));
                    self.at(StageId::ROOT).timeout = timeout;
                }
                "notify" => self.not_there_yet(inner.name.place, "`notify` of a pipeline"),
                "from" => self.not_there_yet(
                    inner.name.place,
                    "`from` with more than a convention's name: blueprints and what is beside them",
                ),
                _ => self.unknown_word(inner, "a pipeline", words::PIPELINE),
            }
        }
        // Settings written behind the stages count for them too.
        let root = StageId::ROOT;
        self.at(root).work = Work::Sequence(Vec::new());
        let settings = self.settings_in(&scope);
        self.at(root).settings = settings;
        self.at(root).runtime = scope.runtime.need();
        self.runtimes[0] = scope.runtime.clone();
        let children = self.stages(&stages, root, &scope);
        self.at(root).work = Work::Sequence(children);
        if stages.is_empty() && !met.contains_key("from") {
            let message = "this pipeline has no stage";
            let problem = Diagnostic::error(Id::Nothing, statement.name.place, message)
                .help("write `steps { sh 'make test' }` in it, or `stage('Test') { steps { … } }`");
            self.tell(problem);
        }
        self.settle_libraries(statement.name.place);
    }
}

/// The names of all stages that are written as plain text, for messages.
fn collect_names(statements: &[Statement], names: &mut std::collections::BTreeSet<String>) {
    for statement in statements {
        let Shape::Block { head, body } = &statement.shape else { continue };
        if statement.name.text == "stage" {
            let named = body.statements.iter().find(|inner| inner.name.text == "name");
            let property = named.and_then(|named| {
                if let Shape::Property(value) = &named.shape { Some(value) } else { None }
            });
            let written = head.iter().flatten().next().or(property);
            if let Some(Kind::Text(name)) = written.map(|written| &written.kind) {
                names.insert(name.clone());
            } else if let Some(Kind::Template(pieces)) = written.map(|written| &written.kind)
                && let Some(Piece::Text(text)) = pieces.first()
            {
                names.insert(text.trim().to_owned());
            }
        }
        collect_names(&body.statements, names);
    }
}
