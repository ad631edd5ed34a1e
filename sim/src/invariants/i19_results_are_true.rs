//! I19: a reported result is true: no success is invented, and none is taken away.
//!
//! Source: decided by the exit codes of the ground truth, never by Otto's own claims.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use otto_core::lease::LeaseId;
use otto_core::run::outcome::{Outcome, StepPlace};
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I19", holds: "a reported result is true", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut truth: BTreeMap<LeaseId, BTreeMap<StepPlace, Outcome>> = BTreeMap::new();
    for moment in history {
        if let Fact::StepEnded { lease, step, outcome } = &moment.fact {
            truth.entry(*lease).or_default().insert(*step, *outcome);
        }
    }
    let mut found = Vec::new();
    for (run, ended) in &ending.runs {
        for (stage, attempt, epoch, outcome) in ended.attempt_ends() {
            let lease = LeaseId { run: *run, stage, attempt, epoch };
            let steps = truth.get(&lease);
            let planned = ended.plan.stage(stage).work.steps().len();
            let succeeded = |steps: &BTreeMap<StepPlace, Outcome>| {
                steps.values().all(|outcome| *outcome == Outcome::Success)
            };
            let all_there = steps.is_some_and(|steps| steps.len() >= planned && succeeded(steps));
            let any_failed =
                steps.is_some_and(|steps| steps.values().any(|end| *end == Outcome::Failed));
            if outcome == Outcome::Success && !all_there {
                found.push(format!("{lease} was reported a success; the processes say {steps:?}"));
            }
            if outcome == Outcome::Failed && !any_failed {
                found.push(format!("{lease} was reported failed; the processes say {steps:?}"));
            }
        }
    }
    found
}
