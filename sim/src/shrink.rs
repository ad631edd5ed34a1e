//! Shrinking: takes away from a failing setup whatever its failure does not need.
//!
//! It works on the schedule of faults and on the workload, never on the seed: a smaller setup with
//! the same seed is another simulation, which is kept where it contradicts the same property. The
//! method is delta debugging's simplest form (Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", 2002), one part at a time until no part can go.

use crate::search::{Case, run_all};
use crate::setup::Setup;
use std::collections::BTreeSet;
use std::io::Write;

/// Makes a failing setup smaller until every part of it is needed. `tell` hears of each step.
///
/// # Errors
/// When the setup does not fail, or a simulation breaks.
pub fn shrink(setup: Setup, mut tell: impl FnMut(&str)) -> Result<Setup, String> {
    let broken = contradicted(&setup)?;
    if broken.is_empty() {
        return Err("shrink it: this simulation fails in nothing".to_owned());
    }
    let mut small = setup;
    loop {
        let mut smaller = None;
        for (what, candidate) in candidates(&small) {
            if !contradicted(&candidate)?.is_disjoint(&broken) {
                tell(&format!("without {what} it still fails"));
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(candidate) => small = candidate,
            None => return Ok(small),
        }
    }
}

/// The properties that a setup's simulation contradicts, by their numbers.
fn contradicted(setup: &Setup) -> Result<BTreeSet<String>, String> {
    let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    file.write_all(setup.to_json().as_bytes()).map_err(|error| error.to_string())?;
    let path = file.path().to_string_lossy().into_owned();
    let case: Case = vec!["--setup".to_owned(), path];
    let mut found = BTreeSet::new();
    let done = run_all([case], 1, |report| {
        let numbers = report.violations.iter().filter_map(|said| said.split(':').next());
        found.extend(numbers.map(ToOwned::to_owned));
    });
    done.map_err(|error| error.to_string())?;
    Ok(found)
}

/// All setups that lack one part of this one, the largest parts first.
fn candidates(setup: &Setup) -> Vec<(String, Setup)> {
    let mut all = Vec::new();
    let mut offer = |what: String, change: &dyn Fn(&mut Setup)| {
        let mut candidate = setup.clone();
        change(&mut candidate);
        if candidate != *setup && !candidate.submissions.is_empty() {
            all.push((what, candidate));
        }
    };
    offer("any fault".to_owned(), &|candidate| candidate.faults.clear());
    for index in (0..setup.submissions.len()).rev() {
        let what = format!("submission {}", setup.submissions[index].key);
        offer(what, &|candidate| {
            candidate.submissions.remove(index);
        });
    }
    for index in (0..setup.faults.len()).rev() {
        let what = format!("{:?}", setup.faults[index].fault);
        offer(what, &|candidate| {
            candidate.faults.remove(index);
        });
    }
    let agents = setup.faults.iter().filter_map(|planned| planned.fault.agent());
    let fewest = agents.max().map_or(1, |agent| agent + 1);
    offer("idle agents".to_owned(), &|candidate| candidate.agents = fewest.min(setup.agents));
    offer("a spare machine".to_owned(), &|candidate| {
        candidate.spares = candidate.spares.saturating_sub(1);
    });
    for index in 0..setup.submissions.len() {
        let key = &setup.submissions[index].key;
        offer(format!("the second client of {key}"), &|candidate| {
            candidate.submissions[index].doubled = false;
        });
        offer(format!("the cancel of {key}"), &|candidate| {
            candidate.submissions[index].cancel_after_ms = None;
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::candidates;
    use crate::setup::Setup;
    use crate::workload;

    #[test]
    fn every_candidate_is_smaller_and_submits_something() {
        let weight = |setup: &Setup| {
            let extras = setup.submissions.iter().map(|submission| {
                usize::from(submission.doubled) + usize::from(submission.cancel_after_ms.is_some())
            });
            let extras: usize = extras.sum();
            let hosts = usize::from(setup.agents + setup.spares);
            setup.submissions.len() + setup.faults.len() + hosts + extras
        };
        for seed in 1..50 {
            let setup = Setup::from_seed(seed, &workload::names(), None);
            for (what, candidate) in candidates(&setup) {
                assert!(weight(&candidate) < weight(&setup), "seed {seed} without {what}");
                assert!(!candidate.submissions.is_empty());
            }
        }
    }
}
