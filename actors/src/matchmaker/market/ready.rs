//! The agents that can take something now, in the order in which they are awarded.
//!
//! Agents that have the same capabilities stand in one line, cheapest first, so that an award looks
//! at as many lines as there are kinds of agents, and not at every agent.

use super::Bidder;
use otto_core::capability::{Capabilities, Need};
use otto_core::ids::{AgentRef, ProjectId};
use std::collections::{BTreeMap, BTreeSet};

/// Agents, cheapest first.
type Line = BTreeSet<(u64, AgentRef)>;

/// Agents of the same capabilities.
#[derive(Debug, Default)]
struct Kind {
    all: Line,
    /// Those that have a project's files.
    warm: BTreeMap<ProjectId, Line>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ready(BTreeMap<Capabilities, Kind>);

impl Ready {
    /// Lists an agent, if it can take something.
    pub(super) fn list(&mut self, bidder: &Bidder) {
        if !bidder.is_ready() {
            return;
        }
        let capabilities = &bidder.bid.capabilities;
        if !self.0.contains_key(capabilities) {
            self.0.insert(capabilities.clone(), Kind::default());
        }
        let Some(kind) = self.0.get_mut(capabilities) else { return };
        let place = (bidder.cost(), bidder.bid.agent);
        kind.all.insert(place);
        for project in &bidder.bid.warm {
            kind.warm.entry(*project).or_default().insert(place);
        }
    }

    /// Takes an agent off the list, as it was when it was listed.
    pub(super) fn unlist(&mut self, bidder: &Bidder) {
        let Some(kind) = self.0.get_mut(&bidder.bid.capabilities) else { return };
        let place = (bidder.cost(), bidder.bid.agent);
        kind.all.remove(&place);
        for project in &bidder.bid.warm {
            if let Some(line) = kind.warm.get_mut(project) {
                line.remove(&place);
                if line.is_empty() {
                    kind.warm.remove(project);
                }
            }
        }
        if kind.all.is_empty() {
            self.0.remove(&bidder.bid.capabilities);
        }
    }

    /// The cheapest agent that can take an offer of a project; of several the one that has the
    /// project's files.
    pub(super) fn cheapest(&self, need: &Need, project: ProjectId) -> Option<AgentRef> {
        let able = self.0.iter().filter(|(capabilities, _)| capabilities.lacks(need).is_empty());
        let first = able.filter_map(|(_, kind)| {
            let (cost, agent) = *kind.all.first()?;
            let warm = kind.warm.get(&project).and_then(BTreeSet::first);
            match warm {
                Some((warm_cost, warm)) if *warm_cost == cost => Some((cost, false, *warm)),
                Some(_) | None => Some((cost, true, agent)),
            }
        });
        first.min().map(|(_, _, agent)| agent)
    }
}
