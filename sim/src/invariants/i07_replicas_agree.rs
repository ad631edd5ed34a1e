//! I7: replicas agree: every reading of the disks gives the same state.
//!
//! Source: state machine replication, Schneider, ACM Computing Surveys 1990.

use super::Invariant;
use crate::ending::Ending;
use crate::history::Moment;

pub(super) const INVARIANT: Invariant = Invariant { id: "I7", holds: "replicas agree", violations };

fn violations(_: &[Moment], ending: &Ending) -> Vec<String> {
    let differs = |pair: &&[String]| pair[0] != pair[1];
    let pairs = ending.state_digests.windows(2).filter(differs);
    pairs.map(|pair| format!("one reading gives {}, another {}", pair[0], pair[1])).collect()
}
