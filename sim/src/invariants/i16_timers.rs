//! I16: timers are early by at most a second: a retry's pause and a time limit last as long as
//! said; and a node whose clock is off the others' decides nothing.
//!
//! Source: Lamport clocks do not help here; decided against the simulation's true time.

use super::Invariant;
use crate::ending::{EndedRun, Ending};
use crate::history::{Fact, Moment};
use otto_core::ids::{Attempt, StageId};
use otto_core::run::event::Event;
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I16", holds: "timers are early by at most a second", violations };

/// How early a timer may be.
const EARLY: Span = Span::seconds(1);

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let of_run = |(run, ended)| early(ended).into_iter().map(move |what| format!("{run}: {what}"));
    let early = ending.runs.iter().flat_map(of_run);
    let off = history.iter().filter_map(|moment| match &moment.fact {
        Fact::OffTime { ahead_ms } => Some(format!(
            "at {} ms {} decided by a clock that was {ahead_ms} ms ahead of the others'",
            moment.at_ms, moment.host
        )),
        _ => None,
    });
    early.chain(off.take(1)).collect()
}

fn early(run: &EndedRun) -> Vec<String> {
    let mut due: BTreeMap<(StageId, Attempt), Timestamp> = BTreeMap::new();
    let mut opened: BTreeMap<StageId, Timestamp> = BTreeMap::new();
    let mut found = Vec::new();
    for event in run.events() {
        match event {
            Event::RetryScheduled { stage, attempt, due: at } => {
                due.insert((*stage, *attempt), *at);
            }
            Event::RetryOffered { stage, attempt, at } => {
                let scheduled = due.get(&(*stage, *attempt)).copied().unwrap_or_default();
                if at.after(EARLY) < scheduled {
                    found.push(format!("{stage} attempt {attempt} was offered too early"));
                }
            }
            Event::StageOpened { stage, at } | Event::StageAwarded { stage, at, .. } => {
                opened.insert(*stage, *at);
            }
            Event::AttemptOverdue { stage, at, .. } => {
                let limits = limits_around(run, *stage);
                let long_enough = limits.iter().any(|(holder, limit)| {
                    let since = opened.get(holder).copied().unwrap_or_default();
                    at.after(EARLY) >= since.after(*limit)
                });
                if !long_enough {
                    found.push(format!("{stage} was overdue before any of its limits"));
                }
            }
            _ => {}
        }
    }
    found
}

/// The time limits that a stage is under: its own, and those of the stages around it.
fn limits_around(run: &EndedRun, stage: StageId) -> Vec<(StageId, Span)> {
    let parents = std::iter::successors(Some(stage), |at| run.plan.stage(*at).parent);
    parents.filter_map(|at| Some((at, run.plan.stage(at).timeout?))).collect()
}
