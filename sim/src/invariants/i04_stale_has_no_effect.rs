//! I4: a stale epoch has no effect: nothing is journaled under an epoch that is not the lease's.
//!
//! Source: fencing tokens, Kleppmann, "Designing Data-Intensive Applications", chapter 8.

use super::Invariant;
use crate::ending::{EndedRun, Ending};
use crate::history::Moment;
use otto_core::ids::{Attempt, Epoch, StageId};
use otto_core::run::event::Event;
use std::collections::BTreeMap;

pub(super) const INVARIANT: Invariant =
    Invariant { id: "I4", holds: "a stale epoch has no effect", violations };

fn violations(_: &[Moment], ending: &Ending) -> Vec<String> {
    let of_run = |(run, ended)| stale(ended).into_iter().map(move |what| format!("{run}: {what}"));
    ending.runs.iter().flat_map(of_run).collect()
}

fn stale(run: &EndedRun) -> Vec<String> {
    let mut leased: BTreeMap<StageId, (Attempt, Epoch)> = BTreeMap::new();
    let mut found = Vec::new();
    for event in run.events() {
        match event {
            Event::StageAwarded { stage, attempt, epoch, .. } => {
                if let Some((_, other)) = leased.insert(*stage, (*attempt, *epoch)) {
                    found.push(format!("{stage} was awarded as {epoch} while leased as {other}"));
                }
            }
            Event::StageDeclined { stage, attempt, epoch, .. }
            | Event::AttemptEnded { stage, attempt, epoch, .. } => {
                let stale = leased.remove(stage) != Some((*attempt, *epoch));
                let what = || format!("{stage} attempt {attempt} ended under stale {epoch}");
                found.extend(stale.then(what));
            }
            Event::StepsReported { stage, attempt, .. } => {
                let stale = leased.get(stage).map(|(leased, _)| leased) != Some(attempt);
                let what = || format!("{stage} attempt {attempt} reported without a lease");
                found.extend(stale.then(what));
            }
            _ => {}
        }
    }
    found
}
