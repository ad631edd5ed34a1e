//! I7: replicas that have applied as much hold the same, at any time.

use super::{Check, Ending};
use crate::replicas::history::{Fact, Moment};
use std::collections::BTreeMap;

pub(super) const CHECK: Check =
    Check { id: "I7", holds: "replicas that have applied as much hold the same", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut held = BTreeMap::new();
    let mut wrong = Vec::new();
    for moment in history {
        let Fact::Holds { node, shard, applied, digest } = &moment.fact else { continue };
        let (first, known) = held.entry((*shard, *applied)).or_insert((*node, digest));
        if *known != digest {
            wrong.push(format!(
                "n{first} holds {known} and n{node} holds {digest} of shard {shard} at {applied}"
            ));
        }
    }
    let mut ends = BTreeMap::new();
    for ((shard, node), replica) in &ending.replicas {
        let (first, known) = ends.entry(*shard).or_insert((*node, replica));
        if *known != replica {
            wrong.push(format!("n{first} and n{node} end with different shards {shard}"));
        }
    }
    wrong
}
