//! I2: submitting is idempotent: one key makes one run at most.
//!
//! Source: Helland, "Idempotence Is Not a Medical Condition", ACM Queue 2012.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Answer, Fact, Moment};
use otto_core::ids::RunId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I2", holds: "submitting is idempotent", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut runs: BTreeMap<&str, BTreeSet<RunId>> = BTreeMap::new();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for moment in history {
        match &moment.fact {
            Fact::Submits { key, .. } => {
                keys.insert(key);
            }
            Fact::Submitted { key, answer: Answer::Ok(run) } => {
                runs.entry(key).or_default().insert(*run);
            }
            _ => {}
        }
    }
    let doubled = runs.iter().filter(|(_, runs)| runs.len() > 1);
    let mut found: Vec<String> =
        doubled.map(|(key, runs)| format!("{key} was answered with {runs:?}")).collect();
    if ending.runs.len() > keys.len() {
        found.push(format!("{} runs for {} keys", ending.runs.len(), keys.len()));
    }
    found
}
