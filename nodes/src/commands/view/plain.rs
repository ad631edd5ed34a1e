//! A run as lines of text, one for each change that a person cares about.

use super::words::{duration, path, step, title};
use crate::commands::clock::lasting;
use otto_core::ids::{Attempt, StageId};
use otto_core::plan::Work;
use otto_core::run::Run;
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::{Outcome, StepChange, StepFact};
use otto_core::time::{Span, Timestamp};

/// One line, and when what it says happened.
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

/// The lines about an entry; `run` has taken it in already.
pub(super) fn lines(run: &Run, entry: &Entry) -> Vec<Line> {
    entry.events.iter().flat_map(|event| about(run, event)).collect()
}

fn about(run: &Run, event: &Event) -> Vec<Line> {
    let stage_says = |stage: &StageId, at: &Timestamp, text: String| {
        vec![Line { at: *at, text: format!("{}: {text}", path(run.plan(), *stage)) }]
    };
    match event {
        Event::Submitted { .. }
        | Event::StageOpened { .. }
        | Event::AttemptEnded { .. }
        | Event::RetryOffered { .. }
        | Event::RunSettled { .. }
        | Event::RunRetired { .. }
        | Event::CommandAnswered { .. } => Vec::new(),
        Event::StageSkipped { stage, cause, at } => {
            stage_says(stage, at, format!("skipped: {cause}"))
        }
        Event::StageAwarded { stage, attempt, at, .. } => {
            stage_says(stage, at, format!("started{}", again(*attempt)))
        }
        Event::StageDeclined { stage, at, .. } => {
            stage_says(stage, at, "given back by its agent, offered again".to_owned())
        }
        Event::StepsReported { stage, facts, .. } => {
            facts.iter().filter_map(|fact| about_step(run, *stage, fact)).collect()
        }
        Event::AttemptOverdue { stage, cause, at, .. } => {
            stage_says(stage, at, format!("is ended: {cause}"))
        }
        Event::AttemptStopped { stage, by, at, .. } => {
            stage_says(stage, at, format!("is ended: stopped by {by}"))
        }
        Event::RetryScheduled { stage, attempt, due } => follows(run, *stage, *attempt, *due),
        Event::StageSettled { stage, outcome, cause, at } => {
            settled(run, *stage, *outcome, cause, *at)
        }
        Event::CancelRequested { by, reason, at } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            vec![Line { at: *at, text: format!("cancelled by {by}{reason}") }]
        }
    }
}

/// Another attempt, and what the one before it ended with.
fn follows(run: &Run, stage: StageId, attempt: Attempt, due: Timestamp) -> Vec<Line> {
    let state = run.stage(stage);
    let before = state.and_then(|state| state.attempts.iter().rfind(|it| it.attempt < attempt));
    let ended = before.and_then(|before| before.ended.as_ref());
    let at = ended.map_or(due, |ended| ended.at);
    let pause = due.since(at);
    let pause = if pause == Span(0) { String::new() } else { format!(" in {}", lasting(pause)) };
    let why = match ended {
        Some(ended) if ended.cause.is_empty() => format!(": {}", ended.outcome),
        Some(ended) => format!(": {}: {}", ended.outcome, ended.cause),
        None => String::new(),
    };
    let name = path(run.plan(), stage);
    vec![Line { at, text: format!("{name}: attempt {attempt} follows{pause}{why}") }]
}

/// Stages that only hold others end with what they hold: that says nothing new.
fn settled(run: &Run, stage: StageId, outcome: Outcome, cause: &str, at: Timestamp) -> Vec<Line> {
    if !matches!(run.plan().stage(stage).work, Work::Steps(_)) {
        return Vec::new();
    }
    let took = run.stage(stage).and_then(|state| duration(state, at)).map(lasting);
    let took = took.map(|took| format!(" after {took}")).unwrap_or_default();
    let cause = if cause.is_empty() { String::new() } else { format!(": {cause}") };
    let text = format!("{}: {outcome}{took}{cause}", path(run.plan(), stage));
    vec![Line { at, text }]
}

fn about_step(run: &Run, stage: StageId, fact: &StepFact) -> Option<Line> {
    let name = path(run.plan(), stage);
    let title = title(run.plan(), step(run.plan(), stage, fact.step)?);
    let text = match &fact.what {
        StepChange::Began => format!("{name} › {title}"),
        StepChange::Ended { outcome: Outcome::Success, .. } => return None,
        StepChange::Ended { outcome, detail } => {
            format!("{name} › {title}: {outcome}: {detail}")
        }
    };
    Some(Line { at: fact.at, text })
}

fn again(attempt: Attempt) -> String {
    if attempt == Attempt::FIRST { String::new() } else { format!(" again, attempt {attempt}") }
}
