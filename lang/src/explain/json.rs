//! A plan as JSON for programs. The shape is a promise: fields are added, never changed.
//!
//! Spans are in milliseconds, sizes in bytes; stages speak of each other by their place in
//! `stages`.

use super::{Verdict, call, judged, verdicts};
use otto_core::capability::Need;
use otto_core::gate::{Condition, Decided, Gate};
use otto_core::plan::{
    Cache, Environment, Occasion, Origin, Plan, RetryReason, Revision, Stage, StepCall, Work,
};
use otto_core::step::{Library, LibrarySource};
use otto_core::value::Value;
use otto_core::wait::{OnTimeout, WaitKind};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

/// Prints a plan as JSON, with its hash, indented.
#[must_use]
pub fn json(plan: &Plan) -> String {
    let verdicts = verdicts(plan);
    let stages = plan.ids().zip(&plan.stages);
    let page = PlanPage {
        schema: 1,
        hash: plan.hash().to_string(),
        pipeline: &plan.pipeline,
        origin: origin(&plan.origin),
        revision: &plan.revision,
        parameters: plan.parameters.iter().map(|(name, v)| (name.as_str(), value(v))).collect(),
        environments: &plan.environments,
        libraries: plan.libraries.iter().map(|(name, l)| (name.as_str(), library(l))).collect(),
        stages: stages.map(|(id, s)| stage(plan, id.0, s, verdicts[id.index()])).collect(),
    };
    // Strings, numbers and lists of our own cannot fail to serialize.
    let mut text = serde_json::to_string_pretty(&page).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Serialize)]
struct PlanPage<'a> {
    schema: u32,
    hash: String,
    pipeline: &'a str,
    origin: OriginPage<'a>,
    revision: &'a Revision,
    parameters: BTreeMap<&'a str, Json>,
    environments: &'a BTreeMap<String, Environment>,
    libraries: BTreeMap<&'a str, LibraryPage<'a>>,
    stages: Vec<StagePage<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum OriginPage<'a> {
    File(&'a str),
    Convention { names: &'a [String], reasons: &'a [String] },
}

#[derive(Serialize)]
struct LibraryPage<'a> {
    /// Absent for what comes with Otto.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    digest: String,
    steps: Vec<&'a str>,
}

#[derive(Serialize)]
struct StagePage<'a> {
    id: u32,
    name: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<u32>,
    kind: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<ConditionPage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    needs: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    enter: Vec<Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exit: Vec<Json>,
    #[serde(skip_serializing_if = "nothing")]
    runtime: Json,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    settings: &'a BTreeMap<String, String>,
    checkout: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    credentials: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    caches: BTreeMap<&'a str, Json>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    queue_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryPage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepPage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    finally: Vec<StepPage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rollback: Vec<StepPage<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notify: BTreeMap<&'static str, Vec<StepPage<'a>>>,
}

#[derive(Serialize)]
struct ConditionPage<'a> {
    text: &'a str,
    /// Absent where the run decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct RetryPage {
    attempts: u32,
    on: Vec<&'static str>,
    backoff_ms: u64,
}

#[derive(Serialize)]
struct StepPage<'a> {
    /// The call as an author would write it.
    text: String,
    symbol: &'a str,
    library: &'a str,
    arguments: BTreeMap<&'a str, Json>,
    #[serde(skip_serializing_if = "str::is_empty")]
    folder: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    settings: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

fn nothing(json: &Json) -> bool {
    json.as_object().is_some_and(Map::is_empty)
}

fn origin(origin: &Origin) -> OriginPage<'_> {
    match origin {
        Origin::File(path) => OriginPage::File(path),
        Origin::Convention { names, reasons } => OriginPage::Convention { names, reasons },
    }
}

fn library(library: &Library) -> LibraryPage<'_> {
    LibraryPage {
        path: match &library.source {
            LibrarySource::Builtin => None,
            LibrarySource::Repository { path } => Some(path),
        },
        digest: library.digest.to_string(),
        steps: library.steps.keys().map(String::as_str).collect(),
    }
}

fn stage<'a>(plan: &'a Plan, id: u32, stage: &'a Stage, verdict: Verdict) -> StagePage<'a> {
    let steps = |steps: &'a [StepCall]| steps.iter().map(|s| step(plan, s)).collect();
    StagePage {
        id,
        name: &stage.name,
        path: &stage.path,
        parent: stage.parent.map(|parent| parent.0),
        kind: kind(&stage.work),
        verdict: match verdict {
            Verdict::Runs => "runs",
            Verdict::Open => "open",
            Verdict::Skipped => "skipped",
        },
        when: stage.when.as_ref().map(condition),
        children: stage.work.children().iter().map(|child| child.0).collect(),
        needs: stage.needs.iter().map(|need| need.0).collect(),
        enter: stage.gates.enter.iter().map(gate).collect(),
        exit: stage.gates.exit.iter().map(gate).collect(),
        runtime: need(&stage.runtime),
        settings: &stage.settings,
        checkout: stage.checkout,
        environment: stage.environment.as_deref(),
        credentials: &stage.credentials,
        caches: stage.caches.iter().map(|(name, c)| (name.as_str(), cache(c))).collect(),
        outputs: stage.outputs.iter().map(|(name, t)| (name.as_str(), t.to_string())).collect(),
        timeout_ms: stage.timeout.map(|span| span.0),
        queue_ms: stage.queue.0,
        retry: stage.retry.as_ref().map(|retry| RetryPage {
            attempts: retry.attempts,
            on: retry.on.iter().map(|reason| retry_reason(*reason)).collect(),
            backoff_ms: retry.backoff.0,
        }),
        steps: steps(stage.work.steps()),
        finally: steps(&stage.finally),
        rollback: steps(&stage.rollback),
        notify: stage.notify.iter().map(|(on, list)| (occasion(*on), steps(list))).collect(),
    }
}

fn kind(work: &Work) -> &'static str {
    match work {
        Work::Steps(_) => "steps",
        Work::Sequence(_) => "sequence",
        Work::Parallel(_) => "parallel",
        Work::Fanout(_) => "fanout",
        Work::Choose(_) => "choose",
        Work::Nothing => "nothing",
    }
}

fn retry_reason(reason: RetryReason) -> &'static str {
    match reason {
        RetryReason::Lost => "lost",
        RetryReason::Failed => "failed",
        RetryReason::TimedOut => "timed_out",
    }
}

fn occasion(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Success => "success",
        Occasion::Unstable => "unstable",
        Occasion::Failure => "failure",
        Occasion::Always => "always",
    }
}

fn condition(condition: &Condition) -> ConditionPage<'_> {
    let (holds, reason) = match &condition.decided {
        Decided::Plan { holds, reason } => (Some(*holds), Some(reason.as_str())),
        Decided::Run(_) => (None, None),
    };
    ConditionPage { text: &condition.text, holds, reason }
}

fn gate(gate: &Gate) -> Json {
    let wait = match gate {
        Gate::Condition(condition) => return object([("condition", judged(condition).into())]),
        Gate::Wait(wait) => wait,
    };
    let then = match wait.on_timeout {
        OnTimeout::Fail => "fail",
        OnTimeout::Unstable => "unstable",
        OnTimeout::Pass => "pass",
    };
    let (kind, detail) = match &wait.kind {
        WaitKind::Approval { approvers } => {
            ("approval", ("approvers", Json::from(approvers.clone())))
        }
        WaitKind::Callback => ("callback", ("answers", values(&wait.answers))),
        WaitKind::Poll { every, .. } => ("poll", ("every_ms", every.0.into())),
    };
    object([
        (kind, wait.name.clone().into()),
        detail,
        ("timeout_ms", wait.timeout.0.into()),
        ("on_timeout", then.into()),
    ])
}

/// A need as an object with one key, `{}` where nothing is needed.
fn need(wanted: &Need) -> Json {
    match wanted {
        Need::All(needs) if needs.is_empty() => Json::Object(Map::new()),
        Need::All(needs) => object([("all", needs.iter().map(need).collect())]),
        Need::Any(needs) => object([("any", needs.iter().map(need).collect())]),
        Need::Cores(cores) => object([("cores", (*cores).into())]),
        Need::Memory(bytes) => object([("memory_bytes", (*bytes).into())]),
        Need::Arch(arch) => object([("arch", arch.clone().into())]),
        Need::Os(os) => object([("os", os.clone().into())]),
        Need::Tool { name, version } => {
            let version = version.as_ref().map_or(Json::Null, |v| v.to_string().into());
            object([("tool", name.clone().into()), ("version", version)])
        }
        Need::Docker { image } => object([("docker", image.clone().into())]),
    }
}

fn cache(cache: &Cache) -> Json {
    match cache {
        Cache::Define { paths, key } => object([
            ("paths", paths.clone().into()),
            ("key", key.as_ref().map_or(Json::Null, value)),
        ]),
        Cache::Use => object([("use", true.into())]),
    }
}

fn step<'a>(plan: &Plan, step: &'a StepCall) -> StepPage<'a> {
    StepPage {
        text: call(plan, step),
        symbol: &step.symbol,
        library: &step.library,
        arguments: step.arguments.iter().map(|(name, v)| (name.as_str(), value(v))).collect(),
        folder: &step.folder,
        settings: &step.settings,
        timeout_ms: step.timeout.map(|span| span.0),
    }
}

fn values(all: &BTreeMap<String, Value>) -> Json {
    Json::Object(all.iter().map(|(name, v)| (name.clone(), value(v))).collect())
}

/// A value as JSON: text, number, boolean, list or null.
#[must_use]
pub fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => text.clone().into(),
        Value::Number(number) => {
            serde_json::from_str(&number.to_string()).unwrap_or_else(|_| number.to_string().into())
        }
        Value::Boolean(truth) => (*truth).into(),
        Value::List(items) => items.iter().map(self::value).collect(),
        Value::Absent => Json::Null,
    }
}

fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    Json::Object(fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect())
}
