//! I3: one executor for each stage, attempt and epoch, and attempts at a stage do not overlap.
//!
//! Source: Gray and Cheriton, "Leases", SOSP 1989. Decided by the ground truth of processes.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use otto_core::ids::{RunId, StageId};
use otto_core::lease::LeaseId;
use otto_core::run::outcome::StepPlace;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I3", holds: "one executor for each stage, attempt and epoch", violations };

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    let mut begun: BTreeSet<(LeaseId, StepPlace)> = BTreeSet::new();
    let mut opened: BTreeSet<LeaseId> = BTreeSet::new();
    let mut alive: BTreeMap<(RunId, StageId), LeaseId> = BTreeMap::new();
    for moment in history {
        match &moment.fact {
            Fact::StageBegan { lease, .. } => {
                if !opened.insert(*lease) {
                    found.push(format!("{lease} was opened twice"));
                }
                if let Some(other) = alive.insert((lease.run, lease.stage), *lease) {
                    found.push(format!("{lease} began while {other} had processes"));
                }
            }
            Fact::StageEnded { lease } => {
                alive.remove(&(lease.run, lease.stage));
            }
            Fact::StepBegan { lease, step, .. } if !begun.insert((*lease, *step)) => {
                found.push(format!("{lease} ran {step:?} twice"));
            }
            _ => {}
        }
    }
    found
}
