//! I24: whoever leads was elected by a majority of voters that had not lost their memory.

use super::{Check, Ending};
use crate::replicas::history::{Fact, Moment};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECK: Check =
    Check { id: "I24", holds: "a node that lost its memory elects nobody", violations };

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut lost = BTreeSet::new();
    let mut granted: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for moment in history {
        match &moment.fact {
            Fact::Forfeits { node } => {
                lost.insert(*node);
            }
            Fact::Grants { voter, candidate, shard, term } => {
                if !lost.contains(voter) {
                    granted.entry((*shard, *term, *candidate)).or_default().insert(*voter);
                }
            }
            Fact::Serves { node, shard, term, voters } => {
                // Later on other voters may belong to the group than those that elected.
                if !seen.insert((*shard, *term)) {
                    continue;
                }
                let by = granted.entry((*shard, *term, *node)).or_default();
                let count = voters.iter().filter(|voter| *voter == node || by.contains(voter));
                let count = count.count();
                if count * 2 <= voters.len() || lost.contains(node) {
                    wrong.push(format!(
                        "n{node} leads shard {shard} in term {term} on the votes of {by:?}, of \
                         voters {voters:?}; {lost:?} have lost their memory"
                    ));
                }
            }
            Fact::Proposes { .. }
            | Fact::Answered { .. }
            | Fact::Asks { .. }
            | Fact::Reads { .. }
            | Fact::Holds { .. }
            | Fact::CastOut { .. }
            | Fact::Order(_)
            | Fact::Fault(_)
            | Fact::Mark(_) => {}
        }
    }
    wrong
}
