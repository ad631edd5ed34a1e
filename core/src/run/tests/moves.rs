//! What the outside may do next: right, wrong, early, late and doubled.

use super::referee::Referee;
use super::story::{agent, end};
use crate::ids::{Attempt, Epoch, StageId};
use crate::run::Run;
use crate::run::command::Wish;
use crate::run::duty::Duty;
use crate::run::outcome::{Outcome, Section, StepChange, StepFact, StepPlace};
use crate::time::Timestamp;
use crate::value::Value;

/// A wish, and when it comes.
pub(crate) type Move = (Timestamp, Wish);

/// Every move that tells states apart, and the wrong ones that must not.
pub(crate) fn moves(run: &Run, referee: &Referee, now: Timestamp) -> Vec<Move> {
    let mut wishes = vec![Wish::Wake, Wish::Cancel { by: "ada".to_owned(), reason: None }];
    for stage in run.plan().ids() {
        let seen = &referee.stages[stage.index()];
        let attempt = seen.offered.map_or(Attempt::FIRST, |(attempt, _)| attempt);
        wishes.push(award(stage, attempt));
        wishes.push(award(stage, attempt.next()));
        if let Some(live) = &seen.live {
            wishes.push(award(stage, live.attempt));
            wishes.extend(held(stage, live.attempt, live.epoch));
            let stale = Epoch { counter: live.epoch.counter - 1, ..live.epoch };
            wishes.push(finish(stage, live.attempt, stale, Outcome::Success));
            let other = finish(stage, live.attempt.next(), live.epoch, Outcome::Success);
            wishes.push(other);
        } else if let Some(last) = run.stage(stage).and_then(|state| state.attempts.last()) {
            wishes.push(finish(stage, last.attempt, last.epoch, Outcome::Success));
            wishes.push(lose(stage, last.attempt, last.epoch));
        }
    }
    let mut moves: Vec<Move> = wishes.into_iter().map(|wish| (now, wish)).collect();
    if let Some(alarm) = run.owed().alarm() {
        moves.push((alarm.max(now), Wish::Wake));
    }
    moves
}

/// What the holder of a lease may say.
fn held(stage: StageId, attempt: Attempt, epoch: Epoch) -> Vec<Wish> {
    let fact = |index, what| step_fact(Section::Steps, index, what);
    let outcome = Outcome::Success;
    let ended = StepChange::Ended { outcome, detail: String::new(), log_bytes: Some(9) };
    let (began, ended) = (fact(0, StepChange::Began), fact(0, ended));
    let facts = vec![began.clone(), began, ended.clone(), ended, fact(9, StepChange::Began)];
    vec![
        finish(stage, attempt, epoch, Outcome::Success),
        finish(stage, attempt, epoch, Outcome::Unstable),
        finish(stage, attempt, epoch, Outcome::Failed),
        ending_the_run(finish(stage, attempt, epoch, Outcome::Success)),
        ending_the_run(finish(stage, attempt, epoch, Outcome::Failed)),
        lose(stage, attempt, epoch),
        Wish::Decline { stage, attempt, epoch },
        Wish::Report { stage, attempt, epoch, facts },
    ]
}

/// What an agent tells of a step.
pub(crate) fn step_fact(section: Section, index: u32, what: StepChange) -> StepFact {
    StepFact { step: StepPlace { section, index }, at: Timestamp(5), what }
}

/// The same, said by an attempt of which a step asked for the run's end.
fn ending_the_run(mut wish: Wish) -> Wish {
    if let Wish::Finish { end, .. } = &mut wish {
        end.ends_run = true;
    }
    wish
}

pub(crate) fn award(stage: StageId, attempt: Attempt) -> Wish {
    Wish::Award { stage, attempt, agent: agent(1), incarnation: 1 }
}

fn lose(stage: StageId, attempt: Attempt, epoch: Epoch) -> Wish {
    Wish::Lose { stage, attempt, epoch, cause: "its agent died".to_owned() }
}

pub(crate) fn finish(stage: StageId, attempt: Attempt, epoch: Epoch, outcome: Outcome) -> Wish {
    let mut end = end(outcome);
    // Stages with an odd place find a good verdict, the others a bad one.
    let verdict = if stage.0 % 2 == 1 { "good" } else { "bad" };
    end.captured.insert("verdict".to_owned(), Value::Text(verdict.to_owned()));
    Wish::Finish { stage, attempt, epoch, facts: Vec::new(), end }
}

/// What an obliging outside does about a duty.
pub(crate) fn oblige(duty: &Duty, now: Timestamp) -> Move {
    match *duty {
        Duty::Offer { stage, attempt, .. } => (now, award(stage, attempt)),
        Duty::Attend { stage, attempt, epoch, .. } => {
            (now, finish(stage, attempt, epoch, Outcome::Success))
        }
        Duty::End { stage, attempt, epoch, .. } => {
            (now, finish(stage, attempt, epoch, Outcome::Cancelled))
        }
        Duty::Alarm { at } => (at.max(now), Wish::Wake),
    }
}
