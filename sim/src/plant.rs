//! Tables of planted bugs, and the search for each.
//!
//! A checker that was never seen failing counts as none. The seed that is known to find a bug is
//! tried first, so that looking for all of them costs one simulation each.

use crate::search::{Case, run_reporting};
use serde::de::DeserializeOwned;
use std::io;

/// A bug that a simulation can be run with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planted<Bug> {
    /// What it is.
    pub bug: Bug,
    /// Its name.
    pub name: &'static str,
    /// The property that it breaks.
    pub breaks: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Within how many seeds it must be found.
    pub within_seeds: u64,
    /// A seed that finds it.
    pub found_by: u64,
    /// Among how many control processes, where that can be chosen.
    pub controls: u8,
}

/// The report of a simulation, as far as it tells whether a bug was found.
pub trait Judged: DeserializeOwned + Send {
    /// The simulation's seed.
    fn seed(&self) -> u64;
    /// Everything that contradicts a property, each behind the property's number.
    fn violations(&self) -> &[String];
}

impl<Bug: Copy> Planted<Bug> {
    /// A bug that the first seed is known to find.
    #[must_use]
    pub const fn new(
        bug: Bug,
        name: &'static str,
        breaks: &'static str,
        what: &'static str,
        within_seeds: u64,
    ) -> Self {
        Self { bug, name, breaks, what, within_seeds, found_by: 1, controls: 1 }
    }

    /// The same, known to be found by another seed.
    #[must_use]
    pub const fn found_by(self, seed: u64) -> Self {
        Self { found_by: seed, ..self }
    }

    /// The same, where it takes so many control processes.
    #[must_use]
    pub const fn among(self, controls: u8) -> Self {
        Self { controls, ..self }
    }

    /// The first seed that finds the bug, if any does within its number of seeds, with these
    /// arguments beside the seed's.
    ///
    /// # Errors
    /// When a simulation crashes.
    pub fn find<Report: Judged>(
        &self,
        command: &[&str],
        beside: &[&str],
        jobs: usize,
    ) -> io::Result<Option<u64>> {
        let case = |seed: u64| -> Case {
            let seed = seed.to_string();
            let case = ["--seed", &seed, "--plant", self.name];
            case.iter().chain(beside).copied().map(str::to_owned).collect()
        };
        let violation = format!("{}:", self.breaks);
        let others: Vec<u64> =
            (1..=self.within_seeds).filter(|seed| *seed != self.found_by).collect();
        for some in [&[self.found_by][..]].into_iter().chain(others.chunks(jobs.max(1))) {
            let mut found = None;
            let cases: Vec<Case> = some.iter().map(|seed| case(*seed)).collect();
            run_reporting(command, cases, jobs, |report: Report| {
                let caught = report.violations().iter().any(|said| said.starts_with(&violation));
                found = found.or(caught.then_some(report.seed()));
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// The bug of this name.
#[must_use]
pub fn named<Bug: Copy>(all: &[Planted<Bug>], name: &str) -> Option<Bug> {
    all.iter().find(|planted| planted.name == name).map(|planted| planted.bug)
}
