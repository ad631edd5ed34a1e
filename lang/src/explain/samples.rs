//! Plans for the tests of this module, built without the language.

use otto_core::capability::{Comparison, Need, Version, VersionNeed};
use otto_core::gate::{Condition, Decided, Expression, Gate, Gates};
use otto_core::ids::{Digest, StageId};
use otto_core::plan::{
    Cache, DEFAULT_QUEUE, Environment, FORMAT, Occasion, Origin, Plan, Retry, RetryReason,
    Revision, Stage, StepCall, Work,
};
use otto_core::step::{Entrypoint, Library, LibrarySource, Parameter, Signature};
use otto_core::time::Span;
use otto_core::value::{Value, ValueType};
use otto_core::wait::{OnTimeout, Wait, WaitKind};
use std::collections::{BTreeMap, BTreeSet};

/// A plan under construction: stages are added below a parent, in written order.
pub(super) struct Sketch(pub(super) Plan);

impl Sketch {
    pub(super) fn new(root: Work) -> Self {
        let mut sketch = Self(Plan {
            format: FORMAT,
            pipeline: "default".to_owned(),
            origin: Origin::File("Ottofile".to_owned()),
            revision: Revision {
                branch: Some("fix-1".to_owned()),
                tag: None,
                commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            },
            parameters: BTreeMap::new(),
            environments: BTreeMap::new(),
            libraries: BTreeMap::from([("otto".to_owned(), library())]),
            stages: Vec::new(),
        });
        sketch.0.stages.push(blank("", "", None, root));
        sketch
    }

    /// Adds a stage and lists it among its parent's children.
    pub(super) fn add(&mut self, parent: StageId, name: &str, work: Work) -> StageId {
        let id = StageId(u32::try_from(self.0.stages.len()).unwrap());
        let mut named = parent;
        while self.0.is_group(named)
            && let Some(around) = self.0.stage(named).parent
        {
            named = around;
        }
        let outer = &self.0.stage(named).path;
        let path = if outer.is_empty() { name.to_owned() } else { format!("{outer}/{name}") };
        match &mut self.0.stages[parent.index()].work {
            Work::Sequence(children)
            | Work::Parallel(children)
            | Work::Fanout(children)
            | Work::Choose(children) => children.push(id),
            Work::Steps(_) | Work::Nothing => panic!("{name} is added to a stage without children"),
        }
        self.0.stages.push(blank(name, &path, Some(parent), work));
        id
    }

    pub(super) fn stage(&mut self, id: StageId) -> &mut Stage {
        &mut self.0.stages[id.index()]
    }
}

pub(super) fn sh(script: &str) -> StepCall {
    let arguments =
        [("script", Value::Text(script.to_owned())), ("unstable", Value::List(Vec::new()))];
    StepCall {
        symbol: "sh".to_owned(),
        library: "otto".to_owned(),
        arguments: arguments.map(|(name, value)| (name.to_owned(), value)).into(),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout: None,
    }
}

pub(super) fn archive(paths: &str, name: &str) -> StepCall {
    let arguments =
        [("paths", Value::Text(paths.to_owned())), ("name", Value::Text(name.to_owned()))];
    StepCall {
        symbol: "archive".to_owned(),
        arguments: arguments.map(|(name, value)| (name.to_owned(), value)).into(),
        ..sh("")
    }
}

pub(super) fn known(text: &str, holds: bool, reason: &str) -> Condition {
    let decided = Decided::Plan { holds, reason: reason.to_owned() };
    Condition { text: text.to_owned(), decided }
}

/// A plan in which nearly everything that a plan can hold occurs.
pub(super) fn everything() -> Plan {
    let mut sketch = Sketch::new(Work::Sequence(Vec::new()));
    sketch.0.parameters = [
        ("smoke".to_owned(), Value::Boolean(true)),
        ("target".to_owned(), Value::Text("production".to_owned())),
    ]
    .into();
    let production = Environment {
        after: Some("preprod".to_owned()),
        lock: true,
        freeze: Some("winter-holidays".to_owned()),
        approvers: vec!["@release".to_owned()],
        delivers: true,
        settings: [("HOSTNAME".to_owned(), "www.example.org".to_owned())].into(),
    };
    sketch.0.environments.insert("production".to_owned(), production);
    build(&mut sketch);
    checks(&mut sketch);
    arms(&mut sketch);
    delivery(&mut sketch);
    sketch.0
}

fn build(sketch: &mut Sketch) {
    let mut assets = sh("make assets\nmake \"pages\"");
    assets.folder = "web".to_owned();
    assets.timeout = Some(Span::seconds(90));
    let steps =
        vec![sh("bundle install --path 'vendor'"), assets, archive("dist/*.tar.gz", "site")];
    let build = sketch.add(StageId::ROOT, "Build", Work::Steps(steps));
    let ruby = VersionNeed { comparison: Comparison::Compatible, version: Version(vec![3, 3]) };
    let stage = sketch.stage(build);
    stage.runtime = Need::All(vec![
        Need::Any(vec![
            Need::Tool { name: "ruby".to_owned(), version: Some(ruby) },
            Need::Docker { image: "ruby:3.3".to_owned() },
        ]),
        Need::Cores(2),
        Need::Memory(2 << 30),
    ]);
    stage.settings = [("RACK_ENV".to_owned(), "test".to_owned())].into();
    stage.timeout = Some(Span::seconds(1200));
    stage.queue = Span::hours(1);
    stage.retry = Some(Retry {
        attempts: 3,
        on: BTreeSet::from([RetryReason::Lost, RetryReason::Failed]),
        backoff: Span::seconds(10),
    });
    let gems = Cache::Define {
        paths: vec!["vendor/".to_owned()],
        key: Some(Value::Text("b7a1".to_owned())),
    };
    stage.caches = [("gems".to_owned(), gems)].into();
    stage.outputs = [("color".to_owned(), ValueType::Text)].into();
}

fn checks(sketch: &mut Sketch) {
    let group = sketch.add(StageId::ROOT, "parallel-1", Work::Parallel(Vec::new()));
    let unit = sketch.add(group, "Unit", Work::Steps(vec![sh("rake spec")]));
    sketch.stage(unit).caches = [("gems".to_owned(), Cache::Use)].into();
    sketch.stage(unit).finally = vec![archive("out/*.xml", "reports")];
    let lint = sketch.add(group, "Lint <\"all\">", Work::Steps(vec![sh("rubocop")]));
    sketch.stage(lint).needs = vec![unit];
    sketch.stage(lint).checkout = false;
}

fn arms(sketch: &mut Sketch) {
    let choose = sketch.add(StageId::ROOT, "choose-1", Work::Choose(Vec::new()));
    let no = known("branch matches 'release/*'", false, "branch is \"fix-1\"");
    for (name, when) in [("Tag", Some(no)), ("Preview", None), ("Never", None)] {
        let arm = sketch.add(choose, name, Work::Steps(vec![sh("make")]));
        sketch.stage(arm).when = when;
    }
}

fn delivery(sketch: &mut Sketch) {
    let deliver = sketch.add(StageId::ROOT, "Deliver", Work::Sequence(Vec::new()));
    let no = known("branch == 'main'", false, "branch is \"fix-1\", not \"main\"");
    sketch.stage(deliver).when = Some(no);
    let production = sketch.add(deliver, "Production", Work::Steps(vec![sh("./deploy.sh")]));
    let stage = sketch.stage(production);
    stage.environment = Some("production".to_owned());
    stage.credentials = BTreeSet::from(["heroku".to_owned()]);
    stage.gates = Gates {
        enter: vec![Gate::Wait(wait("Ship it?", WaitKind::Approval { approvers: Vec::new() }))],
        exit: vec![
            Gate::Wait(wait("smoke", WaitKind::Callback)),
            Gate::Condition(known("params.smoke", true, "params.smoke is true")),
        ],
    };
    stage.rollback = vec![sh("./undo.sh")];
    stage.notify = [(Occasion::Failure, vec![sh("tell")])].into();
    let after = sketch.add(StageId::ROOT, "After", Work::Steps(vec![sh("true")]));
    let output = Expression::Output { stage: StageId(1), field: "color".to_owned() };
    sketch.stage(after).when = Some(Condition {
        text: "output('Build').color == 'red'".to_owned(),
        decided: Decided::Run(output),
    });
}

fn wait(name: &str, kind: WaitKind) -> Wait {
    Wait {
        name: name.to_owned(),
        kind,
        timeout: Span::hours(48),
        on_timeout: OnTimeout::Fail,
        answers: BTreeMap::new(),
    }
}

fn blank(name: &str, path: &str, parent: Option<StageId>, work: Work) -> Stage {
    Stage {
        name: name.to_owned(),
        path: path.to_owned(),
        parent,
        work,
        needs: Vec::new(),
        when: None,
        gates: Gates::default(),
        runtime: Need::default(),
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

fn library() -> Library {
    let sh = signature(
        "sh",
        vec![parameter("script", None), parameter("unstable", Some(Value::List(Vec::new())))],
    );
    let archive = signature("archive", vec![parameter("paths", None), parameter("name", None)]);
    Library {
        name: "otto".to_owned(),
        source: LibrarySource::Builtin,
        digest: Digest::of(b"otto"),
        configuration: Vec::new(),
        steps: [sh, archive].map(|step| (step.symbol.clone(), step)).into(),
    }
}

fn signature(symbol: &str, parameters: Vec<Parameter>) -> Signature {
    Signature {
        symbol: symbol.to_owned(),
        description: String::new(),
        parameters,
        entrypoint: Entrypoint::Image { name: symbol.to_owned() },
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    }
}

fn parameter(name: &str, default: Option<Value>) -> Parameter {
    Parameter {
        name: name.to_owned(),
        value_type: ValueType::Text,
        default,
        optional: false,
        description: String::new(),
    }
}
