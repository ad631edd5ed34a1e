//! I5: epochs only grow.
//!
//! Source: ballot numbers, Lamport, "The Part-Time Parliament", TOCS 1998.

use super::Invariant;
use crate::ending::Ending;
use crate::history::Moment;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I5", holds: "epochs only grow", violations };

fn violations(_: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (run, ended) in &ending.runs {
        let epochs: Vec<_> = ended.awards().map(|(_, _, epoch, _)| epoch).collect();
        for pair in epochs.windows(2).filter(|pair| pair[0] >= pair[1]) {
            found.push(format!("{run}: epoch {} was followed by {}", pair[0], pair[1]));
        }
    }
    found
}
