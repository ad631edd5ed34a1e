//! What a simulation came to, for people and for scripts.

use crate::history::{Fact, Moment};
use crate::plant::Judged;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What a simulation cost, in time of the processor, which other work does not prolong. Not part
/// of the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Simulated milliseconds until what is stored was there.
    pub stored_ms: u64,
    /// Milliseconds that this took.
    pub storing_ms: u64,
    /// Milliseconds from then on, until all had ended.
    pub simulating_ms: u64,
    /// Milliseconds until all of it was judged.
    pub judging_ms: u64,
    /// The most memory that was resident, in bytes.
    pub memory: u64,
}

/// The result of one seed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The only pipeline that was submitted, where that was asked for.
    pub pipeline: Option<String>,
    /// The bug that was planted, if any.
    pub planted: Option<String>,
    /// The control disk's operation at which it crashed, if that was asked for.
    pub crash_at: Option<u64>,
    /// How many control processes there were.
    pub controls: u8,
    /// Whether that was asked for, and not chosen by the seed.
    #[serde(default)]
    pub asked_controls: bool,
    /// How to name the setup on the command line, where it does not come from the seed.
    #[serde(default)]
    pub origin: Option<String>,
    /// Equal for equal histories.
    pub history_hash: String,
    /// How many moments the history has.
    pub moments: usize,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Milliseconds that it took on this machine. Not part of the history.
    pub took_ms: u64,
    /// What that consists of.
    #[serde(default)]
    pub cost: Cost,
    /// Writes, length changes and syncs of the control disk.
    pub disk_operations: u64,
    /// Runs that were accepted.
    pub runs: usize,
    /// Rare things that were reached.
    pub marks: BTreeSet<String>,
    /// Everything that contradicts a property. Empty is good.
    pub violations: Vec<String>,
}

impl Judged for Report {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn violations(&self) -> &[String] {
        &self.violations
    }
}

impl Report {
    /// The one command that shows this simulation again.
    #[must_use]
    pub fn replay_command(&self) -> String {
        if let Some(origin) = &self.origin {
            return format!("otto-sim replay {origin}");
        }
        let mut command = format!("otto-sim replay {}", self.seed);
        if let Some(pipeline) = &self.pipeline {
            let _ = write!(command, " --pipeline {pipeline}");
        }
        if let Some(planted) = &self.planted {
            let _ = write!(command, " --plant {planted}");
        }
        if self.asked_controls {
            let _ = write!(command, " --controls {}", self.controls);
        }
        if let Some(operation) = self.crash_at {
            let _ = write!(command, " --crash-at {operation}");
        }
        command
    }

    /// A few lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.simulated_ms / 1000;
        let mut text = format!(
            "seed {}: {} runs in {seconds} simulated seconds, took {} ms, history {}\n",
            self.seed, self.runs, self.took_ms, self.history_hash
        );
        for violation in &self.violations {
            let _ = writeln!(text, "  ✘ {violation}");
        }
        if !self.violations.is_empty() {
            let _ = writeln!(text, "  replay: {}", self.replay_command());
        }
        text
    }
}

/// The marks that a history reached.
#[must_use]
pub fn marks(history: &[Moment]) -> BTreeSet<String> {
    let names = history.iter().filter_map(|moment| match &moment.fact {
        Fact::Mark { name } => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

/// A history as a timeline that a person can read.
#[must_use]
pub fn timeline(history: &[Moment]) -> String {
    history.iter().fold(String::new(), |mut text, moment| {
        let _ = writeln!(text, "{moment}");
        text
    })
}
