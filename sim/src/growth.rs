//! How the simulation itself grows: simulated seconds per second with more nodes, shards, agents
//! and runs.
//!
//! Nothing goes wrong in these setups, so that their sizes are all that differs. What is measured
//! is written as small tables ([`mod@figure`]), which are drawn for the book ([`chart`]).

pub mod chart;
pub mod figure;
pub mod stored;

use crate::report::Report;
use crate::search::{Case, run_all};
use crate::setup::{PlannedSubmission, Scale, Setup};
use figure::Figure;
use std::fmt::Write as _;
use std::path::Path;

/// The pipeline that is submitted again and again.
const PIPELINE: &str = "one";
/// Simulated milliseconds over which submissions are spread.
const SPREAD_MS: u64 = 30_000;
/// How many agents share a host, where there are many.
const CROWD: u8 = 25;

/// One size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Control processes.
    pub controls: u8,
    /// Shards beside the cluster's own.
    pub shards: u16,
    /// Agents.
    pub agents: u8,
    /// Runs that are submitted.
    pub runs: u32,
    /// Runs that are there before.
    pub stored: u32,
}

/// What is usual in a search.
const USUAL: Size = Size { controls: 3, shards: 2, agents: 4, runs: 20, stored: 0 };

/// One way to grow.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// What there is more and more of: the name of its figure.
    pub name: &'static str,
    /// The same, with what stays as it is.
    pub title: &'static str,
    /// How many there are in a size.
    pub of: fn(&Size) -> u32,
    /// The sizes.
    pub sizes: &'static [Size],
}

/// All ways to grow, one at a time.
pub const AXES: &[Axis] = &[
    Axis {
        name: "nodes",
        title: "control nodes, with 3 groups, 4 agents and 20 runs",
        of: |size| u32::from(size.controls),
        sizes: &[
            Size { controls: 1, ..USUAL },
            USUAL,
            Size { controls: 5, ..USUAL },
            Size { controls: 7, ..USUAL },
            Size { controls: 9, ..USUAL },
        ],
    },
    Axis {
        name: "groups",
        title: "groups, with 3 control nodes, 4 agents and 20 runs",
        of: |size| u32::from(size.shards) + 1,
        sizes: &[
            USUAL,
            Size { shards: 7, ..USUAL },
            Size { shards: 16, ..USUAL },
            Size { shards: 32, ..USUAL },
        ],
    },
    Axis {
        name: "agents",
        title: "agents, with 3 control nodes, 3 groups and 20 runs",
        of: |size| u32::from(size.agents),
        sizes: &[
            USUAL,
            Size { agents: 20, ..USUAL },
            Size { agents: 60, ..USUAL },
            Size { agents: 120, ..USUAL },
            Size { agents: 200, ..USUAL },
        ],
    },
    Axis {
        name: "runs",
        title: "runs in 30 s, with 3 control nodes, 3 groups and 20 agents",
        of: |size| size.runs,
        sizes: &[
            Size { agents: 20, ..USUAL },
            Size { agents: 20, runs: 100, ..USUAL },
            Size { agents: 20, runs: 300, ..USUAL },
            Size { agents: 20, runs: 1_000, ..USUAL },
        ],
    },
    Axis {
        name: "stored",
        title: "runs stored before, with 3 control nodes, 3 groups, 4 agents and 20 runs",
        of: |size| size.stored,
        sizes: &[
            USUAL,
            Size { stored: 1_000, ..USUAL },
            Size { stored: 10_000, ..USUAL },
            Size { stored: 100_000, ..USUAL },
        ],
    },
];

/// All of it at once.
pub const LARGEST: Size = Size { controls: 9, shards: 7, agents: 200, runs: 200, stored: 100_000 };

impl Size {
    /// A setup of this size.
    #[must_use]
    pub fn setup(self) -> Setup {
        let mut setup = Setup::only(1, PIPELINE);
        let crowd = if self.agents > CROWD { CROWD } else { 1 };
        setup.controls = self.controls;
        setup.agents = self.agents;
        setup.scale = Scale { shards: self.shards, crowd, stored: self.stored };
        setup.submissions = (0..self.runs)
            .map(|number| PlannedSubmission {
                at_ms: 300 + SPREAD_MS * u64::from(number) / u64::from(self.runs.max(1)),
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

/// Simulated seconds a second, from when what is stored was there until all had ended.
#[must_use]
pub fn rate(report: &Report) -> f64 {
    let simulated = report.simulated_ms.saturating_sub(report.cost.stored_ms);
    seconds(simulated) / seconds(report.cost.simulating_ms.max(1))
}

/// A line for people.
#[must_use]
pub fn line(size: Size, report: &Report) -> String {
    let Size { controls, shards, agents, runs, stored } = size;
    let mut text = format!(
        "{controls} nodes, {:>2} groups, {agents:>3} agents, {runs:>4} runs, {stored:>6} stored: \
         {:>6.1} simulated s a second of the processor ({} s in {:.1} s; storing {:.1} s, \
         judging {:.1} s; {:.1} s in all), {:>4} MiB, load {}",
        shards + 1,
        rate(report),
        report.simulated_ms.saturating_sub(report.cost.stored_ms) / 1000,
        seconds(report.cost.simulating_ms),
        seconds(report.cost.storing_ms),
        seconds(report.cost.judging_ms),
        seconds(report.took_ms),
        report.cost.memory >> 20,
        load(),
    );
    for violation in &report.violations {
        let _ = write!(text, "\n  ✘ {violation}");
    }
    text + "\n"
}

/// The machine's load over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// What was measured along an axis, as a figure for the book.
#[must_use]
pub fn figure(axis: &Axis, measured: &[(Size, Report)]) -> Figure {
    let row = |(size, report): &(Size, Report)| (f64::from((axis.of)(size)), vec![rate(report)]);
    Figure {
        title: format!("Simulated seconds a second, by {}", axis.name),
        across: axis.title.to_owned(),
        up: "simulated seconds a second of the processor".to_owned(),
        lines: vec!["simulation".to_owned()],
        rows: measured.iter().map(row).collect(),
    }
}

/// Milliseconds as seconds; what is beyond 49 days is not told apart.
fn seconds(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::{AXES, LARGEST, Size};
    use crate::setup::Setup;

    #[test]
    fn sizes_grow_and_their_setups_can_be_read_back() {
        for axis in AXES {
            let sizes: Vec<u32> = axis.sizes.iter().map(axis.of).collect();
            assert!(sizes.is_sorted() && sizes.len() > 2, "{}: {sizes:?}", axis.name);
        }
        let all = AXES.iter().flat_map(|axis| axis.sizes).chain([&LARGEST]);
        for setup in all.copied().map(Size::setup) {
            assert_eq!(Setup::from_json(&setup.to_json()).map(|it| it.scale), Ok(setup.scale));
        }
    }
}
