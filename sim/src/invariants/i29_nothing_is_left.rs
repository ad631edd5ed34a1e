//! I29: nothing is left behind: when all is over, no stage has processes any more.
//!
//! Source: decided by the ground truth of processes.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use std::collections::BTreeSet;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I29", holds: "nothing is left behind", violations };

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut alive = BTreeSet::new();
    for moment in history {
        match &moment.fact {
            Fact::StageBegan { lease, .. } => {
                alive.insert(*lease);
            }
            Fact::StageEnded { lease } => {
                alive.remove(lease);
            }
            _ => {}
        }
    }
    alive.iter().map(|lease| format!("{lease} still has processes")).collect()
}
