//! The matchmaker: brings offers and bids together, and keeps the table of open leases.
//!
//! There is one in a control process, for all shards that it leads. What it knows is a view: offers
//! and leases are entered by the actors of the stages, which enter them again when it is started
//! anew, and bids come again with every poll. It decides nothing for good: an award counts when the
//! run has journaled it.

pub(crate) mod leases;
pub(crate) mod market;
mod stall;

pub(crate) use stall::{Entry, Stall};

use crate::control::Outside;
use crate::control::answers::{AgentView, Holder, Search};
use crate::control::tenure::Tenure;
use crate::errand::{self, Errand};
use crate::ports::control::{Bid, BidAnswer, LinkError, Order};
use crate::ports::routes::Routes;
use crate::stage;
use leases::{Leases, Standing};
use market::{Market, OfferId};
use otto_core::ids::{AgentId, AgentRef, RunId, ShardId};
use otto_core::lease::{Lease, LeaseId};
use otto_core::time::{Span, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a bid stands before it is answered without orders.
const POLL: Span = Span::seconds(5);
/// How often the matchmaker looks for what ran out, while anything can.
const TICK: Span = Span(500);
/// How long an agent that holds nothing is remembered after it was last seen.
const MEMORY: Span = Span::seconds(60);

/// Where the answer to a bid goes.
type Reply = RpcReplyPort<Result<BidAnswer, LinkError>>;

/// What the matchmaker is told and asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// An agent stands by.
    Bid(Box<Bid>, Reply),
    /// An actor of a shard enters something.
    Enter(Tenure, Entry),
    /// The routes for the agents are others.
    Rerouted,
    /// A shard is not led here any more: nothing of it stands.
    Resigned(ShardId),
    /// An agent renews leases; one answer for each.
    Renew(AgentRef, Vec<LeaseId>, RpcReplyPort<Vec<Standing>>),
    /// Somebody wants to act under a lease.
    Standing(AgentRef, LeaseId, RpcReplyPort<Standing>),
    /// How does the search for an agent go?
    Search(OfferId, RpcReplyPort<Option<Search>>),
    /// Who holds a lease?
    Holder(LeaseId, RpcReplyPort<Option<Holder>>),
    /// Which agents are there?
    Agents(RpcReplyPort<Vec<AgentView>>),
    /// Look for what ran out.
    Tick,
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Bid(..) => "bid",
            Self::Enter(_, entry) => entry.name(),
            Self::Rerouted => "rerouted",
            Self::Resigned(_) => "resigned",
            Self::Renew(..) => "renew",
            Self::Standing(..) => "standing",
            Self::Search(..) => "search",
            Self::Holder(..) => "holder",
            Self::Agents(_) => "agents",
            Self::Tick => "tick",
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Matchmaker;

/// What the matchmaker knows.
#[derive(Debug)]
pub(crate) struct State {
    outside: Outside,
    market: Market,
    leases: Leases,
    sellers: BTreeMap<OfferId, ActorRef<stage::Message>>,
    keepers: BTreeMap<LeaseId, ActorRef<stage::Message>>,
    /// The bids that are not answered yet, with when they came.
    polls: BTreeMap<AgentId, (AgentRef, Timestamp, Reply)>,
    /// The routes that each agent process was told last.
    told: BTreeMap<AgentId, (AgentRef, Arc<Routes>)>,
    seen: BTreeMap<AgentId, Timestamp>,
    /// Whom the last message may have left something to be told.
    news: News,
    tick: Option<Errand>,
}

/// Who may have to be told something.
#[derive(Debug, Default)]
struct News {
    /// These agents.
    of: BTreeSet<AgentId>,
    /// All that stand by.
    of_all: bool,
}

impl Actor for Matchmaker {
    type Msg = Message;
    type State = State;
    type Arguments = Outside;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        outside: Outside,
    ) -> Result<State, ActorProcessingErr> {
        let settings = &outside.settings;
        let patience = Span(settings.lease.0 + settings.margin.0);
        Ok(State {
            market: Market::default(),
            leases: Leases::new(patience),
            sellers: BTreeMap::new(),
            keepers: BTreeMap::new(),
            polls: BTreeMap::new(),
            told: BTreeMap::new(),
            seen: BTreeMap::new(),
            news: News::default(),
            tick: None,
            outside,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.outside.sabotage.strike("matchmaker", message.name());
        state.take(message);
        state.deal();
        if state.tick.is_none() && !(state.polls.is_empty() && state.leases.is_empty()) {
            state.tick = Some(errand::after(&myself, TICK.to_duration(), Message::Tick));
        }
        Ok(())
    }
}

impl State {
    fn take(&mut self, message: Message) {
        let now = self.outside.clock.now();
        match message {
            Message::Bid(bid, reply) => self.bid(*bid, reply, now),
            // What is left of an earlier tenure says nothing about this one.
            Message::Enter(tenure, _) if tenure.is_over() => {}
            Message::Enter(_, entry) => self.enter(entry, now),
            Message::Rerouted => self.news.of_all = true,
            Message::Resigned(shard) => self.resigned(shard),
            Message::Renew(agent, leases, reply) => {
                self.seen.insert(agent.agent, now);
                let renewed = leases.iter().map(|lease| self.leases.renew(agent, *lease, now));
                reply.send(renewed.collect()).ok();
            }
            Message::Standing(agent, lease, reply) => {
                reply.send(self.leases.standing(agent, lease)).ok();
            }
            Message::Search(offer, reply) => {
                reply.send(self.market.search(offer)).ok();
            }
            Message::Holder(lease, reply) => {
                reply.send(self.holder(lease, now)).ok();
            }
            Message::Agents(reply) => {
                reply.send(self.agents()).ok();
            }
            Message::Tick => self.tick(now),
        }
    }

    fn enter(&mut self, entry: Entry, now: Timestamp) {
        match entry {
            Entry::Offer { offer, since, need, seller } => {
                self.market.place(offer, since, need);
                self.sellers.insert(offer, seller);
            }
            Entry::Withdraw(offer) => self.withdraw(offer),
            Entry::Lease { lease, order, keeper } => self.lease(lease, order, keeper, now),
            Entry::Close(lease) => self.close(lease),
            Entry::Only { run, offers, leases } => self.only(run, &offers, &leases),
        }
    }

    fn resigned(&mut self, shard: ShardId) {
        let shards = self.outside.settings.shards;
        let of_shard = |run: RunId| run.project.home(shards) == shard;
        for gone in self.market.offers().filter(|offer| of_shard(offer.run)).collect::<Vec<_>>() {
            self.withdraw(gone);
            self.market.release(gone);
        }
        for gone in self.leases.all().filter(|lease| of_shard(lease.run)).collect::<Vec<_>>() {
            self.close(gone);
        }
    }

    fn bid(&mut self, bid: Bid, reply: Reply, now: Timestamp) {
        let agent = bid.agent;
        if self.leases.replaced(agent) {
            self.tell_lost(now);
        }
        self.leases.held(agent, &bid.holds);
        if !self.market.bid(bid) {
            let newer = "a newer process of this agent has taken its place".to_owned();
            reply.send(Err(LinkError::Refused(newer))).ok();
            return;
        }
        self.seen.insert(agent.agent, now);
        if let Some((_, _, earlier)) = self.polls.remove(&agent.agent) {
            earlier.send(Ok(BidAnswer::default())).ok();
        }
        self.polls.insert(agent.agent, (agent, now, reply));
        self.news.of.insert(agent.agent);
    }

    fn withdraw(&mut self, offer: OfferId) {
        self.market.withdraw(offer);
        self.sellers.remove(&offer);
    }

    fn lease(
        &mut self,
        lease: Lease,
        order: Order,
        keeper: ActorRef<stage::Message>,
        now: Timestamp,
    ) {
        self.withdraw(lease.id.into());
        self.leases.enter(lease, order, now);
        if self.market.holds(lease.agent, lease.id) {
            self.leases.held(lease.agent, &[lease.id]);
        }
        self.market.leased(lease.id, lease.agent);
        self.keepers.insert(lease.id, keeper);
        let newest = self.market.newest(lease.agent.agent);
        let replaced = newest.is_some_and(|newest| self.leases.replaced(newest));
        // Who enters a lease again may not have heard that it is lost.
        if replaced || self.leases.standing(lease.agent, lease.id) == Standing::Over {
            self.tell_lost(now);
        }
        self.news.of.insert(lease.agent.agent);
    }

    fn close(&mut self, lease: LeaseId) {
        self.leases.close(lease);
        self.keepers.remove(&lease);
        self.market.release(lease.into());
    }

    fn only(&mut self, run: RunId, offers: &BTreeSet<OfferId>, leases: &BTreeSet<LeaseId>) {
        for gone in self.market.offers_of(run).into_iter().filter(|o| !offers.contains(o)) {
            self.withdraw(gone);
            self.market.release(gone);
        }
        for gone in self.leases.of_run(run).into_iter().filter(|l| !leases.contains(l)) {
            self.close(gone);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.tick = None;
        // Orders are repeated, and searches for tools.
        self.news.of_all = true;
        self.tell_lost(now);
        let due = self
            .polls
            .iter()
            .filter(|(_, (_, since, reply))| now.since(*since) >= POLL || reply.is_closed());
        let due: Vec<AgentId> = due.map(|(agent, _)| *agent).collect();
        for agent in due {
            self.answer_with(agent, Vec::new());
        }
        let held: BTreeSet<AgentId> = self.leases.agents().iter().map(|a| a.agent).collect();
        let gone = self.seen.iter().filter(|(agent, seen)| {
            now.since(**seen) >= MEMORY && !held.contains(agent) && !self.polls.contains_key(agent)
        });
        let gone: Vec<AgentId> = gone.map(|(agent, _)| *agent).collect();
        for agent in gone {
            self.seen.remove(&agent);
            self.told.remove(&agent);
            self.market.forget(agent);
        }
    }

    /// Tells the stages whose leases are lost, again and again until their runs know.
    fn tell_lost(&mut self, now: Timestamp) {
        for (lease, cause) in self.leases.lost(now) {
            if let Some(keeper) = self.keepers.get(&lease) {
                keeper.cast(stage::Message::Lost(cause)).ok();
            }
        }
    }

    /// Carries what the last message led to: awards, and orders to whom it is about.
    fn deal(&mut self) {
        let now = self.outside.clock.now();
        let polls = &self.polls;
        let is_there = |agent: AgentId| polls.get(&agent).is_some_and(|(.., it)| !it.is_closed());
        for (offer, agent) in self.market.award(is_there) {
            if let Some(seller) = self.sellers.get(&offer) {
                // A seller that died places its offer anew when it is back.
                seller.cast(stage::Message::Awarded(agent)).ok();
            }
        }
        let News { of, of_all } = std::mem::take(&mut self.news);
        let all = self.market.needs_more() || of_all;
        let waiting = |agent: AgentId| self.polls.get(&agent).map(|(process, ..)| *process);
        let told: Vec<AgentRef> = if all {
            self.polls.values().map(|(process, ..)| *process).collect()
        } else {
            of.into_iter().filter_map(waiting).collect()
        };
        for agent in told {
            self.tell(agent, now);
        }
    }

    /// Tells an agent that stands by what there is for it.
    fn tell(&mut self, agent: AgentRef, now: Timestamp) {
        if self.polls.get(&agent.agent).is_some_and(|(.., reply)| reply.is_closed()) {
            self.answer_with(agent.agent, Vec::new());
            return;
        }
        let mut orders = self.leases.orders(agent, now);
        let tools = self.market.looks(agent.agent, now);
        if !tools.is_empty() {
            orders.push(Order::Look { tools });
        }
        if !orders.is_empty() || self.is_lost(agent) {
            self.answer_with(agent.agent, orders);
        }
    }

    /// Whether an agent was told other routes than there are now.
    fn is_lost(&self, agent: AgentRef) -> bool {
        let routes = self.outside.routes.borrow();
        match self.told.get(&agent.agent) {
            Some((process, told)) if *process == agent => !Arc::ptr_eq(told, &routes),
            Some(_) | None => !routes.are_unknown(),
        }
    }

    fn answer_with(&mut self, agent: AgentId, orders: Vec<Order>) {
        self.market.left(agent);
        if let Some((process, _, reply)) = self.polls.remove(&agent) {
            let routes = Arc::clone(&self.outside.routes.borrow());
            self.told.insert(agent, (process, Arc::clone(&routes)));
            reply.send(Ok(BidAnswer { orders, routes: Routes::clone(&routes) })).ok();
        }
    }

    fn holder(&self, lease: LeaseId, now: Timestamp) -> Option<Holder> {
        let (agent, renewed, begun) = self.leases.holder(lease)?;
        let name = self.market.last_bid(agent).map(|bid| bid.name.clone());
        Some(Holder { agent, name, renewed_ago: now.since(renewed), begun })
    }

    fn agents(&self) -> Vec<AgentView> {
        let view = |(bid, bidding, free_slots): (&Bid, bool, u32)| AgentView {
            agent: bid.agent,
            name: bid.name.clone(),
            capabilities: bid.capabilities.clone(),
            free_slots,
            leases: self.leases.of_agent(bid.agent),
            seen: self.seen.get(&bid.agent.agent).copied().unwrap_or_default(),
            bidding,
        };
        self.market.bids().map(view).collect()
    }
}
