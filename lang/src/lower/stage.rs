//! One stage: what it says of itself, and what is inside it.

use super::stages::{Kind as Group, is_stage};
use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id};
use crate::tree::{Argument, Body, Condition as Item, Expression, Kind};
use crate::tree::{Place, Shape, Statement};
use otto_core::gate::{Condition, Decided, Gates};
use otto_core::ids::StageId;
use otto_core::plan::{DEFAULT_QUEUE, Stage, Work};
use std::collections::{BTreeMap, BTreeSet};

/// How long a stage's name may be, in characters.
const MAX_NAME: usize = 200;

/// A stage that says nothing.
pub(super) fn empty(name: String, parent: Option<StageId>) -> Stage {
    Stage {
        path: name.clone(),
        name,
        parent,
        work: Work::Nothing,
        needs: Vec::new(),
        when: None,
        gates: Gates::default(),
        runtime: otto_core::capability::Need::default(),
        settings: BTreeMap::new(),
        checkout: true,
        finally: Vec::new(),
        timeout: None,
        queue: DEFAULT_QUEUE,
        retry: None,
        outputs: BTreeMap::new(),
        environment: None,
        credentials: BTreeSet::new(),
        caches: BTreeMap::new(),
        rollback: Vec::new(),
        notify: BTreeMap::new(),
    }
}

/// The statements of a stage's body, by what they are.
#[derive(Default)]
pub(super) struct Parts<'s> {
    /// What it says of itself, by word.
    pub(super) says: BTreeMap<&'s str, &'s Statement>,
    steps: Option<&'s Statement>,
    stages: Vec<&'s Statement>,
    /// It says something that nobody understands.
    unknown: bool,
}

impl Lowering<'_> {
    /// `stage('Build') { … }` among the children of `holder`.
    pub(super) fn stage(
        &mut self,
        statement: &Statement,
        holder: StageId,
        scope: &Scope,
    ) -> Option<StageId> {
        let (head, body) = self.head_and_body(statement)?;
        let parts = self.parts(&body.statements);
        let (name, place) = self.stage_name(statement, head, &parts, scope);
        let generated = name.is_none();
        let kind = if parts.stages.is_empty() { "steps" } else { "stage" };
        let name = name.unwrap_or_else(|| self.names.generate(holder, kind));
        let id = self.open(holder, name, place)?;
        let mut scope = Scope { stage: id, ..scope.clone() };
        self.needs(&parts, holder, id, &scope);
        self.inherited(&parts, &mut scope);
        self.own(&parts, id, &scope);
        if let Some(steps) = parts.steps {
            if let Some(inner) = parts.stages.first() {
                self.both(steps.name.place, inner.name.place);
            }
            self.at(id).work = Work::Steps(Vec::new());
            let calls = self.steps(steps, &scope);
            self.at(id).work = Work::Steps(calls);
        } else if !parts.stages.is_empty() {
            self.at(id).work = Work::Sequence(Vec::new());
            let children = self.stages(&parts.stages, id, &scope);
            self.at(id).work = Work::Sequence(children);
        } else if !parts.says.contains_key("gates") && !parts.unknown {
            let what = if generated {
                "this stage".to_owned()
            } else {
                format!("the stage '{}'", self.at(id).name)
            };
            let problem = Diagnostic::error(Id::Nothing, place, format!("{what} does nothing"))
                .help("write `steps { sh 'make test' }` in it, or further stages");
            self.tell(problem);
        }
        self.names.complete(&self.plan.stages, id);
        Some(id)
    }

    /// What stands in a stage's parentheses, and what in its braces.
    fn head_and_body<'s>(
        &mut self,
        statement: &'s Statement,
    ) -> Option<(Option<&'s [Expression]>, &'s Body)> {
        if let Shape::Block { head, body } = &statement.shape {
            return Some((head.as_deref(), body));
        }
        self.wrong_shape(statement, "stage('Build') { steps { sh 'make' } }");
        // `stage 'Build' { … }`: what was meant can be looked at.
        let Shape::Call { arguments, body: Some(body) } = &statement.shape else { return None };
        let [Argument::Positional(name)] = arguments.as_slice() else { return None };
        Some((Some(std::slice::from_ref(name)), body))
    }

    fn both(&mut self, steps: Place, stage: Place) {
        let message = "a stage holds stages or steps, not both";
        let problem = Diagnostic::error(Id::StagesAndSteps, steps, message)
            .also(stage, "here is a stage")
            .help("write the steps in a stage of their own, before or behind the others");
        self.tell(problem);
    }

    /// Sorts a stage's body, `stages { }` inside it looked into.
    fn parts<'s>(&mut self, statements: &'s [Statement]) -> Parts<'s> {
        let mut parts = Parts::default();
        let mut met = BTreeMap::new();
        for statement in statements {
            let word = statement.name.text.as_str();
            if is_stage(word) && word != "steps" {
                parts.stages.push(statement);
            } else if !words::STAGE.contains(&word) {
                self.unknown_word(statement, "a stage", words::STAGE);
                parts.unknown = true;
            } else if self.once(&mut met, statement) {
                if word == "steps" {
                    parts.steps = Some(statement);
                } else {
                    parts.says.insert(word, statement);
                }
            }
        }
        parts
    }

    /// A stage's name, from its parentheses or its `name`; `None` where it has none, or none that
    /// can be told.
    fn stage_name(
        &mut self,
        statement: &Statement,
        head: Option<&[Expression]>,
        parts: &Parts<'_>,
        scope: &Scope,
    ) -> (Option<String>, Place) {
        let property = parts.says.get("name").copied();
        let written = match (head, property) {
            (Some([_, second, ..]), _) => {
                self.error(Id::WrongShape, second.place, "a stage has one name");
                self.nameless = true;
                return (None, second.place);
            }
            (Some([name]), Some(property)) => {
                let problem =
                    Diagnostic::error(Id::Twice, property.name.place, "a stage has one name")
                        .also(name.place, "here is the first one");
                self.tell(problem);
                Some(name)
            }
            (Some([name]), None) => Some(name),
            (_, Some(property)) => self.property(property, "'Build'"),
            (_, None) => None,
        };
        let Some(written) = written else { return (None, statement.name.place) };
        let name = if let Kind::Text(text) = &written.kind {
            Some(text.clone())
        } else {
            self.text(written, scope)
        };
        let Some(name) = name else {
            self.nameless = true;
            return (None, written.place);
        };
        let good = !name.trim().is_empty()
            && name.trim() == name
            && name.chars().count() <= MAX_NAME
            && !name.chars().any(char::is_control);
        if !good {
            let message = format!("'{}' is no name of a stage", name.escape_debug());
            let problem = Diagnostic::error(Id::BadName, written.place, message)
                .help("a name is one line of text, without spaces at its ends");
            self.tell(problem);
            self.nameless = true;
            return (None, written.place);
        }
        (Some(name), written.place)
    }

    /// What stages inside inherit: settings key by key, runtime and environment as a whole.
    fn inherited(&mut self, parts: &Parts<'_>, scope: &mut Scope) {
        if let Some(environment) = parts.says.get("environment") {
            self.enter_environment(environment, scope);
        }
        if let Some(settings) = parts.says.get("settings") {
            let settings = self.settings(settings, scope);
            scope.settings.extend(settings);
        }
        if let Some(runtime) = parts.says.get("runtime")
            && let Some(runtime) = self.runtime(runtime, scope)
        {
            scope.runtime = runtime;
        }
    }

    /// What counts for this stage alone.
    fn own(&mut self, parts: &Parts<'_>, id: StageId, scope: &Scope) {
        self.fill(id, scope);
        let when = self.entrance(parts, scope);
        self.at(id).when = when;
        let leaf = parts.stages.is_empty();
        for (word, statement) in &parts.says {
            match *word {
                "timeout" => {
                    let value = self.property(statement, "'20m'");
                    let timeout = value.and_then(|value| self.time_limit(value, scope));
                    self.at(id).timeout = timeout;
                }
                "queue" => {
                    let value = self.property(statement, "'20m'");
                    let queue = value.and_then(|value| self.time_limit(value, scope));
                    self.at(id).queue = queue.unwrap_or(DEFAULT_QUEUE);
                }
                "checkout" => {
                    let value = self.property(statement, "false");
                    let checkout = value.and_then(|value| self.boolean(value, scope));
                    self.at(id).checkout = checkout.unwrap_or(true);
                }
                "retry" => {
                    let retry = self.retry(statement, scope);
                    self.at(id).retry = retry;
                }
                "outputs" => {
                    let outputs = self.outputs(statement);
                    self.at(id).outputs = outputs;
                }
                "finally" => {
                    let finally = self.steps(statement, scope);
                    self.at(id).finally = finally;
                }
                "cache" | "services" | "credentials" | "rollback" | "notify" => {
                    self.not_there_yet(statement.name.place, &format!("`{word}` of a stage"));
                }
                // Seen to elsewhere: before, or where their place in the order is.
                _ => {}
            }
            let needs_steps = ["checkout", "retry", "outputs", "finally", "queue"].contains(word);
            if needs_steps && (!leaf || parts.steps.is_none()) {
                let message =
                    format!("`{word}` is about steps, and this stage has none of its own");
                let problem = Diagnostic::error(Id::UnknownWord, statement.name.place, message)
                    .help("write it in the stage that has the steps");
                self.tell(problem);
            }
        }
    }

    /// The condition under which a stage is entered: its `when`, and then the bare conditions of
    /// its entrance. All of them skip it.
    fn entrance(&mut self, parts: &Parts<'_>, scope: &Scope) -> Option<Condition> {
        let mut conditions: Vec<&Expression> = Vec::new();
        if let Some(when) = parts.says.get("when").copied() {
            match &when.shape {
                Shape::Head(head) if head.len() == 1 => conditions.extend(head),
                Shape::Conditions(items) if !items.is_empty() => {
                    for item in items {
                        match item {
                            Item::Holds(condition) => conditions.push(condition),
                            Item::Gate(gate) => self.no_condition(gate),
                        }
                    }
                }
                Shape::Block { head: Some(_), .. } => {
                    let message = "a `when` with a block is an arm of `choose`";
                    let problem = Diagnostic::error(Id::WrongShape, when.name.place, message)
                        .help("write `when (…)` for the stage's own condition, or `choose { … }`");
                    self.tell(problem);
                }
                Shape::Property(_)
                | Shape::Arrow(_)
                | Shape::Call { .. }
                | Shape::Block { head: None, .. }
                | Shape::Head(_)
                | Shape::Word
                | Shape::Uses(_)
                | Shape::Conditions(_) => self.wrong_shape(when, "when (branch == 'main')"),
            }
        }
        let own = match conditions.as_slice() {
            [] => None,
            conditions => self.condition(conditions, scope),
        };
        let gates = parts.says.get("gates").copied();
        let gates = gates.and_then(|gates| self.gates(gates, scope));
        super::conditions::both(own, gates)
    }

    fn no_condition(&mut self, gate: &Statement) {
        let message = format!("`{}` is no condition", gate.name.text);
        let problem = Diagnostic::error(Id::WrongShape, gate.name.place, message)
            .help("a condition is true or false: branch == 'main'");
        self.tell(problem);
    }

    /// `gates { … }`: another stage's conditions, with `from`, and then the bare ones
    /// at the entrance.
    fn gates(&mut self, gates: &Statement, scope: &Scope) -> Option<Condition> {
        let body = self.block(gates, "enter { branch == 'main' }")?;
        if body.statements.is_empty() {
            let problem = Diagnostic::error(Id::Nothing, gates.name.place, "`gates` holds nothing")
                .help("write `enter { branch == 'main' }` in it");
            self.tell(problem);
        }
        let mut met = BTreeMap::new();
        let mut conditions: Vec<&Expression> = Vec::new();
        let mut taken = None;
        for statement in &body.statements {
            if !self.once(&mut met, statement) {
                continue;
            }
            match (statement.name.text.as_str(), &statement.shape) {
                ("enter", Shape::Conditions(items)) => {
                    for item in items {
                        match item {
                            Item::Holds(condition) => conditions.push(condition),
                            Item::Gate(gate) => self.waits(gate),
                        }
                    }
                }
                ("exit", Shape::Conditions(items)) => self.exit(items),
                ("from", _) => taken = self.gates_from(statement, scope),
                ("enter" | "exit", _) => self.wrong_shape(statement, "enter { branch == 'main' }"),
                _ => self.unknown_word(statement, "gates", words::GATES),
            }
        }
        let own = match conditions.as_slice() {
            [] => None,
            conditions => self.condition(conditions, scope),
        };
        let all = super::conditions::both(taken, own);
        self.entrances.extend(all.clone().map(|all| (scope.stage, all)));
        all
    }

    fn exit(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Holds(condition) => {
                    self.not_there_yet(condition.place, "a bare condition at a stage's exit");
                }
                Item::Gate(gate) => self.waits(gate),
            }
        }
    }

    /// The conditions of another stage's entrance, which must be decided here too when they are.
    fn gates_from(&mut self, from: &Statement, scope: &Scope) -> Option<Condition> {
        let stage = self.from(from, scope)?;
        let taken = self.entrances.get(&stage).cloned()?;
        if let Decided::Run(expression) = &taken.decided {
            let stages = &self.plan.stages;
            let open = expression
                .stages()
                .into_iter()
                .find(|named| !otto_core::plan::ended_before(stages, *named, scope.stage));
            if let Some(open) = open {
                let path = &stages[open.index()].path;
                let message = format!(
                    "these gates ask for what '{path}' captured, and it has not surely ended here"
                );
                self.error(Id::NotEarlier, from.place, message);
                return None;
            }
        }
        Some(taken)
    }

    fn waits(&mut self, gate: &Statement) {
        const WAITS: &[&str] =
            &["approval", "callback", "poll", "input", "webhook", "confirm", "event"];
        let word = gate.name.text.as_str();
        if WAITS.contains(&word) {
            return self.not_there_yet(gate.name.place, &format!("`{word}`, a wait at a gate"));
        }
        self.unknown_word(gate, "a gate", WAITS);
    }

    /// Gives a stage its place in the plan.
    pub(super) fn open(&mut self, holder: StageId, name: String, place: Place) -> Option<StageId> {
        let most = otto_core::plan::MAX_STAGES;
        if self.plan.stages.len() >= most {
            self.full = true;
            self.error(Id::TooMany, place, format!("this plan has more than {most} stages"));
            return None;
        }
        let id = StageId(u32::try_from(self.plan.stages.len()).ok()?);
        if self.names.take(holder, &name, id).is_err() {
            let message = format!("there are two stages '{name}' side by side");
            let problem = Diagnostic::error(Id::SameName, place, message).help(
                "give one another name; in `each` the value belongs into it: stage(\"Test ${it}\")",
            );
            self.tell(problem);
            return None;
        }
        let path = self.names.path(&self.plan.stages, holder, &name);
        let mut stage = empty(name, Some(holder));
        stage.path = path;
        self.plan.stages.push(stage);
        self.runtimes.push(super::Runtime::default());
        Some(id)
    }

    /// A stage without a name of its own that has steps: `steps { … }` beside stages.
    pub(super) fn bare_steps(
        &mut self,
        statement: &Statement,
        holder: StageId,
        scope: &Scope,
    ) -> Option<StageId> {
        let name = self.names.generate(holder, "steps");
        let id = self.open(holder, name, statement.name.place)?;
        let scope = Scope { stage: id, ..scope.clone() };
        self.at(id).work = Work::Steps(Vec::new());
        self.fill(id, &scope);
        let calls = self.steps(statement, &scope);
        self.at(id).work = Work::Steps(calls);
        self.names.complete(&self.plan.stages, id);
        Some(id)
    }

    /// A group of stages: what it inherited, passed on.
    pub(super) fn group(
        &mut self,
        kind: Group,
        place: Place,
        holder: StageId,
        scope: &Scope,
    ) -> Option<(StageId, Scope)> {
        let name = match kind {
            Group::Otherwise => "otherwise".to_owned(),
            Group::Parallel | Group::Fanout | Group::Choose | Group::When => {
                self.names.generate(holder, kind.word())
            }
        };
        let id = self.open(holder, name, place)?;
        let scope = Scope { stage: id, ..scope.clone() };
        self.at(id).work = kind.work(Vec::new());
        self.fill(id, &scope);
        Some((id, scope))
    }

    /// Gives a stage what it inherited.
    fn fill(&mut self, id: StageId, scope: &Scope) {
        self.runtimes[id.index()] = scope.runtime.clone();
        let settings = self.settings_in(scope);
        let stage = self.at(id);
        stage.settings = settings;
        stage.runtime = scope.runtime.need();
        stage.environment.clone_from(&scope.environment);
    }
}
