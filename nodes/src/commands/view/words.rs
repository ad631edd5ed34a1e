//! Stages, steps and outcomes in words.

use crate::commands::ansi::on_one_line;
use crate::commands::clock::lasting;
use crate::commands::screen::Paint;
use otto_core::ids::StageId;
use otto_core::plan::{Plan, StepCall, Work};
use otto_core::run::Run;
use otto_core::run::outcome::{Outcome, Section, SkipCause, StepPlace};
use otto_core::run::state::Phase;
use otto_core::time::{Span, Timestamp};
use otto_core::value::Value;
use otto_lang::explain::call;

/// The word of the step whose argument is a shell script.
const SCRIPT: &str = "sh";

/// The names by which people speak of a run's project and pipeline.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Names {
    /// The last part of the project's folder.
    pub(in crate::commands) project: String,
    /// The run's number.
    pub(in crate::commands) number: u64,
}

impl Names {
    /// The names for a run of a project.
    pub(in crate::commands) fn of(project: &str, number: u64) -> Self {
        let last = project.rsplit('/').find(|part| !part.is_empty()).unwrap_or(project);
        Self { project: last.to_owned(), number }
    }

    /// The name of what was run: the pipeline's, or the project's for its default one.
    fn title(&self, plan: &Plan) -> String {
        let project = || on_one_line(&self.project);
        if plan.pipeline == "default" { project() } else { plan.pipeline.clone() }
    }
}

/// The sign in front of an outcome. Next to it there is always a word, a name or a place.
pub(in crate::commands) fn sign(outcome: Outcome, paint: Paint) -> String {
    match outcome {
        Outcome::Success => paint.good("✔"),
        Outcome::Skipped => paint.faint("⊘"),
        Outcome::Unstable => paint.warning("⚠"),
        Outcome::Cancelled => paint.warning("⊘"),
        Outcome::Failed | Outcome::TimedOut | Outcome::Lost => paint.error("✘"),
    }
}

/// The name of a stage among those around it; the pipeline's own where it is the whole plan.
pub(super) fn name(plan: &Plan, id: StageId) -> &str {
    let stage = plan.stage(id);
    if stage.name.is_empty() { &plan.pipeline } else { &stage.name }
}

/// How long a stage took, or has been taking; nothing where it has steps and nobody ran them.
pub(super) fn duration(run: &Run, id: StageId, now: Timestamp) -> Option<Span> {
    let state = run.stage(id)?;
    let from = match state.attempts.first() {
        Some(first) => first.awarded_at,
        None if !run.plan().stage(id).work.steps().is_empty() => return None,
        None => state.opened_at?,
    };
    let until = match &state.phase {
        Phase::Settled { at, .. } => *at,
        Phase::Skipped { .. } | Phase::Pending | Phase::Offered { .. } => return None,
        Phase::Open | Phase::Leased { .. } | Phase::Ended { .. } | Phase::Paused { .. } => now,
    };
    Some(until.since(from))
}

/// One stage in one line: sign, name, duration, and what else is to be said.
pub(in crate::commands) fn stage_line(
    paint: Paint,
    run: &Run,
    id: StageId,
    now: Timestamp,
    spinner: &str,
) -> String {
    let name = name(run.plan(), id);
    let Some(state) = run.stage(id) else { return name.to_owned() };
    let took = duration(run, id, now).map(|span| format!(" {}", lasting(span))).unwrap_or_default();
    let (sign, more) = match &state.phase {
        Phase::Pending => return paint.faint(&format!("· {name}")),
        Phase::Open => (paint.mark(spinner), String::new()),
        Phase::Offered { since, .. } => {
            // An agent takes a stage within moments; what lasts longer has a reason.
            let waits = now.since(*since) >= Span::seconds(1);
            let need = &run.plan().stage(id).runtime;
            let text = format!("  waits for an agent with {need}, {}", lasting(now.since(*since)));
            (paint.warning("⏸"), if waits { text } else { String::new() })
        }
        Phase::Leased { .. } | Phase::Ended { .. } => {
            let step = running_step(run, id).map(|title| format!("  {title}"));
            (paint.mark(spinner), paint.faint(&step.unwrap_or_default()))
        }
        Phase::Paused { attempt, due } => {
            let text = format!("  attempt {attempt} in {}", lasting(due.since(now)));
            (paint.warning("↻"), text)
        }
        Phase::Settled { outcome, cause, .. } => {
            let told = matches!(run.plan().stage(id).work, Work::Steps(_)) && !cause.is_empty();
            let word =
                if outcome.goes_on() && *outcome == Outcome::Success { "" } else { outcome.word() };
            let text = match (word, told) {
                ("", _) => String::new(),
                (word, true) => format!("  {word}: {cause}"),
                (word, false) => format!("  {word}"),
            };
            (sign(*outcome, paint), text)
        }
        Phase::Skipped { .. } => {
            let cause = skipped_for(run, id).map(|cause| format!(": {cause}"));
            return paint.faint(&format!("⊘ {name}  skipped{}", cause.unwrap_or_default()));
        }
    };
    format!("{sign} {name}{took}{more}")
}

/// Why a stage was skipped, its own cause or that of the group around it; `None` where a stage with
/// a name was skipped around it, which says so itself.
pub(super) fn skipped_for(run: &Run, mut id: StageId) -> Option<SkipCause> {
    loop {
        let Phase::Skipped { cause, .. } = &run.stage(id)?.phase else { return None };
        if *cause != SkipCause::Parent {
            return Some(cause.clone());
        }
        id = run.plan().stage(id).parent.filter(|around| run.plan().is_group(*around))?;
    }
}

/// The title of the step that runs now.
fn running_step(run: &Run, id: StageId) -> Option<String> {
    let attempt = run.stage(id)?.leased()?;
    let (place, _) =
        attempt.steps.iter().find(|(_, step)| step.began_at.is_some() && step.ended.is_none())?;
    Some(title(run.plan(), step(run.plan(), id, *place)?))
}

/// The step at a place of a stage.
pub(super) fn step(plan: &Plan, id: StageId, place: StepPlace) -> Option<&StepCall> {
    let stage = plan.stages.get(id.index())?;
    let steps = match place.section {
        Section::Steps => stage.work.steps(),
        Section::Finally => &stage.finally,
    };
    steps.get(usize::try_from(place.index).ok()?)
}

/// A step's call in one line. A script that begins with comments goes by what comes after them.
pub(super) fn title(plan: &Plan, step: &StepCall) -> String {
    let mut step = step.clone();
    for value in step.arguments.values_mut() {
        if let Value::Text(text) = value
            && step.symbol == SCRIPT
            && let Some(code) = after_comments(text)
        {
            *text = code.to_owned();
        }
    }
    first_line(&call(plan, &step))
}

/// A script from its first line that is no comment on; nothing where all are.
fn after_comments(script: &str) -> Option<&str> {
    let mut rest = script;
    loop {
        let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            return Some(rest.trim_start());
        }
        if below.is_empty() {
            return None;
        }
        rest = below;
    }
}

/// The first line of a text, cut to what fits beside other things.
fn first_line(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let whole = line.len() == text.len() && line.chars().count() <= MOST;
    if whole {
        line.to_owned()
    } else {
        format!("{}…", line.chars().take(MOST).collect::<String>())
    }
}

/// The last line about a run: how it ended, how long it took, how much it was, what to type next.
pub(in crate::commands) fn farewell(paint: Paint, run: &Run, names: &Names) -> String {
    let Some(outcome) = run.outcome() else { return String::new() };
    let took = match (run.begun(), run.settled_at()) {
        (Some(begun), Some(at)) => lasting(at.since(begun.at)),
        (None, _) | (_, None) => String::new(),
    };
    let word = match outcome {
        Outcome::Success => String::new(),
        Outcome::Skipped
        | Outcome::Unstable
        | Outcome::Cancelled
        | Outcome::Failed
        | Outcome::TimedOut
        | Outcome::Lost => format!(" {outcome}"),
    };
    let head = format!("{}{word} {took}", names.title(run.plan()));
    let next = format!("otto logs {}", names.number);
    format!("{} {head:<23} {:<27} {}", sign(outcome, paint), amount(run), paint.faint(&next))
}

/// How much a run was: its steps, or its stages and how they ended.
fn amount(run: &Run) -> String {
    let counts = run.counts();
    if counts.total() == 1 {
        let steps = run.plan().stages.iter().map(|stage| stage.work.steps().len()).sum();
        return plural(steps, "step");
    }
    let failed = counts.failed + counts.timed_out + counts.lost;
    let mut words = vec![plural(counts.total() as usize, "stage")];
    for (count, word) in [
        (failed, "failed"),
        (counts.unstable, "unstable"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "skipped"),
    ] {
        words.extend((count > 0).then(|| format!("{count} {word}")));
    }
    words.join(", ")
}

pub(super) fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::after_comments;

    #[test]
    fn a_script_goes_by_its_first_line_that_is_no_comment() {
        let check = |script, expected| assert_eq!(after_comments(script), expected, "{script}");
        check("make", Some("make"));
        check("# why\n\n  make # all\n# end", Some("make # all\n# end"));
        check("#!/bin/sh\nmake\n", Some("make\n"));
        check("# nothing\n# at all\n", None);
        check("", None);
    }
}
