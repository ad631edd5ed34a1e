//! I23: corruption stops and never spreads: a damaged node halts, or holds what the others hold.
//!
//! That the others agree among themselves, and that clients are shown nothing wrong, is decided by
//! the other properties.
//!
//! Source: "protocol-aware recovery", Alagappan et al., FAST 2018.

use super::Invariant;
use crate::ending::Ending;
use crate::history::{Fact, Moment};
use std::collections::BTreeSet;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I23", holds: "damage does not spread", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let damaged: BTreeSet<u8> = history
        .iter()
        .filter_map(|moment| match &moment.fact {
            Fact::Damaged { control } => Some(*control),
            _ => None,
        })
        .collect();
    let sound = ending.replicas.iter().find(|(control, _)| !damaged.contains(control));
    let Some((_, sound)) = sound else { return Vec::new() };
    let differs =
        |(control, digest): &(&u8, &String)| damaged.contains(control) && *digest != sound;
    let wrong = ending.replicas.iter().filter(differs);
    wrong
        .map(|(control, digest)| {
            format!("control-{} was damaged, goes on, and holds {digest}", control + 1)
        })
        .collect()
}
