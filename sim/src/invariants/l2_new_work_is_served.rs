//! L2: when faults stop, new work is served, and every member of the cluster catches up.
//!
//! Source: liveness as "something good happens", Alpern and Schneider 1985.

use super::Invariant;
use crate::clients::PROBE;
use crate::ending::Ending;
use crate::history::{Answer, Fact, Moment};
use std::collections::BTreeSet;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "L2", holds: "when faults stop, new work is served", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut waiting = BTreeSet::new();
    for moment in history {
        match &moment.fact {
            Fact::Submits { key, .. } if key.starts_with(PROBE) => {
                waiting.insert(key);
            }
            Fact::Submitted { key, answer: Answer::Ok(_) } => {
                waiting.remove(key);
            }
            _ => {}
        }
    }
    let unserved = waiting.iter().map(|key| format!("{key} was submitted and never accepted"));
    let behind = ending.behind.iter().map(|what| format!("not caught up: {what}"));
    unserved.chain(behind).collect()
}
