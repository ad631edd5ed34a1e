//! The commands that run many simulations: searches, crashes everywhere, bugs on purpose.

use super::{Jobs, Result, print, verdict};
use otto_sim::plant::Planted;
use otto_sim::report::Report;
use otto_sim::search::{Case, Pace, RUN, Tally, run_all};
use otto_sim::{planted, workload, world};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a search goes through.
pub(super) struct Seeds {
    pub(super) count: u64,
    pub(super) from: u64,
    /// So many control processes, where that is said.
    pub(super) controls: Option<u8>,
    /// It ends when so many have failed.
    pub(super) failures: u64,
}

/// Runs seeds, each twentieth of them twice, since the same seed must give the same history.
pub(super) fn search(seeds: &Seeds, jobs: Jobs) -> Result<ExitCode> {
    let all = seeds.from..seeds.from.saturating_add(seeds.count);
    let failures = AtomicU64::new(0);
    let twice = |seed: u64| std::iter::repeat_n(seed, if seed.is_multiple_of(20) { 2 } else { 1 });
    let case = |seed: u64| -> Case {
        let mut case = vec!["--seed".to_owned(), seed.to_string()];
        if let Some(controls) = seeds.controls {
            case.extend(["--controls".to_owned(), controls.to_string()]);
        }
        case
    };
    let goes_on = |_: &u64| failures.load(Ordering::Relaxed) < seeds.failures;
    let cases = all.clone().flat_map(twice).take_while(goes_on).map(case);
    let total = seeds.count + (all.end - 1) / 20 - (all.start - 1) / 20;
    let (mut tally, mut pace) = (Tally::default(), Pace::begin(total));
    let ran = run_all(cases, jobs.count(), |report| {
        if !report.violations.is_empty() {
            failures.fetch_add(1, Ordering::Relaxed);
        }
        progress(&mut tally, &mut pace, report);
    });
    tell(&tally, &pace, jobs)?;
    let outcome = summarize(&tally)?;
    ran.map(|()| outcome).map_err(|error| error.to_string())
}

/// Tells what a search reached, and what it did not.
fn tell(tally: &Tally, pace: &Pace, jobs: Jobs) -> Result<()> {
    let mut missed: BTreeSet<&str> = tally.missed(world::MARKS);
    if tally.sizes.keys().any(|controls| *controls > 1) {
        missed.extend(tally.missed(world::CLUSTER_MARKS));
    }
    if jobs.json {
        let line = serde_json::json!({
            "ran": tally.ran, "failed": tally.failed, "uneven": tally.uneven, "marks": tally.marks,
            "missed": missed, "sizes": tally.sizes,
        });
        return print(&format!("{line}\n"));
    }
    let mut text = format!(
        "{} simulations, {} runs, {} simulated seconds; {}\n",
        tally.ran,
        tally.runs,
        tally.simulated_ms / 1000,
        pace.over(tally.ran)
    );
    for (controls, count) in &tally.sizes {
        let _ = writeln!(text, "{count:>7}  with {controls} control processes from the beginning");
    }
    for (mark, count) in &tally.marks {
        let _ = writeln!(text, "{count:>7}  {mark}");
    }
    for mark in missed {
        let _ = writeln!(text, "  NEVER  {mark}");
    }
    print(&text)
}

/// Crashes at each operation of each pipeline, which a first run without a crash has counted.
pub(super) fn crashes(only: Option<&str>, every: u64, jobs: Jobs) -> Result<ExitCode> {
    let (mut all, mut pace) = (Tally::default(), Pace::begin(0));
    let wanted = |name: &&str| only.is_none_or(|only| only == *name);
    for name in workload::names().into_iter().filter(wanted) {
        let base: Case = vec!["--pipeline".to_owned(), name.to_owned()];
        let mut operations = 0;
        run_all([base.clone()], 1, |report| {
            operations = report.disk_operations;
            all.add(report);
        })
        .map_err(|error| error.to_string())?;
        eprintln!("{name}: {operations} disk operations");
        let crash = |at: u64| {
            let mut case = base.clone();
            case.extend(["--crash-at".to_owned(), at.to_string()]);
            case
        };
        let at = (1..=operations).step_by(usize::try_from(every.max(1)).unwrap_or(1));
        run_all(at.map(crash), jobs.count(), |report| progress(&mut all, &mut pace, report))
            .map_err(|error| error.to_string())?;
    }
    print(&format!("{} simulations\n", all.ran))?;
    summarize(&all)
}

pub(super) fn found_text(name: &str, breaks: &str, within: u64, found: Option<u64>) -> String {
    match found {
        Some(seed) => format!("✔ {name} breaks {breaks}: found with seed {seed}\n"),
        None => format!("✘ {name} breaks {breaks}: NOT found within {within} seeds\n"),
    }
}

/// Plants each bug, and looks for it within its number of seeds: with so many control processes, or
/// else with as many as it is known to be found with.
pub(super) fn find_planted(
    controls: Option<u8>,
    only: Option<&str>,
    jobs: Jobs,
) -> Result<ExitCode> {
    let mut all_found = true;
    let wanted = |bug: &&Planted<planted::Bug>| only.is_none_or(|only| only == bug.name);
    for bug in planted::ALL.iter().filter(wanted) {
        let among = controls.unwrap_or(bug.controls).to_string();
        let found = bug.find::<Report>(RUN, &["--controls", &among], jobs.count());
        let found = found.map_err(|error| error.to_string())?;
        all_found &= found.is_some();
        print(&found_text(bug.name, bug.breaks, bug.within_seeds, found))?;
    }
    Ok(verdict(all_found))
}

/// Runs cases, and counts what they came to.
pub(super) fn tally(cases: Vec<Case>, jobs: Jobs) -> Result<Tally> {
    let (mut tally, mut pace) = (Tally::default(), Pace::begin(cases.len() as u64));
    run_all(cases, jobs.count(), |report| progress(&mut tally, &mut pace, report))
        .map_err(|error| error.to_string())?;
    Ok(tally)
}

/// Takes in a report, and says at once when it failed, and now and then how far it is.
fn progress(tally: &mut Tally, pace: &mut Pace, report: Report) {
    if !report.violations.is_empty() {
        eprint!("{}", report.text());
    }
    tally.add(report);
    if let Some(line) = pace.tell(tally.ran, tally.failed.len()) {
        eprintln!("{line}");
    }
}

/// Names what failed, and how it is seen again.
pub(super) fn summarize(tally: &Tally) -> Result<ExitCode> {
    for seed in &tally.uneven {
        print(&format!("✘ seed {seed} ran twice and gave two histories\n"))?;
    }
    for report in &tally.failed {
        print(&format!("✘ seed {} failed; replay: {}\n", report.seed, report.replay_command()))?;
    }
    Ok(verdict(tally.failed.is_empty() && tally.uneven.is_empty()))
}
