//! What a stage waits for, or how it ended: the answer to `otto why`.

use super::Run;
use super::outcome::{Outcome, Section, SkipCause, StepPlace};
use super::state::{AttemptState, Phase};
use crate::capability::Need;
use crate::ids::{AgentRef, Attempt, StageId};
use crate::plan::{Stage, Work};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a stage is as far as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The run was not submitted.
    NotSubmitted,
    /// Its turn has not come: these stages come first.
    After {
        /// Their paths.
        paths: Vec<String>,
    },
    /// Some of the stages inside have not ended.
    Holds {
        /// How many.
        left: u32,
    },
    /// It looks for an agent.
    LooksForAgent {
        /// What that agent must have.
        need: Need,
        /// Since when.
        since: Timestamp,
        /// When it is given up.
        until: Timestamp,
        /// The attempt that is offered.
        attempt: Attempt,
    },
    /// An agent runs it.
    Runs {
        /// Which one.
        agent: AgentRef,
        /// Since when.
        since: Timestamp,
        /// The attempt that it runs.
        attempt: Attempt,
        /// The symbol of the step that runs now, where one is known to.
        step: Option<String>,
    },
    /// Its agent is told to end it, and has not said that it did.
    Ends {
        /// Which agent.
        agent: AgentRef,
        /// Since when.
        since: Timestamp,
        /// Why.
        cause: String,
    },
    /// It pauses before another attempt.
    Pauses {
        /// The attempt to come.
        attempt: Attempt,
        /// When.
        due: Timestamp,
        /// How the last attempt ended.
        last: Outcome,
        /// What decided that.
        cause: String,
    },
    /// It was not entered.
    Skipped {
        /// Why.
        cause: SkipCause,
        /// The path of the stage around it that was skipped for that cause, and this one with it.
        with: Option<String>,
    },
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// What decided it; empty for success.
        cause: String,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSubmitted => f.write_str("the run was not submitted"),
            Self::After { paths } => write!(f, "waits for {}", paths.join(", ")),
            Self::Holds { left: 1 } => f.write_str("goes on: one stage inside has not ended"),
            Self::Holds { left } => write!(f, "goes on: {left} stages inside have not ended"),
            Self::LooksForAgent { need, .. } if *need == Need::default() => {
                f.write_str("waits for an agent")
            }
            Self::LooksForAgent { need, .. } => write!(f, "waits for an agent with {need}"),
            Self::Runs { agent, step: Some(step), .. } => write!(f, "runs '{step}' on {agent}"),
            Self::Runs { agent, step: None, .. } => write!(f, "runs on {agent}"),
            Self::Ends { agent, cause, .. } => write!(f, "is being ended on {agent}: {cause}"),
            Self::Pauses { attempt, last, cause, .. } => {
                write!(f, "pauses before attempt {attempt}; the last one was {last}: {cause}")
            }
            Self::Skipped { cause, with: None } => write!(f, "skipped: {cause}"),
            Self::Skipped { cause, with: Some(path) } => {
                write!(f, "skipped with {path}: {cause}")
            }
            Self::Ended { outcome, cause } if cause.is_empty() => write!(f, "{outcome}"),
            Self::Ended { outcome, cause } => write!(f, "{outcome}: {cause}"),
        }
    }
}

impl Run {
    /// What a stage waits for, or how it ended; `None` where the plan has no such stage.
    #[must_use]
    pub fn why(&self, id: StageId) -> Option<Why> {
        let planned = self.planned(id)?;
        let state = self.stage(id)?;
        // Where a step ended the run, what else was ended for that says little.
        if let Some((outcome, _)) = self.settled.filter(|_| id == StageId::ROOT) {
            return Some(Why::Ended { outcome, cause: self.cause() });
        }
        Some(match &state.phase {
            Phase::Pending if self.begun.is_none() => Why::NotSubmitted,
            Phase::Pending => Why::After { paths: self.comes_first(id, planned) },
            Phase::Open => Why::Holds { left: state.inside.left },
            Phase::Offered { attempt, since } => Why::LooksForAgent {
                need: planned.runtime.clone(),
                since: *since,
                until: since.after(planned.queue),
                attempt: *attempt,
            },
            Phase::Leased { .. } | Phase::Ended { .. } => held(planned, state.attempts.last()?),
            Phase::Paused { attempt, due } => {
                let last = state.attempts.last().and_then(|last| last.ended.as_ref());
                Why::Pauses {
                    attempt: *attempt,
                    due: *due,
                    last: last.map_or(Outcome::Lost, |last| last.outcome),
                    cause: last.map(|last| last.cause.to_string()).unwrap_or_default(),
                }
            }
            Phase::Skipped { cause, .. } => self.skipped(planned, cause),
            Phase::Settled { outcome, cause, .. } => {
                Why::Ended { outcome: *outcome, cause: cause.to_string() }
            }
        })
    }

    /// Looks outwards for the stage that was skipped for a cause of its own.
    fn skipped<'a>(&'a self, mut planned: &'a Stage, cause: &'a SkipCause) -> Why {
        let (mut cause, mut with) = (cause, None);
        while *cause == SkipCause::Parent
            && let Some(parent) = planned.parent
            && let Some(Phase::Skipped { cause: around, .. }) = self.phase(parent)
            && let Some(stage) = self.planned(parent)
        {
            (cause, with, planned) = (around, Some(self.path(parent).to_owned()), stage);
        }
        Why::Skipped { cause: cause.clone(), with }
    }

    /// The paths of the stages that a pending one waits for: those it needs, the one before it, or
    /// whatever the stage around it waits for.
    fn comes_first<'a>(&'a self, mut id: StageId, mut planned: &'a Stage) -> Vec<String> {
        let parent = loop {
            let around = planned.parent.and_then(|parent| Some((parent, self.planned(parent)?)));
            let Some((parent, around)) = around else { return Vec::new() };
            if self.phase(parent) == Some(&Phase::Open) {
                break parent;
            }
            (id, planned) = (parent, around);
        };
        let is_open = |stage: &StageId| self.stage(*stage).is_some_and(|it| it.outcome().is_none());
        let before: Vec<StageId> = match self.planned(parent).map(|stage| &stage.work) {
            Some(Work::Sequence(children)) => {
                children[..self.shape.place(id)].iter().copied().filter(is_open).take(1).collect()
            }
            Some(
                Work::Parallel(_)
                | Work::Fanout(_)
                | Work::Choose(_)
                | Work::Steps(_)
                | Work::Nothing,
            )
            | None => planned.needs.iter().copied().filter(is_open).collect(),
        };
        before.into_iter().map(|stage| self.path(stage).to_owned()).collect()
    }
}

/// What the agent that holds a stage does.
fn held(planned: &Stage, leased: &AttemptState) -> Why {
    match &leased.ending {
        Some(ending) => {
            Why::Ends { agent: leased.agent, since: ending.since, cause: ending.cause.to_string() }
        }
        None => Why::Runs {
            agent: leased.agent,
            since: leased.awarded_at,
            attempt: leased.attempt,
            step: running_step(planned, leased),
        },
    }
}

fn running_step(planned: &Stage, leased: &AttemptState) -> Option<String> {
    let runs = |(_, step): &(&StepPlace, &super::state::StepState)| {
        step.began_at.is_some() && step.ended.is_none()
    };
    let (place, _) = leased.steps.iter().find(runs)?;
    let steps = match place.section {
        Section::Steps => planned.work.steps(),
        Section::Finally => &planned.finally,
    };
    let index = usize::try_from(place.index).ok()?;
    steps.get(index).map(|step| step.symbol.clone())
}
