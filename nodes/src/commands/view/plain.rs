//! A run as lines of text, one for each change that a person cares about.

use super::words::{duration, skipped_for, step, title};
use crate::commands::clock::{lasting, now, time_of_day};
use crate::commands::screen::Screen;
use otto_core::ids::{Attempt, StageId};
use otto_core::plan::Work;
use otto_core::run::Run;
use otto_core::run::duty::Duty;
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::{Outcome, StepChange, StepFact, StepPlace};
use otto_core::time::{Span, Timestamp};
use std::collections::BTreeMap;

/// How long a line is held back: what happened before it may still be on its way, since agents
/// tell of steps in batches.
const HELD_BACK: Span = Span(400);
/// How often a step that says nothing is said to be alive.
const HEARTBEAT: Span = Span::seconds(60);

/// The lines that are on their way, in the order of their times.
#[derive(Debug, Default)]
pub(in crate::commands) struct Plain {
    held: Vec<Held>,
    /// How many heartbeats were told of the attempts that agents hold.
    told: BTreeMap<(StageId, StepPlace), u64>,
}

#[derive(Debug)]
struct Held {
    line: Line,
    arrived: Timestamp,
    /// It is several lines, which need no time in front of them.
    is_block: bool,
}

/// One line, and when what it says happened.
#[derive(Debug)]
struct Line {
    at: Timestamp,
    text: String,
}

impl Plain {
    /// Takes in an entry; `run` has taken it in already.
    pub(super) fn entry(&mut self, run: &Run, entry: &Entry) {
        for line in entry.events.iter().flat_map(|event| about(run, event)) {
            self.add(line.at, line.text);
        }
    }

    /// Takes in a line.
    pub(super) fn add(&mut self, at: Timestamp, text: String) {
        self.hold(Line { at, text }, false);
    }

    /// Takes in several lines that belong together.
    pub(super) fn block(&mut self, at: Timestamp, text: String) {
        self.hold(Line { at, text }, true);
    }

    fn hold(&mut self, line: Line, is_block: bool) {
        let place = self.held.partition_point(|held| held.line.at <= line.at);
        self.held.insert(place, Held { line, arrived: now(), is_block });
    }

    /// Prints what was held back for long enough, and says which steps still run.
    pub(super) fn draw(&mut self, screen: &Screen, run: &Run, now: Timestamp) {
        self.heartbeats(run, now);
        let is_ripe = |held: &Held| now.since(held.arrived) >= HELD_BACK;
        let ripe = self.held.iter().rposition(is_ripe).map_or(0, |last| last + 1);
        print(screen, self.held.drain(..ripe));
    }

    /// Prints all there is.
    pub(super) fn flush(&mut self, screen: &Screen) {
        print(screen, self.held.drain(..));
    }

    fn heartbeats(&mut self, run: &Run, now: Timestamp) {
        let mut told = BTreeMap::new();
        for duty in run.owed().iter() {
            let Duty::Attend { stage, .. } = duty else { continue };
            let Some((place, began)) = running(run, *stage) else { continue };
            let beats = now.since(began).0 / HEARTBEAT.0;
            let before = self.told.get(&(*stage, place)).copied().unwrap_or(0);
            if beats > before {
                let step = step(run.plan(), *stage, place);
                let title = step.map(|step| title(run.plan(), step)).unwrap_or_default();
                let (path, minutes) = (run.plan().path(*stage), beats * HEARTBEAT.0 / 60_000);
                self.add(now, format!("{path} › {title} still runs, {minutes} min"));
            }
            told.insert((*stage, place), beats.max(before));
        }
        self.told = told;
    }
}

fn print(screen: &Screen, lines: impl Iterator<Item = Held>) {
    for Held { line: Line { at, text }, is_block, .. } in lines {
        if is_block {
            screen.tell(text);
        } else {
            screen.tell(format!("{} {text}", screen.err.faint(&time_of_day(at))));
        }
    }
}

/// The step that runs now, and since when.
fn running(run: &Run, stage: StageId) -> Option<(StepPlace, Timestamp)> {
    let attempt = run.stage(stage)?.leased()?;
    let mut steps = attempt.steps.iter().filter(|(_, step)| step.ended.is_none());
    steps.find_map(|(place, step)| Some((*place, step.began_at?)))
}

fn about(run: &Run, event: &Event) -> Vec<Line> {
    let stage_says = |stage: &StageId, at: &Timestamp, text: String| {
        vec![Line { at: *at, text: format!("{}: {text}", run.plan().path(*stage)) }]
    };
    match event {
        Event::Submitted { .. }
        | Event::StageOpened { .. }
        | Event::AttemptEnded { .. }
        | Event::RetryOffered { .. }
        | Event::RunSettled { .. }
        | Event::RunRetired { .. }
        | Event::CommandAnswered { .. } => Vec::new(),
        // Groups are told of by what they hold, and stages inside a skipped one by that one.
        Event::StageSkipped { stage, at, .. } => match skipped_for(run, *stage) {
            Some(cause) if !run.plan().is_group(*stage) => {
                stage_says(stage, at, format!("skipped: {cause}"))
            }
            Some(_) | None => Vec::new(),
        },
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
        Event::EndRequested { stage, at } => stage_says(stage, at, "ended the run".to_owned()),
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
    let name = run.plan().path(stage);
    vec![Line { at, text: format!("{name}: attempt {attempt} follows{pause}{why}") }]
}

/// Stages that only hold others end with what they hold: that says nothing new.
fn settled(run: &Run, stage: StageId, outcome: Outcome, cause: &str, at: Timestamp) -> Vec<Line> {
    if !matches!(run.plan().stage(stage).work, Work::Steps(_)) {
        return Vec::new();
    }
    let took = duration(run, stage, at).map(lasting);
    let took = took.map(|took| format!(" after {took}")).unwrap_or_default();
    let cause = if cause.is_empty() { String::new() } else { format!(": {cause}") };
    let text = format!("{}: {outcome}{took}{cause}", run.plan().path(stage));
    vec![Line { at, text }]
}

fn about_step(run: &Run, stage: StageId, fact: &StepFact) -> Option<Line> {
    let name = run.plan().path(stage);
    let title = title(run.plan(), step(run.plan(), stage, fact.step)?);
    let text = match &fact.what {
        StepChange::Began => format!("{name} › {title}"),
        StepChange::Ended { outcome: Outcome::Success, .. } => return None,
        StepChange::Ended { outcome, detail, log_bytes: _ } => {
            format!("{name} › {title}: {outcome}: {detail}")
        }
    };
    Some(Line { at: fact.at, text })
}

fn again(attempt: Attempt) -> String {
    if attempt == Attempt::FIRST { String::new() } else { format!(" again, attempt {attempt}") }
}

#[cfg(test)]
mod tests {
    use super::Plain;
    use otto_core::ids::{AgentId, AgentRef, ProjectId, RunId, StageId};
    use otto_core::plan::{Plan, Revision};
    use otto_core::run::Run;
    use otto_core::run::command::{Command, Submission, Wish};
    use otto_core::run::outcome::{Outcome, Section, StepChange, StepFact, StepPlace};
    use otto_core::time::{Span, Timestamp};
    use otto_lang::{NoRepository, Source, Surroundings};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const BEGAN: Timestamp = Timestamp(1_000_000);

    fn plan() -> Plan {
        let text = "pipeline { stage('Test') { steps { sh 'make'  sh 'make test' } } }".to_owned();
        let library = otto_stdlib::builtin().clone();
        let surroundings = Surroundings {
            pipeline: "default".to_owned(),
            revision: Revision::default(),
            parameters: BTreeMap::new(),
            libraries: &BTreeMap::from([(otto_stdlib::NAME.to_owned(), library)]),
            planned_steps: otto_stdlib::PLANNED,
            repository: &NoRepository,
        };
        let parsed = otto_lang::parse(&Source { name: "Ottofile".to_owned(), text });
        otto_lang::plan(&parsed, &surroundings).expect("it is right").0
    }

    fn wish(run: &mut Run, wish: Wish) {
        let decided = run.decide_all(&[Command::from(wish)], BEGAN);
        assert_eq!(decided.answers, [Ok(())]);
        run.apply(&decided.entry.expect("something follows"));
    }

    /// A run whose only stage looks for an agent.
    fn submitted() -> Run {
        let plan = Arc::new(plan());
        let submission = Submission {
            plan: plan.hash(),
            project: "shop".to_owned(),
            by: "ada".to_owned(),
            snapshot: None,
            continues: None,
        };
        let mut run = Run::new(RunId { project: ProjectId(1), number: 1 }, plan);
        wish(&mut run, Wish::Submit(submission));
        run
    }

    /// A run whose only stage an agent holds.
    fn leased() -> Run {
        let mut run = submitted();
        let agent = AgentRef { agent: AgentId([1; 16]), incarnation: 1 };
        let (stage, attempt) = (StageId(1), otto_core::ids::Attempt::FIRST);
        wish(&mut run, Wish::Award { stage, attempt, agent, incarnation: 1 });
        run
    }

    fn report(run: &mut Run, index: u32, at_ms: u64, what: StepChange) {
        let step = StepPlace { section: Section::Steps, index };
        let fact = StepFact { step, at: Timestamp(BEGAN.0 + at_ms), what };
        let leased = run.stage(StageId(1)).and_then(|stage| stage.leased()).expect("it is leased");
        let (attempt, epoch) = (leased.attempt, leased.epoch);
        wish(run, Wish::Report { stage: StageId(1), attempt, epoch, facts: vec![fact] });
    }

    #[test]
    fn how_long_a_stage_was_offered_in_vain_is_said_once() {
        let mut run = submitted();
        let day = Timestamp(BEGAN.0 + Span::hours(24).0);
        let decided = run.decide_all(&[Command::from(Wish::Wake)], day);
        let entry = decided.entry.expect("its time is up");
        run.apply(&entry);
        let mut plain = Plain::default();
        plain.entry(&run, &entry);
        let said: Vec<String> = plain.held.drain(..).map(|held| held.line.text).collect();
        assert_eq!(said, ["Test: timed out: no agent took it within 1d"]);
    }

    #[test]
    fn a_step_that_says_nothing_is_said_to_be_alive_once_a_minute() {
        let mut run = leased();
        let mut plain = Plain::default();
        let mut check = |run: &Run, at_ms: u64, expected: &[&str]| {
            plain.heartbeats(run, Timestamp(BEGAN.0 + at_ms));
            let said: Vec<String> = plain.held.drain(..).map(|held| held.line.text).collect();
            assert_eq!(said, expected, "after {at_ms} ms");
        };
        check(&run, 100_000, &[]);
        report(&mut run, 0, 100_000, StepChange::Began);
        check(&run, 159_999, &[]);
        check(&run, 160_000, &["Test › sh 'make' still runs, 1 min"]);
        check(&run, 160_100, &[]);
        check(&run, 219_999, &[]);
        // Whoever was away for long is told once.
        check(&run, 400_000, &["Test › sh 'make' still runs, 5 min"]);
        let done =
            StepChange::Ended { outcome: Outcome::Success, detail: String::new(), log_bytes: None };
        report(&mut run, 0, 401_000, done);
        check(&run, 500_000, &[]);
        report(&mut run, 1, 500_000, StepChange::Began);
        check(&run, 559_999, &[]);
        check(&run, 560_000, &["Test › sh 'make test' still runs, 1 min"]);
    }
}
