//! Consequences: what follows from a fact, until nothing does.
//!
//! Two work lists, not recursion, and only what changed is looked at: stages that settled, and
//! stages whose turn came. All that follows from ends is found before anything begins, so that
//! nothing starts beside a failure. Stopping what is inside a stage is done at once.

use super::Run;
use super::event::Event;
use super::outcome::{Outcome, SkipCause};
use super::state::Phase;
use crate::gate::{Condition, Decided, Gate};
use crate::ids::{Attempt, StageId};
use crate::plan::{Retry, RetryReason, Stage, Work};
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;

/// The longest pause between attempts, unless the first one is longer already.
const LONGEST_BACKOFF: Span = Span::hours(1);

/// A run as it will be, with the facts that make it so.
pub(super) struct Draft {
    pub(super) run: Run,
    pub(super) events: Vec<Event>,
    pub(super) now: Timestamp,
    settled: VecDeque<StageId>,
    turns: VecDeque<StageId>,
}

/// Who ends what is inside a stage.
#[derive(Clone, Copy)]
enum Stop<'a> {
    /// A stage that failed, or a person.
    By(&'a str),
    /// A stage of which a step ended the run.
    RunEnd(&'a str),
    /// The time limit of this stage, which is around it.
    Limit { of: StageId, name: &'a str },
}

impl Draft {
    pub(super) fn of(run: &Run, now: Timestamp) -> Self {
        Self {
            run: run.clone(),
            events: Vec::new(),
            // Time does not go backwards in a journal, whatever a new leader's clock says.
            now: now.max(run.last_at),
            settled: VecDeque::new(),
            turns: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.run.evolve(&event);
        self.events.push(event);
    }

    /// Notes that a stage's turn has come.
    pub(super) fn turn(&mut self, stage: StageId) {
        self.turns.push_back(stage);
    }

    /// Gives a stage its outcome.
    pub(super) fn settle(&mut self, stage: StageId, outcome: Outcome, cause: String) {
        self.push(Event::StageSettled { stage, outcome, cause, at: self.now });
        self.settled.push_back(stage);
    }

    /// Goes on until nothing follows any more.
    pub(super) fn follow(&mut self) {
        loop {
            if let Some(stage) = self.settled.pop_front() {
                self.after_settled(stage);
            } else if let Some(stage) = self.turns.pop_front() {
                self.take_turn(stage);
            } else {
                break;
            }
        }
        let run = &self.run;
        if run.settled.is_some() && run.retired_at.is_none() && run.owed.is_empty() {
            self.push(Event::RunRetired { at: self.now });
        }
    }

    /// Enters a stage, or finds that it is not entered.
    fn take_turn(&mut self, id: StageId) {
        let plan = Arc::clone(&self.run.plan);
        let Some(stage) = plan.stages.get(id.index()) else { return };
        let is_open = |parent| self.run.phase(parent) == Some(&Phase::Open);
        let is_pending = self.run.phase(id) == Some(&Phase::Pending);
        if !is_pending || !stage.parent.is_none_or(is_open) {
            return;
        }
        if let Some(number) = self.carried_from(id, stage) {
            self.settle(id, Outcome::Success, format!("taken over from run {number}"));
            return;
        }
        if let Some(reason) = self.not_entered(stage) {
            self.skip(id, SkipCause::Condition { reason });
            return;
        }
        self.push(Event::StageOpened { stage: id, at: self.now });
        match &stage.work {
            Work::Steps(_) => return,
            Work::Nothing => {}
            Work::Sequence(children) => children.iter().take(1).for_each(|first| self.turn(*first)),
            Work::Parallel(children) | Work::Fanout(children) => {
                let free = children.iter().filter(|child| plan.stage(**child).needs.is_empty());
                free.for_each(|child| self.turn(*child));
            }
            Work::Choose(arms) => self.choose(arms),
        }
        self.leave_if_done(id);
    }

    /// The earlier run that this stage is taken over from. Stages that hold others are entered, and
    /// settle by what is inside.
    fn carried_from(&self, id: StageId, stage: &Stage) -> Option<u64> {
        let begun = self.run.begun()?;
        let carried = begun.carried.contains(&id) && stage.work.children().is_empty();
        begun.submission.continues.as_ref().filter(|_| carried).map(|earlier| earlier.number)
    }

    /// Why a stage is not entered, where one of its conditions does not hold.
    fn not_entered(&self, stage: &Stage) -> Option<String> {
        let bare = stage.gates.enter.iter().filter_map(|gate| match gate {
            Gate::Condition(condition) => Some(condition),
            Gate::Wait(_) => None,
        });
        stage.when.iter().chain(bare).find_map(|condition| self.does_not_hold(condition))
    }

    fn does_not_hold(&self, condition: &Condition) -> Option<String> {
        match &condition.decided {
            Decided::Plan { holds: true, .. } => None,
            Decided::Plan { holds: false, reason } => Some(reason.clone()),
            Decided::Run(expression) => {
                (!expression.holds(&self.run)).then(|| expression.reason(&self.run))
            }
        }
    }

    /// Takes the first arm whose condition holds.
    fn choose(&mut self, arms: &[StageId]) {
        let mut is_taken = false;
        for arm in arms {
            let when = self.run.planned(*arm).and_then(|stage| stage.when.as_ref());
            let reason = when.and_then(|condition| self.does_not_hold(condition));
            match (is_taken, reason) {
                (true, _) => self.skip(*arm, SkipCause::OtherArm),
                (false, Some(reason)) => self.skip(*arm, SkipCause::Condition { reason }),
                (false, None) => {
                    is_taken = true;
                    self.turn(*arm);
                }
            }
        }
    }

    /// Passes over a stage and all that is inside.
    fn skip(&mut self, id: StageId, cause: SkipCause) {
        let plan = Arc::clone(&self.run.plan);
        self.push(Event::StageSkipped { stage: id, cause, at: self.now });
        let children = |id: StageId| plan.stage(id).work.children().iter().rev().copied();
        let mut inside: Vec<StageId> = children(id).collect();
        while let Some(stage) = inside.pop() {
            let cause = SkipCause::Parent;
            self.push(Event::StageSkipped { stage, cause, at: self.now });
            inside.extend(children(stage));
        }
        self.settled.push_back(id);
    }

    /// What follows from a stage's outcome for those beside and around it.
    fn after_settled(&mut self, id: StageId) {
        let plan = Arc::clone(&self.run.plan);
        let Some(parent) = plan.stage(id).parent else {
            return self.settle_run();
        };
        if self.run.phase(parent) != Some(&Phase::Open) {
            return;
        }
        let Some(inside) = self.run.stage(parent).map(|state| state.inside) else { return };
        let is_first_failed = inside.first_failed == Some(id);
        match &plan.stage(parent).work {
            Work::Sequence(children) => {
                let rest = &children[self.run.shape.place(id) + 1..];
                if is_first_failed {
                    self.skip_rest(rest, id);
                } else {
                    rest.iter().take(1).for_each(|next| self.turn(*next));
                }
            }
            Work::Fanout(children) if is_first_failed => {
                let by = self.run.path(self.culprit(id)).to_owned();
                for sibling in children {
                    self.stop(*sibling, &by);
                }
            }
            Work::Parallel(_) | Work::Fanout(_) => self.free_dependents(id),
            Work::Choose(_) | Work::Steps(_) | Work::Nothing => {}
        }
        self.leave_if_done(parent);
    }

    fn skip_rest(&mut self, rest: &[StageId], failed: StageId) {
        let by = self.run.path(self.culprit(failed)).to_owned();
        for stage in rest {
            if self.run.phase(*stage) == Some(&Phase::Pending) {
                self.skip(*stage, SkipCause::Stopped { by: by.clone() });
            }
        }
    }

    /// Who failed: what a group holds says more to people than the group.
    fn culprit(&self, mut failed: StageId) -> StageId {
        while self.run.plan.is_group(failed)
            && let Some(inside) = self.run.stage(failed).and_then(|it| it.inside.first_failed)
        {
            failed = inside;
        }
        failed
    }

    /// Lets those siblings go on whose needs are met, and passes over those whose needs cannot be.
    fn free_dependents(&mut self, id: StageId) {
        let shape = Arc::clone(&self.run.shape);
        let missed = self.run.stage(id).and_then(|state| match &state.phase {
            _ if state.satisfies() => None,
            // What failed first is what people want to know, however long the chain.
            Phase::Skipped { cause: cause @ SkipCause::Needs { .. }, .. } => Some(cause.clone()),
            _ => {
                let outcome = state.outcome()?;
                Some(SkipCause::Needs { path: self.run.path(id).to_owned(), outcome })
            }
        });
        for dependent in shape.dependents(id) {
            let Some(state) = self.run.stage(*dependent) else { continue };
            match &missed {
                Some(cause) if state.phase == Phase::Pending => {
                    self.skip(*dependent, cause.clone());
                }
                None if state.needs_left == 0 => self.turn(*dependent),
                Some(_) | None => {}
            }
        }
    }

    /// Settles a stage that holds others when all of them have settled.
    fn leave_if_done(&mut self, id: StageId) {
        let Some(inside) = self.run.stage(id).map(|state| state.inside) else { return };
        if inside.left > 0 {
            return;
        }
        let cause = inside.worst_stage.map(|worst| self.cause_of(worst)).unwrap_or_default();
        self.leave(id, inside.worst, cause);
    }

    /// Settles a stage, unless one of its exit conditions says otherwise.
    pub(super) fn leave(&mut self, id: StageId, outcome: Outcome, cause: String) {
        let plan = Arc::clone(&self.run.plan);
        let exits = plan.stages.get(id.index()).map_or(&[][..], |stage| &stage.gates.exit);
        let broken = exits.iter().filter(|_| outcome.goes_on()).find_map(|gate| match gate {
            Gate::Condition(condition) => self.does_not_hold(condition),
            Gate::Wait(_) => None,
        });
        match broken {
            Some(reason) => self.settle(id, Outcome::Failed, format!("it was not left: {reason}")),
            None => self.settle(id, outcome, cause),
        }
    }

    /// Which stage with steps decided, and how it ended.
    fn cause_of(&self, id: StageId) -> String {
        match self.run.stage(id).map(|state| (&state.phase, state.inside.worst_stage)) {
            Some((Phase::Settled { cause, .. }, Some(_))) => cause.to_string(),
            Some((Phase::Settled { outcome, .. }, None)) => {
                format!("{} {outcome}", self.run.path(id))
            }
            Some((Phase::Skipped { cause, .. }, _)) => cause.to_string(),
            Some((_, _)) | None => String::new(),
        }
    }

    fn settle_run(&mut self) {
        let outcome = self.run.stage(StageId::ROOT).and_then(super::state::StageState::outcome);
        if let Some(outcome) = outcome.filter(|_| self.run.settled.is_none()) {
            self.push(Event::RunSettled { outcome, at: self.now });
        }
    }

    /// Ends whatever a stage and those inside are doing, because of somebody else.
    pub(super) fn stop(&mut self, top: StageId, by: &str) {
        self.stop_all(vec![top], Stop::By(by));
    }

    /// Settles the run, because a step of this stage, which has settled, asked for its end. What
    /// went wrong before is not made good by that.
    pub(super) fn end_run(&mut self, stage: StageId) {
        let by = self.run.path(stage).to_owned();
        let outcome = self.run.counts.worst();
        self.push(Event::EndRequested { stage, at: self.now });
        self.push(Event::RunSettled { outcome, at: self.now });
        self.stop_all(vec![StageId::ROOT], Stop::RunEnd(&by));
    }

    /// Ends whatever is inside a stage whose time is up.
    pub(super) fn time_out(&mut self, around: StageId) {
        let plan = Arc::clone(&self.run.plan);
        let name = self.limit_name(around);
        let inside = plan.stage(around).work.children().iter().rev().copied().collect();
        self.stop_all(inside, Stop::Limit { of: around, name: &name });
    }

    /// Looks at each stage inside once. Each stage around them can end them at most once.
    fn stop_all(&mut self, mut stages: Vec<StageId>, stop: Stop<'_>) {
        let plan = Arc::clone(&self.run.plan);
        while let Some(id) = stages.pop() {
            match self.run.phase(id) {
                Some(Phase::Pending) => self.skip(id, stop.skip()),
                Some(Phase::Open) => {
                    stages.extend(plan.stage(id).work.children().iter().rev().copied());
                }
                Some(Phase::Offered { .. } | Phase::Paused { .. } | Phase::Ended { .. }) => {
                    let (outcome, cause) = stop.outcome();
                    self.settle(id, outcome, cause);
                }
                Some(Phase::Leased { attempt }) => {
                    let event = stop.word(id, *attempt, self.now);
                    self.push(event);
                }
                Some(Phase::Settled { .. } | Phase::Skipped { .. }) | None => {}
            }
        }
    }

    pub(super) fn limit_name(&self, stage: StageId) -> String {
        let limit = self.run.planned(stage).and_then(|planned| planned.timeout).unwrap_or_default();
        format!("the time limit of {limit} for {}", self.run.path(stage))
    }

    /// What follows from an attempt's end: another one, or the stage's outcome.
    pub(super) fn after_attempt(
        &mut self,
        stage: StageId,
        attempt: Attempt,
        outcome: Outcome,
        cause: String,
        again: bool,
    ) {
        let retry = self.run.planned(stage).and_then(|planned| planned.retry.as_ref());
        let pause =
            retry.filter(|_| again).and_then(|retry| pause_before_next(retry, attempt, outcome));
        let Some(pause) = pause else {
            return self.leave(stage, outcome, cause);
        };
        let (attempt, due) = (attempt.next(), self.now.after(pause));
        self.push(Event::RetryScheduled { stage, attempt, due });
        if due <= self.now {
            self.push(Event::RetryOffered { stage, attempt, at: self.now });
        }
    }
}

impl Stop<'_> {
    /// Why a stage is not entered.
    fn skip(self) -> SkipCause {
        match self {
            Self::By(by) => SkipCause::Stopped { by: by.to_owned() },
            Self::RunEnd(by) => SkipCause::RunEnded { by: by.to_owned() },
            Self::Limit { name, .. } => SkipCause::Stopped { by: name.to_owned() },
        }
    }

    /// How a stage ends that no agent holds.
    fn outcome(self) -> (Outcome, String) {
        match self {
            Self::By(by) => (Outcome::Cancelled, format!("stopped by {by}")),
            Self::RunEnd(by) => (Outcome::Cancelled, format!("{by} ended the run")),
            Self::Limit { name, .. } => (Outcome::TimedOut, format!("{name} was up")),
        }
    }

    /// The word to the agent that holds one.
    fn word(self, stage: StageId, attempt: Attempt, at: Timestamp) -> Event {
        match self {
            Self::By(by) | Self::RunEnd(by) => {
                Event::AttemptStopped { stage, attempt, by: by.to_owned(), at }
            }
            Self::Limit { of, name } => {
                let cause = format!("{name} was up");
                Event::AttemptOverdue { stage, attempt, limit: of, cause, at }
            }
        }
    }
}

/// How long to pause before the attempt after this one; `None` where there is none.
fn pause_before_next(retry: &Retry, attempt: Attempt, outcome: Outcome) -> Option<Span> {
    let reason = match outcome {
        Outcome::Lost => RetryReason::Lost,
        Outcome::Failed => RetryReason::Failed,
        Outcome::TimedOut => RetryReason::TimedOut,
        Outcome::Skipped | Outcome::Success | Outcome::Unstable | Outcome::Cancelled => {
            return None;
        }
    };
    if !retry.on.contains(&reason) || attempt.0 >= retry.attempts {
        return None;
    }
    let doubled = 1u64.checked_shl(attempt.0.saturating_sub(1)).unwrap_or(u64::MAX);
    let longest = LONGEST_BACKOFF.max(retry.backoff);
    Some(Span(retry.backoff.0.saturating_mul(doubled)).min(longest))
}
