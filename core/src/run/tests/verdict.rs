//! One run under the eyes of the referee: every wish goes through both.

use super::moves::{Move, oblige};
use super::referee::Referee;
use super::story::{RUN, START, submission, timeline};
use crate::plan::Plan;
use crate::run::Run;
use crate::run::command::{Command, Refusal, Submission, Wish};
use crate::run::event::{Entry, Event};
use crate::run::outcome::Outcome;
use crate::run::state::Phase;
use crate::run::summary::Counts;
use crate::time::Timestamp;
use std::fmt::Write;
use std::sync::Arc;

/// What answers wishes. The heart does; planted bugs answer in its place.
pub(crate) type Decider = fn(&Run, &Command, Timestamp) -> Result<Vec<Event>, Refusal>;

/// The heart itself.
pub(crate) fn heart(run: &Run, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    run.decide(command, now)
}

/// A run, its journal, and what the referee makes of it.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) run: Run,
    pub(crate) referee: Referee,
    pub(crate) journal: Vec<Entry>,
    pub(crate) now: Timestamp,
    decider: Decider,
}

impl Watched {
    pub(crate) fn begin(plan: &Arc<Plan>, decider: Decider) -> Result<Self, String> {
        Self::submit(plan, decider, submission(plan))
    }

    /// Takes over what an earlier run left.
    pub(crate) fn continues(earlier: &Run) -> Result<Self, String> {
        let continues = Some(earlier.continuation());
        let submission = Submission { continues, ..submission(earlier.plan()) };
        Self::submit(earlier.plan(), heart, submission)
    }

    fn submit(plan: &Arc<Plan>, decider: Decider, submission: Submission) -> Result<Self, String> {
        let mut watched = Self {
            run: Run::new(RUN, Arc::clone(plan)),
            referee: Referee::new(plan),
            journal: Vec::new(),
            now: START,
            decider,
        };
        watched.make((START, Wish::Submit(submission)))?;
        Ok(watched)
    }

    /// Makes a move; true where it changed something. Complains about whatever does not hold.
    pub(crate) fn make(&mut self, (now, wish): Move) -> Result<bool, String> {
        self.now = self.now.max(now);
        let command = Command::from(wish);
        let answer = (self.decider)(&self.run, &command, self.now);
        let judged = self.referee.judge(&command.wish, self.now, &answer);
        let Ok(events) = answer else { return judged.map(|()| false) };
        let changes = !events.is_empty();
        if changes {
            let entry = Entry { at: self.now, events };
            self.run.apply(&entry);
            self.journal.push(entry);
        }
        judged.and_then(|()| self.agrees()).map(|()| changes)
    }

    /// The run's own word against the referee's.
    fn agrees(&self) -> Result<(), String> {
        let (run, referee) = (&self.run, &self.referee);
        if !run.owed().iter().eq(referee.owed().iter()) {
            let owed: Vec<_> = run.owed().iter().collect();
            return Err(format!("it owes {owed:?}, but should {:?}", referee.owed()));
        }
        if run.counts() != recount(run) {
            return Err(format!("it counts {:?}, but has {:?}", run.counts(), recount(run)));
        }
        if run.outcome() != referee.settled || run.retired_at().is_some() != referee.retired {
            return Err("it ended otherwise than its journal says".to_owned());
        }
        let mut seen = run.plan().ids().zip(&referee.stages);
        let differs = seen.find(|(id, seen)| {
            let outcome = run.stage(*id).and_then(crate::run::state::StageState::outcome);
            outcome != seen.ended.as_ref().map(|ended| ended.outcome)
        });
        if let Some((stage, seen)) = differs {
            return Err(format!("stage {stage} ended as {:?}", seen.ended));
        }
        if run.owed().is_empty() != run.retired_at().is_some()
            || run.owed().is_empty() != run.wake().is_none()
        {
            return Err("it waits for nothing, or goes on for ever".to_owned());
        }
        Ok(())
    }

    /// Replaying the journal must lead to the very same run.
    pub(crate) fn replays(&self) -> Result<(), String> {
        let again = Run::replay(RUN, Arc::clone(self.run.plan()), &self.journal);
        if again == self.run {
            Ok(())
        } else {
            Err("its journal replays to another run".to_owned())
        }
    }

    /// L1: when the outside obliges, the run comes to its end, within a bound.
    pub(crate) fn ends(&self) -> Result<(), String> {
        let mut run = self.clone();
        let most_attempts: u32 = run.run.plan().stages.iter().fold(4, |most, stage| {
            most + 4 * stage.retry.as_ref().map_or(1, |retry| retry.attempts)
        });
        for _ in 0..most_attempts {
            let Some(duty) = run.run.owed().iter().next().cloned() else {
                return run.replays();
            };
            run.make(oblige(&duty, run.now))?;
        }
        Err(format!("it never ends; it owes {:?}", run.run.owed().iter().collect::<Vec<_>>()))
    }

    /// The journal, for people.
    pub(crate) fn timeline(&self) -> String {
        timeline(&self.journal)
    }

    /// Everything that can matter for what comes next. Epochs are left out: only whether they are
    /// the current one matters.
    pub(crate) fn key(&self) -> String {
        let run = &self.run;
        let mut key = format!("{:?} {:?} {:?}", self.now, run.settled, run.deadlines);
        for (id, _, state) in run.stages() {
            let word = format!("{id} {:?} {:?} {}", state.phase, state.inside, state.needs_left);
            let last = state.attempts.last();
            let last = last.map(|it| (it.attempt, &it.ending, &it.ended, it.steps.size()));
            write!(key, "{word} {} {last:?} {:?};", state.overdue, run.captured(id))
                .expect("memory");
        }
        key
    }
}

/// How many stages are how far, by looking at all of them.
fn recount(run: &Run) -> Counts {
    let mut counts = Counts::default();
    let leaves = run.stages().filter(|(_, stage, _)| stage.work.children().is_empty());
    for (_, _, state) in leaves {
        let count = match (&state.phase, state.outcome()) {
            (Phase::Offered { .. }, _) => &mut counts.offered,
            (Phase::Leased { .. } | Phase::Ended { .. }, _) => &mut counts.running,
            (_, None) => &mut counts.waiting,
            (_, Some(Outcome::Skipped)) => &mut counts.skipped,
            (_, Some(Outcome::Success)) => &mut counts.success,
            (_, Some(Outcome::Unstable)) => &mut counts.unstable,
            (_, Some(Outcome::Cancelled)) => &mut counts.cancelled,
            (_, Some(Outcome::Failed)) => &mut counts.failed,
            (_, Some(Outcome::TimedOut)) => &mut counts.timed_out,
            (_, Some(Outcome::Lost)) => &mut counts.lost,
        };
        *count += 1;
    }
    counts
}
