//! Real stages on a real kernel: launcher, stage processes, steps and what they leave behind.
//!
//! This binary is its own image: the agent under test executes it again as launcher and as steps,
//! so that `main` has to look at its name before anything else, and the usual test harness is not
//! used.

mod bench;
mod confinement;
mod ends;
mod logs;
mod steps;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

/// A test by its name.
pub(crate) type Case = (&'static str, fn());

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    if let Some(exit) = otto_nodes::launcher::dispatch(&name) {
        return exit;
    }
    // A process that a test kills: it opens a stage, starts a step in it, and waits.
    if let Ok(folder) = std::env::var(bench::VICTIM) {
        return ends::victim(folder.as_ref());
    }
    let cases = [confinement::CASES, ends::CASES, logs::CASES, steps::CASES].concat();
    let trials = cases.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
