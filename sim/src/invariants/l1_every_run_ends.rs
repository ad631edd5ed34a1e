//! L1: when faults stop, every run ends within the liveness phase, and owes nothing.
//!
//! Source: liveness as "something good happens", Alpern and Schneider 1985.

use super::Invariant;
use crate::ending::Ending;
use crate::history::Moment;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "L1", holds: "when faults stop, every run ends", violations };

fn violations(_: &[Moment], ending: &Ending) -> Vec<String> {
    let open = ending.runs.iter().filter(|(_, run)| !run.is_retired());
    open.map(|(id, run)| {
        let last = run.entries.last().map(|entry| &entry.events);
        format!("{id} has not ended (outcome {:?}); its last events: {last:?}", run.outcome())
    })
    .collect()
}
