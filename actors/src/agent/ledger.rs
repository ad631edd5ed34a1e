//! The ledger of an agent: which leases it holds, what it has to tell of each, and which tools its
//! machine has. Pure.
//!
//! A lease is entered when its executor starts, and struck out when the control side has
//! acknowledged its end, or when it was given up and its executor is gone.

use crate::executor;
use crate::ports::control::{Report, ReportAnswer};
use otto_core::capability::{Capabilities, Found};
use otto_core::ids::ProjectId;
use otto_core::lease::LeaseId;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{AttemptEnd, Outcome, StepFact};
use otto_core::time::{Span, Timestamp};
use ractor::ActorRef;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// How many leases are remembered after their end, so that a belated order is known for what it is.
const REMEMBERED: usize = 4096;

/// How many projects count as warm.
const WARM: usize = 16;

/// A lease in the agent's hands.
#[derive(Debug)]
struct Held {
    executor: Option<ActorRef<executor::Message>>,
    span: Span,
    /// When the last request was sent whose answer gave or renewed the lease.
    renewed: Timestamp,
    /// What its steps did, as far as that was not acknowledged.
    facts: Vec<StepFact>,
    end: Option<End>,
    /// It was not renewed in time, or is stale: nothing more is told of it.
    given_up: bool,
}

/// How a lease ends, by the agent's own word.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Declined,
    Finished(Box<AttemptEnd>),
}

/// What the agent holds and has to tell.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    slots: u32,
    capabilities: Capabilities,
    held: BTreeMap<LeaseId, Held>,
    /// The projects that were worked on last, the latest at the end.
    warm: VecDeque<ProjectId>,
    past: BTreeSet<LeaseId>,
    past_in_order: VecDeque<LeaseId>,
}

impl Ledger {
    /// Whether a lease is in hand, also where it was given up and its executor is still ending.
    pub(crate) fn has(&self, lease: LeaseId) -> bool {
        self.held.contains_key(&lease)
    }

    /// Whether a lease was in hand and is not any more.
    pub(crate) fn had(&self, lease: LeaseId) -> bool {
        self.past.contains(&lease)
    }

    /// Enters a new lease that was given in answer to a bid sent at `sent`.
    pub(crate) fn enter(
        &mut self,
        lease: LeaseId,
        span: Span,
        sent: Timestamp,
        executor: ActorRef<executor::Message>,
    ) {
        let project = lease.run.project;
        self.warm.retain(|warm| *warm != project);
        self.warm.push_back(project);
        if self.warm.len() > WARM {
            self.warm.pop_front();
        }
        self.put(lease, span, sent, Some(executor), None);
    }

    /// Another executor sees to a lease.
    pub(crate) fn replace(&mut self, lease: LeaseId, executor: ActorRef<executor::Message>) {
        if let Some(held) = self.held.get_mut(&lease) {
            held.executor = Some(executor);
        }
    }

    /// There is no slot for a lease: it is given back.
    pub(crate) fn decline(&mut self, lease: LeaseId, span: Span, sent: Timestamp) {
        self.put(lease, span, sent, None, Some(End::Declined));
    }

    /// A lease has to end under which nothing is done here, or not any more.
    pub(crate) fn end_idle(&mut self, lease: LeaseId, sent: Timestamp, end: AttemptEnd) {
        self.put(lease, otto_core::lease::LEASE, sent, None, Some(End::Finished(Box::new(end))));
    }

    fn put(
        &mut self,
        lease: LeaseId,
        span: Span,
        renewed: Timestamp,
        executor: Option<ActorRef<executor::Message>>,
        end: Option<End>,
    ) {
        let facts = Vec::new();
        let held = Held { executor, span, renewed, facts, end, given_up: false };
        self.held.insert(lease, held);
    }

    /// A step began or ended. Answers whether the session has to be told that there is news.
    pub(crate) fn fact(&mut self, lease: LeaseId, fact: StepFact) -> bool {
        let Some(held) = self.held.get_mut(&lease) else { return false };
        held.facts.push(fact);
        held.facts.len() == 1
    }

    /// An attempt is over and its log is delivered.
    pub(crate) fn finished(&mut self, lease: LeaseId, end: AttemptEnd) {
        if let Some(held) = self.held.get_mut(&lease) {
            held.end = Some(End::Finished(Box::new(end)));
        }
    }

    /// Gives a lease up; answers the executor that must end at once.
    pub(crate) fn give_up(&mut self, lease: LeaseId) -> Option<ActorRef<executor::Message>> {
        let held = self.held.get_mut(&lease)?;
        held.given_up = true;
        let executor = held.executor.clone();
        if executor.is_none() {
            self.strike_out(lease);
        }
        executor
    }

    /// The executor of a lease has ended, as it should or by a failure. Answers whether it had done
    /// what it was for; otherwise another one must clear up.
    pub(crate) fn executor_gone(&mut self, lease: LeaseId, failed: bool) -> bool {
        let Some(held) = self.held.get_mut(&lease) else { return true };
        held.executor = None;
        let done = held.end.is_some() || (held.given_up && !failed);
        if done && held.given_up {
            self.strike_out(lease);
        }
        done
    }

    /// The executor of a lease that goes on.
    pub(crate) fn executor(&self, lease: LeaseId) -> Option<ActorRef<executor::Message>> {
        self.held.get(&lease)?.executor.clone()
    }

    /// The leases that are held: an end that was not acknowledged holds its lease too.
    pub(crate) fn holds(&self) -> Vec<LeaseId> {
        let held = self.held.iter().filter(|(_, held)| !held.given_up);
        held.map(|(lease, _)| *lease).collect()
    }

    /// How many stages are worked on.
    pub(crate) fn working(&self) -> u32 {
        let working = self.held.values().filter(|held| held.end.is_none()).count();
        u32::try_from(working).unwrap_or(u32::MAX)
    }

    /// How many more could be.
    pub(crate) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.working())
    }

    /// The projects whose files are likely here still.
    pub(crate) fn warm(&self) -> BTreeSet<ProjectId> {
        self.warm.iter().copied().collect()
    }

    /// What the agent has, as far as it has looked.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Takes in what a search for tools found.
    pub(crate) fn learn(&mut self, found: BTreeMap<String, Found>) {
        self.capabilities.learn(found);
    }

    /// Forgets which tools are absent: somebody may have installed them meanwhile.
    pub(crate) fn doubt_absent(&mut self) {
        self.capabilities.absent.clear();
    }

    /// All that is to be told now: of each lease its news, in order.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let held = self.held.iter().filter(|(_, held)| !held.given_up);
        held.filter_map(|(lease, held)| {
            let (lease, facts) = (*lease, held.facts.clone());
            match &held.end {
                Some(End::Declined) => Some(Report::Declined { lease }),
                Some(End::Finished(end)) => {
                    Some(Report::Finished { lease, facts, end: AttemptEnd::clone(end) })
                }
                None if facts.is_empty() => None,
                None => Some(Report::Steps { lease, facts }),
            }
        })
        .collect()
    }

    /// Whether a lease's end is to be told.
    pub(crate) fn has_ends(&self) -> bool {
        self.held.values().any(|held| held.end.is_some() && !held.given_up)
    }

    /// Takes in what became of a report. Answers an executor that must end at once.
    pub(crate) fn answered(
        &mut self,
        report: &Report,
        answer: ReportAnswer,
    ) -> Option<ActorRef<executor::Message>> {
        match (report, answer) {
            (Report::Steps { lease, facts }, ReportAnswer::Taken) => {
                if let Some(held) = self.held.get_mut(lease) {
                    held.facts.drain(..facts.len().min(held.facts.len()));
                }
                None
            }
            (Report::Declined { lease } | Report::Finished { lease, .. }, _) => {
                self.strike_out(*lease);
                None
            }
            (Report::Steps { lease, .. }, ReportAnswer::Stale) => self.give_up(*lease),
        }
    }

    /// Takes in that a lease was renewed by a request sent at `sent`.
    pub(crate) fn renewed(&mut self, lease: LeaseId, sent: Timestamp) {
        if let Some(held) = self.held.get_mut(&lease) {
            held.renewed = held.renewed.max(sent);
        }
    }

    /// The leases that ran out without being renewed.
    pub(crate) fn overdue(&self, now: Timestamp) -> Vec<LeaseId> {
        let held = self.held.iter().filter(|(_, held)| !held.given_up);
        let overdue = held.filter(|(_, held)| held.renewed.after(held.span) <= now);
        overdue.map(|(lease, _)| *lease).collect()
    }

    /// When the first lease runs out, and the shortest span of all; `None` where none is held.
    pub(crate) fn pressing(&self) -> Option<(Timestamp, Span)> {
        let held = || self.held.values().filter(|held| !held.given_up);
        let first = held().map(|held| held.renewed.after(held.span)).min()?;
        let shortest = held().map(|held| held.span).min()?;
        Some((first, shortest))
    }

    fn strike_out(&mut self, lease: LeaseId) {
        self.held.remove(&lease);
        if self.past.insert(lease) {
            self.past_in_order.push_back(lease);
        }
        if self.past_in_order.len() > REMEMBERED
            && let Some(oldest) = self.past_in_order.pop_front()
        {
            self.past.remove(&oldest);
        }
    }
}

/// A ledger that several actors use. It is never locked across a wait.
#[derive(Clone)]
pub(crate) struct SharedLedger(Arc<Mutex<Ledger>>);

impl fmt::Debug for SharedLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedLedger")
    }
}

impl SharedLedger {
    /// The ledger of an agent that takes so many stages at a time.
    pub(crate) fn new(slots: u32, capabilities: Capabilities) -> Self {
        Self(Arc::new(Mutex::new(Ledger { slots, capabilities, ..Ledger::default() })))
    }

    /// Reads or changes it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The end of an attempt that the agent had begun and given up: nobody can say what came of it.
pub(super) fn given_up_end() -> AttemptEnd {
    AttemptEnd::idle(Outcome::Lost, "its agent had given it up")
}

/// The end of an attempt that the agent was told to end, and that is not at work here.
pub(super) fn idle_end(reason: EndReason) -> AttemptEnd {
    let outcome = match reason {
        EndReason::Cancelled => Outcome::Cancelled,
        EndReason::TimedOut => Outcome::TimedOut,
    };
    AttemptEnd::idle(outcome, "nothing of it ran when it was to end")
}
