//! The actor that holds the session with the control side: it bids at every control node, renews
//! leases and reports where their shards are led.
//!
//! It keeps nothing that is lost with it: what is held and what is to be told is in the ledger.

use super::ledger::{Ledger, given_up_end, idle_end};
use super::post::Posts;
use super::roads::Place;
use super::{Outside, root, within};
use crate::backoff;
use crate::errand::{self, Errand, Panicked};
use crate::executor;
use crate::ports::control::{
    Assignment, Bid, BidAnswer, Control, LinkError, Order, Report, ReportAnswer,
};
use otto_core::capability::{Found, is_tool_name};
use otto_core::ids::ShardId;
use otto_core::lease::{LEASE, LeaseId};
use otto_core::run::duty::EndReason;
use otto_core::time::{Span, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::{BTreeMap, BTreeSet};

/// How long a bid may go unanswered: the control side answers sooner, if with nothing.
const BID: Span = Span::seconds(15);
/// How long a renewal may take: there must be time for another one elsewhere.
const RENEWAL: Span = Span::seconds(3);
/// How long any other call may take.
const CALL: Span = Span::seconds(5);
/// The longest pause before a call is repeated that did not come through.
const LONGEST: Span = Span::seconds(1);
/// The pause before an agent bids once more that was told to make way for a newer process.
const DISMISSED: Span = Span::seconds(30);
/// How long facts about steps gather before they are told. Ends are told at once.
const GATHER: Span = Span(100);

/// How long a tool that was looked for in vain counts as absent.
const DOUBT: Span = Span::seconds(60);

/// The answer of the control side, if the call came to one.
type Answered<T> = Result<Result<T, LinkError>, Panicked>;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Bid now: something has changed.
    Bid,
    /// The pause at a place is over.
    BidAgain(Place),
    /// The bid of this number at that place, sent then, was answered.
    Ordered(Place, u64, Timestamp, Answered<BidAnswer>),
    /// Renew what is held.
    Renew,
    /// The renewal of a shard's leases that was sent then was answered.
    Renewed(ShardId, Timestamp, Vec<LeaseId>, Answered<Vec<LeaseId>>),
    /// The ledger has news.
    News,
    /// Facts have gathered for long enough.
    Tell,
    /// The reports to a shard were answered.
    Reported(ShardId, Vec<Report>, Answered<Vec<ReportAnswer>>),
    /// The pause before a shard is told once more is over.
    TellAgain(ShardId),
    /// The search for these tools is over.
    Looked(Vec<String>, Result<BTreeMap<String, Found>, Panicked>),
    /// What was absent may have been installed meanwhile.
    Doubt,
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::BidAgain(_) => "bid again",
            Self::Ordered(..) => "ordered",
            Self::Renew => "renew",
            Self::Renewed(..) => "renewed",
            Self::News => "news",
            Self::Tell => "tell",
            Self::Reported(..) => "reported",
            Self::TellAgain(_) => "tell again",
            Self::Looked(..) => "looked",
            Self::Doubt => "doubt",
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Session;

/// What the actor knows.
#[derive(Debug)]
pub(crate) struct State {
    outside: Outside,
    root: ActorRef<root::Message>,
    posts: Posts,
    next_bid: u64,
    /// The renewals under way.
    renewals: BTreeMap<ShardId, Errand>,
    renew_timer: Option<Errand>,
    telling: BTreeMap<ShardId, Telling>,
    tell_timer: Option<Errand>,
    /// The searches under way, by the tools that are looked for.
    looks: BTreeMap<Vec<String>, Errand>,
    doubt_timer: Option<Errand>,
}

/// What a shard is being told.
#[derive(Debug, Default)]
struct Telling {
    /// The reports under way.
    under_way: Option<Errand>,
    /// How many did not come through since some did.
    failed: u32,
    /// The pause before they are repeated.
    pause: Option<Errand>,
}

impl Actor for Session {
    type Msg = Message;
    type State = State;
    type Arguments = (Outside, ActorRef<root::Message>);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (outside, root): (Outside, ActorRef<root::Message>),
    ) -> Result<State, ActorProcessingErr> {
        for first in [Message::Doubt, Message::Bid, Message::Renew, Message::Tell] {
            myself.cast(first)?;
        }
        Ok(State {
            outside,
            root,
            posts: Posts::default(),
            next_bid: 0,
            renewals: BTreeMap::new(),
            renew_timer: None,
            telling: BTreeMap::new(),
            tell_timer: None,
            looks: BTreeMap::new(),
            doubt_timer: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.outside.ports.sabotage.strike("agent", message.name());
        match message {
            Message::Bid => state.bid(&myself),
            Message::BidAgain(place) => {
                if let Some(post) = state.posts.at(place) {
                    post.pause = None;
                }
                state.bid_at(place, &myself);
            }
            Message::Ordered(place, bid, sent, answer) => {
                state.ordered(place, bid, sent, answer, &myself);
            }
            Message::Renew => state.renew(&myself),
            Message::Renewed(shard, sent, leases, answer) => {
                state.renewals.remove(&shard);
                state.renewed(sent, &leases, answer, &myself);
            }
            Message::News => {
                state.news(&myself);
            }
            Message::Tell => {
                state.tell_timer = None;
                state.tell(&myself);
            }
            Message::Reported(shard, reports, answer) => {
                state.reported(shard, &reports, answer, &myself);
            }
            Message::TellAgain(shard) => {
                state.telling.entry(shard).or_default().pause = None;
                state.tell(&myself);
            }
            Message::Looked(tools, found) => state.looked(&tools, found, &myself),
            Message::Doubt => state.doubt(&myself),
        }
        Ok(())
    }
}

impl State {
    fn now(&self) -> Timestamp {
        self.outside.ports.clock.now()
    }

    /// Bids everywhere where no pause is on.
    fn bid(&mut self, myself: &ActorRef<Message>) {
        self.posts.follow(&self.outside.ports.roads);
        for place in self.posts.ready() {
            self.bid_at(place, myself);
        }
    }

    /// Bids at a place, unless the same bid stands there.
    fn bid_at(&mut self, place: Place, myself: &ActorRef<Message>) {
        let (settings, sent) = (&self.outside.settings, self.now());
        let bid = self.outside.ledger.with(|ledger| Bid {
            agent: settings.agent,
            name: settings.name.clone(),
            capabilities: ledger.capabilities().clone(),
            free_slots: ledger.free(),
            holds: ledger.holds(),
            cost: ledger.working(),
            warm: ledger.warm(),
        });
        let Some(post) = self.posts.at(place) else { return };
        if !post.bids.is_empty() && post.last_bid.as_ref() == Some(&bid) {
            return;
        }
        post.last_bid = Some(bid.clone());
        let number = self.next_bid;
        self.next_bid += 1;
        let control = post.control.clone();
        let call = async move { within(BID, control.bid(bid)).await };
        let tell = move |answer| Message::Ordered(place, number, sent, answer);
        post.bids.insert(number, errand::start(myself, call, tell));
    }

    fn ordered(
        &mut self,
        place: Place,
        bid: u64,
        sent: Timestamp,
        answer: Answered<BidAnswer>,
        myself: &ActorRef<Message>,
    ) {
        // A post that was left meanwhile has given its orders to nobody: they come again.
        let Some(post) = self.posts.at(place) else { return };
        post.bids.remove(&bid);
        let roads = self.outside.ports.roads.clone();
        match answer {
            Ok(Ok(BidAnswer { orders, routes })) => {
                post.failed = 0;
                roads.heard(place);
                self.carry_out(place, orders, sent, myself);
                let news = [roads.stranded(false), roads.learn(&routes)];
                if news.contains(&true) {
                    self.bid(myself);
                }
            }
            Ok(Err(LinkError::Refused(cause))) => {
                tracing::error!(cause, "this agent was dismissed");
                let pause = DISMISSED.to_duration();
                post.pause = Some(errand::after(myself, pause, Message::BidAgain(place)));
                for lease in self.outside.ledger.with(|ledger| ledger.holds()) {
                    self.give_up(lease);
                }
            }
            Ok(Err(LinkError::Unreachable(_) | LinkError::NotHere { .. })) | Err(_) => {
                if post.bids.is_empty() {
                    let chance = self.outside.ports.chance.as_ref();
                    let pause = backoff::pause(post.failed, LONGEST, chance).to_duration();
                    post.failed = post.failed.saturating_add(1);
                    post.pause = Some(errand::after(myself, pause, Message::BidAgain(place)));
                }
                if self.posts.stranded() && roads.stranded(true) {
                    self.bid(myself);
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        place: Place,
        orders: Vec<Order>,
        sent: Timestamp,
        myself: &ActorRef<Message>,
    ) {
        let mut begin: Vec<Assignment> = Vec::new();
        for order in orders {
            match order {
                Order::Start(assignment) => begin.push(*assignment),
                Order::End { lease, reason } => self.end(lease, reason, sent, myself),
                Order::Look { tools } => self.look(tools, myself),
            }
        }
        if begin.is_empty() {
            // Where another bid stands already this changes nothing but what is told by it.
            if self.posts.at(place).is_some_and(|post| post.bids.is_empty()) {
                self.bid_at(place, myself);
            }
        } else {
            // The root bids when it has taken them, so that the next bid holds them.
            self.root.cast(root::Message::Begin(begin, sent)).ok();
        }
    }

    fn end(
        &mut self,
        lease: LeaseId,
        reason: EndReason,
        sent: Timestamp,
        myself: &ActorRef<Message>,
    ) {
        let ledger = &self.outside.ledger;
        if let Some(executor) = ledger.with(|ledger| ledger.executor(lease)) {
            executor.cast(executor::Message::Interrupt(reason)).ok();
        } else if !ledger.with(|ledger| ledger.has(lease)) {
            let given_up = ledger.with(|ledger| ledger.had(lease));
            let end = if given_up { given_up_end() } else { idle_end(reason) };
            ledger.with(|ledger| ledger.end_idle(lease, sent, end));
            self.news(myself);
        }
    }

    /// Looks for tools, but for those that are looked for already.
    fn look(&mut self, mut tools: Vec<String>, myself: &ActorRef<Message>) {
        let under_way: BTreeSet<&String> = self.looks.keys().flatten().collect();
        tools.retain(|tool| is_tool_name(tool) && !under_way.contains(tool));
        if tools.is_empty() {
            return;
        }
        let (port, asked) = (self.outside.ports.tools.clone(), tools.clone());
        let call = async move { port.look(&asked).await };
        let told = tools.clone();
        let errand = errand::start(myself, call, move |found| Message::Looked(told, found));
        self.looks.insert(tools, errand);
    }

    /// A search is over: the next bid says what came of it. After one that came to nothing the
    /// control side asks again.
    fn looked(
        &mut self,
        tools: &[String],
        found: Result<BTreeMap<String, Found>, Panicked>,
        myself: &ActorRef<Message>,
    ) {
        self.looks.remove(tools);
        match found {
            Ok(found) => self.outside.ledger.with(|ledger| ledger.learn(found)),
            Err(panicked) => tracing::error!(%panicked, "a search for tools came to nothing"),
        }
        if self.doubt_timer.is_none() {
            self.doubt_later(myself);
        }
        self.bid(myself);
    }

    /// Forgets what is absent, so that the control side asks again for what is still needed.
    fn doubt(&mut self, myself: &ActorRef<Message>) {
        self.doubt_timer = None;
        self.outside.ledger.with(Ledger::doubt_absent);
        self.bid(myself);
    }

    fn doubt_later(&mut self, myself: &ActorRef<Message>) {
        if !self.outside.ledger.with(|ledger| ledger.capabilities().absent.is_empty()) {
            self.doubt_timer = Some(errand::after(myself, DOUBT.to_duration(), Message::Doubt));
        }
    }

    /// Sends renewals of all that is held, to each shard one unless one is under way; gives up what
    /// ran out.
    fn renew(&mut self, myself: &ActorRef<Message>) {
        let now = self.now();
        for lease in self.outside.ledger.with(|ledger| ledger.overdue(now)) {
            tracing::warn!(%lease, "a lease was not renewed in time");
            self.give_up(lease);
        }
        let roads = &self.outside.ports.roads;
        let mut by_shard: BTreeMap<ShardId, Vec<LeaseId>> = BTreeMap::new();
        for lease in self.outside.ledger.with(|ledger| ledger.holds()) {
            by_shard.entry(roads.shard_of(lease)).or_default().push(lease);
        }
        for (shard, leases) in by_shard {
            if self.renewals.contains_key(&shard) {
                continue;
            }
            let (roads, agent, asked) =
                (roads.clone(), self.outside.settings.agent, leases.clone());
            let call = async move { within(RENEWAL, roads.renew(agent, asked)).await };
            let tell = move |answer| Message::Renewed(shard, now, leases, answer);
            self.renewals.insert(shard, errand::start(myself, call, tell));
        }
        self.renew_later(None, myself);
    }

    /// Renews again after a third of the shortest lease, or sooner; never later than the moment at
    /// which a lease runs out.
    fn renew_later(&mut self, sooner: Option<Span>, myself: &ActorRef<Message>) {
        let now = self.now();
        let pressing = self.outside.ledger.with(|ledger| ledger.pressing());
        let pause = match pressing {
            Some((first, shortest)) => {
                let third = Span(shortest.0 / 3);
                sooner.unwrap_or(third).min(third).min(first.since(now))
            }
            None => Span(LEASE.0 / 3),
        };
        let pause = pause.max(Span(1)).to_duration();
        self.renew_timer = Some(errand::after(myself, pause, Message::Renew));
    }

    fn renewed(
        &mut self,
        sent: Timestamp,
        leases: &[LeaseId],
        answer: Answered<Vec<LeaseId>>,
        myself: &ActorRef<Message>,
    ) {
        let Ok(Ok(ended)) = answer else {
            self.renew_later(Some(LONGEST), myself);
            return;
        };
        let ago = self.now().since(sent);
        for lease in leases.iter().filter(|lease| !ended.contains(lease)) {
            self.outside.ledger.with(|ledger| ledger.renewed(*lease, sent));
            self.outside.ports.stages.renewed(*lease, ago);
        }
        for lease in ended {
            self.give_up(lease);
        }
        self.renew_later(None, myself);
    }

    fn give_up(&self, lease: LeaseId) {
        if let Some(executor) = self.outside.ledger.with(|ledger| ledger.give_up(lease)) {
            executor.cast(executor::Message::Abandon).ok();
        }
    }

    /// The ledger has changed: a bid may have to change with it, and there may be news to tell.
    fn news(&mut self, myself: &ActorRef<Message>) {
        self.bid(myself);
        if self.outside.ledger.with(|ledger| ledger.has_ends()) {
            self.tell(myself);
        } else if self.tell_timer.is_none() {
            let pause = GATHER.to_duration();
            self.tell_timer = Some(errand::after(myself, pause, Message::Tell));
        }
    }

    /// Sends what is to be told, to each shard unless reports are under way or their repetition
    /// waits.
    fn tell(&mut self, myself: &ActorRef<Message>) {
        let roads = &self.outside.ports.roads;
        let mut by_shard: BTreeMap<ShardId, Vec<Report>> = BTreeMap::new();
        for report in self.outside.ledger.with(|ledger| ledger.reports()) {
            by_shard.entry(roads.shard_of(report.lease())).or_default().push(report);
        }
        for (shard, reports) in by_shard {
            let telling = self.telling.entry(shard).or_default();
            if telling.under_way.is_some() || telling.pause.is_some() {
                continue;
            }
            let (roads, agent, sent) =
                (roads.clone(), self.outside.settings.agent, reports.clone());
            let call = async move { within(CALL, roads.report(agent, sent)).await };
            let tell = move |answer| Message::Reported(shard, reports, answer);
            telling.under_way = Some(errand::start(myself, call, tell));
        }
    }

    fn reported(
        &mut self,
        shard: ShardId,
        reports: &[Report],
        answer: Answered<Vec<ReportAnswer>>,
        myself: &ActorRef<Message>,
    ) {
        let telling = self.telling.entry(shard).or_default();
        telling.under_way = None;
        let Ok(Ok(answers)) = answer else {
            let chance = self.outside.ports.chance.as_ref();
            let pause = backoff::pause(telling.failed, LONGEST, chance).to_duration();
            telling.failed = telling.failed.saturating_add(1);
            telling.pause = Some(errand::after(myself, pause, Message::TellAgain(shard)));
            return;
        };
        telling.failed = 0;
        for (report, answer) in reports.iter().zip(answers) {
            let executor = self.outside.ledger.with(|ledger| ledger.answered(report, answer));
            if let Some(executor) = executor {
                executor.cast(executor::Message::Abandon).ok();
            }
        }
        if self.outside.ledger.with(|ledger| ledger.reports()).is_empty() {
            self.bid(myself);
        } else {
            self.news(myself);
        }
    }
}
