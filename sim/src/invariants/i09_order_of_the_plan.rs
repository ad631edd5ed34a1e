//! I9: a stage starts only after all that it needs, and nothing runs that the plan does not hold.
//!
//! Source: the plan is the contract. Decided by the ground truth of processes.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use otto_core::ids::{RunId, StageId};
use otto_core::plan::{Plan, Work};
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I9", holds: "the order of the plan", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    let mut begun: BTreeMap<(RunId, StageId), usize> = BTreeMap::new();
    let mut last_end: BTreeMap<(RunId, StageId), usize> = BTreeMap::new();
    for (index, moment) in history.iter().enumerate() {
        match &moment.fact {
            Fact::StageBegan { lease, path } => {
                let stage = ending.runs.get(&lease.run).map(|run| &run.plan);
                let known = stage.and_then(|plan| plan.stages.get(lease.stage.index()));
                if known.is_none_or(|stage| stage.path != *path) {
                    found.push(format!("{path} of {lease} is not in the plan"));
                }
                begun.entry((lease.run, lease.stage)).or_insert(index);
            }
            Fact::StageEnded { lease } => {
                last_end.insert((lease.run, lease.stage), index);
            }
            _ => {}
        }
    }
    for ((run, stage), start) in &begun {
        let Some(ended) = ending.runs.get(run) else { continue };
        for earlier in before(&ended.plan, *stage) {
            let still = last_end.get(&(*run, earlier)).is_some_and(|end| end > start);
            if still {
                found.push(format!("{run}: {stage} began before {earlier} had ended"));
            }
        }
    }
    found
}

/// The stages with steps that must have ended before this one may begin.
fn before(plan: &Plan, stage: StageId) -> Vec<StageId> {
    let mut earlier = Vec::new();
    let mut at = stage;
    loop {
        earlier.extend(plan.stage(at).needs.iter().copied());
        let Some(parent) = plan.stage(at).parent else { break };
        if let Work::Sequence(children) = &plan.stage(parent).work {
            earlier.extend(children.iter().copied().take_while(|child| *child != at));
        }
        at = parent;
    }
    earlier.into_iter().flat_map(|stage| leaves(plan, stage)).collect()
}

fn leaves(plan: &Plan, stage: StageId) -> Vec<StageId> {
    let children = plan.stage(stage).work.children();
    if children.is_empty() {
        return vec![stage];
    }
    children.iter().flat_map(|child| leaves(plan, *child)).collect()
}
