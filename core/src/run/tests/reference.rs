//! The rules of the language once more, as plainly as possible and without regard for cost: every
//! question is answered by looking at everything.

use super::referee::{Referee, Seen};
use crate::gate::{Condition, Decided, Expression, Gate, Operator};
use crate::ids::{Attempt, StageId};
use crate::plan::{Plan, Retry, RetryReason, Stage, Work};
use crate::run::outcome::{Outcome, Section, SkipCause, StepChange, StepPlace};
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;

fn seen(referee: &Referee, id: StageId) -> &Seen {
    &referee.stages[id.index()]
}

fn is_open(referee: &Referee, id: StageId) -> bool {
    seen(referee, id).opened_at.is_some() && seen(referee, id).ended.is_none()
}

fn lets_follow(referee: &Referee, id: StageId) -> bool {
    seen(referee, id).ended.as_ref().is_some_and(super::referee::Ended::lets_follow)
}

fn has_failed(referee: &Referee, id: StageId) -> bool {
    let ended = seen(referee, id).ended.as_ref();
    ended.is_some_and(|ended| !ended.counts_as().goes_on())
}

pub(crate) fn has_steps(plan: &Plan, id: StageId) -> bool {
    matches!(plan.stage(id).work, Work::Steps(_))
}

/// Whether a condition holds; the test plans only compare verdicts.
fn holds(referee: &Referee, condition: &Condition) -> bool {
    match &condition.decided {
        Decided::Plan { holds, .. } => *holds,
        Decided::Run(Expression::Compare { operator: Operator::Equal, left, right }) => {
            match (left.as_ref(), right.as_ref()) {
                (Expression::Output { stage, .. }, Expression::Value(wanted)) => {
                    referee.verdicts().get(stage) == Some(wanted)
                }
                other => panic!("the referee does not know {other:?}"),
            }
        }
        Decided::Run(other) => panic!("the referee does not know {other:?}"),
    }
}

fn gate_holds(referee: &Referee, gate: &Gate) -> bool {
    match gate {
        Gate::Condition(condition) => holds(referee, condition),
        Gate::Wait(_) => panic!("no plan with waits is accepted"),
    }
}

/// Whether a stage's turn has come, by everything but its own conditions.
fn is_next(referee: &Referee, id: StageId) -> bool {
    let plan = &referee.plan;
    let stage = plan.stage(id);
    let Some(parent) = stage.parent else { return referee.submitted };
    let beside = plan.stage(parent).work.children();
    let before = beside.iter().take_while(|it| **it != id);
    let in_order = match &plan.stage(parent).work {
        Work::Sequence(_) => before.into_iter().all(|it| lets_follow(referee, *it)),
        Work::Parallel(_) => true,
        Work::Fanout(_) => !beside.iter().any(|it| has_failed(referee, *it)),
        Work::Choose(_) => {
            let when = |it: &StageId| plan.stage(*it).when.as_ref();
            let mut earlier = before.into_iter();
            !earlier.any(|it| when(it).is_none_or(|condition| holds(referee, condition)))
        }
        Work::Steps(_) | Work::Nothing => false,
    };
    in_order
        && is_open(referee, parent)
        && !limit_is_told(referee, id)
        && stage.needs.iter().all(|need| lets_follow(referee, *need))
}

/// Whether a stage may be opened now.
pub(crate) fn may_enter(referee: &Referee, id: StageId) -> bool {
    let stage = referee.plan.stage(id);
    let is_carried = referee.carried.contains(&id) && stage.work.children().is_empty();
    is_next(referee, id)
        && !is_carried
        && stage.when.iter().all(|condition| holds(referee, condition))
        && stage.gates.enter.iter().all(|gate| gate_holds(referee, gate))
}

pub(crate) fn skips_rightly(
    referee: &Referee,
    id: StageId,
    cause: &SkipCause,
    now: Timestamp,
) -> bool {
    let plan = &referee.plan;
    let stage = plan.stage(id);
    match cause {
        SkipCause::Condition { .. } => {
            is_next(referee, id)
                && !(stage.when.iter().all(|condition| holds(referee, condition))
                    && stage.gates.enter.iter().all(|gate| gate_holds(referee, gate)))
        }
        SkipCause::OtherArm => stage.parent.is_some_and(|parent| {
            matches!(plan.stage(parent).work, Work::Choose(_)) && is_open(referee, parent)
        }),
        SkipCause::Needs { path, outcome } => {
            let named = plan.find(path).expect("it names a stage");
            has_failed(referee, named)
                && seen(referee, named).ended.as_ref().map(|it| it.outcome) == Some(*outcome)
                && stage.needs.iter().any(|need| !lets_follow(referee, *need))
        }
        SkipCause::Parent => stage.parent.is_some_and(|parent| {
            seen(referee, parent).ended.as_ref().is_some_and(|it| it.skip.is_some())
        }),
        SkipCause::RunEnded { .. } => referee.run_ended,
        SkipCause::Stopped { .. } => {
            let parent = stage.parent;
            let is_last = parent.is_some_and(|parent| {
                let beside = plan.stage(parent).work.children();
                matches!(plan.stage(parent).work, Work::Sequence(_))
                    && beside.iter().take_while(|it| **it != id).any(|it| has_failed(referee, *it))
            });
            referee.cancelled
                || is_last
                || inside_failed_fanout(referee, id)
                || limit_is_up(referee, id, now)
        }
    }
}

fn around(plan: &Plan, id: StageId) -> impl Iterator<Item = StageId> {
    std::iter::successors(plan.stage(id).parent, |id| plan.stage(*id).parent)
}

/// Whether a stage is inside a `fanout` of which one has failed.
pub(crate) fn inside_failed_fanout(referee: &Referee, id: StageId) -> bool {
    around(&referee.plan, id).any(|around| {
        let inside = referee.plan.stage(around).work.children();
        matches!(referee.plan.stage(around).work, Work::Fanout(_))
            && inside.iter().any(|it| has_failed(referee, *it))
    })
}

/// How a step ended, where this is its end.
pub(crate) fn ended(change: &StepChange) -> Option<Outcome> {
    match change {
        StepChange::Began => None,
        StepChange::Ended { outcome, .. } => Some(*outcome),
    }
}

/// Whether none of a stage's `steps` goes on or begins any more.
pub(crate) fn steps_over(stage: &Stage, told: &BTreeMap<StepPlace, Option<Outcome>>) -> bool {
    let last = stage.work.steps().len();
    told.iter().any(|(place, ended)| match place.section {
        Section::Finally => true,
        Section::Steps => {
            ended.is_some_and(|ended| place.index as usize + 1 == last || !ended.goes_on())
        }
    })
}

/// When the limit of a stage on an attempt inside is up.
pub(crate) fn worst_limit(referee: &Referee, stage: StageId, limit: StageId) -> Option<Timestamp> {
    let span = referee.plan.stage(limit).timeout?;
    if stage == limit {
        let live = seen(referee, stage).live.as_ref()?;
        let is_bound = !steps_over(referee.plan.stage(stage), &live.facts);
        return is_bound.then(|| live.since.after(span));
    }
    let is_around = around(&referee.plan, stage).any(|it| it == limit);
    is_around.then(|| seen(referee, limit).opened_at).flatten().map(|at| at.after(span))
}

/// Whether the limit of a stage around this one is up.
fn limit_is_up(referee: &Referee, id: StageId, now: Timestamp) -> bool {
    let mut limits = around(&referee.plan, id).filter_map(|it| worst_limit(referee, id, it));
    limits.any(|at| at <= now)
}

fn limit_is_told(referee: &Referee, id: StageId) -> bool {
    around(&referee.plan, id).any(|it| seen(referee, it).limit_told)
}

/// The pause that a policy wants after the last attempt; `None` where it wants no other one.
pub(crate) fn pause(
    policy: Option<&Retry>,
    last: Option<(Attempt, Outcome, bool)>,
) -> Option<Span> {
    let (policy, (attempt, outcome, again)) = (policy?, last?);
    let reason = match outcome {
        Outcome::Lost => RetryReason::Lost,
        Outcome::Failed => RetryReason::Failed,
        Outcome::TimedOut => RetryReason::TimedOut,
        Outcome::Skipped | Outcome::Success | Outcome::Unstable | Outcome::Cancelled => {
            return None;
        }
    };
    let hour = 3_600_000;
    let mut pause = policy.backoff.0;
    for _ in 1..attempt.0 {
        pause = (pause * 2).min(hour.max(policy.backoff.0));
    }
    let wanted = again && policy.on.contains(&reason) && attempt.0 < policy.attempts;
    wanted.then_some(Span(pause))
}

/// The outcome of a stage by those inside.
pub(crate) fn group_outcome(referee: &Referee, id: StageId) -> Outcome {
    let inside = referee.plan.stage(id).work.children().iter();
    let ended = inside.filter_map(|it| seen(referee, *it).ended.as_ref());
    let worst = ended.map(super::referee::Ended::counts_as).max();
    worst.unwrap_or(Outcome::Success).max(Outcome::Success)
}

/// The worst outcome of the stages that have ended, those apart that were passed over.
pub(crate) fn worst_so_far(referee: &Referee) -> Outcome {
    let leaves = referee.plan.ids().filter(|id| referee.plan.stage(*id).work.children().is_empty());
    let ended = leaves.filter_map(|id| seen(referee, id).ended.as_ref());
    let entered = ended.filter(|ended| ended.skip.is_none());
    entered.map(|ended| ended.outcome).max().unwrap_or(Outcome::Success).max(Outcome::Success)
}

/// Whether a stage may settle so.
pub(crate) fn may_settle(
    referee: &Referee,
    id: StageId,
    outcome: Outcome,
    now: Timestamp,
) -> Result<(), String> {
    let stage = referee.plan.stage(id);
    let seen = seen(referee, id);
    let exits = stage.gates.exit.iter().all(|gate| gate_holds(referee, gate));
    let left = |inner: Outcome| if inner.goes_on() && !exits { Outcome::Failed } else { inner };
    let is_right = if seen.opened_at.is_none() {
        let carried = referee.carried.contains(&id) && stage.work.children().is_empty();
        carried && outcome == Outcome::Success && is_next(referee, id)
    } else if !has_steps(&referee.plan, id) {
        let inside = stage.work.children().iter();
        let all_ended = inside.into_iter().all(|it| referee.stages[it.index()].ended.is_some());
        all_ended && outcome == left(group_outcome(referee, id))
    } else if seen.offered.is_some() || seen.paused.is_some() {
        let queued = seen.offered.is_some_and(|(_, since)| since.after(stage.queue) <= now);
        match outcome {
            Outcome::Cancelled => {
                referee.cancelled || referee.run_ended || inside_failed_fanout(referee, id)
            }
            Outcome::TimedOut => queued || limit_is_up(referee, id, now),
            Outcome::Skipped
            | Outcome::Success
            | Outcome::Unstable
            | Outcome::Failed
            | Outcome::Lost => false,
        }
    } else {
        let goes_on = referee.settled.is_none() && referee.ender != Some(id);
        let wanted = goes_on.then(|| pause(stage.retry.as_ref(), seen.last));
        let ended = seen.last.map(|(_, outcome, _)| left(outcome));
        wanted.flatten().is_none() && ended == Some(outcome)
    };
    if is_right { Ok(()) } else { Err("I19/I20: it does not settle so".to_owned()) }
}
