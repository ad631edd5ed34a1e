//! Stages among each other: sequences, `parallel`, `fanout`, `choose`, and `each`.

use super::values::Known;
use super::{Lowering, Scope, words};
use crate::diagnostic::{Diagnostic, Id};
use crate::tree::{Body, Expression, Kind as Form, Place, Shape, Statement};
use otto_core::gate::Operator;
use otto_core::ids::StageId;
use otto_core::plan::{MAX_STAGES, Work};
use otto_core::value::Value;

/// The most values of one `each`.
const MAX_VALUES: usize = 256;

/// What holds stages without being named by the author.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Parallel,
    Fanout,
    Choose,
    When,
    Otherwise,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Fanout => "fanout",
            Self::Choose => "choose",
            Self::When => "when",
            Self::Otherwise => "otherwise",
        }
    }

    pub(super) fn work(self, children: Vec<StageId>) -> Work {
        match self {
            Self::Parallel => Work::Parallel(children),
            Self::Fanout => Work::Fanout(children),
            Self::Choose => Work::Choose(children),
            Self::When | Self::Otherwise => Work::Sequence(children),
        }
    }
}

/// Whether a word starts something that becomes a stage, or several.
pub(super) fn is_stage(word: &str) -> bool {
    words::GROUP.contains(&word)
}

impl Lowering<'_> {
    /// The stages that statements stand for, as children of `holder`.
    pub(super) fn stages(
        &mut self,
        statements: &[&Statement],
        holder: StageId,
        scope: &Scope,
    ) -> Vec<StageId> {
        let mut children = Vec::new();
        for statement in statements {
            if self.full {
                break;
            }
            match statement.name.text.as_str() {
                "stage" => children.extend(self.stage(statement, holder, scope)),
                "steps" => children.extend(self.bare_steps(statement, holder, scope)),
                "parallel" => {
                    children.extend(self.side_by_side(Kind::Parallel, statement, holder, scope));
                }
                "fanout" => {
                    children.extend(self.side_by_side(Kind::Fanout, statement, holder, scope));
                }
                "choose" => children.extend(self.choose(statement, holder, scope)),
                "each" => children.extend(self.each(statement, holder, scope)),
                "stages" => {
                    if let Some(body) = self.block(statement, "stage('Build') { … }") {
                        let inner = self.only_stages(body, "`stages`");
                        self.empty_group(statement, &inner);
                        children.extend(self.stages(&inner, holder, scope));
                    }
                }
                _ => self.unknown_word(statement, "a block of stages", words::GROUP),
            }
        }
        children
    }

    /// The statements of a block that holds nothing but stages.
    fn only_stages<'s>(&mut self, body: &'s Body, block: &str) -> Vec<&'s Statement> {
        let (stages, others): (Vec<_>, Vec<_>) =
            body.statements.iter().partition(|inner| is_stage(&inner.name.text));
        for other in others {
            self.unknown_word(other, block, words::GROUP);
        }
        stages
    }

    fn empty_group(&mut self, statement: &Statement, inner: &[&Statement]) {
        if inner.is_empty() {
            let word = &statement.name.text;
            let message = format!("`{word}` holds no stage");
            let problem = Diagnostic::error(Id::Nothing, statement.name.place, message)
                .help("write for example `stage('Test') { steps { sh 'make test' } }` in it");
            self.tell(problem);
        }
    }

    /// `parallel { … }` and `fanout { … }`.
    fn side_by_side(
        &mut self,
        kind: Kind,
        statement: &Statement,
        holder: StageId,
        scope: &Scope,
    ) -> Option<StageId> {
        let body = self.block(statement, "stage('Test') { … }")?;
        let (id, scope) = self.group(kind, statement.name.place, holder, scope)?;
        let inner = self.only_stages(body, &format!("`{}`", kind.word()));
        self.empty_group(statement, &inner);
        let children = self.stages(&inner, id, &scope);
        self.at(id).work = kind.work(children);
        self.names.complete(&self.plan.stages, id);
        Some(id)
    }

    /// `choose { when (…) { … } otherwise { … } }`.
    fn choose(&mut self, statement: &Statement, holder: StageId, scope: &Scope) -> Option<StageId> {
        let body = self.block(statement, "when (…) { … } otherwise { … }")?;
        let (id, scope) = self.group(Kind::Choose, statement.name.place, holder, scope)?;
        let mut arms = Vec::new();
        let mut last: Option<Place> = None;
        for arm in &body.statements {
            if let Some(otherwise) = last {
                let message = "nothing can follow `otherwise`: the first arm that holds is taken";
                let problem = Diagnostic::error(Id::WrongShape, arm.name.place, message)
                    .also(otherwise, "here is `otherwise`");
                self.tell(problem);
            }
            match (arm.name.text.as_str(), &arm.shape) {
                ("when", Shape::Block { head: Some(head), body }) if head.len() == 1 => {
                    arms.extend(self.arm(Kind::When, arm, head, body, &scope));
                }
                ("when", _) => {
                    self.wrong_shape(arm, "when (branch == 'main') { stage('X') { … } }");
                }
                ("otherwise", Shape::Block { head: None, body }) => {
                    last = Some(arm.name.place);
                    arms.extend(self.arm(Kind::Otherwise, arm, &[], body, &scope));
                }
                ("otherwise", _) => self.wrong_shape(arm, "otherwise { stage('X') { … } }"),
                _ => self.unknown_word(arm, "`choose`", words::CHOOSE),
            }
        }
        if body.statements.is_empty() {
            let problem =
                Diagnostic::error(Id::Nothing, statement.name.place, "`choose` has no arm")
                    .help("write `when (branch == 'main') { … }` and `otherwise { … }` in it");
            self.tell(problem);
        }
        self.at(id).work = Work::Choose(arms);
        self.names.complete(&self.plan.stages, id);
        Some(id)
    }

    fn arm(
        &mut self,
        kind: Kind,
        statement: &Statement,
        conditions: &[Expression],
        body: &Body,
        scope: &Scope,
    ) -> Option<StageId> {
        let (id, scope) = self.group(kind, statement.name.place, scope.stage, scope)?;
        if !conditions.is_empty() {
            let conditions: Vec<&Expression> = conditions.iter().collect();
            let condition = self.condition(&conditions, &scope);
            self.at(id).when = condition;
        }
        let inner = self.only_stages(body, "an arm of `choose`");
        self.empty_group(statement, &inner);
        let children = self.stages(&inner, id, &scope);
        self.at(id).work = Work::Sequence(children);
        self.names.complete(&self.plan.stages, id);
        Some(id)
    }

    /// `each(pg in ['14', '15']) { … }`, and `each('a', 'b') { … }` with `it`.
    fn each(&mut self, statement: &Statement, holder: StageId, scope: &Scope) -> Vec<StageId> {
        let Shape::Block { head: Some(head), body } = &statement.shape else {
            self.wrong_shape(
                statement,
                "each(version in ['14', '15']) { stage(\"Test ${version}\") { … } }",
            );
            return Vec::new();
        };
        let inner = self.only_stages(body, "`each`");
        self.empty_group(statement, &inner);
        let Some((name, values)) = self.values_of_each(statement, head, scope) else {
            return Vec::new();
        };
        if inner.is_empty() {
            return Vec::new();
        }
        let mut children = Vec::new();
        for value in values {
            self.rounds += 1;
            if self.full || self.rounds > 2 * MAX_STAGES {
                self.full = true;
                let message = format!("this plan has more than {MAX_STAGES} stages");
                self.error(Id::TooMany, statement.name.place, message);
                break;
            }
            let mut scope = scope.clone();
            scope.values.insert(name.clone(), value);
            children.extend(self.stages(&inner, holder, &scope));
        }
        children
    }

    /// The variable's name and its values.
    fn values_of_each(
        &mut self,
        statement: &Statement,
        head: &[Expression],
        scope: &Scope,
    ) -> Option<(String, Vec<Value>)> {
        let place = statement.name.place;
        let (name, values) = match head {
            [Expression { kind: Form::Compare(Operator::In, left, right), .. }] => {
                let Form::Path(words) = &left.kind else {
                    self.error(Id::BadEach, left.place, "a name for the values stands before `in`");
                    return None;
                };
                (words.join("."), std::slice::from_ref(right.as_ref()))
            }
            values => ("it".to_owned(), values),
        };
        if name.contains('.') || ["branch", "tag", "commit", "params"].contains(&name.as_str()) {
            let message = format!("`{name}` cannot name the values: it has a meaning already");
            self.error(Id::BadEach, place, message);
            return None;
        }
        let (mut all, mut unknown) = (Vec::new(), false);
        for value in values {
            let Some(known) = self.known(value, scope) else {
                unknown = true;
                continue;
            };
            match known {
                Known::Plan(Value::List(items)) => all.extend(items),
                Known::Plan(single) => all.push(single),
                Known::Run(..) => all.push(Value::Absent),
            }
            if all.contains(&Value::Absent) {
                self.error(Id::BadEach, value.place, "the plan must know what `each` is for");
                return None;
            }
        }
        if unknown {
            // What is inside is looked at once, whatever the value may be.
            return Some((name, vec![Value::Absent]));
        }
        if all.is_empty() || all.len() > MAX_VALUES {
            let message =
                format!("`each` takes 1 to {MAX_VALUES} values, and here are {}", all.len());
            self.error(Id::BadEach, place, message);
            return None;
        }
        Some((name, all))
    }
}
