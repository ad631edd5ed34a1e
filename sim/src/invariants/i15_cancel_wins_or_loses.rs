//! I15: a cancel wins or loses: one outcome, and nothing starts after an acknowledged one.
//!
//! Source: linearizability of a single register, Herlihy and Wing, TOPLAS 1990.

use super::Invariant;
use crate::ending::{EndedRun, Ending};
use crate::history::{Answer, Fact, Moment};
use otto_core::ids::RunId;
use otto_core::run::outcome::{Outcome, Section};
use std::collections::BTreeSet;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I15", holds: "a cancel wins or loses", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut cancelled: BTreeSet<RunId> = BTreeSet::new();
    let mut leased_before: BTreeSet<_> = BTreeSet::new();
    let mut found = Vec::new();
    for moment in history {
        match &moment.fact {
            Fact::Cancelled { run, answer: Answer::Ok(()) } => {
                cancelled.insert(*run);
                let outcome = ending.runs.get(run).and_then(EndedRun::outcome);
                if outcome != Some(Outcome::Cancelled) {
                    found.push(format!("{run} was cancelled and ended as {outcome:?}"));
                }
            }
            Fact::StageBegan { lease, .. } => {
                leased_before.insert(*lease);
            }
            Fact::StepBegan { lease, step, .. } => {
                let late = cancelled.contains(&lease.run) && !leased_before.contains(lease);
                if late && step.section == Section::Steps {
                    found.push(format!("{lease} started a step after its run was cancelled"));
                }
            }
            _ => {}
        }
    }
    found
}
