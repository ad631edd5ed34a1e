//! Wishes: everything that may be asked of a run, and the refusals.

use super::outcome::{AttemptEnd, StepFact};
use crate::gate::Captured;
use crate::ids::{AgentRef, Attempt, CommandId, Digest, Epoch, PlanHash, StageId};
use crate::run::event::ArtifactKept;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A wish, with the identity under which a repeat gets the first answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Set by whoever may have to repeat it; the run remembers the last 64.
    pub id: Option<CommandId>,
    /// What is wished.
    pub wish: Wish,
}

impl From<Wish> for Command {
    fn from(wish: Wish) -> Self {
        Self { id: None, wish }
    }
}

/// What may be asked of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// Begin. The first wish of every run.
    Submit(Submission),
    /// A person or a rule wants it to end.
    Cancel {
        /// Who.
        by: String,
        /// Why, in their words.
        reason: Option<String>,
    },
    /// The matchmaker chose an agent for a stage that is offered.
    Award {
        /// The stage.
        stage: StageId,
        /// Which attempt at it was offered.
        attempt: Attempt,
        /// The agent process with the cheapest capable bid.
        agent: AgentRef,
        /// The cluster's incarnation, which goes into the epoch.
        incarnation: u32,
    },
    /// The agent had no slot after all; the attempt is offered again at no cost.
    Decline {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: Attempt,
        /// The epoch of the award.
        epoch: Epoch,
    },
    /// Steps began and ended.
    Report {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: Attempt,
        /// The epoch of the award.
        epoch: Epoch,
        /// What happened, in order. Facts that were reported before are passed over.
        facts: Vec<StepFact>,
    },
    /// The agent is done with an attempt: its process trees are gone.
    Finish {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: Attempt,
        /// The epoch of the award.
        epoch: Epoch,
        /// Facts that were not reported before.
        facts: Vec<StepFact>,
        /// How it ended.
        end: AttemptEnd,
    },
    /// The lease ran out, or its agent died: nobody acts under it any more.
    Lose {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: Attempt,
        /// The epoch of the award.
        epoch: Epoch,
        /// How that is known.
        cause: String,
    },
    /// It is time: whatever is due at `now` happens. Early or late ones do nothing.
    Wake,
}

/// What a run begins with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The plan to execute.
    pub plan: PlanHash,
    /// The project's name, for people.
    pub project: String,
    /// Who submitted it.
    pub by: String,
    /// The files that stages start with, where there are any.
    pub snapshot: Option<Digest>,
    /// The run whose succeeded stages are taken over, with what they left.
    pub continues: Option<Continuation>,
}

/// What a new run takes over from an earlier one of the same plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Continuation {
    /// The number of the earlier run.
    pub number: u64,
    /// The stages that had succeeded there and are not repeated.
    pub carried: Vec<StageId>,
    /// What they captured.
    pub captured: Captured,
    /// The artifacts that they kept.
    pub artifacts: BTreeMap<String, ArtifactKept>,
}

/// A typed no.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The run was submitted before.
    #[error("submit the run again: it has begun")]
    AlreadySubmitted,
    /// The run was not submitted yet.
    #[error("act on a run that was not submitted")]
    NotSubmitted,
    /// The wish names a plan other than the one that was loaded.
    #[error("use this plan: the run was submitted with another one")]
    WrongPlan,
    /// The run has an outcome already.
    #[error("change a run that has ended")]
    Settled,
    /// The stage is not offered, or another attempt of it is.
    #[error("award stage {stage}: it is not offered")]
    NotOffered {
        /// Which stage.
        stage: StageId,
    },
    /// The epoch is not the one that the stage is leased under.
    #[error("accept word of stage {stage} under epoch {epoch}: it is stale")]
    StaleEpoch {
        /// Which stage.
        stage: StageId,
        /// The epoch that was named.
        epoch: Epoch,
    },
    /// The attempt was given back although steps of it began.
    #[error("give stage {stage} back: its steps began")]
    Begun {
        /// Which stage.
        stage: StageId,
    },
    /// The plan holds something that this build cannot carry out; it is never passed over in
    /// silence.
    #[error("carry out {what} of stage '{path}': this build cannot do it yet")]
    NotYet {
        /// The stage's path.
        path: String,
        /// What it holds, such as `the gate 'Ship it?'`.
        what: String,
    },
    /// The plan has no such stage.
    #[error("find stage {stage} in the plan")]
    NoSuchStage {
        /// Which stage.
        stage: StageId,
    },
}
