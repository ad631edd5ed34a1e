//! Facts: how each changes a run. No policy is in here, nothing fails, and nothing panics, not even
//! on a fact that no `decide` would have found: what makes no sense has no effect.

use super::command::Submission;
use super::duty::{Duty, EndReason};
use super::event::{ArtifactKept, Event};
use super::outcome::{Outcome, SkipCause, StepChange, StepFact};
use super::state::{AttemptResult, AttemptState, Ending, Phase, StageState, StepResult, StepState};
use super::summary::Progress;
use super::{Begun, Cancelled, REMEMBERED_COMMANDS, Run};
use crate::ids::{Attempt, CommandId, StageId};
use crate::plan::Stage;
use crate::time::Timestamp;
use rpds::RedBlackTreeMapSync;
use std::sync::Arc;

impl Run {
    /// Takes in one fact. Replaying a journal is this and nothing else.
    pub fn evolve(&mut self, event: &Event) {
        match event {
            Event::Submitted { submission, at } => self.begin(submission, *at),
            Event::StageOpened { stage, at } => self.open(*stage, *at),
            Event::StageSkipped { stage, cause, at } => {
                let counts_as = match cause {
                    SkipCause::Stopped { .. } => Outcome::Cancelled,
                    SkipCause::Condition { .. }
                    | SkipCause::OtherArm
                    | SkipCause::Needs { .. }
                    | SkipCause::Parent
                    | SkipCause::RunEnded { .. } => Outcome::Skipped,
                };
                self.settle(*stage, Phase::Skipped { cause: cause.clone(), at: *at }, counts_as);
            }
            Event::StageAwarded { .. } => self.award(event),
            Event::StageDeclined { stage, attempt, .. } => self.decline(*stage, *attempt),
            Event::StepsReported { stage, attempt, facts } => {
                self.change_attempt(*stage, *attempt, |leased| leased.take_in(facts));
            }
            Event::AttemptOverdue { stage, attempt, limit, cause, at } => {
                let again = limit == stage;
                let ending = end_word(EndReason::TimedOut, cause, *at, again);
                self.change_attempt(*stage, *attempt, |leased| leased.end(ending));
                if !again {
                    self.change(*limit, |around| around.overdue = true);
                }
            }
            Event::AttemptStopped { stage, attempt, by, at } => {
                let cause = format!("stopped by {by}");
                let ending = end_word(EndReason::Cancelled, &cause, *at, false);
                self.change_attempt(*stage, *attempt, |leased| leased.end(ending));
            }
            Event::AttemptEnded { .. } => self.end_attempt(event),
            Event::RetryScheduled { stage, attempt, due } => {
                let phase = Phase::Paused { attempt: *attempt, due: *due };
                self.change(*stage, |state| state.phase = phase);
            }
            Event::RetryOffered { stage, attempt, at } => {
                let phase = Phase::Offered { attempt: *attempt, since: *at };
                self.change(*stage, |state| state.phase = phase);
            }
            Event::StageSettled { stage, outcome, cause, at } => {
                let cause = Arc::from(cause.as_str());
                let phase = Phase::Settled { outcome: *outcome, cause, at: *at };
                self.settle(*stage, phase, *outcome);
            }
            Event::CancelRequested { by, reason, at } => {
                let cancelled = Cancelled { by: by.clone(), reason: reason.clone(), at: *at };
                self.cancelled = Some(Arc::new(cancelled));
            }
            Event::EndRequested { stage, at } => {
                self.ended_by.get_or_insert((*stage, *at));
            }
            Event::RunSettled { outcome, at } => {
                self.settled = Some((*outcome, *at));
                // With an outcome, nothing can come too late any more.
                self.deadlines = rpds::RedBlackTreeSetSync::new_sync();
            }
            Event::RunRetired { at } => self.retired_at = Some(*at),
            Event::CommandAnswered { id } => self.remember(*id),
        }
        self.owed.wake_at(self.deadlines.first().map(|(at, _)| *at));
    }

    fn begin(&mut self, submission: &Submission, at: Timestamp) {
        let mut begun = Begun {
            submission: submission.clone(),
            at,
            carried: std::collections::BTreeSet::new(),
        };
        if let Some(earlier) = &submission.continues {
            begun.carried.extend(earlier.carried.iter().copied());
            let is_carried = |stage: &StageId| begun.carried.contains(stage);
            for (stage, values) in earlier.captured.iter().filter(|(it, _)| is_carried(it)) {
                self.captured.insert_mut(*stage, Arc::new(values.clone()));
            }
            for (name, kept) in earlier.artifacts.iter().filter(|(_, it)| is_carried(&it.stage)) {
                self.artifacts.insert_mut(name.clone(), kept.clone());
            }
        }
        self.begun = Some(Arc::new(begun));
    }

    fn open(&mut self, id: StageId, at: Timestamp) {
        let has_steps = self.planned(id).is_some_and(has_steps);
        self.change(id, |state| {
            state.opened_at = Some(at);
            state.phase = if has_steps {
                Phase::Offered { attempt: Attempt::FIRST, since: at }
            } else {
                Phase::Open
            };
        });
    }

    fn award(&mut self, event: &Event) {
        let Event::StageAwarded { stage, attempt, epoch, agent, at } = event else { return };
        self.epoch = self.epoch.max(*epoch);
        let leased = AttemptState {
            attempt: *attempt,
            epoch: *epoch,
            agent: *agent,
            offered_at: *at,
            awarded_at: *at,
            steps: RedBlackTreeMapSync::new_sync(),
            ending: None,
            ended: None,
        };
        self.change(*stage, |state| {
            let offered_at = state.offered_since().unwrap_or(*at);
            state.attempts.push(Arc::new(AttemptState { offered_at, ..leased }));
            state.phase = Phase::Leased { attempt: *attempt };
        });
    }

    /// Offers an attempt again: it keeps its place among the offers, since declining costs nothing.
    fn decline(&mut self, id: StageId, attempt: Attempt) {
        self.change(id, |state| {
            let since = state.leased().filter(|it| it.attempt == attempt).map(|it| it.offered_at);
            if let Some(since) = since {
                state.attempts.pop();
                state.phase = Phase::Offered { attempt, since };
            }
        });
    }

    fn end_attempt(&mut self, event: &Event) {
        let Event::AttemptEnded {
            stage,
            attempt,
            outcome,
            cause,
            captured,
            artifacts,
            log_bytes,
            at,
            ..
        } = event
        else {
            return;
        };
        let result = AttemptResult {
            outcome: *outcome,
            cause: Arc::from(cause.as_str()),
            log_bytes: *log_bytes,
            at: *at,
        };
        self.change_attempt(*stage, *attempt, |leased| leased.ended = Some(result));
        self.change(*stage, |state| state.phase = Phase::Ended { attempt: *attempt });
        if outcome.goes_on() && !captured.is_empty() {
            self.captured.insert_mut(*stage, Arc::new(captured.clone()));
        }
        for (name, digest) in artifacts {
            let kept = ArtifactKept { digest: *digest, stage: *stage };
            self.artifacts.insert_mut(name.clone(), kept);
        }
    }

    /// Gives a stage its last phase, and tells the stage around it and those that need it.
    fn settle(&mut self, id: StageId, phase: Phase, counts_as: Outcome) {
        self.change(id, |state| state.phase = phase);
        if let Some(parent) = self.planned(id).and_then(|stage| stage.parent) {
            self.change(parent, |around| around.inside.settled(id, counts_as));
        }
        let shape = Arc::clone(&self.shape);
        for dependent in shape.dependents(id) {
            self.change(*dependent, |state| {
                state.needs_left = state.needs_left.saturating_sub(1);
            });
        }
    }

    fn remember(&mut self, id: CommandId) {
        self.answered.enqueue_mut(id);
        if self.answered.len() > REMEMBERED_COMMANDS {
            self.answered.dequeue_mut();
        }
    }

    fn change_attempt(
        &mut self,
        id: StageId,
        attempt: Attempt,
        change: impl FnOnce(&mut AttemptState),
    ) {
        self.change(id, |state| {
            let last = state.attempts.last_mut().filter(|last| last.attempt == attempt);
            if let Some(last) = last {
                change(Arc::make_mut(last));
            }
        });
    }

    /// Changes one stage, and whatever is kept up along with it: duties, deadlines, counts.
    fn change(&mut self, id: StageId, change: impl FnOnce(&mut StageState)) {
        #[cfg(test)]
        super::tests::work::visited();
        let Some(stage) = self.plan.stages.get(id.index()) else { return };
        let Some(state) = self.stages.get_mut(id.index()) else { return };
        let is_settled = self.settled.is_some();
        let before = Ties::of(id, stage, state, is_settled);
        change(state);
        let after = Ties::of(id, stage, state, is_settled);
        if before.duty != after.duty {
            before.duty.into_iter().for_each(|duty| self.owed.release(duty));
            after.duty.into_iter().for_each(|duty| self.owed.owe(duty));
        }
        if before.deadline != after.deadline {
            before.deadline.into_iter().for_each(|at| {
                self.deadlines.remove_mut(&(at, id));
            });
            after.deadline.into_iter().for_each(|at| self.deadlines.insert_mut((at, id)));
        }
        if let (Some(before), Some(after)) = (before.progress, after.progress) {
            self.counts.moved(before, after);
        }
    }
}

/// What a stage's state implies for the run around it.
struct Ties {
    duty: Option<Duty>,
    deadline: Option<Timestamp>,
    /// `None` for stages that hold others: lists count what does the work.
    progress: Option<Progress>,
}

impl Ties {
    fn of(id: StageId, stage: &Stage, state: &StageState, is_settled: bool) -> Self {
        let is_leaf = stage.work.children().is_empty();
        Self {
            duty: duty(id, state),
            deadline: if is_settled { None } else { deadline(stage, state) },
            progress: is_leaf.then(|| Progress::of(state)),
        }
    }
}

/// What is owed for a stage.
fn duty(stage: StageId, state: &StageState) -> Option<Duty> {
    match state.phase {
        Phase::Offered { attempt, since } => Some(Duty::Offer { stage, attempt, since }),
        Phase::Leased { attempt } => state.leased().map(|leased| {
            let AttemptState { epoch, agent, .. } = *leased;
            match &leased.ending {
                None => Duty::Attend { stage, attempt, epoch, agent },
                Some(Ending { reason, .. }) => {
                    Duty::End { stage, attempt, epoch, agent, reason: *reason }
                }
            }
        }),
        Phase::Pending
        | Phase::Open
        | Phase::Ended { .. }
        | Phase::Paused { .. }
        | Phase::Settled { .. }
        | Phase::Skipped { .. } => None,
    }
}

/// When something happens to a stage by itself.
pub(super) fn deadline(stage: &Stage, state: &StageState) -> Option<Timestamp> {
    match state.phase {
        Phase::Offered { since, .. } => Some(since.after(stage.queue)),
        Phase::Paused { due, .. } => Some(due),
        Phase::Leased { .. } => {
            let leased = state.leased().filter(|leased| leased.ending.is_none())?;
            let limit = stage.timeout.filter(|_| !leased.steps_over(stage.work.steps().len()))?;
            Some(leased.awarded_at.after(limit))
        }
        Phase::Open if !state.overdue => Some(state.opened_at?.after(stage.timeout?)),
        Phase::Open
        | Phase::Pending
        | Phase::Ended { .. }
        | Phase::Settled { .. }
        | Phase::Skipped { .. } => None,
    }
}

/// Whether a stage is leased to an agent when its turn comes.
fn has_steps(stage: &Stage) -> bool {
    matches!(stage.work, crate::plan::Work::Steps(_))
}

fn end_word(reason: EndReason, cause: &str, since: Timestamp, again: bool) -> Ending {
    Ending { reason, cause: Arc::from(cause), since, again }
}

impl AttemptState {
    /// Takes in what the agent told of steps.
    fn take_in(&mut self, facts: &[StepFact]) {
        for fact in facts {
            let mut step: StepState = self.steps.get(&fact.step).cloned().unwrap_or_default();
            match &fact.what {
                StepChange::Began => step.began_at = Some(fact.at),
                StepChange::Ended { outcome, detail, log_bytes } => {
                    step.ended = Some(StepResult {
                        outcome: *outcome,
                        detail: Arc::from(detail.as_str()),
                        log_bytes: *log_bytes,
                        at: fact.at,
                    });
                }
            }
            self.steps.insert_mut(fact.step, step);
        }
    }

    /// Notes that it must end. The first word decides how the end counts; any may be the last one.
    fn end(&mut self, word: Ending) {
        match &mut self.ending {
            Some(ending) => ending.again &= word.again,
            None => self.ending = Some(word),
        }
    }
}
