//! How the simulation itself grows: simulated seconds per second with more nodes, agents and runs.
//!
//! Nothing goes wrong in these setups, so that their sizes are all that differs.

use crate::report::Report;
use crate::search::{Case, run_all};
use crate::setup::{PlannedSubmission, Setup};
use std::fmt::Write as _;
use std::path::Path;

/// The pipeline that is submitted again and again.
const PIPELINE: &str = "one";
/// Simulated milliseconds over which submissions are spread.
const SPREAD_MS: u64 = 30_000;

/// One size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Control processes.
    pub controls: u8,
    /// Agents.
    pub agents: u8,
    /// Runs that are submitted.
    pub runs: u64,
}

/// Sizes along each of the ways to grow, from what is usual in a search.
pub const SIZES: &[Size] = &[
    Size { controls: 1, agents: 4, runs: 20 },
    Size { controls: 3, agents: 4, runs: 20 },
    Size { controls: 5, agents: 4, runs: 20 },
    Size { controls: 9, agents: 4, runs: 20 },
    Size { controls: 3, agents: 20, runs: 20 },
    Size { controls: 3, agents: 60, runs: 20 },
    Size { controls: 3, agents: 200, runs: 20 },
    Size { controls: 1, agents: 4, runs: 200 },
    Size { controls: 1, agents: 4, runs: 1_000 },
    Size { controls: 9, agents: 200, runs: 200 },
];

impl Size {
    /// A setup of this size.
    #[must_use]
    pub fn setup(self) -> Setup {
        let mut setup = Setup::only(1, PIPELINE);
        setup.controls = self.controls;
        setup.agents = self.agents;
        setup.submissions = (0..self.runs)
            .map(|number| PlannedSubmission {
                at_ms: 300 + SPREAD_MS * number / self.runs.max(1),
                key: format!("key-{number}"),
                plan: PIPELINE.to_owned(),
                doubled: false,
                cancel_after_ms: None,
            })
            .collect();
        setup
    }
}

/// Simulates a size in a process of its own, with its setup in a file of this folder.
///
/// # Errors
/// When the file cannot be written, or the simulation ends without a report.
pub fn measure(size: Size, folder: &Path) -> Result<Report, String> {
    let path = folder.join("setup.json");
    let told = |error: std::io::Error| format!("write {}: {error}", path.display());
    std::fs::write(&path, size.setup().to_json()).map_err(told)?;
    let case: Case = vec!["--setup".to_owned(), path.display().to_string()];
    let mut report = None;
    run_all([case], 1, |one| report = Some(one)).map_err(|error| error.to_string())?;
    report.ok_or_else(|| "a simulation told nothing".to_owned())
}

/// A line for people.
#[must_use]
pub fn line(size: Size, report: &Report) -> String {
    let mut text = format!(
        "{:>3} control, {:>3} agents, {:>6} runs: {:>4} simulated s in {:>7.1} s, {:>7.1} a second",
        size.controls,
        size.agents,
        size.runs,
        report.simulated_ms / 1000,
        seconds(report.took_ms),
        seconds(report.simulated_ms) / seconds(report.took_ms.max(1)),
    );
    for violation in &report.violations {
        let _ = write!(text, "\n  ✘ {violation}");
    }
    text + "\n"
}

/// Milliseconds as seconds; what is beyond 49 days is not told apart.
fn seconds(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0
}
