//! I18: a log that was cut off says so: its stored length is the one that its attempt reported.
//!
//! Source: truncation must be visible, RFC 9110 section 6.1 on incomplete messages.

use super::Invariant;
use crate::ending::Ending;
use crate::history::Moment;
use otto_actors::ports::logs::LogId;
use otto_core::run::event::Event;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I18", holds: "cut-off logs say so", violations };

fn violations(_: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (run, ended) in &ending.runs {
        for event in ended.events() {
            let Event::AttemptEnded { stage, attempt, log_bytes: Some(length), .. } = event else {
                continue;
            };
            let log = LogId { run: *run, stage: *stage, attempt: *attempt };
            let stored = ending.logs.get(&log).map_or(0, |bytes| bytes.len() as u64);
            if stored != *length {
                found.push(format!("{run} {stage}: {length} bytes reported, {stored} stored"));
            }
        }
    }
    found
}
