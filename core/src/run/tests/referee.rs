//! A second opinion: what must hold of every journal, kept by a model of its own.
//!
//! It is told each wish with its answer, believes nothing that the run says of itself, and
//! complains about the first thing that does not hold. The names are those of the invariants:
//!
//! - I3: one executor per stage, attempt and epoch; I4: a stale epoch has no effect
//! - I5: epochs only grow; I6: a settled thing stays settled
//! - I9: order of the plan
//! - I15: cancel wins or loses
//! - I19: a reported result is true
//! - I20: retries keep to the policy

use super::reference::{self, may_enter, pause, worst_limit};
use crate::ids::{AgentRef, Attempt, Epoch, StageId};
use crate::plan::Plan;
use crate::run::command::{Refusal, Wish};
use crate::run::duty::{Duty, EndReason};
use crate::run::event::Event;
use crate::run::outcome::{Outcome, SkipCause, StepFact, StepPlace};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the referee saw of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) opened_at: Option<Timestamp>,
    pub(crate) ended: Option<Ended>,
    pub(crate) offered: Option<(Attempt, Timestamp)>,
    pub(crate) live: Option<Live>,
    pub(crate) paused: Option<(Attempt, Timestamp)>,
    /// How the last attempt ended, which one it was, and whether another may follow.
    pub(crate) last: Option<(Attempt, Outcome, bool)>,
    pub(crate) limit_told: bool,
    pub(crate) verdict: Option<Value>,
}

/// A lease that is held.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) attempt: Attempt,
    pub(crate) epoch: Epoch,
    pub(crate) agent: AgentRef,
    pub(crate) since: Timestamp,
    pub(crate) offered: Timestamp,
    pub(crate) ending: Option<EndReason>,
    pub(crate) again: bool,
    pub(crate) began: bool,
    pub(crate) facts: BTreeMap<StepPlace, Option<Outcome>>,
}

/// How a stage ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) skip: Option<SkipCause>,
}

impl Ended {
    /// Whether what follows may start.
    pub(crate) fn lets_follow(&self) -> bool {
        match &self.skip {
            None => self.outcome.goes_on(),
            Some(SkipCause::Condition { .. } | SkipCause::OtherArm) => true,
            Some(
                SkipCause::Needs { .. }
                | SkipCause::Parent
                | SkipCause::Stopped { .. }
                | SkipCause::RunEnded { .. },
            ) => false,
        }
    }

    /// How it counts for the stage around it.
    pub(crate) fn counts_as(&self) -> Outcome {
        match &self.skip {
            Some(SkipCause::Stopped { .. }) => Outcome::Cancelled,
            Some(_) => Outcome::Success,
            None => self.outcome,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Referee {
    pub(crate) plan: Arc<Plan>,
    pub(crate) stages: Vec<Seen>,
    pub(crate) carried: BTreeSet<StageId>,
    pub(crate) submitted: bool,
    pub(crate) cancelled: bool,
    /// The stage of which a step asked for the run's end, in time.
    pub(crate) ender: Option<StageId>,
    /// That end was journaled.
    pub(crate) run_ended: bool,
    pub(crate) settled: Option<Outcome>,
    pub(crate) retired: bool,
    last_epoch: Epoch,
}

type Complaint = Result<(), String>;

fn must(holds: bool, complaint: impl FnOnce() -> String) -> Complaint {
    if holds { Ok(()) } else { Err(complaint()) }
}

impl Referee {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            stages: vec![Seen::default(); plan.stages.len()],
            carried: BTreeSet::new(),
            submitted: false,
            cancelled: false,
            ender: None,
            run_ended: false,
            settled: None,
            retired: false,
            last_epoch: Epoch::default(),
        }
    }

    /// Judges what a wish led to.
    pub(crate) fn judge(
        &mut self,
        wish: &Wish,
        now: Timestamp,
        answer: &Result<Vec<Event>, Refusal>,
    ) -> Complaint {
        must(answer.is_ok() == self.is_grantable(wish), || {
            format!("I4/I15: {wish:?} was answered with {answer:?}")
        })?;
        for event in answer.iter().flatten() {
            self.event(wish, now, event).map_err(|complaint| format!("{complaint}: {event:?}"))?;
        }
        if answer.is_ok() {
            self.nothing_is_left_undone()?;
        }
        Ok(())
    }

    /// Whether a wish must be granted: the rules of refusal, once more.
    fn is_grantable(&self, wish: &Wish) -> bool {
        let lease = |stage: &StageId, attempt: &Attempt, epoch: &Epoch| {
            let live = self.stages.get(stage.index()).and_then(|seen| seen.live.as_ref());
            live.filter(|live| live.attempt == *attempt && live.epoch == *epoch)
        };
        match wish {
            Wish::Submit(_) => !self.submitted,
            _ if !self.submitted => false,
            Wish::Cancel { .. } => self.settled.is_none(),
            Wish::Award { stage, attempt, .. } => {
                let seen = self.stages.get(stage.index());
                seen.and_then(|seen| seen.offered).is_some_and(|(offered, _)| offered == *attempt)
            }
            Wish::Decline { stage, attempt, epoch } => {
                lease(stage, attempt, epoch).is_some_and(|live| !live.began)
            }
            Wish::Report { stage, attempt, epoch, .. }
            | Wish::Finish { stage, attempt, epoch, .. }
            | Wish::Lose { stage, attempt, epoch, .. } => lease(stage, attempt, epoch).is_some(),
            Wish::Wake => true,
        }
    }

    fn event(&mut self, wish: &Wish, now: Timestamp, event: &Event) -> Complaint {
        must(!self.retired || matches!(event, Event::CommandAnswered { .. }), || {
            "I6: a retired run goes on".to_owned()
        })?;
        match event {
            Event::Submitted { submission, .. } => {
                must(!self.submitted, || "I6: submitted twice".to_owned())?;
                self.submitted = true;
                let Some(earlier) = &submission.continues else { return Ok(()) };
                self.carried.extend(earlier.carried.iter().copied());
                for (stage, captured) in &earlier.captured {
                    self.stages[stage.index()].verdict = captured.get("verdict").cloned();
                }
                Ok(())
            }
            Event::StageOpened { stage, at } => self.opened(*stage, *at),
            Event::StageSkipped { stage, cause, .. } => self.skipped(*stage, cause, now),
            Event::StageAwarded { stage, attempt, epoch, agent, at } => {
                self.awarded(*stage, *attempt, *epoch, *agent, *at)
            }
            Event::StageDeclined { stage, attempt, .. } => self.declined(*stage, *attempt),
            Event::StepsReported { stage, attempt, facts } => {
                self.reported(*stage, *attempt, facts)
            }
            Event::AttemptOverdue { stage, attempt, limit, .. } => {
                self.overdue(*stage, *attempt, *limit, now)
            }
            Event::AttemptStopped { stage, attempt, .. } => self.stopped(*stage, *attempt),
            Event::AttemptEnded { stage, attempt, epoch, outcome, captured, .. } => {
                self.attempt_ended(wish, *stage, *attempt, *epoch, *outcome)?;
                if outcome.goes_on() {
                    self.stages[stage.index()].verdict = captured.get("verdict").cloned();
                }
                Ok(())
            }
            Event::RetryScheduled { stage, attempt, due } => {
                self.retried(*stage, *attempt, *due, now)
            }
            Event::RetryOffered { stage, attempt, at } => self.offered_again(*stage, *attempt, *at),
            Event::StageSettled { stage, outcome, .. } => self.stage_settled(*stage, *outcome, now),
            Event::CancelRequested { .. } => {
                self.cancelled = true;
                must(self.settled.is_none(), || "I15: cancelled after its end".to_owned())
            }
            Event::EndRequested { stage, .. } => self.end_requested(*stage),
            Event::RunSettled { outcome, .. } => self.run_settled(*outcome),
            Event::RunRetired { .. } => self.run_retired(),
            Event::CommandAnswered { .. } => Ok(()),
        }
    }

    fn opened(&mut self, stage: StageId, at: Timestamp) -> Complaint {
        must(self.settled.is_none(), || "I15: a stage opens after the run's end".to_owned())?;
        must(may_enter(self, stage), || "I9: it is not its turn".to_owned())?;
        let has_steps = reference::has_steps(&self.plan, stage);
        let seen = self.unsettled(stage)?;
        must(seen.opened_at.is_none(), || "I6: it was opened before".to_owned())?;
        seen.opened_at = Some(at);
        seen.offered = has_steps.then_some((Attempt::FIRST, at));
        Ok(())
    }

    fn skipped(&mut self, stage: StageId, cause: &SkipCause, now: Timestamp) -> Complaint {
        let is_right = reference::skips_rightly(self, stage, cause, now);
        must(is_right, || format!("I9: it is skipped for no good reason ({cause:?})"))?;
        let seen = self.unsettled(stage)?;
        must(seen.opened_at.is_none(), || "I6: it was opened before".to_owned())?;
        seen.ended = Some(Ended { outcome: Outcome::Skipped, skip: Some(cause.clone()) });
        Ok(())
    }

    fn awarded(
        &mut self,
        stage: StageId,
        attempt: Attempt,
        epoch: Epoch,
        agent: AgentRef,
        at: Timestamp,
    ) -> Complaint {
        let last = self.last_epoch;
        let most = self.plan.stage(stage).retry.as_ref().map_or(1, |retry| retry.attempts.max(1));
        must(epoch > last && epoch.counter > last.counter, || "I5: the epoch is old".to_owned())?;
        must(self.settled.is_none(), || "I15: an award after the run's end".to_owned())?;
        must(attempt.0 <= most, || "I20: one attempt too many".to_owned())?;
        let seen = self.unsettled(stage)?;
        let (_, offered) = seen
            .offered
            .take()
            .filter(|(offered, _)| *offered == attempt)
            .ok_or_else(|| "I3: an award of what is not offered".to_owned())?;
        let was_held = seen.live.is_some();
        seen.live = Some(Live {
            attempt,
            epoch,
            agent,
            since: at,
            offered,
            ending: None,
            again: true,
            began: false,
            facts: BTreeMap::new(),
        });
        self.last_epoch = epoch;
        must(!was_held, || "I3: two agents hold one stage".to_owned())
    }

    fn declined(&mut self, stage: StageId, attempt: Attempt) -> Complaint {
        let live = self.live(stage, attempt)?.clone();
        must(!live.began && live.ending.is_none(), || "I20: it cannot be declined".to_owned())?;
        let seen = self.unsettled(stage)?;
        seen.live = None;
        seen.offered = Some((attempt, live.offered));
        Ok(())
    }

    fn reported(&mut self, stage: StageId, attempt: Attempt, facts: &[StepFact]) -> Complaint {
        let live = self.live(stage, attempt)?;
        live.began = true;
        for fact in facts {
            let ended = reference::ended(&fact.what);
            let known = live.facts.insert(fact.step, ended);
            let is_new = known.is_none_or(|known| known.is_none() && ended.is_some());
            must(is_new, || "I4: a step's fact is told twice, or after its end".to_owned())?;
        }
        must(!facts.is_empty(), || "I4: nothing is told".to_owned())
    }

    fn overdue(
        &mut self,
        stage: StageId,
        attempt: Attempt,
        limit: StageId,
        now: Timestamp,
    ) -> Complaint {
        must(worst_limit(self, stage, limit).is_some_and(|at| at <= now), || {
            "no time limit was up".to_owned()
        })?;
        let live = self.live(stage, attempt)?;
        live.ending.get_or_insert(EndReason::TimedOut);
        live.again &= stage == limit;
        if stage != limit {
            self.stages[limit.index()].limit_told = true;
        }
        Ok(())
    }

    fn stopped(&mut self, stage: StageId, attempt: Attempt) -> Complaint {
        let is_over = self.cancelled || self.run_ended;
        let is_right = is_over || reference::inside_failed_fanout(self, stage);
        must(is_right, || "it is stopped for no good reason".to_owned())?;
        let live = self.live(stage, attempt)?;
        live.ending.get_or_insert(EndReason::Cancelled);
        live.again = false;
        Ok(())
    }

    fn attempt_ended(
        &mut self,
        wish: &Wish,
        stage: StageId,
        attempt: Attempt,
        epoch: Epoch,
        outcome: Outcome,
    ) -> Complaint {
        let live = self.live(stage, attempt)?.clone();
        must(live.epoch == epoch, || "I4: it ends under another epoch".to_owned())?;
        let told = match (live.ending, wish) {
            (Some(EndReason::Cancelled), _) => Some(Outcome::Cancelled),
            (Some(EndReason::TimedOut), _) => Some(Outcome::TimedOut),
            (None, Wish::Finish { end, .. }) => Some(end.outcome),
            (None, Wish::Lose { .. }) => Some(Outcome::Lost),
            (None, _) => None,
        };
        must(told == Some(outcome), || format!("I19: its agent said {told:?}"))?;
        let asks = matches!(wish, Wish::Finish { end, .. } if end.ends_run);
        if asks && live.ending.is_none() && outcome != Outcome::Lost && self.settled.is_none() {
            self.ender = Some(stage);
        }
        let seen = &mut self.stages[stage.index()];
        seen.live = None;
        seen.last = Some((attempt, outcome, live.again));
        Ok(())
    }

    fn retried(
        &mut self,
        stage: StageId,
        attempt: Attempt,
        due: Timestamp,
        now: Timestamp,
    ) -> Complaint {
        must(self.settled.is_none(), || "I15: a retry after the run's end".to_owned())?;
        let policy = self.plan.stage(stage).retry.clone();
        let seen = self.unsettled(stage)?;
        let pause = pause(policy.as_ref(), seen.last);
        must(pause.is_some_and(|pause| due == now.after(pause)), || {
            "I20: the policy says otherwise".to_owned()
        })?;
        let next = seen.last.map(|(last, ..)| last.next());
        must(next == Some(attempt), || "I20: attempts are counted wrongly".to_owned())?;
        seen.paused = Some((attempt, due));
        Ok(())
    }

    fn offered_again(&mut self, stage: StageId, attempt: Attempt, at: Timestamp) -> Complaint {
        must(self.settled.is_none(), || "I15: an offer after the run's end".to_owned())?;
        let seen = self.unsettled(stage)?;
        let paused = seen.paused.take();
        must(paused.is_some_and(|(next, due)| next == attempt && due <= at), || {
            "I20: it is offered too early".to_owned()
        })?;
        seen.offered = Some((attempt, at));
        Ok(())
    }

    fn stage_settled(&mut self, stage: StageId, outcome: Outcome, now: Timestamp) -> Complaint {
        let may = reference::may_settle(self, stage, outcome, now);
        let seen = self.unsettled(stage)?;
        must(seen.live.is_none(), || "I3: it settles while an agent holds it".to_owned())?;
        (seen.offered, seen.paused) = (None, None);
        seen.ended = Some(Ended { outcome, skip: None });
        may
    }

    fn end_requested(&mut self, stage: StageId) -> Complaint {
        self.run_ended = true;
        let has_ended = self.stages[stage.index()].ended.is_some();
        must(self.ender == Some(stage) && has_ended && self.settled.is_none(), || {
            "I15: nobody asked for the run's end, or too late".to_owned()
        })
    }

    fn run_settled(&mut self, outcome: Outcome) -> Complaint {
        must(self.settled.is_none(), || "I6: the run settles twice".to_owned())?;
        self.settled = Some(outcome);
        let root = self.stages[0].ended.as_ref().map(|ended| ended.outcome);
        let wanted = if self.cancelled {
            Some(Outcome::Cancelled)
        } else if self.run_ended {
            Some(reference::worst_so_far(self))
        } else {
            root
        };
        must(wanted == Some(outcome), || format!("I15: the pipeline ended as {wanted:?}"))
    }

    fn run_retired(&mut self) -> Complaint {
        self.retired = true;
        let all_ended = self.stages.iter().all(|seen| seen.ended.is_some());
        must(self.settled.is_some() && all_ended, || "it retires before its end".to_owned())
    }

    fn unsettled(&mut self, stage: StageId) -> Result<&mut Seen, String> {
        let seen = self.stages.get_mut(stage.index()).ok_or("I9: no such stage")?;
        must(seen.ended.is_none(), || "I6: the stage has settled".to_owned())?;
        Ok(seen)
    }

    fn live(&mut self, stage: StageId, attempt: Attempt) -> Result<&mut Live, String> {
        let live = self.unsettled(stage)?.live.as_mut();
        live.filter(|live| live.attempt == attempt)
            .ok_or_else(|| "I3: nobody holds this attempt".to_owned())
    }

    /// Complains about whatever should have followed at once.
    fn nothing_is_left_undone(&self) -> Complaint {
        for id in self.plan.ids() {
            let seen = &self.stages[id.index()];
            let is_open = seen.opened_at.is_some() && seen.ended.is_none();
            let is_pending = seen.opened_at.is_none() && seen.ended.is_none();
            let inside = self.plan.stage(id).work.children();
            let has_all_ended = inside.iter().all(|it| self.stages[it.index()].ended.is_some());
            let is_stuck = is_open && !reference::has_steps(&self.plan, id) && has_all_ended;
            must(!is_stuck, || format!("L1: all inside stage {id} has ended, but it has not"))?;
            let is_due = is_pending && self.settled.is_none() && may_enter(self, id);
            must(!is_due, || format!("L1: stage {id} may be entered, but was not"))?;
            let is_over = self.cancelled || self.run_ended;
            let must_end = is_over || reference::inside_failed_fanout(self, id);
            let goes_on = seen.offered.is_some()
                || seen.paused.is_some()
                || seen.live.as_ref().is_some_and(|live| live.ending.is_none());
            must(!(must_end && goes_on), || format!("I15: stage {id} goes on"))?;
        }
        must(self.ender.is_some() == self.run_ended, || {
            "I15: a step ended the run, but it goes on".to_owned()
        })?;
        let is_held = self.stages.iter().any(|seen| seen.live.is_some());
        let is_over = self.settled.is_some() && !is_held;
        must(is_over == self.retired, || "L1: it owes nothing, but did not retire".to_owned())
    }

    /// What is owed, from scratch.
    pub(crate) fn owed(&self) -> BTreeSet<Duty> {
        let mut owed = BTreeSet::new();
        let mut alarm: Option<Timestamp> = None;
        let mut ring = |at: Timestamp| alarm = Some(alarm.map_or(at, |alarm| alarm.min(at)));
        for (stage, seen) in self.plan.ids().zip(&self.stages) {
            let planned = self.plan.stage(stage);
            if let Some((attempt, since)) = seen.offered {
                owed.insert(Duty::Offer { stage, attempt, since });
                ring(since.after(planned.queue));
            }
            if let Some(Live { attempt, epoch, agent, since, ending, ref facts, .. }) = seen.live {
                owed.insert(match ending {
                    None => Duty::Attend { stage, attempt, epoch, agent },
                    Some(reason) => Duty::End { stage, attempt, epoch, agent, reason },
                });
                let is_bound = ending.is_none() && !reference::steps_over(planned, facts);
                if let Some(limit) = planned.timeout.filter(|_| is_bound) {
                    ring(since.after(limit));
                }
            }
            if let Some((_, due)) = seen.paused {
                ring(due);
            }
            let is_around = !planned.work.children().is_empty();
            if let (Some(at), None, Some(limit)) = (seen.opened_at, &seen.ended, planned.timeout)
                && is_around
                && !seen.limit_told
            {
                ring(at.after(limit));
            }
        }
        if self.settled.is_none() {
            owed.extend(alarm.map(|at| Duty::Alarm { at }));
        }
        owed
    }

    /// What stages captured as their verdict.
    pub(crate) fn verdicts(&self) -> BTreeMap<StageId, Value> {
        let seen = self.plan.ids().zip(&self.stages);
        seen.filter_map(|(id, seen)| Some((id, seen.verdict.clone()?))).collect()
    }
}
