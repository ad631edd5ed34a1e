//! I5: terms only grow, and nobody shares one: in each term of a shard one node serves at most.

use super::{Check, Ending};
use crate::replicas::history::{Fact, Moment};
use std::collections::BTreeMap;

pub(super) const CHECK: Check =
    Check { id: "I5", holds: "one node serves a shard in a term, and terms grow", violations };

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut leaders = BTreeMap::new();
    let mut latest = BTreeMap::new();
    let mut wrong = Vec::new();
    for moment in history {
        let Fact::Serves { node, shard, term, .. } = &moment.fact else { continue };
        let first = leaders.entry((*shard, *term)).or_insert(*node);
        if first != node {
            wrong.push(format!("n{first} and n{node} both serve shard {shard} in term {term}"));
        }
        let before = latest.insert((*shard, *node), *term);
        if before.is_some_and(|before| before > *term) {
            wrong.push(format!("n{node} serves shard {shard} in term {term} after a later one"));
        }
    }
    wrong
}
