//! I25: a token lets in as many as was wished when it was made, and nobody more.
//!
//! Decided by what machines were told that they are, and by the cluster's journal.
//!
//! Source: counting capabilities, Miller, "Robust Composition", 2006.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use otto_core::cluster::event::Event;
use otto_core::ids::{NodeId, TokenHash};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I25", holds: "a token lets in as many as it may", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut allowed: BTreeMap<TokenHash, u32> = BTreeMap::new();
    let mut joined: BTreeMap<TokenHash, BTreeSet<NodeId>> = BTreeMap::new();
    for moment in history {
        match &moment.fact {
            Fact::TokenMade { token, uses } => {
                allowed.insert(*token, *uses);
            }
            Fact::Joined { node, token } => {
                joined.entry(*token).or_default().insert(*node);
            }
            _ => {}
        }
    }
    for event in ending.cluster.iter().flat_map(|entry| &entry.events) {
        if let Event::NodeJoined { node, token, .. } = event {
            joined.entry(*token).or_default().insert(*node);
        }
    }
    let within = |token: &TokenHash, nodes: &BTreeSet<NodeId>| {
        let allowed = allowed.get(token).copied().unwrap_or(0);
        nodes.len() <= usize::try_from(allowed).unwrap_or(usize::MAX)
    };
    let wrong = joined.iter().filter(|(token, nodes)| !within(token, nodes));
    wrong
        .map(|(token, nodes)| {
            let allowed = allowed.get(token).copied().unwrap_or(0);
            format!("token {} was made for {allowed}, and let in {nodes:?}", token.0[0])
        })
        .collect()
}
