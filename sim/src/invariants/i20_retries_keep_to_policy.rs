//! I20: retries keep to the policy: not more attempts than allowed, and only for its reasons.
//!
//! Source: the plan is the contract.

use super::Invariant;
use crate::ending::Ending;
use crate::history::Moment;
use otto_core::plan::RetryReason;
use otto_core::run::event::Event;
use otto_core::run::outcome::Outcome;
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I20", holds: "retries keep to the policy", violations };

fn violations(_: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (run, ended) in &ending.runs {
        let mut last = BTreeMap::new();
        for event in ended.events() {
            match event {
                Event::AttemptEnded { stage, outcome, .. } => {
                    last.insert(*stage, *outcome);
                }
                Event::RetryScheduled { stage, attempt, .. } => {
                    let policy = ended.plan.stage(*stage).retry.as_ref();
                    let reason = last.get(stage).copied().and_then(reason);
                    let allowed = policy.is_some_and(|policy| {
                        attempt.0 <= policy.attempts
                            && reason.is_some_and(|reason| policy.on.contains(&reason))
                    });
                    if !allowed {
                        found.push(format!("{run}: {stage} is tried as attempt {attempt}"));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn reason(outcome: Outcome) -> Option<RetryReason> {
    match outcome {
        Outcome::Lost => Some(RetryReason::Lost),
        Outcome::Failed => Some(RetryReason::Failed),
        Outcome::TimedOut => Some(RetryReason::TimedOut),
        Outcome::Skipped | Outcome::Success | Outcome::Unstable | Outcome::Cancelled => None,
    }
}
