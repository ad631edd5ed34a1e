//! What a run knows of its stages, attempts and steps.

use super::duty::EndReason;
use super::outcome::{Outcome, Section, SkipCause, StepPlace};
use crate::ids::{AgentRef, Attempt, Epoch, StageId};
use crate::time::Timestamp;
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;

/// One stage of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageState {
    /// How far it is.
    pub phase: Phase,
    /// When its turn came.
    pub opened_at: Option<Timestamp>,
    /// Its attempts, the first one first. One that was declined is not among them.
    pub attempts: Vec<Arc<AttemptState>>,
    /// How far the stages inside are.
    pub inside: Inside,
    /// How many of the siblings that it needs have not settled.
    pub(super) needs_left: u32,
    /// Its time limit over the stages inside was up: they are being ended.
    pub(super) overdue: bool,
}

impl StageState {
    /// A stage whose turn has not come.
    pub(super) fn new(children: usize, needs: usize) -> Self {
        Self {
            phase: Phase::Pending,
            opened_at: None,
            attempts: Vec::new(),
            inside: Inside::new(children),
            needs_left: u32::try_from(needs).unwrap_or(u32::MAX),
            overdue: false,
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.phase {
            Phase::Settled { outcome, .. } => Some(*outcome),
            Phase::Skipped { .. } => Some(Outcome::Skipped),
            Phase::Pending
            | Phase::Open
            | Phase::Offered { .. }
            | Phase::Leased { .. }
            | Phase::Ended { .. }
            | Phase::Paused { .. } => None,
        }
    }

    /// The attempt that an agent holds now.
    #[must_use]
    pub fn leased(&self) -> Option<&AttemptState> {
        match self.phase {
            Phase::Leased { .. } => self.attempts.last().map(AsRef::as_ref),
            Phase::Pending
            | Phase::Open
            | Phase::Offered { .. }
            | Phase::Ended { .. }
            | Phase::Paused { .. }
            | Phase::Settled { .. }
            | Phase::Skipped { .. } => None,
        }
    }

    /// Since when an attempt looks for an agent.
    pub(super) fn offered_since(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Offered { since, .. } => Some(since),
            Phase::Pending
            | Phase::Open
            | Phase::Leased { .. }
            | Phase::Ended { .. }
            | Phase::Paused { .. }
            | Phase::Settled { .. }
            | Phase::Skipped { .. } => None,
        }
    }

    /// Whether stages that need this one, or follow it, may start: it went on, and was not skipped
    /// because of a failure elsewhere.
    pub(super) fn satisfies(&self) -> bool {
        match &self.phase {
            Phase::Settled { outcome, .. } => outcome.goes_on(),
            Phase::Skipped { cause, .. } => match cause {
                SkipCause::Condition { .. } | SkipCause::OtherArm => true,
                SkipCause::Needs { .. }
                | SkipCause::Parent
                | SkipCause::Stopped { .. }
                | SkipCause::RunEnded { .. } => false,
            },
            Phase::Pending
            | Phase::Open
            | Phase::Offered { .. }
            | Phase::Leased { .. }
            | Phase::Ended { .. }
            | Phase::Paused { .. } => false,
        }
    }
}

/// How far a stage is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Its turn has not come.
    Pending,
    /// The stages inside go on.
    Open,
    /// An attempt looks for an agent.
    Offered {
        /// Which one.
        attempt: Attempt,
        /// Since when.
        since: Timestamp,
    },
    /// An agent holds an attempt.
    Leased {
        /// Which one: the last in [`StageState::attempts`].
        attempt: Attempt,
    },
    /// An attempt ended; what follows from it comes with the same entry.
    Ended {
        /// Which one.
        attempt: Attempt,
    },
    /// It pauses before another attempt.
    Paused {
        /// The attempt to come.
        attempt: Attempt,
        /// When it is offered.
        due: Timestamp,
    },
    /// It has its outcome, for good.
    Settled {
        /// How it ended.
        outcome: Outcome,
        /// What decided it; empty for success.
        cause: Arc<str>,
        /// When.
        at: Timestamp,
    },
    /// It was not entered, for good.
    Skipped {
        /// Why.
        cause: SkipCause,
        /// When.
        at: Timestamp,
    },
}

/// How far the stages inside another one are: counters, so that no event looks at all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inside {
    /// How many have not settled.
    pub left: u32,
    /// The worst outcome so far. Skipped counts as success, unless a failure elsewhere was the
    /// cause.
    pub worst: Outcome,
    /// The first one with that outcome.
    pub worst_stage: Option<StageId>,
    /// The first one after which nothing else may start.
    pub first_failed: Option<StageId>,
}

impl Inside {
    fn new(children: usize) -> Self {
        Self {
            left: u32::try_from(children).unwrap_or(u32::MAX),
            worst: Outcome::Success,
            worst_stage: None,
            first_failed: None,
        }
    }

    /// Takes in that a stage inside has settled.
    pub(super) fn settled(&mut self, stage: StageId, outcome: Outcome) {
        self.left = self.left.saturating_sub(1);
        if outcome > self.worst {
            self.worst = outcome;
            self.worst_stage = Some(stage);
        }
        if !outcome.goes_on() && self.first_failed.is_none() {
            self.first_failed = Some(stage);
        }
    }
}

/// One attempt at a stage, from its award on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptState {
    /// Which one.
    pub attempt: Attempt,
    /// The lease's fence.
    pub epoch: Epoch,
    /// Who holds or held it.
    pub agent: AgentRef,
    /// Since when it was offered.
    pub offered_at: Timestamp,
    /// When it was awarded; the time limit of its steps counts from here.
    pub awarded_at: Timestamp,
    /// What its agent told of its steps.
    pub steps: RedBlackTreeMapSync<StepPlace, StepState>,
    /// Why its agent is told to end it, where it is.
    pub ending: Option<Ending>,
    /// How it ended, once it has.
    pub ended: Option<AttemptResult>,
}

impl AttemptState {
    /// Whether nothing of the `count` steps goes on or begins any more, as far as its agent has
    /// told: the time limit of its stage bounds nothing that comes later.
    pub(super) fn steps_over(&self, count: usize) -> bool {
        let Some((place, step)) = self.steps.last() else { return false };
        match place.section {
            Section::Finally => true,
            Section::Steps => step.ended.as_ref().is_some_and(|ended| {
                let next = usize::try_from(place.index).map_or(usize::MAX, |index| index + 1);
                !ended.outcome.goes_on() || next >= count
            }),
        }
    }
}

/// The word to an agent that it must end an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// How the end will count, whatever the agent says of it.
    pub reason: EndReason,
    /// Whose fault it is, for people.
    pub cause: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// Whether another attempt may follow.
    pub again: bool,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptResult {
    /// How that counts.
    pub outcome: Outcome,
    /// What decided it; empty for success.
    pub cause: Arc<str>,
    /// The length of its log in bytes, where the agent could say.
    pub log_bytes: Option<u64>,
    /// When.
    pub at: Timestamp,
}

/// What is known of a step. Times are by the agent's clock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepState {
    /// When its process was started.
    pub began_at: Option<Timestamp>,
    /// How it ended, once it has.
    pub ended: Option<StepResult>,
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepResult {
    /// How that counts.
    pub outcome: Outcome,
    /// What the process said: `exit code 1`.
    pub detail: Arc<str>,
    /// The length of the attempt's log in bytes by then, where the agent could say.
    pub log_bytes: Option<u64>,
    /// When.
    pub at: Timestamp,
}
