//! Stage processes, as a port: workspaces, steps, and the end of process trees.

use super::control::Assignment;
use async_trait::async_trait;
use otto_core::ids::Digest;
use otto_core::lease::LeaseId;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{Outcome, StepPlace};
use otto_core::time::Span;
use otto_core::value::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why a stage could not be prepared or a step not be run: no fault of the step's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StageError {
    /// Something about the stage itself: its snapshot does not unpack, its library has another
    /// digest.
    #[error("prepare the stage: {0}")]
    Unfit(String),
    /// The machine: no disk, no processes. The attempt counts as lost.
    #[error("run the stage here: {0}")]
    Machine(String),
}

/// How a step's process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepEnd {
    /// How that counts.
    pub outcome: Outcome,
    /// What the process said: `exit code 1`, `signal 9`.
    pub detail: String,
    /// The length of the attempt's log in bytes when it ended, where that is known.
    pub log_bytes: Option<u64>,
    /// The step asked to end the run (the control socket's word).
    pub ends_run: bool,
    /// What it captured over its control socket.
    pub captured: BTreeMap<String, Value>,
    /// What it dropped over its control socket.
    pub dropped: Vec<String>,
    /// The artifacts that it archived, already delivered.
    pub artifacts: BTreeMap<String, Digest>,
}

/// Opens stages: makes the workspace and the stage process that confines and starts its steps.
#[async_trait]
pub trait Stages: fmt::Debug + Send + Sync + 'static {
    /// Prepares an attempt. Its log is in the spool under the lease. A future that is dropped
    /// before it is done leaves nothing behind.
    async fn open(&self, assignment: &Assignment) -> Result<Arc<dyn Stage>, StageError>;

    /// Extends the deadline at which the launcher ends what belongs to a lease: it counts from the
    /// sending of the request that was answered, which was this long ago.
    fn renewed(&self, lease: LeaseId, sent_ago: Span);

    /// The leases that have processes here now.
    fn alive(&self) -> Vec<LeaseId>;
}

/// An opened stage: one workspace, one stage process.
#[async_trait]
pub trait Stage: fmt::Debug + Send + Sync + 'static {
    /// Runs one step to its end. What it prints goes to the spool.
    async fn step(
        &self,
        place: StepPlace,
        captured: &BTreeMap<String, Value>,
    ) -> Result<StepEnd, StageError>;

    /// Ends the step that runs now: asks its tree to stop, then kills it. The step's call returns
    /// then.
    async fn interrupt(&self, reason: EndReason);

    /// Kills everything, removes the workspace, and returns when nothing of it is left.
    async fn close(&self);
}

/// Stages that several actors use.
pub type SharedStages = Arc<dyn Stages>;
