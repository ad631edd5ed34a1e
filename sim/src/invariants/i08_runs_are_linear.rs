//! I8: what clients see of a project's runs is linearizable: each acknowledged submission is there
//! exactly once, in order, in every later reading, and an outcome that was shown stays.
//!
//! Runs are numbered in the order in which they are accepted, so the order of everything that a
//! client can see is known, and one pass decides: each submission and each reading must find a
//! moment between its beginning and its answer, none before those of what it follows.
//!
//! Source: Herlihy and Wing, "Linearizability", TOPLAS 1990. That a known order makes the check one
//! pass: Gibbons and Korach, "Testing Shared Memories", SIAM Journal on Computing 1997.

use super::Invariant;
use crate::clients::LISTED;
use crate::ending::Ending;
use crate::history::{Answer, Fact, Moment};
use otto_core::ids::RunId;
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I8", holds: "what clients see of runs is linearizable", violations };

fn violations(history: &[Moment], _: &Ending) -> Vec<String> {
    let mut found = lists(history);
    found.extend(outcomes(history));
    found
}

/// A reading of the whole list.
struct Listing {
    asked_ms: u64,
    told_ms: u64,
    /// It holds the runs up to this number.
    upto: u64,
}

/// When a run may have been accepted.
#[derive(Clone, Copy)]
struct Accepted {
    from_ms: u64,
    until_ms: u64,
}

fn lists(history: &[Moment]) -> Vec<String> {
    let mut found = Vec::new();
    let mut accepted = acceptances(history);
    let mut listings = Vec::new();
    for moment in history {
        let Fact::Listed { asked_ms, runs } = &moment.fact else { continue };
        let numbers: Vec<u64> = runs.iter().map(|(run, _)| run.number).collect();
        let upto = numbers.first().copied().unwrap_or(0);
        let first = upto.saturating_sub(u64::from(LISTED)) + 1;
        if !numbers.iter().rev().copied().eq(first..=upto) {
            found.push(format!(
                "a list that was shown at {} ms is not the runs up to its newest: {numbers:?}",
                moment.at_ms
            ));
        }
        if let Some(accepted) = accepted.get_mut(&upto) {
            accepted.until_ms = accepted.until_ms.min(moment.at_ms);
        }
        listings.push(Listing { asked_ms: *asked_ms, told_ms: moment.at_ms, upto });
    }
    found.extend(places(&accepted, &listings));
    found
}

/// When each run may have been accepted, as far as those tell who submitted it. One of which nobody
/// has heard may have been accepted since anybody submitted anything.
fn acceptances(history: &[Moment]) -> BTreeMap<u64, Accepted> {
    let mut begun: BTreeMap<&str, u64> = BTreeMap::new();
    let mut accepted: BTreeMap<u64, Accepted> = BTreeMap::new();
    for moment in history {
        match &moment.fact {
            Fact::Submits { key, .. } => {
                begun.entry(key).or_insert(moment.at_ms);
            }
            Fact::Submitted { key, answer: Answer::Ok(run) } => {
                let from_ms = begun.get(key.as_str()).copied().unwrap_or_default();
                let until_ms = moment.at_ms;
                accepted.entry(run.number).or_insert(Accepted { from_ms, until_ms });
            }
            _ => {}
        }
    }
    let most = accepted.keys().last().copied().unwrap_or(0);
    let from_ms = begun.values().min().copied().unwrap_or_default();
    for number in 1..=most {
        accepted.entry(number).or_insert(Accepted { from_ms, until_ms: u64::MAX });
    }
    accepted
}

/// Gives everything the earliest moment that it can have, in the order of the runs.
fn places(accepted: &BTreeMap<u64, Accepted>, listings: &[Listing]) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_upto: BTreeMap<u64, Vec<&Listing>> = BTreeMap::new();
    for listing in listings {
        by_upto.entry(listing.upto).or_default().push(listing);
    }
    let most = accepted.keys().chain(by_upto.keys()).max().copied().unwrap_or(0);
    // Nothing that is still to come may have happened before this.
    let mut now_ms = 0;
    for number in 0..=most {
        if let Some(accepted) = accepted.get(&number) {
            now_ms = now_ms.max(accepted.from_ms);
            if now_ms > accepted.until_ms {
                found.push(format!(
                    "run {number} was there at {} ms, and at {now_ms} ms it was not",
                    accepted.until_ms
                ));
            }
        }
        let mut latest_ms = now_ms;
        for listing in by_upto.get(&number).into_iter().flatten() {
            latest_ms = latest_ms.max(listing.asked_ms);
            if now_ms > listing.told_ms {
                found.push(format!(
                    "a list that was shown at {} ms holds the runs up to {number}, of which one \
                     was accepted at {now_ms} ms at the earliest",
                    listing.told_ms
                ));
            }
        }
        now_ms = latest_ms;
    }
    found
}

/// Who asks after an outcome was shown is shown it, too.
fn outcomes(history: &[Moment]) -> Vec<String> {
    let mut shown_ms: BTreeMap<RunId, u64> = BTreeMap::new();
    let mut found = Vec::new();
    let mut read = |run: RunId, asked_ms: u64, told_ms: u64, settled: bool| {
        if settled {
            shown_ms.entry(run).or_insert(told_ms);
        } else if shown_ms.get(&run).is_some_and(|shown_ms| *shown_ms < asked_ms) {
            found
                .push(format!("{run} had an outcome, and none for whoever asked at {asked_ms} ms"));
        }
    };
    for moment in history {
        match &moment.fact {
            Fact::Read { run, asked_ms, outcome } => {
                read(*run, *asked_ms, moment.at_ms, outcome.is_some());
            }
            Fact::Listed { asked_ms, runs } => {
                for (run, outcome) in runs {
                    read(*run, *asked_ms, moment.at_ms, outcome.is_some());
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{LISTED, violations};
    use crate::ending::Ending;
    use crate::history::{Answer, Fact, Moment};
    use otto_core::ids::{ProjectId, RunId};
    use otto_core::run::outcome::Outcome;

    fn run(number: u64) -> RunId {
        RunId { project: ProjectId::of("p"), number }
    }

    fn submits(at_ms: u64, key: u64) -> Moment {
        let fact = Fact::Submits { key: key.to_string(), plan: String::new() };
        Moment { at_ms, host: String::new(), fact }
    }

    fn submitted(at_ms: u64, key: u64, number: u64) -> Moment {
        let fact = Fact::Submitted { key: key.to_string(), answer: Answer::Ok(run(number)) };
        Moment { at_ms, host: String::new(), fact }
    }

    fn listed(asked_ms: u64, at_ms: u64, numbers: &[u64]) -> Moment {
        let runs = numbers.iter().map(|number| (run(*number), None)).collect();
        Moment { at_ms, host: String::new(), fact: Fact::Listed { asked_ms, runs } }
    }

    fn read(asked_ms: u64, at_ms: u64, outcome: Option<Outcome>) -> Moment {
        let fact = Fact::Read { run: run(1), asked_ms, outcome };
        Moment { at_ms, host: String::new(), fact }
    }

    #[test]
    fn histories_that_no_order_explains_are_found() {
        let cases: [(&str, &[Moment], bool); 9] = [
            ("in turn", &[submits(1, 1), submitted(2, 1, 1), listed(3, 4, &[1])], true),
            ("at the same time", &[submits(1, 1), listed(2, 5, &[1]), submitted(9, 1, 1)], true),
            (
                "before it is answered",
                &[submits(1, 1), listed(2, 5, &[]), submitted(9, 1, 1)],
                true,
            ),
            ("lost", &[submits(1, 1), submitted(2, 1, 1), listed(3, 4, &[])], false),
            (
                "seen and gone",
                &[submits(1, 1), listed(2, 3, &[1]), listed(4, 5, &[]), submitted(9, 1, 1)],
                false,
            ),
            ("twice", &[submits(1, 1), submitted(2, 1, 1), listed(3, 4, &[1, 1])], false),
            (
                "out of order",
                &[submits(1, 1), submitted(2, 1, 2), submits(3, 2), submitted(4, 2, 1)],
                false,
            ),
            (
                "an outcome stays",
                &[read(1, 2, None), read(3, 4, Some(Outcome::Success)), read(3, 5, None)],
                true,
            ),
            ("and goes", &[read(3, 4, Some(Outcome::Success)), read(5, 6, None)], false),
        ];
        for (case, history, is_linear) in cases {
            let found = violations(history, &Ending::default());
            assert_eq!(found.is_empty(), is_linear, "{case}: {found:?}");
        }
    }

    #[test]
    fn of_many_runs_the_newest_are_listed() {
        let many = u64::from(LISTED) + 4;
        let all = (1..=many)
            .flat_map(|number| [submits(number, number), submitted(number, number, number)]);
        let all: Vec<Moment> = all.collect();
        let linear = |oldest: u64| {
            let numbers: Vec<u64> = (oldest..=many).rev().collect();
            let mut history = all.clone();
            history.push(listed(many, many + 1, &numbers));
            violations(&history, &Ending::default()).is_empty()
        };
        assert!(linear(5));
        assert!(!linear(6), "one is missing");
        assert!(!linear(4), "one too many");
    }
}
