//! What lists show of a run, so that nobody has to replay its journal for them.

use super::Run;
use super::outcome::Outcome;
use super::state::{Phase, StageState};
use crate::ids::PlanHash;
use crate::plan::Revision;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A run in a few words; it lies in the head of the run's journal. Fields that an earlier release
/// did not write have their defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The number that people use.
    pub number: u64,
    /// The project's name.
    pub project: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The plan that it executes; `None` before it was submitted.
    pub plan: Option<PlanHash>,
    /// Who submitted it.
    pub by: String,
    /// The state of the repository that it was planned for.
    pub revision: Revision,
    /// The earlier run that it continues.
    pub continues: Option<u64>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// How it ended; `None` while it goes on.
    pub outcome: Option<Outcome>,
    /// What decided that, such as `Unit failed`; empty for success.
    pub cause: String,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
    /// Nothing is owed for it any more.
    pub retired: bool,
    /// How far its stages are.
    pub counts: Counts,
}

/// How many stages are how far. Stages that hold others are not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Their turn has not come, or they pause before another attempt.
    pub waiting: u32,
    /// They look for an agent.
    pub offered: u32,
    /// An agent holds them.
    pub running: u32,
    /// They were not entered.
    pub skipped: u32,
    /// They succeeded.
    pub success: u32,
    /// They succeeded with reservations.
    pub unstable: u32,
    /// They were cancelled.
    pub cancelled: u32,
    /// They failed.
    pub failed: u32,
    /// They ran out of time.
    pub timed_out: u32,
    /// Their agents were lost.
    pub lost: u32,
}

impl Counts {
    /// All stages there are.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.waiting + self.offered + self.running + self.settled()
    }

    /// Those that have ended.
    #[must_use]
    pub fn settled(&self) -> u32 {
        let went_on = self.skipped + self.success + self.unstable;
        went_on + self.cancelled + self.failed + self.timed_out + self.lost
    }

    /// The worst outcome of those that have ended.
    pub(super) fn worst(&self) -> Outcome {
        let worst_first = [
            (self.lost, Outcome::Lost),
            (self.timed_out, Outcome::TimedOut),
            (self.failed, Outcome::Failed),
            (self.cancelled, Outcome::Cancelled),
            (self.unstable, Outcome::Unstable),
        ];
        let worst = worst_first.into_iter().find(|(count, _)| *count > 0);
        worst.map_or(Outcome::Success, |(_, outcome)| outcome)
    }

    pub(super) fn waiting(stages: usize) -> Self {
        Self { waiting: u32::try_from(stages).unwrap_or(u32::MAX), ..Self::default() }
    }

    pub(super) fn moved(&mut self, from: Progress, to: Progress) {
        let left = self.of(from);
        *left = left.saturating_sub(1);
        *self.of(to) += 1;
    }

    fn of(&mut self, progress: Progress) -> &mut u32 {
        match progress {
            Progress::Waiting => &mut self.waiting,
            Progress::Offered => &mut self.offered,
            Progress::Running => &mut self.running,
            Progress::Ended(Outcome::Skipped) => &mut self.skipped,
            Progress::Ended(Outcome::Success) => &mut self.success,
            Progress::Ended(Outcome::Unstable) => &mut self.unstable,
            Progress::Ended(Outcome::Cancelled) => &mut self.cancelled,
            Progress::Ended(Outcome::Failed) => &mut self.failed,
            Progress::Ended(Outcome::TimedOut) => &mut self.timed_out,
            Progress::Ended(Outcome::Lost) => &mut self.lost,
        }
    }
}

/// Under which count a stage falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Waiting,
    Offered,
    Running,
    Ended(Outcome),
}

impl Progress {
    pub(super) fn of(state: &StageState) -> Self {
        match &state.phase {
            Phase::Pending | Phase::Open | Phase::Paused { .. } => Self::Waiting,
            Phase::Offered { .. } => Self::Offered,
            Phase::Leased { .. } | Phase::Ended { .. } => Self::Running,
            Phase::Settled { outcome, .. } => Self::Ended(*outcome),
            Phase::Skipped { .. } => Self::Ended(Outcome::Skipped),
        }
    }
}

impl Run {
    /// What lists show of it now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let submission = self.begun().map(|begun| &begun.submission);
        Summary {
            number: self.id.number,
            project: submission.map(|submission| submission.project.clone()).unwrap_or_default(),
            pipeline: self.plan.pipeline.clone(),
            plan: submission.map(|submission| submission.plan),
            by: submission.map(|submission| submission.by.clone()).unwrap_or_default(),
            revision: self.plan.revision.clone(),
            continues: submission
                .and_then(|submission| submission.continues.as_ref())
                .map(|earlier| earlier.number),
            submitted_at: self.begun().map(|begun| begun.at).unwrap_or_default(),
            outcome: self.outcome(),
            cause: self.cause(),
            settled_at: self.settled_at(),
            retired: self.retired_at.is_some(),
            counts: self.counts,
        }
    }

    /// What decided the run's outcome, in a few words; empty while it goes on, and for a success
    /// that no step brought about early.
    #[must_use]
    pub fn cause(&self) -> String {
        if let Some(cancelled) = self.cancelled() {
            return match &cancelled.reason {
                Some(reason) => format!("cancelled by {}: {reason}", cancelled.by),
                None => format!("cancelled by {}", cancelled.by),
            };
        }
        if let Some((stage, _)) = self.ended_by {
            return match self.phase(stage) {
                Some(Phase::Settled { cause, .. }) if !cause.is_empty() => {
                    format!("{} ended the run: {cause}", self.path(stage))
                }
                Some(_) | None => format!("{} ended the run", self.path(stage)),
            };
        }
        match self.phase(crate::ids::StageId::ROOT) {
            Some(Phase::Settled { cause, .. }) => cause.to_string(),
            Some(Phase::Skipped { cause, .. }) => cause.to_string(),
            Some(
                Phase::Pending
                | Phase::Open
                | Phase::Offered { .. }
                | Phase::Leased { .. }
                | Phase::Ended { .. }
                | Phase::Paused { .. },
            )
            | None => String::new(),
        }
    }
}
