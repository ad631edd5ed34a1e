//! Small plans whose steps are scripts for the [`Ground`](crate::memory::ground::Ground).

use otto_core::capability::Need;
use otto_core::gate::Gates;
use otto_core::ids::{Digest, StageId};
use otto_core::plan::{
    DEFAULT_QUEUE, FORMAT, Origin, Plan, Retry, RetryReason, Revision, Stage, StepCall, Work,
};
use otto_core::step::{Entrypoint, Library, LibrarySource, Signature};
use otto_core::time::Span;
use otto_core::value::{Value, ValueType};
use std::collections::{BTreeMap, BTreeSet};

/// A step that follows a script.
pub(crate) fn step(script: &str) -> StepCall {
    StepCall {
        symbol: "sh".to_owned(),
        library: "otto".to_owned(),
        arguments: BTreeMap::from([("script".to_owned(), Value::Text(script.to_owned()))]),
        folder: String::new(),
        settings: BTreeMap::new(),
        timeout: None,
    }
}

/// A stage with steps that follow these scripts.
pub(crate) fn stage(name: &str, scripts: &[&str]) -> Stage {
    Stage {
        name: name.to_owned(),
        path: name.to_owned(),
        parent: Some(StageId::ROOT),
        work: Work::Steps(scripts.iter().map(|script| step(script)).collect()),
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

/// The same stage, tried up to three times for this reason.
pub(crate) fn again(stage: Stage, on: RetryReason) -> Stage {
    let retry = Retry { attempts: 3, on: BTreeSet::from([on]), backoff: Span::seconds(1) };
    Stage { retry: Some(retry), ..stage }
}

/// A plan that runs these stages one after another.
pub(crate) fn sequence(stages: Vec<Stage>) -> Plan {
    plan(Work::Sequence, stages)
}

/// A plan that runs these stages side by side.
pub(crate) fn parallel(stages: Vec<Stage>) -> Plan {
    plan(Work::Parallel, stages)
}

fn plan(work: fn(Vec<StageId>) -> Work, stages: Vec<Stage>) -> Plan {
    let children = (1..=u32::try_from(stages.len()).unwrap()).map(StageId).collect();
    let root = Stage { parent: None, work: work(children), path: String::new(), ..stage("", &[]) };
    let signature = Signature {
        symbol: "sh".to_owned(),
        description: "Follows a script.".to_owned(),
        parameters: Vec::new(),
        entrypoint: Entrypoint::Script { parameter: "script".to_owned() },
        architectures: BTreeSet::new(),
        cache: false,
        credentials: BTreeSet::new(),
    };
    let library = Library {
        name: "otto".to_owned(),
        source: LibrarySource::Builtin,
        digest: Digest::of(b"otto"),
        configuration: Vec::new(),
        steps: BTreeMap::from([("sh".to_owned(), signature)]),
    };
    Plan {
        format: FORMAT,
        pipeline: "default".to_owned(),
        origin: Origin::File("Ottofile".to_owned()),
        revision: Revision::default(),
        parameters: BTreeMap::new(),
        environments: BTreeMap::new(),
        libraries: BTreeMap::from([("otto".to_owned(), library)]),
        stages: std::iter::once(root).chain(stages).collect(),
    }
}

/// The same stage, with this value captured.
pub(crate) fn capturing(stage: Stage, name: &str) -> Stage {
    Stage { outputs: BTreeMap::from([(name.to_owned(), ValueType::Text)]), ..stage }
}

/// The same stage, which needs one of these tools.
pub(crate) fn needing(stage: Stage, tools: &[&str]) -> Stage {
    let tool = |name: &&str| Need::Tool { name: (*name).to_owned(), version: None };
    Stage { runtime: Need::Any(tools.iter().map(tool).collect()), ..stage }
}
