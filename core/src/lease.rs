//! Leases: the right of one agent to one attempt until a deadline, fenced by an epoch.

use crate::ids::{AgentRef, Attempt, Epoch, RunId, StageId};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How long a lease holds without being renewed.
pub const LEASE: Span = Span::seconds(15);
/// What a leader waits beyond a lease before it believes that its steps have ended.
pub const MARGIN: Span = Span::seconds(2);

/// The name of a lease: everything that fences what is done under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LeaseId {
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: StageId,
    /// The attempt at the stage.
    pub attempt: Attempt,
    /// The epoch of the award.
    pub epoch: Epoch,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.{}@{}", self.run, self.stage, self.attempt, self.epoch)
    }
}

/// An award: a lease and who holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The agent process that holds it.
    pub agent: AgentRef,
}
