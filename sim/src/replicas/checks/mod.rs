//! What must hold of replicas, one property a file: each reads a history and what replicas hold in
//! the end.

mod i01_applied_is_kept;
mod i05_one_leader_in_a_term;
mod i07_replicas_agree;
mod i08_versions_are_linear;
mod i24_lost_memories_do_not_vote;

use super::history::Moment;
use otto_core::ids::ShardId;
use std::collections::BTreeMap;

/// What one replica of a shard holds in the end: the entries of each entity.
pub type Replica = BTreeMap<u64, Vec<Vec<u8>>>;

/// What is left when the simulation has ended: the replicas of all members that caught up.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// By shard and node.
    pub replicas: BTreeMap<(ShardId, u64), Replica>,
}

/// A property: its number, what it says, and how it is decided.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its number in the book.
    pub id: &'static str,
    /// What holds.
    pub holds: &'static str,
    /// Everything that contradicts it.
    pub violations: fn(&[Moment], &Ending) -> Vec<String>,
}

/// All properties.
pub const ALL: &[Check] = &[
    i01_applied_is_kept::CHECK,
    i05_one_leader_in_a_term::CHECK,
    i07_replicas_agree::CHECK,
    i08_versions_are_linear::CHECK,
    i24_lost_memories_do_not_vote::CHECK,
];

/// Judges a simulation by all properties; a handful of violations of each says enough.
#[must_use]
pub fn judge(history: &[Moment], ending: &Ending) -> Vec<String> {
    const ENOUGH: usize = 5;
    let judged = ALL.iter().flat_map(|check| {
        let violations = (check.violations)(history, ending).into_iter().take(ENOUGH);
        violations.map(|violation| format!("{}: {violation}", check.id))
    });
    judged.collect()
}
