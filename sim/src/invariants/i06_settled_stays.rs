//! I6: a settled thing stays settled, in the journal and in everything that clients are shown.
//!
//! Source: "monotonic reads", Terry et al., "Session Guarantees", PDIS 1994.

use super::Invariant;
use crate::ending::{EndedRun, Ending};
use crate::history::{Fact, Moment};
use otto_core::ids::{RunId, StageId};
use otto_core::run::event::Event;
use otto_core::run::outcome::Outcome;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I6", holds: "a settled thing stays settled", violations };

fn violations(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut found = shown(history, ending);
    for (run, ended) in &ending.runs {
        found.extend(settled_twice(ended).into_iter().map(|what| format!("{run}: {what}")));
    }
    found
}

fn shown(history: &[Moment], ending: &Ending) -> Vec<String> {
    let mut last: BTreeMap<RunId, Outcome> = BTreeMap::new();
    let mut found = Vec::new();
    for moment in history {
        let Fact::Read { run, outcome, .. } = &moment.fact else { continue };
        match (last.get(run), outcome) {
            (Some(before), now) if Some(*before) != *now => {
                found.push(format!("{run} was shown as {before}, then as {now:?}"));
            }
            (None, Some(now)) => {
                last.insert(*run, *now);
            }
            _ => {}
        }
    }
    for (run, outcome) in last {
        let kept = ending.runs.get(&run).and_then(EndedRun::outcome);
        if kept != Some(outcome) {
            found.push(format!("{run} was shown as {outcome}, the journal says {kept:?}"));
        }
    }
    found
}

fn settled_twice(run: &EndedRun) -> Vec<String> {
    let mut stages: BTreeSet<StageId> = BTreeSet::new();
    let mut runs = 0;
    let mut found = Vec::new();
    for event in run.events() {
        match event {
            Event::StageSettled { stage, .. } | Event::StageSkipped { stage, .. }
                if !stages.insert(*stage) =>
            {
                found.push(format!("{stage} settled twice"));
            }
            Event::StageOpened { stage, .. } | Event::StageAwarded { stage, .. }
                if stages.contains(stage) =>
            {
                found.push(format!("{stage} went on after it had settled"));
            }
            Event::RunSettled { .. } => {
                runs += 1;
            }
            _ => {}
        }
    }
    if runs > 1 {
        found.push("the run settled twice".to_owned());
    }
    found
}
