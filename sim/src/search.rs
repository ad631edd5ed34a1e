//! Many simulations, each in a process of its own, on all cores.
//!
//! A second seed in one process would run differently: task ids and statics of libraries go on.

use crate::report::Report;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::{Child, Command, Stdio};

/// One simulation that is to be run: the arguments behind `otto-sim run`.
pub type Case = Vec<String>;

/// Runs cases in child processes, `jobs` at a time, and hands each report on as it comes, in order
/// of the cases.
///
/// # Errors
/// When a child cannot be started, or prints no report: that is a crash of the simulation itself,
/// and its message names the case.
pub fn run_all(
    cases: impl IntoIterator<Item = Case>,
    jobs: usize,
    done: impl FnMut(Report),
) -> io::Result<()> {
    run_reporting(&["run", "--json"], cases, jobs, done)
}

/// As [`run_all`], with another command before each case, and what that reports.
///
/// # Errors
/// As [`run_all`].
pub fn run_reporting<R: DeserializeOwned>(
    command: &[&str],
    cases: impl IntoIterator<Item = Case>,
    jobs: usize,
    mut done: impl FnMut(R),
) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mut cases = cases.into_iter();
    let mut running: Vec<(Case, Child)> = Vec::new();
    loop {
        while running.len() < jobs.max(1) {
            let Some(case) = cases.next() else { break };
            let child = Command::new(&program)
                .args(command)
                .args(&case)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            running.push((case, child));
        }
        if running.is_empty() {
            return Ok(());
        }
        let (case, child) = running.remove(0);
        done(report_of(command, &case, child)?);
    }
}

fn report_of<R: DeserializeOwned>(command: &[&str], case: &Case, child: Child) -> io::Result<R> {
    let output = child.wait_with_output()?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        io::Error::other(format!(
            "`otto-sim {} {}` ended with {} and no report ({error}):\n{}",
            command.join(" "),
            case.join(" "),
            output.status,
            tail.join("\n")
        ))
    })
}

/// What a search came to.
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
    /// Runs that were accepted, over all simulations.
    pub runs: usize,
    /// Simulated milliseconds, over all simulations.
    pub simulated_ms: u64,
    hashes: BTreeMap<String, String>,
}

impl Tally {
    /// Takes in one report; a seed that was seen before must have the same history.
    pub fn add(&mut self, report: Report) {
        self.ran += 1;
        self.runs += report.runs;
        self.simulated_ms += report.simulated_ms;
        for mark in &report.marks {
            *self.marks.entry(mark.clone()).or_default() += 1;
        }
        let hash = report.history_hash.clone();
        let before = self.hashes.insert(report.replay_command(), hash.clone());
        if before.is_some_and(|before| before != hash) {
            self.uneven.push(report.seed);
        }
        if !report.violations.is_empty() {
            self.failed.push(report);
        }
    }

    /// The marks that no simulation reached.
    #[must_use]
    pub fn missed<'a>(&self, wanted: &[&'a str]) -> BTreeSet<&'a str> {
        wanted.iter().copied().filter(|mark| !self.marks.contains_key(*mark)).collect()
    }
}
