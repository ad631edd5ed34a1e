//! The market: standing bids, offers, and which of them go together. Pure; the actor around it
//! keeps time and carries the awards.
//!
//! What a bid, an offer or an award costs does not grow with how many there are: what is sought is
//! listed by what it is sought by.

mod ready;

use crate::control::answers::{Closest, Search};
use crate::ports::control::Bid;
use otto_core::capability::{Capabilities, Need};
use otto_core::ids::{AgentId, AgentRef, Attempt, RunId, StageId};
use otto_core::lease::LeaseId;
use otto_core::time::{Span, Timestamp};
use ready::Ready;
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

    /// Whether something can be awarded to it now.
    fn is_ready(&self) -> bool {
        self.waiting && self.free() > 0
    }
}

/// All bids and offers of a control process.
#[derive(Debug, Default)]
pub(crate) struct Market {
    bidders: BTreeMap<AgentId, Bidder>,
    /// Those of them that can take something now.
    ready: Ready,
    /// What is pending at which of them.
    takers: BTreeSet<(OfferId, AgentId)>,
    offers: BTreeMap<OfferId, Placed>,
    /// The offers that are not awarded, by what they need.
    open: BTreeMap<Need, BTreeSet<Rank>>,
    /// Needs that were not open before, since somebody asked.
    fresh: BTreeSet<Need>,
    /// Something may be awarded that could not be before.
    moved: bool,
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
        let agent = bid.agent.agent;
        self.forget(agent);
        self.takers.extend(pending.iter().map(|offer| (*offer, agent)));
        let bidder = Bidder { bid, waiting: true, pending, asked };
        self.ready.list(&bidder);
        self.bidders.insert(agent, bidder);
        self.moved = true;
        true
    }

    /// An agent's bid was answered: nothing more is awarded to it before its next one.
    pub(crate) fn left(&mut self, agent: AgentId) {
        self.change(agent, |bidder| bidder.waiting = false);
    }

    /// An agent was not seen for long: it is forgotten.
    pub(crate) fn forget(&mut self, agent: AgentId) {
        let Some(bidder) = self.bidders.remove(&agent) else { return };
        self.ready.unlist(&bidder);
        for offer in bidder.pending {
            self.takers.remove(&(offer, agent));
        }
    }

    /// Changes what is known of an agent.
    fn change(&mut self, agent: AgentId, change: impl FnOnce(&mut Bidder)) {
        if let Some(bidder) = self.bidders.get_mut(&agent) {
            self.ready.unlist(bidder);
            change(bidder);
            self.ready.list(bidder);
        }
    }

    /// An agent takes an offer, which needs one of its slots until it holds the lease.
    fn take(&mut self, agent: AgentId, offer: OfferId) {
        self.takers.insert((offer, agent));
        self.change(agent, |bidder| {
            bidder.pending.insert(offer);
        });
    }

    /// Takes an offer. One that was there is placed anew, also where it had been awarded: the award
    /// did not reach the journal.
    pub(crate) fn place(&mut self, offer: OfferId, since: Timestamp, need: Need) {
        self.withdraw(offer);
        self.release(offer);
        let ranks = self.open.entry(need.clone()).or_default();
        if ranks.is_empty() {
            self.fresh.insert(need.clone());
        }
        ranks.insert((since, offer));
        self.moved = true;
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
        let first = (offer, AgentId([0; 16]));
        let takers = self.takers.range(first..).take_while(|(taken, _)| *taken == offer);
        for (_, agent) in takers.copied().collect::<Vec<_>>() {
            self.takers.remove(&(offer, agent));
            self.change(agent, |bidder| {
                bidder.pending.remove(&offer);
            });
            self.moved = true;
        }
    }

    /// A lease is open; where its agent does not hold it yet, it takes one of its slots.
    pub(crate) fn leased(&mut self, lease: LeaseId, agent: AgentRef) {
        let bidder = self.bidders.get(&agent.agent);
        let bidder = bidder.filter(|bidder| bidder.bid.agent == agent);
        if bidder.is_some_and(|bidder| !bidder.bid.holds.contains(&lease)) {
            self.take(agent.agent, lease.into());
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

    /// The last bid of this agent process.
    pub(crate) fn last_bid(&self, agent: AgentRef) -> Option<&Bid> {
        let bidder = self.bidders.get(&agent.agent);
        bidder.map(|bidder| &bidder.bid).filter(|bid| bid.agent == agent)
    }

    /// All bids, with whether each stands now and how many slots are free for awards.
    pub(crate) fn bids(&self) -> impl Iterator<Item = (&Bid, bool, u32)> {
        self.bidders.values().map(|bidder| (&bidder.bid, bidder.waiting, bidder.free()))
    }

    /// Awards what can be awarded: the oldest offer first, each to the cheapest agent that can
    /// serve it, of those that are there.
    pub(crate) fn award(&mut self, is_there: impl Fn(AgentId) -> bool) -> Vec<(OfferId, AgentRef)> {
        let mut awards = Vec::new();
        if !std::mem::take(&mut self.moved) {
            return awards;
        }
        while let Some((offer, agent)) = self.oldest_served() {
            if !is_there(agent.agent) {
                self.left(agent.agent);
                continue;
            }
            let Some(placed) = self.offers.get_mut(&offer) else { break };
            placed.awarded = true;
            let placed = placed.clone();
            self.unlist(offer, &placed);
            self.take(agent.agent, offer);
            awards.push((offer, agent));
        }
        awards
    }

    /// The oldest offer that an agent can take now, and the cheapest such agent.
    fn oldest_served(&self) -> Option<(OfferId, AgentRef)> {
        let served = self.open.iter().filter_map(|(need, ranks)| {
            let rank = ranks.first()?;
            let agent = self.ready.cheapest(need, rank.1.run.project)?;
            Some((*rank, agent))
        });
        let ((_, offer), agent) = served.min_by_key(|(rank, _)| *rank)?;
        Some((offer, agent))
    }

    /// Whether something is needed now that was not before: then agents may have to look for tools.
    /// To be asked after [`Market::award`]; says so once.
    pub(crate) fn needs_more(&mut self) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        fresh.iter().any(|need| self.open.contains_key(need))
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
