//! Small plans, written as trees.

use crate::capability::Need;
use crate::gate::{Condition, Decided, Expression, Gate, Gates, Operator};
use crate::ids::{Digest, StageId};
use crate::plan::{Origin, Plan, Retry, RetryReason, Revision, Stage, StepCall, Work};
use crate::step::{Entrypoint, Library, LibrarySource, Signature};
use crate::time::Span;
use crate::value::{Value, ValueType};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the stages inside a node go about.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Steps(u32),
    Nothing,
    Sequence,
    Parallel,
    Fanout,
    Choose,
}

/// A stage with those inside.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    name: String,
    kind: Kind,
    inside: Vec<Node>,
    needs: Vec<String>,
    when: Option<Condition>,
    gates: Gates,
    timeout: Option<Span>,
    queue: Span,
    retry: Option<Retry>,
    finally: u32,
}

fn node(name: &str, kind: Kind, inside: Vec<Node>) -> Node {
    Node {
        name: name.to_owned(),
        kind,
        inside,
        needs: Vec::new(),
        when: None,
        gates: Gates::default(),
        timeout: None,
        queue: crate::plan::DEFAULT_QUEUE,
        retry: None,
        finally: 0,
    }
}

pub(crate) fn steps(name: &str) -> Node {
    node(name, Kind::Steps(1), Vec::new())
}

pub(crate) fn nothing(name: &str) -> Node {
    node(name, Kind::Nothing, Vec::new())
}

pub(crate) fn sequence(name: &str, inside: impl IntoIterator<Item = Node>) -> Node {
    node(name, Kind::Sequence, inside.into_iter().collect())
}

pub(crate) fn parallel(name: &str, inside: impl IntoIterator<Item = Node>) -> Node {
    node(name, Kind::Parallel, inside.into_iter().collect())
}

pub(crate) fn fanout(name: &str, inside: impl IntoIterator<Item = Node>) -> Node {
    node(name, Kind::Fanout, inside.into_iter().collect())
}

pub(crate) fn choose(name: &str, inside: impl IntoIterator<Item = Node>) -> Node {
    node(name, Kind::Choose, inside.into_iter().collect())
}

/// A condition that the plan decided.
pub(crate) fn decided(holds: bool) -> Condition {
    let reason = "branch is \"fix-1\", not \"main\"".to_owned();
    Condition { text: "branch == 'main'".to_owned(), decided: Decided::Plan { holds, reason } }
}

/// A condition over what a stage captured as `verdict`.
pub(crate) fn verdict_is(stage: u32, wanted: &str) -> Condition {
    let expression = Expression::Compare {
        operator: Operator::Equal,
        left: Box::new(Expression::Output { stage: StageId(stage), field: "verdict".to_owned() }),
        right: Box::new(Expression::Value(Value::Text(wanted.to_owned()))),
    };
    Condition { text: format!("verdict == '{wanted}'"), decided: Decided::Run(expression) }
}

impl Node {
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(crate) fn needs(mut self, names: &[&str]) -> Self {
        self.needs = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub(crate) fn when(mut self, condition: Condition) -> Self {
        self.when = Some(condition);
        self
    }

    pub(crate) fn enter(mut self, gate: Gate) -> Self {
        self.gates.enter.push(gate);
        self
    }

    pub(crate) fn exit(mut self, gate: Gate) -> Self {
        self.gates.exit.push(gate);
        self
    }

    pub(crate) fn timeout(mut self, ms: u64) -> Self {
        self.timeout = Some(Span(ms));
        self
    }

    pub(crate) fn queue(mut self, ms: u64) -> Self {
        self.queue = Span(ms);
        self
    }

    pub(crate) fn retry(mut self, attempts: u32, on: &[RetryReason], backoff_ms: u64) -> Self {
        let on = on.iter().copied().collect();
        self.retry = Some(Retry { attempts, on, backoff: Span(backoff_ms) });
        self
    }

    pub(crate) fn steps(mut self, steps: u32, finally: u32) -> Self {
        self.kind = Kind::Steps(steps);
        self.finally = finally;
        self
    }
}

fn calls(count: u32) -> Vec<StepCall> {
    let call = StepCall {
        symbol: "sh".to_owned(),
        library: "stdlib".to_owned(),
        arguments: BTreeMap::new(),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout: None,
    };
    (0..count).map(|_| call.clone()).collect()
}

fn stdlib() -> Library {
    let sh = Signature {
        symbol: "sh".to_owned(),
        description: String::new(),
        parameters: Vec::new(),
        entrypoint: Entrypoint::Script { parameter: "script".to_owned() },
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    };
    Library {
        name: "stdlib".to_owned(),
        source: LibrarySource::Builtin,
        digest: Digest([7; 32]),
        configuration: Vec::new(),
        steps: [("sh".to_owned(), sh)].into(),
    }
}

/// The plan of this pipeline: places are given parents first, depth first.
pub(crate) fn plan(root: Node) -> Arc<Plan> {
    let mut plan = Plan {
        format: crate::plan::FORMAT,
        pipeline: "default".to_owned(),
        origin: Origin::File("Ottofile".to_owned()),
        revision: Revision { branch: Some("main".to_owned()), tag: None, commit: None },
        parameters: BTreeMap::new(),
        environments: BTreeMap::new(),
        libraries: [("stdlib".to_owned(), stdlib())].into(),
        stages: Vec::new(),
    };
    let mut todo = vec![(root, None)];
    while let Some((node, parent)) = todo.pop() {
        let id = add(&mut plan, &node, parent);
        todo.extend(node.inside.into_iter().rev().map(|inside| (inside, Some(id))));
    }
    within(&mut plan);
    plan.check().expect("test plans hold together");
    Arc::new(plan)
}

/// Makes conditions of random plans name stages that there are.
fn within(plan: &mut Plan) {
    let stages = u32::try_from(plan.stages.len()).expect("few stages");
    for stage in &mut plan.stages {
        let gates = stage.gates.enter.iter_mut().chain(&mut stage.gates.exit);
        let bare = gates.filter_map(|gate| match gate {
            Gate::Condition(condition) => Some(condition),
            Gate::Wait(_) => None,
        });
        for condition in stage.when.iter_mut().chain(bare) {
            if let Decided::Run(Expression::Compare { left, .. }) = &mut condition.decided
                && let Expression::Output { stage, .. } = left.as_mut()
            {
                stage.0 %= stages;
            }
        }
    }
}

fn add(plan: &mut Plan, node: &Node, parent: Option<StageId>) -> StageId {
    let id = StageId(u32::try_from(plan.stages.len()).expect("few stages"));
    let mut path = node.name.clone();
    let mut needs = Vec::new();
    if let Some(parent) = parent {
        let around = &plan.stages[parent.index()];
        let beside = around.work.children();
        let named = |name: &String| beside.iter().find(|it| plan.stage(**it).name == *name);
        needs = node.needs.iter().map(|name| *named(name).expect("an earlier sibling")).collect();
        if !around.path.is_empty() {
            path = format!("{}/{path}", around.path);
        }
        match &mut plan.stages[parent.index()].work {
            Work::Sequence(inside)
            | Work::Parallel(inside)
            | Work::Fanout(inside)
            | Work::Choose(inside) => inside.push(id),
            Work::Steps(_) | Work::Nothing => panic!("a stage with steps holds no stages"),
        }
    }
    let work = match node.kind {
        Kind::Steps(count) => Work::Steps(calls(count)),
        Kind::Nothing => Work::Nothing,
        Kind::Sequence => Work::Sequence(Vec::new()),
        Kind::Parallel => Work::Parallel(Vec::new()),
        Kind::Fanout => Work::Fanout(Vec::new()),
        Kind::Choose => Work::Choose(Vec::new()),
    };
    plan.stages.push(Stage {
        name: node.name.clone(),
        path: if parent.is_none() { String::new() } else { path },
        parent,
        work,
        needs,
        when: node.when.clone(),
        gates: node.gates.clone(),
        runtime: Need::default(),
        settings: BTreeMap::new(),
        checkout: true,
        finally: calls(node.finally),
        timeout: node.timeout,
        queue: node.queue,
        retry: node.retry.clone(),
        outputs: [("verdict".to_owned(), ValueType::Text)].into(),
        environment: None,
        credentials: BTreeSet::new(),
        caches: BTreeMap::new(),
        rollback: Vec::new(),
        notify: BTreeMap::new(),
    });
    id
}
