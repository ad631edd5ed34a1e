//! The actor that holds the session with the control side: it bids, renews leases and reports.
//!
//! It keeps nothing that is lost with it: what is held and what is to be told is in the ledger.

use super::ledger::Ledger;
use super::{Outside, root, within};
use crate::backoff;
use crate::errand::{self, Errand, Panicked};
use crate::executor;
use crate::ports::control::{Assignment, Bid, LinkError, Order, Report, ReportAnswer};
use otto_core::capability::{Found, is_tool_name};
use otto_core::lease::{LEASE, LeaseId};
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{AttemptEnd, Outcome};
use otto_core::time::{Span, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::{BTreeMap, BTreeSet};

/// How long a bid may go unanswered: the control side answers sooner, if with nothing.
const BID: Span = Span::seconds(15);
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
    /// Bid now: the last bid was answered, or something has changed.
    Bid,
    /// The bid of this number, sent then, was answered.
    Ordered(u64, Timestamp, Answered<Vec<Order>>),
    /// Renew what is held.
    Renew,
    /// The renewal that was sent then was answered.
    Renewed(Timestamp, Vec<LeaseId>, Answered<Vec<LeaseId>>),
    /// The ledger has news.
    News,
    /// Facts have gathered for long enough.
    Tell,
    /// The reports were answered.
    Reported(Vec<Report>, Answered<Vec<ReportAnswer>>),
    /// The search for these tools is over.
    Looked(Vec<String>, Result<BTreeMap<String, Found>, Panicked>),
    /// What was absent may have been installed meanwhile.
    Doubt,
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::Ordered(..) => "ordered",
            Self::Renew => "renew",
            Self::Renewed(..) => "renewed",
            Self::News => "news",
            Self::Tell => "tell",
            Self::Reported(..) => "reported",
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
    /// The bids that are not answered. A newer one has the control side answer the older ones.
    bids: BTreeMap<u64, Errand>,
    next_bid: u64,
    last_bid: Option<Bid>,
    failed_bids: u32,
    bid_timer: Option<Errand>,
    renewal: Option<Errand>,
    renew_timer: Option<Errand>,
    report: Option<Errand>,
    failed_reports: u32,
    tell_timer: Option<Errand>,
    /// The searches under way, by the tools that are looked for.
    looks: BTreeMap<Vec<String>, Errand>,
    doubt_timer: Option<Errand>,
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
            bids: BTreeMap::new(),
            next_bid: 0,
            last_bid: None,
            failed_bids: 0,
            bid_timer: None,
            renewal: None,
            renew_timer: None,
            report: None,
            failed_reports: 0,
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
            Message::Ordered(bid, sent, answer) => state.ordered(bid, sent, answer, &myself),
            Message::Renew => state.renew(&myself),
            Message::Renewed(sent, leases, answer) => {
                state.renewed(sent, &leases, answer, &myself);
            }
            Message::News => {
                state.news(&myself);
            }
            Message::Tell => {
                state.tell_timer = None;
                state.tell(&myself);
            }
            Message::Reported(reports, answer) => state.reported(&reports, answer, &myself),
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

    fn pause(&self, failures: u32) -> std::time::Duration {
        backoff::pause(failures, LONGEST, self.outside.ports.chance.as_ref()).to_duration()
    }

    fn bid(&mut self, myself: &ActorRef<Message>) {
        self.bid_timer = None;
        let settings = &self.outside.settings;
        let bid = self.outside.ledger.with(|ledger| Bid {
            agent: settings.agent,
            name: settings.name.clone(),
            capabilities: ledger.capabilities().clone(),
            free_slots: ledger.free(),
            holds: ledger.holds(),
            cost: ledger.working(),
        });
        if !self.bids.is_empty() && self.last_bid.as_ref() == Some(&bid) {
            return;
        }
        self.last_bid = Some(bid.clone());
        let (number, sent) = (self.next_bid, self.now());
        self.next_bid += 1;
        let control = self.outside.ports.control.clone();
        let call = async move { within(BID, control.bid(bid)).await };
        let errand =
            errand::start(myself, call, move |answer| Message::Ordered(number, sent, answer));
        self.bids.insert(number, errand);
    }

    fn ordered(
        &mut self,
        bid: u64,
        sent: Timestamp,
        answer: Answered<Vec<Order>>,
        myself: &ActorRef<Message>,
    ) {
        self.bids.remove(&bid);
        match answer {
            Ok(Ok(orders)) => {
                self.failed_bids = 0;
                self.carry_out(orders, sent, myself);
            }
            Ok(Err(LinkError::Refused(cause))) => {
                tracing::error!(cause, "this agent was dismissed");
                for lease in self.outside.ledger.with(|ledger| ledger.holds()) {
                    self.give_up(lease);
                }
                let pause = DISMISSED.to_duration();
                self.bid_timer = Some(errand::after(myself, pause, Message::Bid));
            }
            Ok(Err(LinkError::Unreachable(_) | LinkError::NotHere { .. })) | Err(_) => {
                if self.bids.is_empty() {
                    let pause = self.pause(self.failed_bids);
                    self.failed_bids = self.failed_bids.saturating_add(1);
                    self.bid_timer = Some(errand::after(myself, pause, Message::Bid));
                }
            }
        }
    }

    fn carry_out(&mut self, orders: Vec<Order>, sent: Timestamp, myself: &ActorRef<Message>) {
        let mut begin: Vec<Assignment> = Vec::new();
        for order in orders {
            match order {
                Order::Start(assignment) => begin.push(*assignment),
                Order::End { lease, reason } => self.end(lease, reason, sent, myself),
                Order::Look { tools } => self.look(tools, myself),
            }
        }
        if begin.is_empty() {
            if self.bids.is_empty() {
                self.bid(myself);
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
        if self.bid_timer.is_none() {
            self.bid(myself);
        }
    }

    /// Forgets what is absent, so that the control side asks again for what is still needed.
    fn doubt(&mut self, myself: &ActorRef<Message>) {
        self.doubt_timer = None;
        self.outside.ledger.with(Ledger::doubt_absent);
        if self.bid_timer.is_none() {
            self.bid(myself);
        }
    }

    fn doubt_later(&mut self, myself: &ActorRef<Message>) {
        if !self.outside.ledger.with(|ledger| ledger.capabilities().absent.is_empty()) {
            self.doubt_timer = Some(errand::after(myself, DOUBT.to_duration(), Message::Doubt));
        }
    }

    /// Sends a renewal of all that is held, unless one is under way; gives up what ran out.
    fn renew(&mut self, myself: &ActorRef<Message>) {
        let now = self.now();
        for lease in self.outside.ledger.with(|ledger| ledger.overdue(now)) {
            tracing::warn!(%lease, "a lease was not renewed in time");
            self.give_up(lease);
        }
        let leases = self.outside.ledger.with(|ledger| ledger.holds());
        if self.renewal.is_none() && !leases.is_empty() {
            let control = self.outside.ports.control.clone();
            let (agent, asked) = (self.outside.settings.agent, leases.clone());
            let call = async move { within(CALL, control.renew(agent, asked)).await };
            let tell = move |answer| Message::Renewed(now, leases, answer);
            self.renewal = Some(errand::start(myself, call, tell));
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
        self.renewal = None;
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
        if self.bid_timer.is_none() {
            self.bid(myself);
        }
        if self.outside.ledger.with(|ledger| ledger.has_ends()) {
            self.tell(myself);
        } else if self.tell_timer.is_none() {
            let pause = GATHER.to_duration();
            self.tell_timer = Some(errand::after(myself, pause, Message::Tell));
        }
    }

    /// Sends what is to be told, unless reports are under way or their repetition waits.
    fn tell(&mut self, myself: &ActorRef<Message>) {
        if self.report.is_some() || (self.failed_reports > 0 && self.tell_timer.is_some()) {
            return;
        }
        let reports = self.outside.ledger.with(|ledger| ledger.reports());
        if reports.is_empty() {
            return;
        }
        let control = self.outside.ports.control.clone();
        let (agent, sent) = (self.outside.settings.agent, reports.clone());
        let call = async move { within(CALL, control.report(agent, sent)).await };
        let tell = move |answer| Message::Reported(reports, answer);
        self.report = Some(errand::start(myself, call, tell));
    }

    fn reported(
        &mut self,
        reports: &[Report],
        answer: Answered<Vec<ReportAnswer>>,
        myself: &ActorRef<Message>,
    ) {
        self.report = None;
        let Ok(Ok(answers)) = answer else {
            let pause = self.pause(self.failed_reports);
            self.failed_reports = self.failed_reports.saturating_add(1);
            self.tell_timer = Some(errand::after(myself, pause, Message::Tell));
            return;
        };
        self.failed_reports = 0;
        for (report, answer) in reports.iter().zip(answers) {
            let executor = self.outside.ledger.with(|ledger| ledger.answered(report, answer));
            if let Some(executor) = executor {
                executor.cast(executor::Message::Abandon).ok();
            }
        }
        if !self.outside.ledger.with(|ledger| ledger.reports()).is_empty() {
            self.news(myself);
        } else if self.bid_timer.is_none() {
            self.bid(myself);
        }
    }
}

/// The end of an attempt that the agent had begun and given up: nobody can say what came of it.
pub(super) fn given_up_end() -> AttemptEnd {
    AttemptEnd::idle(Outcome::Lost, "its agent had given it up")
}

/// The end of an attempt that the agent was told to end, and that is not at work here.
fn idle_end(reason: EndReason) -> AttemptEnd {
    let outcome = match reason {
        EndReason::Cancelled => Outcome::Cancelled,
        EndReason::TimedOut => Outcome::TimedOut,
    };
    AttemptEnd::idle(outcome, "nothing of it ran when it was to end")
}
