//! Planted bugs: a checker that was never seen failing counts as none. Each bug answers wishes in
//! the heart's place, and the exploration must complain about it in the name of the invariant.

use super::explore::{explore, plans};
use super::verdict::{Decider, heart};
use crate::ids::{Epoch, StageId};
use crate::run::Run;
use crate::run::command::{Command, Refusal, Wish};
use crate::run::event::Event;
use crate::run::outcome::Outcome;
use crate::run::state::Phase;
use crate::time::Timestamp;
use std::collections::BTreeMap;

type Answer = Result<Vec<Event>, Refusal>;

/// The heart's answer with its events changed one by one.
fn altered(
    run: &Run,
    command: &Command,
    now: Timestamp,
    alter: impl FnMut(Event) -> Vec<Event>,
) -> Answer {
    heart(run, command, now).map(|events| events.into_iter().flat_map(alter).collect())
}

fn late_finish_is_accepted(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let answer = heart(run, command, now);
    match (&command.wish, &answer) {
        (Wish::Finish { stage, attempt, epoch, end, .. }, Err(Refusal::StaleEpoch { .. })) => {
            Ok(vec![Event::AttemptEnded {
                stage: *stage,
                attempt: *attempt,
                epoch: *epoch,
                outcome: end.outcome,
                cause: String::new(),
                captured: BTreeMap::new(),
                artifacts: BTreeMap::new(),
                log_bytes: None,
                at: now,
            }])
        }
        _ => answer,
    }
}

fn two_agents_get_one_stage(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let answer = heart(run, command, now);
    let Wish::Award { stage, attempt, agent, .. } = command.wish else { return answer };
    let held = run.stage(stage).and_then(|state| state.leased()).map(|leased| leased.epoch);
    match (answer, held) {
        (Err(_), Some(Epoch { incarnation, counter })) => {
            let epoch = Epoch { incarnation, counter: counter + 1 };
            Ok(vec![Event::StageAwarded { stage, attempt, epoch, agent, at: now }])
        }
        (answer, _) => answer,
    }
}

fn epochs_are_used_again(run: &Run, command: &Command, now: Timestamp) -> Answer {
    altered(run, command, now, |mut event| {
        if let Event::StageAwarded { epoch, .. } = &mut event {
            epoch.counter = 1;
        }
        vec![event]
    })
}

fn a_stage_settles_twice(run: &Run, command: &Command, now: Timestamp) -> Answer {
    altered(run, command, now, |event| match event {
        Event::StageSettled { .. } => vec![event.clone(), event],
        other => vec![other],
    })
}

fn needs_are_not_waited_for(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let needing = run.plan().stages.iter().position(|stage| !stage.needs.is_empty());
    let needing = needing.and_then(|place| u32::try_from(place).ok()).map(StageId);
    altered(run, command, now, |event| match (&event, needing) {
        (Event::StageOpened { stage: StageId(0), at }, Some(stage)) => {
            let at = *at;
            vec![event, Event::StageOpened { stage, at }]
        }
        _ => vec![event],
    })
}

fn cancel_leaves_offers_open(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let is_cancel = matches!(command.wish, Wish::Cancel { .. });
    altered(run, command, now, |event| match event {
        Event::StageSettled { .. } if is_cancel => vec![],
        other => vec![other],
    })
}

fn something_starts_after_cancel(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let is_cancel = matches!(command.wish, Wish::Cancel { .. });
    altered(run, command, now, |event| match event {
        Event::StageSkipped { stage, at, .. } if is_cancel => {
            vec![Event::StageOpened { stage, at }]
        }
        other => vec![other],
    })
}

fn an_ended_run_is_cancelled(run: &Run, command: &Command, now: Timestamp) -> Answer {
    match (heart(run, command, now), &command.wish) {
        (Err(Refusal::Settled), Wish::Cancel { by, .. }) => {
            Ok(vec![Event::CancelRequested { by: by.clone(), reason: None, at: now }])
        }
        (answer, _) => answer,
    }
}

fn fanout_does_not_end_the_rest(run: &Run, command: &Command, now: Timestamp) -> Answer {
    altered(run, command, now, |event| match event {
        Event::AttemptStopped { .. } if run.cancelled().is_none() => vec![],
        other => vec![other],
    })
}

fn lost_becomes_success(run: &Run, command: &Command, now: Timestamp) -> Answer {
    altered(run, command, now, |mut event| {
        if let Event::AttemptEnded { outcome, .. } | Event::StageSettled { outcome, .. } =
            &mut event
            && *outcome == Outcome::Lost
        {
            *outcome = Outcome::Success;
        }
        vec![event]
    })
}

fn late_success_beats_the_limit(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let Wish::Finish { end, .. } = &command.wish else { return heart(run, command, now) };
    altered(run, command, now, |mut event| {
        if let Event::AttemptEnded { outcome, .. } = &mut event {
            *outcome = end.outcome;
        }
        vec![event]
    })
}

fn one_attempt_too_many(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let has_policy = |stage: StageId| run.plan().stage(stage).retry.is_some();
    let mut ended = None;
    altered(run, command, now, |event| match event {
        Event::AttemptEnded { attempt, .. } => {
            ended = Some(attempt);
            vec![event]
        }
        Event::StageSettled { stage, outcome: Outcome::Lost, .. } if has_policy(stage) => {
            let attempt = ended.map(crate::ids::Attempt::next);
            let scheduled = |attempt| Event::RetryScheduled { stage, attempt, due: now };
            attempt.map(scheduled).into_iter().collect()
        }
        other => vec![other],
    })
}

fn retries_do_not_pause(run: &Run, command: &Command, now: Timestamp) -> Answer {
    altered(run, command, now, |mut event| {
        if let Event::RetryScheduled { due, .. } = &mut event {
            *due = now;
        }
        vec![event]
    })
}

fn the_next_stage_is_forgotten(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let is_first = run.phase(StageId::ROOT) == Some(&Phase::Pending);
    altered(run, command, now, |event| match event {
        Event::StageOpened { .. } if !is_first => vec![],
        other => vec![other],
    })
}

fn a_run_never_retires(run: &Run, command: &Command, now: Timestamp) -> Answer {
    altered(run, command, now, |event| match event {
        Event::RunRetired { .. } => vec![],
        other => vec![other],
    })
}

fn an_end_is_passed_over(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let Wish::Finish { end, .. } = &command.wish else { return heart(run, command, now) };
    let mut command = command.clone();
    if end.ends_run
        && let Wish::Finish { end, .. } = &mut command.wish
    {
        end.ends_run = false;
    }
    heart(run, &command, now)
}

fn an_end_makes_good_what_failed(run: &Run, command: &Command, now: Timestamp) -> Answer {
    let mut ends = false;
    altered(run, command, now, |mut event| {
        ends |= matches!(event, Event::EndRequested { .. });
        if let Event::RunSettled { outcome, .. } = &mut event
            && ends
        {
            *outcome = Outcome::Success;
        }
        vec![event]
    })
}

#[test]
fn each_planted_bug_is_caught() {
    let check = |name: &str, bug: Decider, invariant: &str| {
        let is_caught = plans().into_iter().any(|(_, root)| {
            explore(root, bug, 20_000).is_err_and(|complaint| complaint.contains(invariant))
        });
        assert!(is_caught, "{name} was not caught as {invariant}");
    };
    check("a late finish is accepted", late_finish_is_accepted, "I4");
    check("two agents get one stage", two_agents_get_one_stage, "I4");
    check("epochs are used again", epochs_are_used_again, "I5");
    check("a stage settles twice", a_stage_settles_twice, "I6");
    check("needs are not waited for", needs_are_not_waited_for, "I9");
    check("cancel leaves offers open", cancel_leaves_offers_open, "before its end");
    check("something starts after cancel", something_starts_after_cancel, "I15");
    check("an ended run is cancelled", an_ended_run_is_cancelled, "I15");
    check("an end is passed over", an_end_is_passed_over, "but it goes on");
    check("an end makes good what failed", an_end_makes_good_what_failed, "I15");
    check("fanout does not end the rest", fanout_does_not_end_the_rest, "I15");
    check("lost becomes success", lost_becomes_success, "I19");
    check("late success beats the limit", late_success_beats_the_limit, "I19");
    check("one attempt too many", one_attempt_too_many, "I20");
    check("retries do not pause", retries_do_not_pause, "I20");
    check("the next stage is forgotten", the_next_stage_is_forgotten, "L1");
    check("a run never retires", a_run_never_retires, "L1");
}
