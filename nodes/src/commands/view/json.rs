//! A run as JSON objects, one for each change. The shape is a promise: fields are added, never
//! changed.

use super::words::step;
use crate::commands::clock::for_programs;
use otto_core::ids::StageId;
use otto_core::run::Run;
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::{Section, StepChange, StepFact};
use otto_core::time::Timestamp;
use otto_lang::explain::call;
use serde_json::{Value, json};

/// The objects about an entry; `run` has taken it in already.
pub(super) fn changes(run: &Run, entry: &Entry) -> Vec<Value> {
    entry.events.iter().flat_map(|event| about(run, event)).collect()
}

fn about(run: &Run, event: &Event) -> Vec<Value> {
    let number = run.id().number;
    let at = |at: &Timestamp| for_programs(*at);
    let path = |stage: &StageId| run.plan().stage(*stage).path.as_str();
    let one = match event {
        Event::RetryOffered { .. } | Event::CommandAnswered { .. } => return Vec::new(),
        Event::StepsReported { stage, facts, .. } => {
            return facts.iter().map(|fact| about_step(run, *stage, fact)).collect();
        }
        Event::Submitted { submission, at: time } => json!({
            "event": "submitted", "run": number, "at": at(time),
            "project": submission.project, "by": submission.by, "plan": submission.plan.to_string(),
        }),
        Event::StageOpened { stage, at: time } => json!({
            "event": "stage_opened", "run": number, "at": at(time), "stage": path(stage),
        }),
        Event::StageSkipped { stage, cause, at: time } => json!({
            "event": "stage_skipped", "run": number, "at": at(time), "stage": path(stage),
            "cause": cause.to_string(),
        }),
        Event::StageAwarded { stage, attempt, agent, at: time, .. } => json!({
            "event": "stage_started", "run": number, "at": at(time), "stage": path(stage),
            "attempt": attempt.0, "agent": agent.to_string(),
        }),
        Event::StageDeclined { stage, attempt, at: time, .. } => json!({
            "event": "stage_declined", "run": number, "at": at(time), "stage": path(stage),
            "attempt": attempt.0,
        }),
        Event::AttemptOverdue { stage, attempt, cause, at: time, .. } => json!({
            "event": "attempt_overdue", "run": number, "at": at(time), "stage": path(stage),
            "attempt": attempt.0, "cause": cause,
        }),
        Event::AttemptStopped { stage, attempt, by, at: time } => json!({
            "event": "attempt_stopped", "run": number, "at": at(time), "stage": path(stage),
            "attempt": attempt.0, "by": by,
        }),
        Event::AttemptEnded { stage, attempt, outcome, cause, at: time, .. } => json!({
            "event": "attempt_ended", "run": number, "at": at(time), "stage": path(stage),
            "attempt": attempt.0, "outcome": outcome, "cause": cause,
        }),
        Event::RetryScheduled { stage, attempt, due } => json!({
            "event": "retry_scheduled", "run": number, "stage": path(stage),
            "attempt": attempt.0, "due": at(due),
        }),
        Event::StageSettled { stage, outcome, cause, at: time } => json!({
            "event": "stage_settled", "run": number, "at": at(time), "stage": path(stage),
            "outcome": outcome, "cause": cause,
        }),
        Event::CancelRequested { by, reason, at: time } => json!({
            "event": "cancel_requested", "run": number, "at": at(time), "by": by, "reason": reason,
        }),
        Event::EndRequested { stage, at: time } => json!({
            "event": "end_requested", "run": number, "at": at(time), "stage": path(stage),
        }),
        Event::RunSettled { outcome, at: time } => json!({
            "event": "run_settled", "run": number, "at": at(time), "outcome": outcome,
        }),
        Event::RunRetired { at: time } => json!({
            "event": "run_retired", "run": number, "at": at(time),
        }),
    };
    vec![one]
}

fn about_step(run: &Run, stage: StageId, fact: &StepFact) -> Value {
    let step = step(run.plan(), stage, fact.step).map(|step| call(run.plan(), step));
    let section = match fact.step.section {
        Section::Steps => "steps",
        Section::Finally => "finally",
    };
    let mut object = json!({
        "event": "step_began", "run": run.id().number, "at": for_programs(fact.at),
        "stage": run.plan().stage(stage).path, "section": section, "index": fact.step.index,
        "step": step,
    });
    if let StepChange::Ended { outcome, detail, log_bytes } = &fact.what {
        object["event"] = "step_ended".into();
        object["outcome"] = json!(outcome);
        object["detail"] = json!(detail);
        object["log_bytes"] = json!(log_bytes);
    }
    object
}
