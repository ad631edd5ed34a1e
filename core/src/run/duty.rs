//! Chores: what the outside should be doing for a run now.

use crate::ids::{AgentRef, Attempt, Epoch, StageId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A chore owed to the outside. Each is idempotent, and fenced by attempt and epoch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Duty {
    /// Keep an offer with the matchmaker until the attempt is awarded.
    Offer {
        /// The stage that looks for an agent.
        stage: StageId,
        /// The attempt that is offered.
        attempt: Attempt,
        /// Since when it waits: the oldest goes first.
        since: Timestamp,
    },
    /// See to it that the agent has the order, and that the attempt is given up when its lease
    /// ends.
    Attend {
        /// The leased stage.
        stage: StageId,
        /// The leased attempt.
        attempt: Attempt,
        /// The lease's fence.
        epoch: Epoch,
        /// Who holds it.
        agent: AgentRef,
    },
    /// Tell the agent to end an attempt, until it says that its process trees are gone.
    End {
        /// The leased stage.
        stage: StageId,
        /// The leased attempt.
        attempt: Attempt,
        /// The lease's fence.
        epoch: Epoch,
        /// Who holds it.
        agent: AgentRef,
        /// Whether `finally` is still run, and how the end will count.
        reason: EndReason,
    },
    /// Wake the run at this time.
    Alarm {
        /// When.
        at: Timestamp,
    },
}

/// Why an attempt is told to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The run was cancelled, or a sibling failed.
    Cancelled,
    /// Its time was up.
    TimedOut,
}

/// A change of what is owed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwedChange {
    /// Start this.
    Owed(Duty),
    /// Stop this.
    Gone(Duty),
}
