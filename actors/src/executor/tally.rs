//! The tally of an attempt: which step comes next, and what its steps come to together. Pure.

use crate::ports::control::Assignment;
use crate::ports::stages::{StageError, StepEnd};
use otto_core::ids::Digest;
use otto_core::plan::StepCall;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{AttemptEnd, Outcome, Section, StepPlace};
use otto_core::value::{Value, ValueType};
use std::collections::BTreeMap;

/// What an attempt has come to so far.
#[derive(Debug)]
pub(super) struct Tally {
    outcome: Outcome,
    cause: String,
    /// Nothing of `steps` begins any more.
    steps_over: bool,
    /// Nothing of `finally` begins any more.
    finally_over: bool,
    /// Some step has begun.
    begun: bool,
    /// The attempt was told to end: that is how it counts.
    stopped: Option<EndReason>,
    /// The step whose time is up, and which time that was.
    overdue: Option<(StepPlace, String)>,
    /// A step asked to end the run.
    ends_run: bool,
    /// What its steps captured.
    captured: BTreeMap<String, Value>,
    /// What the next step sees: that, and what earlier stages captured.
    seen: BTreeMap<String, Value>,
    artifacts: BTreeMap<String, Digest>,
    /// The length of the log, once that is delivered.
    pub(super) log_bytes: Option<u64>,
}

/// How a step's end was counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    /// What the log has to say about it.
    pub(super) notes: Vec<String>,
}

/// The call at a place.
pub(super) fn call(assignment: &Assignment, place: StepPlace) -> Option<&StepCall> {
    let steps = match place.section {
        Section::Steps => &assignment.steps,
        Section::Finally => &assignment.finally,
    };
    steps.get(usize::try_from(place.index).ok()?)
}

impl Tally {
    /// An attempt that has not begun.
    pub(super) fn of(assignment: &Assignment) -> Self {
        Self {
            outcome: Outcome::Success,
            cause: String::new(),
            steps_over: false,
            finally_over: false,
            begun: false,
            stopped: None,
            overdue: None,
            ends_run: false,
            captured: BTreeMap::new(),
            seen: assignment.captured.clone(),
            artifacts: BTreeMap::new(),
            log_bytes: None,
        }
    }

    /// The step after `last`; `None` where there is none any more.
    pub(super) fn next(
        &mut self,
        assignment: &Assignment,
        last: Option<StepPlace>,
    ) -> Option<StepPlace> {
        let following = match last {
            None => StepPlace { section: Section::Steps, index: 0 },
            Some(StepPlace { section, index }) => StepPlace { section, index: index + 1 },
        };
        let in_steps = following.section == Section::Steps;
        let next = if in_steps && (self.steps_over || call(assignment, following).is_none()) {
            StepPlace { section: Section::Finally, index: 0 }
        } else {
            following
        };
        // An attempt that ended before its first step has nothing to clear up.
        let vain = self.steps_over && !self.begun;
        let over = next.section == Section::Finally && (self.finally_over || vain);
        let next = Some(next).filter(|next| !over && call(assignment, *next).is_some());
        self.begun |= next.is_some();
        next
    }

    /// Takes in how a step ended.
    pub(super) fn step(
        &mut self,
        assignment: &Assignment,
        place: StepPlace,
        end: StepEnd,
    ) -> Counted {
        let overdue = self.overdue.take().filter(|(overdue, _)| *overdue == place);
        let (outcome, detail) = match (overdue, self.stopped) {
            (Some((_, cause)), _) => (Outcome::TimedOut, cause),
            (None, Some(reason)) if place.section == Section::Steps => {
                (counts_as(reason), end.detail)
            }
            (None, _) => (end.outcome, end.detail),
        };
        let symbol = call(assignment, place).map_or("a step", |call| call.symbol.as_str());
        self.count(outcome, format!("{symbol}: {detail}"));
        if place.section == Section::Steps && (!outcome.goes_on() || end.ends_run) {
            self.steps_over = true;
        }
        self.ends_run |= end.ends_run;
        self.artifacts.extend(end.artifacts);
        let notes = self.capture(&assignment.outputs, end.captured);
        for name in end.dropped {
            self.captured.remove(&name);
            self.seen.remove(&name);
        }
        Counted { outcome, detail, notes }
    }

    /// Keeps captured values; answers what the log has to say of those that do not fit.
    fn capture(
        &mut self,
        outputs: &BTreeMap<String, ValueType>,
        captured: BTreeMap<String, Value>,
    ) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, value) in captured {
            match outputs.get(&name) {
                Some(declared) if !declared.admits(&value) => notes.push(format!(
                    "the captured value '{name}' is dropped: it is a {}, declared is {declared}",
                    value.type_name()
                )),
                Some(_) | None => {
                    self.seen.insert(name.clone(), value.clone());
                    self.captured.insert(name, value);
                }
            }
        }
        notes
    }

    /// What the next step sees: what was captured so far, declared or not, here; and what earlier
    /// stages captured.
    pub(super) fn seen(&self) -> &BTreeMap<String, Value> {
        &self.seen
    }

    /// The stage or a step could not be run; answers how that counts.
    pub(super) fn unfit(&mut self, error: &StageError) -> Outcome {
        let outcome = match error {
            StageError::Unfit(_) => Outcome::Failed,
            StageError::Machine(_) => Outcome::Lost,
        };
        self.steps_over = true;
        self.count(outcome, format!("failed to {error}"));
        outcome
    }

    /// Nobody can say how the attempt would have ended.
    pub(super) fn lost(&mut self, cause: String) {
        self.steps_over = true;
        self.finally_over = true;
        self.count(Outcome::Lost, cause);
    }

    /// A step's time is up: its own, or that of its section.
    pub(super) fn overdue(&mut self, place: StepPlace, cause: String) {
        self.overdue = Some((place, cause));
    }

    /// Nothing begins any more.
    pub(super) fn no_more(&mut self) {
        self.steps_over = true;
        self.finally_over = true;
    }

    /// The attempt is told to end; answers false where it was told before.
    pub(super) fn stop(&mut self, reason: EndReason) -> bool {
        let first = self.stopped.is_none();
        if first {
            self.stopped = Some(reason);
            self.steps_over = true;
        }
        first
    }

    fn count(&mut self, outcome: Outcome, cause: String) {
        if outcome > self.outcome {
            self.outcome = outcome;
            self.cause = cause;
        }
    }

    /// How the attempt ended, with the declared values that were captured; `None` while its log is
    /// not delivered.
    pub(super) fn end(&self, outputs: &BTreeMap<String, ValueType>) -> Option<AttemptEnd> {
        let log_bytes = self.log_bytes?;
        // What came of steps that were told to end says nothing about the stage.
        let (outcome, cause) = match self.stopped {
            Some(reason) if self.outcome < Outcome::Lost => {
                (counts_as(reason), "told to end".to_owned())
            }
            Some(_) | None => (self.outcome, self.cause.clone()),
        };
        Some(AttemptEnd {
            outcome,
            cause,
            captured: self
                .captured
                .iter()
                .filter(|(name, _)| outputs.contains_key(*name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            artifacts: self.artifacts.clone(),
            log_bytes: Some(log_bytes),
            ends_run: self.ends_run && self.stopped.is_none(),
        })
    }
}

fn counts_as(reason: EndReason) -> Outcome {
    match reason {
        EndReason::Cancelled => Outcome::Cancelled,
        EndReason::TimedOut => Outcome::TimedOut,
    }
}

#[cfg(test)]
mod tests;
