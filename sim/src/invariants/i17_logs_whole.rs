//! I17: log bytes that were shown are never lost, doubled or reordered.
//!
//! Excepted is a log that was lost on the agent and on the control side before it was sealed: its
//! attempt ends without a length, and readers are told that the log is torn.
//!
//! Source: a log is a single-writer append-only register; the truth is what the processes printed.

use super::Invariant;
use crate::ending::{EndedRun, Ending};
use crate::history::{Fact, Moment};
use otto_actors::ports::logs::LogId;
use otto_core::ids::{RunId, StageId};
use otto_core::lease::LeaseId;
use otto_core::run::event::Event;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INVARIANT: Invariant = Invariant {
    id: "I17",
    holds: "log bytes shown are never lost, doubled or reordered",
    violations,
};

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = stored_is_printed(history, ending);
    for moment in history {
        let Fact::LogRead { run, path, offset, text } = &moment.fact else { continue };
        let plan = ending.runs.get(run).map(|ended| &ended.plan);
        let Some(stage) = plan.and_then(|plan| plan.find(path)) else { continue };
        let from = usize::try_from(*offset).unwrap_or(usize::MAX);
        let is_stored =
            ending.logs.iter().filter(|(log, _)| log.run == *run && log.stage == stage).any(
                |(_, bytes)| {
                    bytes.get(from..).is_some_and(|rest| rest.starts_with(text.as_bytes()))
                },
            );
        if !is_stored && !may_be_torn(ending, *run, stage) {
            found.push(format!("{run} {path}: {text:?} at {offset} was shown and is not stored"));
        }
    }
    found
}

/// Whether an attempt at a stage ended without a word about its log.
fn may_be_torn(ending: &Ending, run: RunId, stage: StageId) -> bool {
    let ended = ending.runs.get(&run);
    ended.into_iter().flat_map(EndedRun::events).any(|event| match event {
        Event::AttemptEnded { stage: of, log_bytes: None, .. } => *of == stage,
        _ => false,
    })
}

/// What is stored of each attempt is a beginning of what its processes printed, and all of it where
/// the attempt was reported to its end.
fn stored_is_printed(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut printed: BTreeMap<LeaseId, String> = BTreeMap::new();
    for moment in history {
        if let Fact::StepPrinted { lease, text } = &moment.fact {
            printed.entry(*lease).or_default().push_str(text);
        }
    }
    let mut reported: BTreeSet<LogId> = BTreeSet::new();
    for (run, ended) in &ending.runs {
        for (stage, attempt, _, outcome) in ended.attempt_ends() {
            if outcome.goes_on() {
                reported.insert(LogId { run: *run, stage, attempt });
            }
        }
    }
    let mut found = Vec::new();
    for (lease, text) in &printed {
        let log = LogId { run: lease.run, stage: lease.stage, attempt: lease.attempt };
        let stored =
            ending.logs.get(&log).map_or("".into(), |bytes| String::from_utf8_lossy(bytes));
        let is_last_award = ending.runs.get(&lease.run).is_some_and(|ended| {
            let awards = ended.awards().filter(|award| award.0 == lease.stage);
            awards
                .filter(|award| award.1 == lease.attempt)
                .last()
                .is_some_and(|a| a.2 == lease.epoch)
        });
        if !is_last_award {
            continue;
        }
        if !text.starts_with(stored.as_ref()) {
            found.push(format!("{lease} printed {text:?}, stored is {stored:?}"));
        } else if reported.contains(&log) && stored.len() < text.len() {
            found.push(format!("{lease} printed {text:?}, only {stored:?} is stored"));
        }
    }
    found
}
