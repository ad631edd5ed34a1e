//! How things end: steps, attempts, stages, runs; and what an agent tells of them.

use crate::ids::Digest;
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a step, a stage or a run ended. Ordered from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not entered. What follows treats it as success.
    Skipped,
    /// It did what it should.
    Success,
    /// It did, with reservations; what follows goes on.
    Unstable,
    /// It ended because somebody wanted it to.
    Cancelled,
    /// It did not.
    Failed,
    /// It did not in the time it had.
    TimedOut,
    /// Its agent was lost: nobody can say.
    Lost,
}

impl Outcome {
    /// Whether what follows may start.
    #[must_use]
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Skipped | Self::Success | Self::Unstable)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Success => "success",
            Self::Unstable => "unstable",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which list of a stage a step is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// `steps`
    Steps,
    /// `finally`
    Finally,
}

/// The place of a step in its stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StepPlace {
    /// Which list.
    pub section: Section,
    /// The index in it.
    pub index: u32,
}

/// What happened to a step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepFact {
    /// Which step.
    pub step: StepPlace,
    /// When, by the agent's clock.
    pub at: Timestamp,
    /// What.
    pub what: StepChange,
}

/// A change in a step's life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepChange {
    /// Its process was started.
    Began,
    /// Its process is gone.
    Ended {
        /// How that counts.
        outcome: Outcome,
        /// What the process itself said: `exit code 1`, `signal 9`, `no such program`.
        detail: String,
        /// The length of the attempt's log in bytes by then, where the agent could say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_bytes: Option<u64>,
    },
}

/// How an attempt ended, as its agent saw it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Success, unstable, failed, timed out, cancelled; or lost, where it is over and nobody can
    /// say.
    pub outcome: Outcome,
    /// What decided it, in a few words; empty for success.
    pub cause: String,
    /// The values that were captured and declared.
    pub captured: BTreeMap<String, Value>,
    /// The artifacts that were kept, by name.
    pub artifacts: BTreeMap<String, Digest>,
    /// The length of the attempt's whole log in bytes; `None` where the agent cannot say.
    pub log_bytes: Option<u64>,
    /// One of its steps asked to end the run: no other attempt or stage follows.
    #[serde(default, skip_serializing_if = "is_not")]
    pub ends_run: bool,
}

/// Whether a field says nothing: it is left out, as in what earlier builds wrote.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_not(field: &bool) -> bool {
    !*field
}

impl AttemptEnd {
    /// The end of an attempt that left nothing; of the log of a lost one, nobody can say.
    #[must_use]
    pub fn idle(outcome: Outcome, cause: &str) -> Self {
        Self {
            outcome,
            cause: cause.to_owned(),
            captured: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            log_bytes: (outcome != Outcome::Lost).then_some(0),
            ends_run: false,
        }
    }
}

/// Why a stage was not entered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipCause {
    /// Its condition does not hold.
    Condition {
        /// What was compared, such as `branch is "fix-1", not "main"`.
        reason: String,
    },
    /// An earlier arm of its `choose` was taken.
    OtherArm,
    /// A stage that it needs did not succeed.
    Needs {
        /// The path of that stage.
        path: String,
        /// How that one ended.
        outcome: Outcome,
    },
    /// The stage that holds it was skipped.
    Parent,
    /// An earlier stage ended what holds it, or the run was cancelled.
    Stopped {
        /// The path of the stage that did, or who cancelled.
        by: String,
    },
    /// A step of an earlier stage ended the run.
    RunEnded {
        /// The path of that stage.
        by: String,
    },
}

impl fmt::Display for SkipCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Condition { reason } => f.write_str(reason),
            Self::OtherArm => f.write_str("an earlier arm was taken"),
            Self::Needs { path, outcome } => write!(f, "it needs {path}, which was {outcome}"),
            Self::Parent => f.write_str("the stage around it was skipped"),
            Self::Stopped { by } => write!(f, "stopped by {by}"),
            Self::RunEnded { by } => write!(f, "{by} ended the run"),
        }
    }
}
