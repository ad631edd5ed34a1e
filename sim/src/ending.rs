//! What is left when a simulation has ended: the journals and logs, read from the disks.

use otto_actors::ports::logs::LogId;
use otto_core::cluster;
use otto_core::ids::{Attempt, Epoch, RunId, StageId};
use otto_core::plan::Plan;
use otto_core::run::event::{Entry, Event};
use otto_core::run::outcome::Outcome;
use otto_core::time::Timestamp;
use std::collections::BTreeMap;

/// One run, as its journal has it.
#[derive(Clone, Debug)]
pub struct EndedRun {
    /// Its plan.
    pub plan: Plan,
    /// Its journal, in order.
    pub entries: Vec<Entry>,
}

impl EndedRun {
    /// All events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.entries.iter().flat_map(|entry| &entry.events)
    }

    /// The run's outcome, where it has one.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.events().find_map(|event| match event {
            Event::RunSettled { outcome, .. } => Some(*outcome),
            _ => None,
        })
    }

    /// Whether the run owes nothing any more.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.events().any(|event| matches!(event, Event::RunRetired { .. }))
    }

    /// The awards of this run: which attempt was leased under which epoch, and when.
    pub fn awards(&self) -> impl Iterator<Item = (StageId, Attempt, Epoch, Timestamp)> {
        self.events().filter_map(|event| match event {
            Event::StageAwarded { stage, attempt, epoch, at, .. } => {
                Some((*stage, *attempt, *epoch, *at))
            }
            _ => None,
        })
    }

    /// The ends of this run's attempts.
    pub fn attempt_ends(&self) -> impl Iterator<Item = (StageId, Attempt, Epoch, Outcome)> {
        self.events().filter_map(|event| match event {
            Event::AttemptEnded { stage, attempt, epoch, outcome, .. } => {
                Some((*stage, *attempt, *epoch, *outcome))
            }
            _ => None,
        })
    }
}

/// Everything that is on the disks at the end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The runs.
    pub runs: BTreeMap<RunId, EndedRun>,
    /// The logs as stored.
    pub logs: BTreeMap<LogId, Vec<u8>>,
    /// The cluster's journal; empty where there is none.
    pub cluster: Vec<cluster::event::Entry>,
    /// A digest of what each machine holds that belongs to the cluster in the end, by its number.
    pub replicas: BTreeMap<u8, String>,
    /// What has not caught up within its time.
    pub behind: Vec<String>,
    /// A digest of the state that replaying gives, from two independent readings of the disks.
    pub state_digests: Vec<String>,
}
