//! I8: an entity's version is linear: a reader sees all that was applied before it asked, and
//! nothing that nobody had proposed when it was answered.

use super::{Check, Ending};
use crate::replicas::history::{Fact, Moment, Outcome};
use otto_core::ids::ShardId;
use std::collections::BTreeMap;

pub(super) const CHECK: Check =
    Check { id: "I8", holds: "a reader sees all that was applied before it asked", violations };

type Entity = (ShardId, u64);

/// What is known of one entity at a moment.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Somebody saw that it had so many entries.
    least: u64,
    /// Nobody proposed more.
    most: u64,
}

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut known: BTreeMap<Entity, Known> = BTreeMap::new();
    let mut proposals = BTreeMap::new();
    let mut readings: BTreeMap<u64, (Entity, u64, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for moment in history {
        match &moment.fact {
            Fact::Proposes { number, shard, entity, expected, .. } => {
                proposals.insert(*number, ((*shard, *entity), *expected));
                let known = known.entry((*shard, *entity)).or_default();
                known.most = known.most.max(expected + 1);
            }
            Fact::Answered { number, outcome } => {
                let Some((entity, expected)) = proposals.get(number) else { continue };
                let known = known.entry(*entity).or_default();
                let seen = match outcome {
                    Outcome::Applied => expected + 1,
                    Outcome::Conflict(found) => *found,
                    Outcome::NotProposed | Outcome::Unknown => 0,
                };
                known.least = known.least.max(seen);
            }
            Fact::Asks { number, shard, entity, node } => {
                let entity = (*shard, *entity);
                let least = known.entry(entity).or_default().least;
                readings.insert(*number, (entity, least, *node));
            }
            Fact::Reads { number, version } => {
                let Some((entity, least, node)) = readings.get(number) else { continue };
                let known = known.entry(*entity).or_default();
                if version < least || *version > known.most {
                    wrong.push(format!(
                        "?{number} read {version} entries of {entity:?} at n{node}, which had \
                         {least} before it asked and {} at most",
                        known.most
                    ));
                }
                known.least = known.least.max(*version);
            }
            Fact::Serves { .. }
            | Fact::Grants { .. }
            | Fact::Holds { .. }
            | Fact::Forfeits { .. }
            | Fact::CastOut { .. }
            | Fact::Order(_)
            | Fact::Fault(_)
            | Fact::Mark(_) => {}
        }
    }
    wrong
}
