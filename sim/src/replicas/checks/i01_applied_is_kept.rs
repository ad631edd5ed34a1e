//! I1: what was said to be applied is on every member, at its place, exactly once; what was said
//! not to be is nowhere.

use super::{Check, Ending};
use crate::replicas::history::{Fact, Moment, Outcome};
use crate::replicas::writer::number_of;
use std::collections::BTreeMap;

pub(super) const CHECK: Check =
    Check { id: "I1", holds: "what was applied is on every member, exactly once", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut answers = BTreeMap::new();
    for moment in history {
        if let Fact::Answered { number, outcome } = &moment.fact {
            answers.insert(*number, *outcome);
        }
    }
    let mut wrong = Vec::new();
    for ((shard, node), replica) in &ending.replicas {
        // Where each proposal is found: (entity, version).
        let mut found: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for (entity, entries) in replica {
            for (version, entry) in (1..).zip(entries) {
                match number_of(entry) {
                    Some(number) => found.entry(number).or_default().push((*entity, version)),
                    None => wrong.push(format!("n{node} holds an entry that nobody proposed")),
                }
            }
        }
        for moment in history {
            let Fact::Proposes { number, shard: of, entity, expected, .. } = &moment.fact else {
                continue;
            };
            if of != shard {
                continue;
            }
            let places = found.get(number).map_or(&[][..], Vec::as_slice);
            let right = places == [(*entity, expected + 1)];
            let fits = match answers.get(number) {
                Some(Outcome::Applied) => right,
                Some(Outcome::Conflict(_) | Outcome::NotProposed) => places.is_empty(),
                Some(Outcome::Unknown) | None => right || places.is_empty(),
            };
            if !fits {
                let answer = answers.get(number);
                wrong.push(format!(
                    "#{number} in shard {shard} was answered {answer:?}, and n{node} holds it at \
                     {places:?}"
                ));
            }
        }
    }
    wrong
}
