//! A run and its journal, driven by short words.

use super::moves::step_fact;
use crate::ids::{AgentId, AgentRef, CommandId, ProjectId, RunId, StageId};
use crate::plan::Plan;
use crate::run::Run;
use crate::run::command::{Command, Refusal, Submission, Wish};
use crate::run::event::Entry;
use crate::run::outcome::{AttemptEnd, Outcome, Section, StepChange};
use crate::run::state::Phase;
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// When stories begin.
pub(crate) const START: Timestamp = Timestamp(1_000_000);

/// The run that all stories tell of.
pub(crate) const RUN: RunId = RunId { project: ProjectId(1), number: 7 };

/// An agent; each number is another installation.
pub(crate) fn agent(number: u8) -> AgentRef {
    AgentRef { agent: AgentId([number; 16]), incarnation: 1 }
}

pub(crate) fn submission(plan: &Plan) -> Submission {
    Submission {
        plan: plan.hash(),
        project: "shop".to_owned(),
        by: "ada".to_owned(),
        snapshot: None,
        continues: None,
    }
}

pub(crate) fn end(outcome: Outcome) -> AttemptEnd {
    let cause = if outcome.goes_on() { String::new() } else { "step 1: exit code 1".to_owned() };
    AttemptEnd {
        outcome,
        cause,
        captured: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        log_bytes: Some(10),
        ends_run: false,
    }
}

pub(crate) struct Story {
    pub(crate) run: Run,
    pub(crate) journal: Vec<Entry>,
    pub(crate) now: Timestamp,
}

impl Story {
    /// Submits a run of this plan.
    pub(crate) fn begin(plan: Arc<Plan>) -> Self {
        let wish = Wish::Submit(submission(&plan));
        let mut story = Self { run: Run::new(RUN, plan), journal: Vec::new(), now: START };
        story.wish(wish).expect("a plan of our own is accepted");
        story
    }

    /// Decides one wish and journals what it leads to.
    pub(crate) fn wish(&mut self, wish: Wish) -> Result<(), Refusal> {
        self.command(&Command::from(wish))
    }

    pub(crate) fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        let decided = self.run.decide_all(std::slice::from_ref(command), self.now);
        if let Some(entry) = decided.entry {
            self.run.apply(&entry);
            self.journal.push(entry);
        }
        decided.answers.into_iter().collect()
    }

    /// Words: `a?` award, `a/` award if need be and begin `finally`, `a+` `a~` `a-` award if need
    /// be and finish so (`a+good` captures a verdict), `a.` `a#` so that it ends the run, well or
    /// failed, `a!` award if need be and lose, `@70` wake that many milliseconds after the
    /// beginning, `X` cancel.
    pub(crate) fn tell(&mut self, words: &str) {
        for word in words.split_whitespace() {
            if word == "X" {
                let cancel = Wish::Cancel { by: "ada".to_owned(), reason: None };
                self.wish(cancel).expect("it can be cancelled");
            } else if let Some(ms) = word.strip_prefix('@') {
                self.now = Timestamp(START.0 + ms.parse::<u64>().expect("milliseconds"));
                self.wish(Wish::Wake).expect("a wake is never refused");
            } else {
                let (name, rest) = word.split_at(1);
                let (sign, verdict) = rest.split_at(1);
                self.act(name, sign, verdict);
            }
        }
    }

    fn act(&mut self, name: &str, sign: &str, verdict: &str) {
        let stage = self.stage(name);
        if let Some(Phase::Offered { attempt, .. }) = self.run.phase(stage).cloned() {
            let wish = Wish::Award { stage, attempt, agent: agent(1), incarnation: 1 };
            self.wish(wish).expect("it is offered");
        }
        let leased = self.run.stage(stage).and_then(|state| state.leased());
        let leased = leased.unwrap_or_else(|| panic!("{name} is leased"));
        let (attempt, epoch) = (leased.attempt, leased.epoch);
        let outcome = match sign {
            "?" => return,
            "/" => {
                let facts = vec![step_fact(Section::Finally, 0, StepChange::Began)];
                let report = Wish::Report { stage, attempt, epoch, facts };
                return self.wish(report).expect("it is leased");
            }
            "+" | "." => Outcome::Success,
            "~" => Outcome::Unstable,
            "-" | "#" => Outcome::Failed,
            "!" => {
                let cause = "its agent died".to_owned();
                self.wish(Wish::Lose { stage, attempt, epoch, cause }).expect("it is leased");
                return;
            }
            other => panic!("no such sign: {other}"),
        };
        let mut end = end(outcome);
        end.ends_run = sign == "." || sign == "#";
        if !verdict.is_empty() {
            end.captured.insert("verdict".to_owned(), Value::Text(verdict.to_owned()));
            end.captured.insert("undeclared".to_owned(), Value::Boolean(true));
        }
        let wish = Wish::Finish { stage, attempt, epoch, facts: Vec::new(), end };
        self.wish(wish).expect("it is leased");
    }

    /// The stage of this name.
    pub(crate) fn stage(&self, name: &str) -> StageId {
        let plan = self.run.plan();
        plan.ids().find(|id| plan.stage(*id).name == name).expect("a stage of this name")
    }

    /// How far each stage but the pipeline itself is.
    pub(crate) fn standing(&self) -> String {
        let word = |(_, stage, state): (_, &crate::plan::Stage, &crate::run::state::StageState)| {
            let word = match &state.phase {
                Phase::Pending => "pending",
                Phase::Open => "open",
                Phase::Offered { .. } => "offered",
                Phase::Leased { .. } if state.attempts.last().unwrap().ending.is_some() => "ending",
                Phase::Leased { .. } => "leased",
                Phase::Ended { .. } => "ended",
                Phase::Paused { .. } => "paused",
                Phase::Settled { outcome, .. } => outcome.word(),
                Phase::Skipped { .. } => "skipped",
            };
            format!("{}:{word}", stage.name)
        };
        self.run.stages().skip(1).map(word).collect::<Vec<_>>().join(" ")
    }

    /// The journal, for people.
    pub(crate) fn timeline(&self) -> String {
        timeline(&self.journal)
    }
}

/// A journal, for people.
pub(crate) fn timeline(journal: &[Entry]) -> String {
    let mut text = String::new();
    for entry in journal {
        writeln!(text, "at {}", entry.at.0).expect("memory");
        for event in &entry.events {
            writeln!(text, "  {event:?}").expect("memory");
        }
    }
    text
}

/// The command identity of this number.
pub(crate) fn command_id(number: u64) -> CommandId {
    CommandId::of(&number.to_be_bytes())
}
