//! The market: standing bids, offers, and which of them go together. Pure; the actor around it
//! keeps time and carries the awards.

use crate::control::answers::{Closest, Search};
use crate::ports::control::Bid;
use otto_core::capability::{Capabilities, Need};
use otto_core::ids::{AgentId, AgentRef, Attempt, ProjectId, RunId, StageId};
use otto_core::lease::LeaseId;
use otto_core::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long an agent may look for a tool before it is asked again: the order may be lost. It does
/// not look twice at the same time.
const LOOK_AGAIN: Span = Span::seconds(10);
/// The most tools that an agent is asked for at once.
const MAX_LOOK: usize = 100;

/// What is offered: one attempt at a stage. It has one offer at a time, and one lease at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct OfferId {
    /// The run.
    pub(crate) run: RunId,
    /// The stage.
    pub(crate) stage: StageId,
    /// The attempt at it.
    pub(crate) attempt: Attempt,
}

impl From<LeaseId> for OfferId {
    fn from(lease: LeaseId) -> Self {
        Self { run: lease.run, stage: lease.stage, attempt: lease.attempt }
    }
}

/// The place of an offer among those that need the same: the oldest first.
type Rank = (Timestamp, OfferId);

/// An offer as it was placed.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Placed {
    since: Timestamp,
    need: Need,
    awarded: bool,
}

/// An agent that has bid.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bidder {
    bid: Bid,
    /// It waits for an answer to its bid: only then is it sure to be there.
    waiting: bool,
    /// What was awarded to it and is not yet in a bid's `holds`: each takes one of its free slots.
    pending: BTreeSet<OfferId>,
    /// The tools that it was told to look for, and when.
    asked: BTreeMap<String, Timestamp>,
}

impl Bidder {
    fn free(&self) -> u32 {
        let pending = u32::try_from(self.pending.len()).unwrap_or(u32::MAX);
        self.bid.free_slots.saturating_sub(pending)
    }

    /// What one more stage costs here.
    fn cost(&self) -> u64 {
        u64::from(self.bid.cost) + self.pending.len() as u64
    }
}

/// All bids and offers of a control process.
#[derive(Debug, Default)]
pub(crate) struct Market {
    bidders: BTreeMap<AgentId, Bidder>,
    offers: BTreeMap<OfferId, Placed>,
    /// The offers that are not awarded, by what they need.
    open: BTreeMap<Need, BTreeSet<Rank>>,
}

impl Market {
    /// Takes a bid, which stands until [`Market::left`]. Answers false for an agent process that a
    /// newer one has replaced.
    pub(crate) fn bid(&mut self, bid: Bid) -> bool {
        let known = self.bidders.get(&bid.agent.agent);
        if known.is_some_and(|known| known.bid.agent.incarnation > bid.agent.incarnation) {
            return false;
        }
        let same = known.filter(|known| known.bid.agent == bid.agent);
        let mut pending = same.map(|known| known.pending.clone()).unwrap_or_default();
        for lease in &bid.holds {
            pending.remove(&OfferId::from(*lease));
        }
        let mut asked = same.map(|known| known.asked.clone()).unwrap_or_default();
        let Capabilities { tools, absent, .. } = &bid.capabilities;
        asked.retain(|tool, _| !tools.contains_key(tool) && !absent.contains(tool));
        self.bidders.insert(bid.agent.agent, Bidder { bid, waiting: true, pending, asked });
        true
    }

    /// An agent's bid was answered: nothing more is awarded to it before its next one.
    pub(crate) fn left(&mut self, agent: AgentId) {
        if let Some(bidder) = self.bidders.get_mut(&agent) {
            bidder.waiting = false;
        }
    }

    /// An agent was not seen for long: it is forgotten.
    pub(crate) fn forget(&mut self, agent: AgentId) {
        self.bidders.remove(&agent);
    }

    /// Takes an offer. One that was there is placed anew, also where it had been awarded: the award
    /// did not reach the journal.
    pub(crate) fn place(&mut self, offer: OfferId, since: Timestamp, need: Need) {
        self.withdraw(offer);
        self.release(offer);
        self.open.entry(need.clone()).or_default().insert((since, offer));
        self.offers.insert(offer, Placed { since, need, awarded: false });
    }

    /// Takes an offer back. If it was awarded, it still takes a slot until it is released or held.
    pub(crate) fn withdraw(&mut self, offer: OfferId) {
        if let Some(placed) = self.offers.remove(&offer) {
            self.unlist(offer, &placed);
        }
    }

    /// An award came to nothing or its lease is over: it takes no slot any more.
    pub(crate) fn release(&mut self, offer: OfferId) {
        for bidder in self.bidders.values_mut() {
            bidder.pending.remove(&offer);
        }
    }

    /// A lease is open; where its agent does not hold it yet, it takes one of its slots.
    pub(crate) fn leased(&mut self, lease: LeaseId, agent: AgentRef) {
        let bidder = self.bidders.get_mut(&agent.agent);
        let bidder = bidder.filter(|bidder| bidder.bid.agent == agent);
        if let Some(bidder) = bidder.filter(|bidder| !bidder.bid.holds.contains(&lease)) {
            bidder.pending.insert(lease.into());
        }
    }

    /// All offers.
    pub(crate) fn offers(&self) -> impl Iterator<Item = OfferId> {
        self.offers.keys().copied()
    }

    /// The offers of a run.
    pub(crate) fn offers_of(&self, run: RunId) -> Vec<OfferId> {
        let first = OfferId { run, stage: StageId::ROOT, attempt: Attempt(0) };
        let of_run = self.offers.range(first..).map(|(offer, _)| *offer);
        of_run.take_while(|offer| offer.run == run).collect()
    }

    /// Whether this agent process holds a lease, by its own last word.
    pub(crate) fn holds(&self, agent: AgentRef, lease: LeaseId) -> bool {
        let bidder = self.bidders.get(&agent.agent);
        bidder.is_some_and(|b| b.bid.agent == agent && b.bid.holds.contains(&lease))
    }

    /// The process of an agent that bid last.
    pub(crate) fn newest(&self, agent: AgentId) -> Option<AgentRef> {
        self.bidders.get(&agent).map(|bidder| bidder.bid.agent)
    }

    /// All bids, with whether each stands now and how many slots are free for awards.
    pub(crate) fn bids(&self) -> impl Iterator<Item = (&Bid, bool, u32)> {
        self.bidders.values().map(|bidder| (&bidder.bid, bidder.waiting, bidder.free()))
    }

    /// Awards what can be awarded: the oldest offer first, each to the cheapest agent that can
    /// serve it.
    pub(crate) fn award(&mut self) -> Vec<(OfferId, AgentRef)> {
        let mut awards = Vec::new();
        while let Some((offer, agent)) = self.oldest_served() {
            let Some(placed) = self.offers.get_mut(&offer) else { break };
            placed.awarded = true;
            let placed = placed.clone();
            self.unlist(offer, &placed);
            if let Some(bidder) = self.bidders.get_mut(&agent.agent) {
                bidder.pending.insert(offer);
            }
            awards.push((offer, agent));
        }
        awards
    }

    /// The oldest offer that an agent can take now, and the cheapest such agent.
    fn oldest_served(&self) -> Option<(OfferId, AgentRef)> {
        let served = self.open.iter().filter_map(|(need, ranks)| {
            let rank = ranks.first()?;
            let agent = self.cheapest(need, rank.1.run.project)?;
            Some((*rank, agent))
        });
        let ((_, offer), agent) = served.min_by_key(|(rank, _)| *rank)?;
        Some((offer, agent))
    }

    /// The cheapest agent that can take an offer of a project now; of several the one that has the
    /// project's files.
    fn cheapest(&self, need: &Need, project: ProjectId) -> Option<AgentRef> {
        self.bidders
            .values()
            .filter(|bidder| bidder.waiting && bidder.free() > 0)
            .filter(|bidder| bidder.bid.capabilities.lacks(need).is_empty())
            .min_by_key(|bidder| {
                (bidder.cost(), !bidder.bid.warm.contains(&project), bidder.bid.agent)
            })
            .map(|bidder| bidder.bid.agent)
    }

    /// The tools that an agent, which waits, is to look for now, because an offer needs them that
    /// nobody could be awarded. To be asked after [`Market::award`].
    pub(crate) fn looks(&mut self, agent: AgentId, now: Timestamp) -> Vec<String> {
        let Some(bidder) = self.bidders.get_mut(&agent) else { return Vec::new() };
        let capabilities = &bidder.bid.capabilities;
        let wanting = self.open.keys().filter(|need| !capabilities.lacks(need).is_empty());
        let unknown: BTreeSet<&str> = wanting.flat_map(|need| capabilities.unknown(need)).collect();
        bidder.asked.retain(|tool, asked| {
            now.since(*asked) < LOOK_AGAIN && unknown.contains(tool.as_str())
        });
        let asked = &mut bidder.asked;
        let fresh = unknown.into_iter().filter(|tool| !asked.contains_key(*tool));
        let tools: Vec<String> = fresh.take(MAX_LOOK).map(str::to_owned).collect();
        asked.extend(tools.iter().map(|tool| (tool.clone(), now)));
        tools
    }

    fn unlist(&mut self, offer: OfferId, placed: &Placed) {
        if let Some(ranks) = self.open.get_mut(&placed.need) {
            ranks.remove(&(placed.since, offer));
            if ranks.is_empty() {
                self.open.remove(&placed.need);
            }
        }
    }

    /// How the search for an agent goes.
    pub(crate) fn search(&self, offer: OfferId) -> Option<Search> {
        let placed = self.offers.get(&offer)?;
        let rank = (placed.since, offer);
        let ahead = self.open.values().map(|ranks| ranks.range(..rank).count() as u64).sum();
        let lacking: Vec<(Vec<String>, &Bid)> = self
            .bidders
            .values()
            .map(|bidder| (bidder.bid.capabilities.lacks(&placed.need), &bidder.bid))
            .collect();
        let capable = lacking.iter().filter(|(lacks, _)| lacks.is_empty()).count();
        let closest = lacking.iter().min_by_key(|(lacks, bid)| (lacks.len(), bid.agent));
        let closest = closest
            .filter(|_| capable == 0)
            .map(|(lacks, bid)| Closest { agent: bid.name.clone(), lacks: lacks.clone() });
        let unknown = lacking.iter().flat_map(|(_, bid)| bid.capabilities.unknown(&placed.need));
        let looks_for =
            if capable == 0 { unknown.map(str::to_owned).collect() } else { BTreeSet::new() };
        Some(Search {
            need: placed.need.to_string(),
            agents: u32::try_from(lacking.len()).unwrap_or(u32::MAX),
            capable: u32::try_from(capable).unwrap_or(u32::MAX),
            ahead,
            closest,
            looks_for,
        })
    }
}

#[cfg(test)]
mod tests;
