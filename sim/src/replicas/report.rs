//! What a simulation of replicas came to, and many of them.

use super::history::Moment;
use super::planted::{self, Bug};
use super::setup::Setup;
use super::world::{MARKS, World};
use crate::determinism;
use crate::plant::Judged;
use crate::sabotage::{unwanted_panics, watch_panics};
use crate::search::run_reporting;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

/// The result of one seed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The bug that was planted, if any.
    pub planted: Option<String>,
    /// Equal for equal histories.
    pub history_hash: String,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Milliseconds that it took on this machine. Not part of the history.
    pub took_ms: u64,
    /// Writes, length changes and syncs of all disks.
    pub disk_operations: u64,
    /// Proposals that were applied, as their writers learnt.
    pub applied: u64,
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
        let planted = self.planted.iter().map(|bug| format!(" --plant {bug}"));
        format!("otto-sim replicas --seed {}{}", self.seed, planted.collect::<String>())
    }

    /// A few lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.simulated_ms / 1000;
        let mut text = format!(
            "seed {}: {} proposals in {seconds} simulated seconds, took {} ms, history {}\n",
            self.seed, self.applied, self.took_ms, self.history_hash
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

/// What a simulation came to.
#[derive(Debug)]
pub struct Simulated {
    /// The summary.
    pub report: Report,
    /// Everything that happened.
    pub history: Vec<Moment>,
}

/// Runs a simulation on a thread of its own. One process should run only one.
///
/// # Errors
/// When the simulation itself breaks: that is a bug, and no property was judged.
pub fn simulate(setup: &Setup, bug: Option<Bug>) -> Result<Simulated, String> {
    let setup = setup.clone();
    let running = std::thread::Builder::new().stack_size(64 << 20).spawn(move || {
        watch_panics();
        determinism::enter(setup.seed);
        let simulated = World::new(setup, bug).run();
        determinism::leave();
        simulated
    });
    let joined = running.map_err(|error| error.to_string())?.join();
    joined.unwrap_or_else(|_| Err(format!("the simulation panicked: {:?}", unwanted_panics())))
}

/// Runs one seed.
///
/// # Errors
/// When there is no such bug, or the simulation itself breaks.
pub fn run(seed: u64, plant: Option<&str>) -> Result<Simulated, String> {
    let bug: Option<Bug> = match plant {
        Some(name) => {
            let known = planted::named(name);
            Some(known.ok_or_else(|| format!("there is no planted bug '{name}'"))?)
        }
        None => None,
    };
    simulate(&Setup::from_seed(seed), bug)
}

/// A history as a timeline that a person can read.
#[must_use]
pub fn timeline(setup: &Setup, history: &[Moment]) -> String {
    history.iter().fold(format!("{setup:#?}\n"), |mut text, moment| {
        let _ = writeln!(text, "{moment}");
        text
    })
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many simulations ran.
    pub ran: u64,
    /// Those that contradicted a property.
    pub failed: Vec<Report>,
    /// Seeds that ran twice and gave two histories.
    pub uneven: Vec<u64>,
    /// How often each mark was reached.
    pub marks: BTreeMap<String, u64>,
    /// Proposals that were applied, over all simulations.
    pub applied: u64,
    /// Simulated milliseconds, over all simulations.
    pub simulated_ms: u64,
    hashes: BTreeMap<u64, String>,
}

impl Tally {
    fn add(&mut self, report: Report) {
        self.ran += 1;
        self.applied += report.applied;
        self.simulated_ms += report.simulated_ms;
        for mark in &report.marks {
            *self.marks.entry(mark.clone()).or_default() += 1;
        }
        let before = self.hashes.insert(report.seed, report.history_hash.clone());
        if before.is_some_and(|before| before != report.history_hash) {
            self.uneven.push(report.seed);
        }
        if !report.violations.is_empty() {
            self.failed.push(report);
        }
    }

    /// The marks that no simulation reached.
    #[must_use]
    pub fn missed(&self) -> BTreeSet<&'static str> {
        MARKS.iter().copied().filter(|mark| !self.marks.contains_key(*mark)).collect()
    }

    /// Whether all is well.
    #[must_use]
    pub fn good(&self) -> bool {
        self.failed.is_empty() && self.uneven.is_empty()
    }

    /// A few lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = self.simulated_ms / 1000;
        let mut text = format!(
            "{} simulations, {} proposals, {seconds} simulated seconds\nmarks: {:?}\nmissed: {:?}\n",
            self.ran,
            self.applied,
            self.marks,
            self.missed()
        );
        for seed in &self.uneven {
            let _ = writeln!(text, "✘ seed {seed} ran twice and gave two histories");
        }
        for report in &self.failed {
            let (seed, replay) = (report.seed, report.replay_command());
            let _ = writeln!(text, "✘ seed {seed} failed; replay: {replay}");
        }
        text
    }
}

/// What is executed for each seed, before its arguments.
pub const COMMAND: &[&str] = &["replicas", "--json"];

/// Runs seeds on all cores, each twentieth of them twice, since the same seed must give the same
/// history. Says at once when one failed.
///
/// # Errors
/// When a simulation crashes.
pub fn search(seeds: u64, from: u64, jobs: usize) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let case = |seed: u64| vec!["--seed".to_owned(), seed.to_string()];
    let cases = (from..from.saturating_add(seeds))
        .flat_map(|seed| std::iter::repeat_n(case(seed), if seed % 20 == 0 { 2 } else { 1 }));
    run_reporting(COMMAND, cases, jobs, |report: Report| {
        if !report.violations.is_empty() {
            eprint!("{}", report.text());
        }
        tally.add(report);
        if tally.ran.is_multiple_of(50) {
            eprintln!("{} simulations, {} failed", tally.ran, tally.failed.len());
        }
    })?;
    Ok(tally)
}
