//! Wishes: what each leads to at first, or why not. Policy is here and in `cascade`, nowhere else.

use super::Run;
use super::cascade::Draft;
use super::command::{Command, Continuation, Refusal, Submission, Wish};
use super::duty::EndReason;
use super::event::{Entry, Event};
use super::outcome::{AttemptEnd, Outcome, Section, StepChange, StepFact, StepPlace};
use super::state::{AttemptState, Phase};
use crate::ids::{AgentRef, Attempt, Epoch, StageId};
use crate::plan::{Plan, Stage};
use crate::release::{self, NotYet};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What several wishes led to, decided together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decided {
    /// One answer for each wish, in order.
    pub answers: Vec<Result<(), Refusal>>,
    /// What is to be journaled; `None` where nothing happened.
    pub entry: Option<Entry>,
}

impl Run {
    /// Turns a wish into facts, or refuses it. Changes nothing. All that follows from it is
    /// included, so that one entry of the journal holds "A settled" and "B opened".
    ///
    /// A wish that was granted before leads to nothing, and so does one that comes too late or too
    /// early to matter.
    ///
    /// # Errors
    /// The refusal, for whoever wished.
    pub fn decide(&self, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let mut draft = Draft::of(self, now);
        draft.command(command)?;
        Ok(draft.events)
    }

    /// Decides wishes one after another, each on top of the ones before. Changes nothing.
    #[must_use]
    pub fn decide_all(&self, commands: &[Command], now: Timestamp) -> Decided {
        let mut draft = Draft::of(self, now);
        let answers = commands.iter().map(|command| draft.command(command)).collect();
        let Draft { now: at, events, .. } = draft;
        let entry = (!events.is_empty()).then_some(Entry { at, events });
        Decided { answers, entry }
    }

    /// The attempt that an agent holds under these names.
    fn lease(
        &self,
        stage: StageId,
        attempt: Attempt,
        epoch: Epoch,
    ) -> Result<&AttemptState, Refusal> {
        let state = self.stage(stage).ok_or(Refusal::NoSuchStage { stage })?;
        state
            .leased()
            .filter(|leased| leased.attempt == attempt && leased.epoch == epoch)
            .ok_or(Refusal::StaleEpoch { stage, epoch })
    }
}

/// Everything below refuses before it changes the draft, so that a refusal leaves no trace.
impl Draft {
    fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        if command.id.is_some_and(|id| self.run.answered(&id)) {
            return Ok(());
        }
        if self.run.begun.is_none() && !matches!(command.wish, Wish::Submit(_)) {
            return Err(Refusal::NotSubmitted);
        }
        match &command.wish {
            Wish::Submit(submission) => self.submit(submission)?,
            Wish::Cancel { by, reason } => self.cancel(by, reason.as_deref())?,
            Wish::Award { stage, attempt, agent, incarnation } => {
                self.award(*stage, *attempt, *agent, *incarnation)?;
            }
            Wish::Decline { stage, attempt, epoch } => self.decline(*stage, *attempt, *epoch)?,
            Wish::Report { stage, attempt, epoch, facts } => {
                self.run.lease(*stage, *attempt, *epoch)?;
                self.report(*stage, *attempt, facts);
            }
            Wish::Finish { stage, attempt, epoch, facts, end } => {
                self.run.lease(*stage, *attempt, *epoch)?;
                self.report(*stage, *attempt, facts);
                self.finish(*stage, *attempt, end);
            }
            Wish::Lose { stage, attempt, epoch, cause } => {
                self.run.lease(*stage, *attempt, *epoch)?;
                self.lose(*stage, *attempt, cause);
            }
            Wish::Wake => self.wake(),
        }
        self.follow();
        if let Some(id) = command.id {
            self.push(Event::CommandAnswered { id });
        }
        Ok(())
    }

    fn submit(&mut self, submission: &Submission) -> Result<(), Refusal> {
        if self.run.begun.is_some() {
            return Err(Refusal::AlreadySubmitted);
        }
        if submission.plan != self.run.plan.hash() {
            return Err(Refusal::WrongPlan);
        }
        if let Some(NotYet { stage, what }) = release::not_yet(&self.run.plan) {
            return Err(Refusal::NotYet { path: self.run.plan.stage(stage).path.clone(), what });
        }
        if let Some(earlier) = &submission.continues {
            known_stages(&self.run.plan, earlier)?;
        }
        self.push(Event::Submitted { submission: submission.clone(), at: self.now });
        self.turn(StageId::ROOT);
        Ok(())
    }

    /// The outcome is fixed at once, and what is pending or offered ends at once. What agents hold
    /// ends when they say so; until then the run owes its end.
    fn cancel(&mut self, by: &str, reason: Option<&str>) -> Result<(), Refusal> {
        if self.run.outcome().is_some() {
            return Err(Refusal::Settled);
        }
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        self.push(Event::CancelRequested { by: by.clone(), reason, at: self.now });
        self.push(Event::RunSettled { outcome: Outcome::Cancelled, at: self.now });
        self.stop(StageId::ROOT, &by);
        Ok(())
    }

    fn award(
        &mut self,
        stage: StageId,
        attempt: Attempt,
        agent: AgentRef,
        incarnation: u32,
    ) -> Result<(), Refusal> {
        match self.run.phase(stage) {
            None => return Err(Refusal::NoSuchStage { stage }),
            Some(Phase::Offered { attempt: offered, .. }) if *offered == attempt => {}
            Some(_) => return Err(Refusal::NotOffered { stage }),
        }
        let last = self.run.epoch;
        // A leader of an older incarnation cannot take epochs back: they only grow.
        let incarnation = incarnation.max(last.incarnation);
        let epoch = Epoch { incarnation, counter: last.counter.saturating_add(1) };
        self.push(Event::StageAwarded { stage, attempt, epoch, agent, at: self.now });
        Ok(())
    }

    /// Costs the attempt nothing: it is offered again, unless it was to end anyway.
    fn decline(&mut self, stage: StageId, attempt: Attempt, epoch: Epoch) -> Result<(), Refusal> {
        let lease = self.run.lease(stage, attempt, epoch)?;
        if !lease.steps.is_empty() {
            return Err(Refusal::Begun { stage });
        }
        if lease.ending.is_some() {
            self.end_attempt(stage, attempt, Outcome::Cancelled, AttemptLeft::default());
        } else {
            self.push(Event::StageDeclined { stage, attempt, epoch, at: self.now });
        }
        Ok(())
    }

    /// Journals what was not known: one beginning and one end for each step that the plan has.
    fn report(&mut self, stage: StageId, attempt: Attempt, facts: &[StepFact]) {
        let Some(planned) = self.run.planned(stage) else { return };
        let Some(leased) = self.run.stage(stage).and_then(|state| state.leased()) else { return };
        let mut told = BTreeSet::new();
        let mut news = Vec::new();
        for fact in facts {
            let known = leased.steps.get(&fact.step);
            let ended = known.is_some_and(|step| step.ended.is_some());
            let began = known.is_some_and(|step| step.began_at.is_some());
            let is_end = matches!(fact.what, StepChange::Ended { .. });
            let is_late = ended || told.contains(&(fact.step, true)) || (began && !is_end);
            if !is_late && has_step(planned, fact.step) && told.insert((fact.step, is_end)) {
                news.push(fact.clone());
            }
        }
        if !news.is_empty() {
            self.push(Event::StepsReported { stage, attempt, facts: news });
        }
    }

    fn finish(&mut self, stage: StageId, attempt: Attempt, end: &AttemptEnd) {
        let planned = self.run.planned(stage);
        // The agent has checked them; a value of another type would decide conditions wrongly.
        let declared = |name: &String, value: &Value| {
            let outputs = planned.map(|planned| &planned.outputs);
            outputs.and_then(|outputs| outputs.get(name)).is_some_and(|it| it.admits(value))
        };
        let captured = end.captured.iter().filter(|(name, value)| declared(name, value));
        let left = AttemptLeft {
            cause: end.cause.clone(),
            captured: captured.map(|(name, value)| (name.clone(), value.clone())).collect(),
            artifacts: end.artifacts.clone(),
            log_bytes: end.log_bytes,
            ends_run: end.ends_run,
        };
        // An agent that finished was not skipped; saying so is its bug, and no success.
        let outcome = if end.outcome == Outcome::Skipped { Outcome::Failed } else { end.outcome };
        self.end_attempt(stage, attempt, outcome, left);
    }

    fn lose(&mut self, stage: StageId, attempt: Attempt, cause: &str) {
        let left = AttemptLeft { cause: cause.to_owned(), ..AttemptLeft::default() };
        self.end_attempt(stage, attempt, Outcome::Lost, left);
    }

    /// Ends an attempt. Where it was told to end before, that word decides how it counts, whatever
    /// the agent says: what was journaled first holds. So a success that was reported before the
    /// alarm rang counts even if its time was up, and one that comes after it counts as timed out.
    fn end_attempt(&mut self, stage: StageId, attempt: Attempt, told: Outcome, left: AttemptLeft) {
        let Some(leased) = self.run.stage(stage).and_then(|state| state.leased()) else { return };
        let epoch = leased.epoch;
        let (outcome, cause) = match &leased.ending {
            None => (told, left.cause),
            Some(ending) => {
                let outcome = match ending.reason {
                    EndReason::Cancelled => Outcome::Cancelled,
                    EndReason::TimedOut => Outcome::TimedOut,
                };
                (outcome, ending.cause.to_string())
            }
        };
        let again = leased.ending.as_ref().is_none_or(|ending| ending.again);
        // Of a lost attempt nobody can say what it wanted, and one that was told to end came late.
        let ends_run = left.ends_run
            && leased.ending.is_none()
            && outcome != Outcome::Lost
            && self.run.outcome().is_none();
        self.push(Event::AttemptEnded {
            stage,
            attempt,
            epoch,
            outcome,
            cause: cause.clone(),
            captured: left.captured,
            artifacts: left.artifacts,
            log_bytes: left.log_bytes,
            at: self.now,
        });
        if ends_run {
            self.leave(stage, outcome, cause);
            self.end_run(stage);
        } else {
            self.after_attempt(stage, attempt, outcome, cause, again);
        }
    }

    /// Does whatever is due, the earliest first.
    fn wake(&mut self) {
        let mut last = None;
        while let Some((at, stage)) = self.run.deadlines.first().copied() {
            // Whatever is done about a deadline removes it; the second check only makes sure that
            // this ends.
            if at > self.now || last == Some((at, stage)) {
                return;
            }
            last = Some((at, stage));
            self.due(stage);
            self.follow();
        }
    }

    fn due(&mut self, stage: StageId) {
        match self.run.phase(stage).cloned() {
            Some(Phase::Offered { .. }) => {
                let queue =
                    self.run.planned(stage).map(|planned| planned.queue).unwrap_or_default();
                let cause = format!("no agent took it within {queue}");
                // Nobody ran it, so there is nothing that another attempt would repeat.
                self.settle(stage, Outcome::TimedOut, cause);
            }
            Some(Phase::Leased { attempt }) => {
                let cause = format!("{} was up", self.limit_name(stage));
                let limit = stage;
                self.push(Event::AttemptOverdue { stage, attempt, limit, cause, at: self.now });
            }
            Some(Phase::Paused { attempt, .. }) => {
                self.push(Event::RetryOffered { stage, attempt, at: self.now });
            }
            Some(Phase::Open) => self.time_out(stage),
            Some(
                Phase::Pending
                | Phase::Ended { .. }
                | Phase::Settled { .. }
                | Phase::Skipped { .. },
            )
            | None => {}
        }
    }
}

/// What an attempt left behind.
#[derive(Default)]
struct AttemptLeft {
    cause: String,
    captured: BTreeMap<String, Value>,
    artifacts: BTreeMap<String, crate::ids::Digest>,
    log_bytes: Option<u64>,
    ends_run: bool,
}

/// Whether a stage has a step at this place.
fn has_step(stage: &Stage, place: StepPlace) -> bool {
    let steps = match place.section {
        Section::Steps => stage.work.steps(),
        Section::Finally => &stage.finally,
    };
    usize::try_from(place.index).is_ok_and(|index| index < steps.len())
}

/// Refuses a continuation that names stages which this plan does not have.
fn known_stages(plan: &Plan, earlier: &Continuation) -> Result<(), Refusal> {
    let named = earlier.carried.iter().chain(earlier.captured.keys());
    let kept = earlier.artifacts.values().map(|kept| &kept.stage);
    match named.chain(kept).find(|stage| stage.index() >= plan.stages.len()) {
        Some(stage) => Err(Refusal::NoSuchStage { stage: *stage }),
        None => Ok(()),
    }
}
