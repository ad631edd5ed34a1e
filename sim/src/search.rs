//! Many simulations, each in a process of its own, on all cores.
//!
//! A second seed in one process would run differently: task ids and statics of libraries go on.

use crate::determinism::machine_time;
use crate::report::Report;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

/// One simulation that is to be run: the arguments behind `otto-sim run`.
pub type Case = Vec<String>;

/// What comes before a case that is a simulation of all processes.
pub const RUN: &[&str] = &["run", "--json"];

/// Runs cases in child processes, `jobs` at a time, and hands each report on as it comes.
///
/// # Errors
/// When a child cannot be started, or prints no report: that is a crash of the simulation itself,
/// and the message names the case. All other cases are run before.
pub fn run_all(
    cases: impl IntoIterator<Item = Case, IntoIter: Send>,
    jobs: usize,
    done: impl FnMut(Report),
) -> io::Result<()> {
    run_reporting(RUN, cases, jobs, done)
}

/// As [`run_all`], with another command before each case, and what that reports.
///
/// # Errors
/// As [`run_all`].
pub fn run_reporting<R: DeserializeOwned + Send>(
    command: &[&str],
    cases: impl IntoIterator<Item = Case, IntoIter: Send>,
    jobs: usize,
    mut done: impl FnMut(R),
) -> io::Result<()> {
    let cases = Mutex::new(cases.into_iter());
    let (reports, reported) = mpsc::channel();
    let mut broken = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (cases, reports) = (&cases, reports.clone());
            scope.spawn(move || {
                let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(case) = next() {
                    if reports.send(run_one::<R>(command, &case)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(reports);
        for report in reported {
            match report {
                Ok(report) => done(report),
                Err(error) => {
                    eprintln!("error: {error}");
                    broken.push(error.to_string());
                }
            }
        }
    });
    if broken.is_empty() { Ok(()) } else { Err(io::Error::other(broken.join("\n"))) }
}

fn run_one<R: DeserializeOwned>(command: &[&str], case: &Case) -> io::Result<R> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(command).args(case).stdin(Stdio::null());
    let output = child.output()?;
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

/// How fast a search goes on, for people who wait for it.
#[derive(Debug)]
pub struct Pace {
    total: u64,
    begun: Duration,
    told: Duration,
}

/// How often a search says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Pace {
    /// So many simulations begin now.
    #[must_use]
    pub fn begin(total: u64) -> Self {
        let begun = machine_time();
        Self { total, begun, told: begun }
    }

    /// How far it is, when it is time to say so.
    pub fn tell(&mut self, ran: u64, failed: usize) -> Option<String> {
        let now = machine_time();
        if now.saturating_sub(self.told) < TELL_EVERY {
            return None;
        }
        self.told = now;
        let passed = now.saturating_sub(self.begun);
        let left = self.total.saturating_sub(ran);
        let rate = Rate { ran, passed };
        let still = Lasting(passed.mul_f64(ratio(left, ran)));
        Some(format!("{ran} of {} simulations, {rate}, {still} left, {failed} failed", self.total))
    }

    /// How fast it was.
    #[must_use]
    pub fn over(&self, ran: u64) -> String {
        let passed = machine_time().saturating_sub(self.begun);
        format!("{} in all, {}", Lasting(passed), Rate { ran, passed })
    }
}

/// How often a number goes into another. Both are far below what a float holds exactly.
fn ratio(many: u64, few: u64) -> f64 {
    let float = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    float(many) / float(few.max(1))
}

/// So many simulations in such a time.
struct Rate {
    ran: u64,
    passed: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.passed.as_secs_f64().max(0.001);
        let thousand = Duration::from_secs_f64(seconds * ratio(1000, self.ran));
        write!(f, "{} for 1,000", Lasting(thousand))
    }
}

/// A time that people wait.
struct Lasting(Duration);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, seconds) => write!(f, "{seconds} s"),
            (0, minutes, seconds) => write!(f, "{minutes} min {seconds} s"),
            (hours, minutes, _) => write!(f, "{hours} h {minutes} min"),
        }
    }
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
    /// How many simulations had so many control processes from the beginning.
    pub sizes: BTreeMap<u8, u64>,
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
        *self.sizes.entry(report.controls).or_default() += 1;
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
