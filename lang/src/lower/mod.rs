//! From a tree to a plan: every check, and the meaning of every construct.
//!
//! One walk does both, so that what is checked is what is planned. It goes on after an error, and
//! gives either a plan or all that is wrong. `each` is expanded on the way; a mistake in its body
//! is told once.

mod conditions;
mod functions;
mod libraries;
mod names;
mod needs;
mod parameters;
mod pipeline;
mod retry;
mod runtime;
mod settings;
mod stage;
mod stages;
mod steps;
mod types;
mod values;
pub(crate) mod words;

use crate::diagnostic::{Diagnostic, Id, MAX_PROBLEMS, Severity, nearest, shown};
use crate::parse::{Lines, Parsed, Request, request};
use crate::tree::{Body, Expression, Kind, Place, Shape, Statement};
use names::Names;
use otto_core::gate::Condition;
use otto_core::ids::StageId;
use otto_core::plan::{Environment, FORMAT, Origin, Plan, Revision, Stage};
use otto_core::release;
use otto_core::step::Library;
use otto_core::value::{Value, ValueType};
use runtime::Runtime;
use std::collections::{BTreeMap, BTreeSet};

/// What the language needs to know of the repository, beyond the text.
pub trait Repository {
    /// A digest of the files that match one of the patterns, for `files(…)`.
    ///
    /// # Errors
    /// When a file could not be read; the text says which and why.
    fn files(&self, patterns: &[String]) -> Result<String, String>;

    /// The paths that this revision changed against its base, for `changed(…)`; `None` where nobody
    /// can tell.
    fn changed(&self) -> Option<Vec<String>>;
}

/// A repository of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRepository;

impl Repository for NoRepository {
    fn files(&self, _: &[String]) -> Result<String, String> {
        Err("there is no repository to read".to_owned())
    }

    fn changed(&self) -> Option<Vec<String>> {
        None
    }
}

/// What a plan is made for.
pub struct Surroundings<'a> {
    /// The pipeline's name; see [`crate::Source::pipeline`].
    pub pipeline: String,
    /// The state of the repository.
    pub revision: Revision,
    /// The values that were given to parameters, as text.
    pub parameters: BTreeMap<String, String>,
    /// The step libraries: `stdlib`, which needs no `use`, and each one that [`crate::uses`]
    /// lists, under its target as it is written there.
    pub libraries: &'a BTreeMap<String, Library>,
    /// Steps that the standard library is going to have: calling one is no mistake of the author.
    pub planned_steps: &'a [&'a str],
    /// The repository's files.
    pub repository: &'a dyn Repository,
}

/// Makes a plan of a file.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text, warnings included.
pub fn plan(
    parsed: &Parsed,
    surroundings: &Surroundings<'_>,
) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (plan, problems) = walk(parsed, surroundings, false);
    let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
    match plan {
        Some(plan) if !failed => Ok((plan, problems)),
        _ => Err(problems),
    }
}

/// Everything that is wrong with a file, in the order of the text.
///
/// A file that leaves its pipeline to the repository's conventions is right. A parameter needs no
/// value: what depends on one that has none is not judged.
#[must_use]
pub fn check(parsed: &Parsed, surroundings: &Surroundings<'_>) -> Vec<Diagnostic> {
    let mut problems = walk(parsed, surroundings, true).1;
    problems.retain(|problem| problem.id != Id::ToBeInferred);
    problems
}

fn walk(
    parsed: &Parsed,
    surroundings: &Surroundings<'_>,
    only_checks: bool,
) -> (Option<Plan>, Vec<Diagnostic>) {
    let mut problems = parsed.problems.clone();
    let mut plan = None;
    if let Request::Inferred { place, .. } = request(parsed) {
        let message = "this pipeline is left to the repository's conventions";
        problems.push(Diagnostic::error(Id::ToBeInferred, place, message));
    } else if !parsed.hopeless {
        let mut lowering = Lowering { only_checks, ..Lowering::new(parsed, surroundings) };
        lowering.file(&parsed.statements);
        if lowering.errors == 0 {
            lowering.what_no_run_takes();
        }
        problems.append(&mut lowering.problems);
        plan = Some(lowering.plan).filter(|_| parsed.is_whole());
    }
    (plan, shown(problems))
}

/// The walk's state: the plan so far, and what is known of the file.
struct Lowering<'a> {
    surroundings: &'a Surroundings<'a>,
    parsed: &'a Parsed,
    text: &'a str,
    lines: &'a Lines,
    problems: Vec<Diagnostic>,
    /// How many of the problems are errors.
    errors: usize,
    /// What was said already: `each` walks its body several times.
    said: BTreeSet<(Id, Option<Place>)>,
    plan: Plan,
    names: Names,
    /// What a stage's runtime was written as, by its place in the plan, for `from`.
    runtimes: Vec<Runtime>,
    /// All declared environments; the plan holds those that stages name.
    environments: BTreeMap<String, Environment>,
    /// The parameters whose values nobody knows: they got none, or a wrong one. The type is missing
    /// where the declaration is wrong as well.
    unknown: BTreeMap<String, Option<ValueType>>,
    /// The settings whose values nobody knows, wherever they are made.
    unknown_settings: BTreeSet<String>,
    /// Some stage's name could not be told: any name may be its.
    nameless: bool,
    /// There will be no plan: parameters need no values.
    only_checks: bool,
    /// The libraries that this file uses: the name in the plan, and the library.
    libraries: Vec<(String, &'a Library)>,
    /// The used libraries as `configure` left them, by name.
    configured_libraries: BTreeMap<String, Library>,
    /// The bare conditions at the entrances of stages, for `gates { from 'X' }`.
    entrances: BTreeMap<StageId, Condition>,
    /// The names of all stages that the file writes, for messages.
    written: BTreeSet<String>,
    pipeline_settings: BTreeMap<String, String>,
    /// How often `each` went through its body, and how many steps there are so far.
    rounds: usize,
    steps: usize,
    /// Too much, of stages or of errors: nothing more is looked at or added to the plan.
    full: bool,
}

/// What a construct inherits from those around it.
#[derive(Clone, Default)]
struct Scope {
    /// The values of `each`.
    values: BTreeMap<String, Value>,
    runtime: Runtime,
    environment: Option<String>,
    /// Made by stages, from the outermost inwards; inner ones win.
    settings: BTreeMap<String, String>,
    /// The stage that the expressions here belong to.
    stage: StageId,
}

impl<'a> Lowering<'a> {
    fn new(parsed: &'a Parsed, surroundings: &'a Surroundings<'a>) -> Self {
        let plan = Plan {
            format: FORMAT,
            pipeline: surroundings.pipeline.clone(),
            origin: Origin::File(parsed.source.name.clone()),
            revision: surroundings.revision.clone(),
            parameters: BTreeMap::new(),
            environments: BTreeMap::new(),
            libraries: BTreeMap::new(),
            stages: vec![stage::empty(String::new(), None)],
        };
        Self {
            surroundings,
            parsed,
            text: &parsed.source.text,
            lines: &parsed.lines,
            problems: Vec::new(),
            errors: 0,
            said: BTreeSet::new(),
            plan,
            names: Names::default(),
            runtimes: vec![Runtime::default()],
            environments: BTreeMap::new(),
            unknown: BTreeMap::new(),
            unknown_settings: BTreeSet::new(),
            nameless: false,
            only_checks: false,
            libraries: Vec::new(),
            configured_libraries: BTreeMap::new(),
            entrances: BTreeMap::new(),
            written: BTreeSet::new(),
            pipeline_settings: BTreeMap::new(),
            rounds: 0,
            steps: 0,
            full: false,
        }
    }

    fn at(&mut self, id: StageId) -> &mut Stage {
        &mut self.plan.stages[id.index()]
    }

    /// Tells a problem, unless it was told already, comes from a repair of the text, or there are
    /// more than can be shown. The first error too many ends the walk.
    fn tell(&mut self, problem: Diagnostic) {
        let known = match problem.severity {
            Severity::Error => self.errors,
            Severity::Warning => self.problems.len() - self.errors,
        };
        let told =
            self.parsed.has_told(&problem) || self.nameless && problem.id == Id::UnknownStage;
        if told || known > MAX_PROBLEMS || !self.said.insert((problem.id, problem.place())) {
            return;
        }
        if problem.severity == Severity::Error {
            self.errors += 1;
            self.full |= self.errors > MAX_PROBLEMS;
        }
        self.problems.push(problem);
    }

    /// Tells an error without further explanation.
    fn error(&mut self, id: Id, place: Place, message: impl Into<String>) {
        self.tell(Diagnostic::error(id, place, message));
    }

    /// A construct that the language has and this release does not run.
    fn not_there_yet(&mut self, place: Place, what: &str) {
        let message = format!("{what}: not there yet");
        let problem = Diagnostic::error(Id::NotThereYet, place, message).help(
            "it is part of the language, and a later release will run it; take it out until then",
        );
        self.tell(problem);
    }

    /// What nothing refused so far, and a run would refuse: whatever is called right can be run.
    fn what_no_run_takes(&mut self) {
        let Some(found) = release::not_yet(&self.plan) else { return };
        let path = self.plan.path(found.stage);
        let message = format!("{} of '{path}': not there yet", found.what);
        self.errors += 1;
        self.problems.push(Diagnostic::elsewhere(Id::NotThereYet, message));
    }

    /// A word that has no meaning in a block: says which one may be meant, or where it belongs.
    fn unknown_word(&mut self, statement: &Statement, block: &str, known: &[&'static str]) {
        if self.full {
            return;
        }
        let word = statement.name.text.as_str();
        let message = format!("`{word}` has no meaning in {block}");
        let mut problem = Diagnostic::error(Id::UnknownWord, statement.name.place, message);
        problem = if let Some(near) = nearest(word, known.iter().copied()) {
            problem.help(format!("did you mean `{near}`?"))
        } else if let Some(home) = words::home(word) {
            problem.help(format!("`{word}` belongs in {home}"))
        } else {
            problem.help(format!("what can stand here: {}", known.join(", ")))
        };
        self.tell(problem);
    }

    /// Notes that a word was met in a block; tells where it was met twice.
    fn once<'s>(&mut self, met: &mut BTreeMap<&'s str, Place>, statement: &'s Statement) -> bool {
        let name = &statement.name;
        let Some(first) = met.get(name.text.as_str()) else {
            met.insert(&name.text, name.place);
            return true;
        };
        let message = format!("`{}` is written twice", name.text);
        let problem =
            Diagnostic::error(Id::Twice, name.place, message).also(*first, "here is the first one");
        self.tell(problem);
        false
    }

    /// A known word in a shape that it does not have.
    fn wrong_shape(&mut self, statement: &Statement, write: &str) {
        let message = format!("`{}` is not written like this", statement.name.text);
        let problem = Diagnostic::error(Id::WrongShape, statement.name.place, message)
            .help(format!("write `{write}`"));
        self.tell(problem);
    }

    /// The value of `name = …`.
    fn property<'s>(&mut self, statement: &'s Statement, example: &str) -> Option<&'s Expression> {
        if let Shape::Property(value) = &statement.shape {
            return Some(value);
        }
        self.wrong_shape(statement, &format!("{} = {example}", statement.name.text));
        None
    }

    /// The body of `name { … }`.
    fn block<'s>(&mut self, statement: &'s Statement, example: &str) -> Option<&'s Body> {
        if let Shape::Block { head: None, body } = &statement.shape {
            return Some(body);
        }
        self.wrong_shape(statement, &format!("{} {{ {example} }}", statement.name.text));
        None
    }

    /// The name of a stage, environment and the like: a word, or a text of the plan.
    fn name_of(&mut self, value: &Expression, scope: &Scope) -> Option<String> {
        if let Kind::Path(words) = &value.kind
            && let [word] = words.as_slice()
            && !scope.values.contains_key(word)
        {
            return Some(word.clone());
        }
        self.text(value, scope)
    }
}

pub(crate) use pipeline::convention_named;
