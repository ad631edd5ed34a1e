//! I5: epochs only grow, and in a term one node leads.
//!
//! Source: ballot numbers, Lamport, "The Part-Time Parliament", TOCS 1998.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I5", holds: "epochs only grow, and a term has one leader", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = led_twice(history);
    for (run, ended) in &ending.runs {
        let epochs: Vec<_> = ended.awards().map(|(_, _, epoch, _)| epoch).collect();
        for pair in epochs.windows(2).filter(|pair| pair[0] >= pair[1]) {
            found.push(format!("{run}: epoch {} was followed by {}", pair[0], pair[1]));
        }
    }
    found
}

/// Two nodes that served one shard in one term.
fn led_twice(history: &[Moment]) -> Vec<String> {
    let mut leaders = BTreeMap::new();
    let mut found = Vec::new();
    for moment in history {
        let Fact::Leads { node, shard, term, .. } = &moment.fact else { continue };
        let first = *leaders.entry((*shard, *term)).or_insert(*node);
        if first != *node {
            found.push(format!("{first} and {node} led shard {shard} in term {term}"));
        }
    }
    found
}
