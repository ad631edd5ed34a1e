//! Facts: what happened to a run, in the past tense. They are journaled before anyone acts on them.
//!
//! The serialized names and fields are on disk for ever: kinds carry their version, new fields have
//! defaults, and a kind is never reused.

use super::command::Submission;
use super::outcome::{Outcome, SkipCause, StepFact};
use crate::ids::{AgentRef, Attempt, CommandId, Digest, Epoch, StageId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One entry of a run's journal: what one wish or several led to, and when it was decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided. Never earlier than the entry before.
    pub at: Timestamp,
    /// The facts, in order.
    pub events: Vec<Event>,
}

/// A fact about a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The run began.
    #[serde(rename = "submitted/1")]
    Submitted {
        /// What it began with.
        submission: Submission,
        /// When.
        at: Timestamp,
    },
    /// A stage's turn came. One with steps is offered from now on.
    #[serde(rename = "stage-opened/1")]
    StageOpened {
        /// Which stage.
        stage: StageId,
        /// When.
        at: Timestamp,
    },
    /// A stage was not entered.
    #[serde(rename = "stage-skipped/1")]
    StageSkipped {
        /// Which stage.
        stage: StageId,
        /// Why.
        cause: SkipCause,
        /// When.
        at: Timestamp,
    },
    /// An agent was chosen for an attempt.
    #[serde(rename = "stage-awarded/1")]
    StageAwarded {
        /// Which stage.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// The lease's fence.
        epoch: Epoch,
        /// The agent process.
        agent: AgentRef,
        /// When; the stage's time limit counts from here.
        at: Timestamp,
    },
    /// The agent gave an attempt back before any step began; it is offered again.
    #[serde(rename = "stage-declined/1")]
    StageDeclined {
        /// Which stage.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// The lease's fence.
        epoch: Epoch,
        /// When.
        at: Timestamp,
    },
    /// Steps began and ended.
    #[serde(rename = "steps-reported/1")]
    StepsReported {
        /// Which stage.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// What happened, in order.
        facts: Vec<StepFact>,
    },
    /// An attempt's time was up; its agent is told to end it. For one that is being ended already
    /// it means that no further attempt follows.
    #[serde(rename = "attempt-overdue/1")]
    AttemptOverdue {
        /// Which stage: one with steps, even where the limit is that of a stage around it.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// The stage whose time limit it is: this one, or one around it.
        limit: StageId,
        /// Whose time limit, as a sentence for people.
        cause: String,
        /// When.
        at: Timestamp,
    },
    /// An attempt is told to end because a sibling failed or the run was cancelled. For one that is
    /// being ended already it means that no further attempt follows.
    #[serde(rename = "attempt-stopped/1")]
    AttemptStopped {
        /// Which stage.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// Whom it is stopped by.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// An attempt ended. Its lease is over.
    #[serde(rename = "attempt-ended/1")]
    AttemptEnded {
        /// Which stage.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// The lease's fence.
        epoch: Epoch,
        /// How.
        outcome: Outcome,
        /// What decided it; empty for success.
        cause: String,
        /// The values that were captured.
        captured: BTreeMap<String, Value>,
        /// The artifacts that were kept.
        artifacts: BTreeMap<String, Digest>,
        /// The length of its log in bytes, where the agent could say.
        log_bytes: Option<u64>,
        /// When.
        at: Timestamp,
    },
    /// A stage will be tried again.
    #[serde(rename = "retry-scheduled/1")]
    RetryScheduled {
        /// Which stage.
        stage: StageId,
        /// The attempt to come.
        attempt: Attempt,
        /// When it is offered.
        due: Timestamp,
    },
    /// The pause before another attempt is over; the attempt is offered.
    #[serde(rename = "retry-offered/1")]
    RetryOffered {
        /// Which stage.
        stage: StageId,
        /// Which attempt.
        attempt: Attempt,
        /// When.
        at: Timestamp,
    },
    /// A stage has its outcome, for good.
    #[serde(rename = "stage-settled/1")]
    StageSettled {
        /// Which stage.
        stage: StageId,
        /// How.
        outcome: Outcome,
        /// What decided it; empty for success.
        cause: String,
        /// When.
        at: Timestamp,
    },
    /// Somebody wants the run to end. Nothing starts any more.
    #[serde(rename = "cancel-requested/1")]
    CancelRequested {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A step ended the run: nothing starts any more, and what goes on is ended.
    #[serde(rename = "end-requested/1")]
    EndRequested {
        /// The stage of that step. It has settled.
        stage: StageId,
        /// When.
        at: Timestamp,
    },
    /// The run has its outcome, for good.
    #[serde(rename = "run-settled/1")]
    RunSettled {
        /// How.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
    /// The run owes nothing any more.
    #[serde(rename = "run-retired/1")]
    RunRetired {
        /// When.
        at: Timestamp,
    },
    /// A wish with an identity was granted; a repeat gets the same answer and changes nothing. A
    /// refusal is not kept: it changed nothing, and those of wishes that people make stay as they
    /// are.
    #[serde(rename = "command-answered/1")]
    CommandAnswered {
        /// Whose.
        id: CommandId,
    },
}

/// An artifact and who made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArtifactKept {
    /// Its content.
    pub digest: Digest,
    /// The stage that archived it.
    pub stage: StageId,
}
