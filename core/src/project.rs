//! What the runs of one project share: their numbers, and what keeps a repeated submission from
//! making a second run. Later also locks, environments and concurrency groups.
//!
//! A project's state lies whole in the head of its journal, so nobody replays that journal; the
//! journal says how it came about. A submission is one proposal: an entry for the project, the
//! first entry of the run, and the record behind its idempotency key. Two that race for a number or
//! a key expect the same versions, so one of them is refused whole, reads again, and decides again.

use crate::ids::{ProjectId, RunId};
use crate::journal::{Head, Unreadable, decode, encode};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a project's runs share. Fields that an earlier release did not write have their defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Project {
    /// The project's name, for people; empty before its first run.
    pub name: String,
    /// The number of its latest run; zero before its first one. Numbers have no gaps.
    pub latest: u64,
}

/// A fact about what a project's runs share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ProjectEvent {
    /// A run got its number.
    #[serde(rename = "run-numbered/1")]
    RunNumbered {
        /// The project's name.
        project: String,
        /// Which number.
        number: u64,
        /// When.
        at: Timestamp,
    },
}

/// The record behind an idempotency key: it is written once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The run that was submitted under this key.
    pub run: RunId,
}

/// What becomes of a submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is a new run; this goes into the project's journal along with the run's first entry.
    New {
        /// The run.
        run: RunId,
        /// The fact for the project's journal.
        event: ProjectEvent,
    },
    /// Its key was used before: this run is the answer, and nothing is journaled.
    Known(RunId),
}

impl Project {
    /// Reads a project's state from its journal's head; `None` is a project without runs.
    ///
    /// # Errors
    /// When the head was damaged, or written by a later release.
    pub fn from_head(head: Option<&Head>) -> Result<Self, Unreadable> {
        head.map_or_else(|| Ok(Self::default()), |head| decode("project", &head.summary))
    }

    /// The head that goes with the next entry of the project's journal. A project wants no actor.
    #[must_use]
    pub fn to_head(&self) -> Head {
        Head { wake: None, summary: encode(self) }
    }

    /// Decides on a submission, given the record behind its key if it has one.
    #[must_use]
    pub fn admit(&self, name: &str, known: Option<KeyRecord>, now: Timestamp) -> Admission {
        if let Some(KeyRecord { run }) = known {
            return Admission::Known(run);
        }
        let number = self.latest.saturating_add(1);
        Admission::New {
            run: RunId { project: ProjectId::of(name), number },
            event: ProjectEvent::RunNumbered { project: name.to_owned(), number, at: now },
        }
    }

    /// Takes in one fact.
    pub fn evolve(&mut self, event: &ProjectEvent) {
        match event {
            ProjectEvent::RunNumbered { project, number, .. } => {
                self.name.clone_from(project);
                self.latest = self.latest.max(*number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn admitted(project: &mut Project, key: Option<KeyRecord>) -> RunId {
        match project.admit("shop", key, NOW) {
            Admission::New { run, event } => {
                project.evolve(&event);
                run
            }
            Admission::Known(run) => run,
        }
    }

    #[test]
    fn numbers_start_at_one_and_have_no_gaps() {
        let mut project = Project::default();
        let numbers: Vec<u64> = (0..3).map(|_| admitted(&mut project, None).number).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_known_key_leads_to_the_earlier_run_and_takes_no_number() {
        let mut project = Project::default();
        let first = admitted(&mut project, None);
        assert_eq!(admitted(&mut project, Some(KeyRecord { run: first })), first);
        assert_eq!(admitted(&mut project, None).number, 2);
    }

    #[test]
    fn the_state_survives_in_the_head() {
        let mut project = Project::default();
        admitted(&mut project, None);
        assert_eq!(Project::from_head(Some(&project.to_head())), Ok(project));
        assert_eq!(Project::from_head(None), Ok(Project::default()));
        assert!(Project::from_head(Some(&Head::default())).is_err(), "an empty head is damaged");
    }
}
