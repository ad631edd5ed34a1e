//! Explain: a plan as text, JSON, Mermaid and DOT. What is printed here is what runs.
//!
//! All four are pure functions of the plan. They share the wording of this module, so that a
//! stage is described in the same words wherever it is shown.

mod dot;
mod graph;
mod json;
mod mermaid;
mod text;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use dot::dot;
pub use json::{json, value as json_value};
pub use mermaid::mermaid;
pub use text::text;

use otto_core::gate::{Condition, Decided};
use otto_core::ids::StageId;
use otto_core::plan::{Plan, Retry, RetryReason, StepCall, Work};
use otto_core::step::{Library, LibrarySource, Signature};
use otto_core::value::Value;

/// One call of a step as an author would write it, options that have their default left out.
#[must_use]
pub fn call(plan: &Plan, step: &StepCall) -> String {
    let mut words = vec![step.symbol.clone()];
    match plan.signature(step) {
        Some(signature) => words.extend(written_arguments(signature, step)),
        None => words.extend(step.arguments.iter().map(|(name, value)| option(name, value))),
    }
    words.join(" ")
}

/// The arguments in the signature's order: the first by position, the others by name.
fn written_arguments(signature: &Signature, step: &StepCall) -> Vec<String> {
    let mut words = Vec::new();
    for (index, parameter) in signature.parameters.iter().enumerate() {
        let Some(value) = step.arguments.get(&parameter.name) else { continue };
        let is_default = parameter.default.as_ref() == Some(value);
        let is_absent = matches!(value, Value::Absent);
        if is_default || is_absent {
            continue;
        }
        words.push(if index == 0 { literal(value) } else { option(&parameter.name, value) });
    }
    words
}

fn option(name: &str, value: &Value) -> String {
    format!("{name}: {}", literal(value))
}

/// A value as it is written in an Ottofile.
#[must_use]
pub fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Number(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::List(values) => {
            let items: Vec<String> = values.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Absent => "absent".to_owned(),
    }
}

/// What a stage with children does with them; empty for others.
fn manner(work: &Work) -> &'static str {
    match work {
        Work::Parallel(_) => "side by side, all to their end",
        Work::Fanout(_) => "side by side, the first failure stops the rest",
        Work::Choose(_) => "the first arm whose condition holds",
        Work::Sequence(_) => "one after another",
        Work::Steps(_) | Work::Nothing => "",
    }
}

/// What is known of a stage's being entered before it runs, from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    /// Nothing speaks against it.
    Runs,
    /// A value that the run brings decides.
    Open,
    /// It, or a stage around it, is skipped.
    Skipped,
}

/// The verdicts of all stages, in one pass: parents and earlier arms come before what they decide.
fn verdicts(plan: &Plan) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(plan.stages.len());
    // What is left for the further arms of each `choose`.
    let mut left = vec![Verdict::Runs; plan.stages.len()];
    for stage in &plan.stages {
        let own = stage.when.as_ref().map_or(Verdict::Runs, verdict);
        let Some(parent) = stage.parent.map(StageId::index) else {
            verdicts.push(own);
            continue;
        };
        let among_arms = own.max(left[parent]);
        verdicts.push(verdicts[parent].max(among_arms));
        if matches!(plan.stages[parent].work, Work::Choose(_)) {
            left[parent] = match among_arms {
                Verdict::Runs => Verdict::Skipped,
                Verdict::Open => Verdict::Open,
                Verdict::Skipped => left[parent],
            };
        }
    }
    verdicts
}

fn verdict(condition: &Condition) -> Verdict {
    match &condition.decided {
        Decided::Plan { holds: true, .. } => Verdict::Runs,
        Decided::Plan { holds: false, .. } => Verdict::Skipped,
        Decided::Run(_) => Verdict::Open,
    }
}

/// A condition with its verdict and why: `branch == "main": holds, branch is "main"`.
fn judged(condition: &Condition) -> String {
    match &condition.decided {
        Decided::Plan { holds: true, reason } => format!("{}: yes, {reason}", condition.text),
        Decided::Plan { holds: false, reason } => format!("{}: no, {reason}", condition.text),
        Decided::Run(_) => format!("{}: decided by the run", condition.text),
    }
}

/// When a stage is repeated, as a sentence.
fn repeated(retry: &Retry) -> String {
    let reasons: Vec<&str> = retry.on.iter().map(|reason| reason_word(*reason)).collect();
    let pause = if retry.backoff.0 == 0 {
        String::new()
    } else {
        format!(", {} before the second, doubling", retry.backoff)
    };
    format!("{} attempts, when {}{pause}", retry.attempts, reasons.join(" or "))
}

fn reason_word(reason: RetryReason) -> &'static str {
    match reason {
        RetryReason::Lost => "lost",
        RetryReason::Failed => "failed",
        RetryReason::TimedOut => "timed out",
    }
}

/// Where a library's files are.
fn place(library: &Library) -> String {
    match &library.source {
        LibrarySource::Builtin => "comes with Otto".to_owned(),
        LibrarySource::Repository { path } => format!("in {path}"),
    }
}
