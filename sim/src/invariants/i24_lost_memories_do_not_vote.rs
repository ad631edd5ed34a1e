//! I24: whoever leads was elected by a majority of voters that had not lost their memory, and did
//! not lose it itself.
//!
//! Source: Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 11.7.3: a server that
//! lost its stable storage must not rejoin under its old identity.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I24", holds: "a node that lost its memory elects nobody", violations };

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut lost = BTreeSet::new();
    let mut granted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for moment in history {
        match &moment.fact {
            Fact::Forfeits { node } => {
                lost.insert(*node);
            }
            Fact::Granted { voter, candidate, shard, term } if !lost.contains(voter) => {
                granted.entry((*shard, *term, *candidate)).or_default().insert(*voter);
            }
            Fact::Leads { node, shard, term, .. } if lost.contains(node) => {
                wrong.push(format!(
                    "{node} leads shard {shard} in term {term} and has lost its memory"
                ));
            }
            // Later on other voters may belong to the group than those that elected.
            Fact::Leads { node, shard, term, voters } if seen.insert((*shard, *term)) => {
                let by = granted.entry((*shard, *term, *node)).or_default();
                let sound = voters.iter().filter(|voter| *voter == node || by.contains(voter));
                if sound.count() * 2 <= voters.len() {
                    wrong.push(format!(
                        "{node} leads shard {shard} in term {term} on the votes of {by:?}, of \
                         voters {voters:?}; {lost:?} have lost their memory"
                    ));
                }
            }
            _ => {}
        }
    }
    wrong
}
