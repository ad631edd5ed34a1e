//! I1: an accepted run is never lost.
//!
//! Source: Jepsen's set workload: every acknowledged element is in the final read.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Answer, Fact, Moment};

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I1", holds: "an accepted run is never lost", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let accepted = history.iter().filter_map(|moment| match &moment.fact {
        Fact::Submitted { key, answer: Answer::Ok(run) } => Some((key, run)),
        _ => None,
    });
    accepted
        .filter(|(_, run)| !ending.runs.contains_key(run))
        .map(|(key, run)| format!("run {run} of {key} was accepted and is gone"))
        .collect()
}
