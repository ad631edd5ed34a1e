//! The lease table: who holds what until when, and what each holder is to be told. Pure.

use crate::ports::control::Order;
use otto_core::ids::{AgentId, AgentRef, Attempt, Epoch, RunId, StageId};
use otto_core::lease::{Lease, LeaseId};
use otto_core::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// How long an order is left alone before it is repeated.
const REPEAT: Span = Span::seconds(1);

/// An open lease.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Open {
    agent: AgentRef,
    order: Order,
    /// The last renewal, or when the lease was entered here.
    renewed: Timestamp,
    /// The agent has shown that it has the lease: it is not told to start it again.
    begun: bool,
    /// When its agent was last given the order.
    told: Option<Timestamp>,
    /// It ran out or its agent died. It is not renewed any more, whatever the journal still says.
    lost: Option<String>,
}

/// What the table says of a lease to somebody who acts under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It is open, and theirs.
    Held,
    /// It is lost, or somebody else's.
    Over,
    /// It is not in the table: only the run can tell.
    Unknown,
}

/// All open leases of a control process.
#[derive(Debug)]
pub(crate) struct Leases {
    open: BTreeMap<LeaseId, Open>,
    /// The same by their agents, whatever process of theirs has them.
    by_agent: BTreeMap<AgentId, BTreeSet<LeaseId>>,
    /// How long a lease holds without renewal, with the margin.
    patience: Span,
}

impl Leases {
    /// An empty table in which a lease is lost after `patience` without renewal.
    pub(crate) fn new(patience: Span) -> Self {
        Self { open: BTreeMap::new(), by_agent: BTreeMap::new(), patience }
    }

    /// Enters a lease, or what its agent is to be told from now on. A lease that was not here
    /// counts as renewed now, since an earlier leader may have renewed it until now.
    pub(crate) fn enter(&mut self, lease: Lease, order: Order, now: Timestamp) {
        if let Some(open) = self.open.get_mut(&lease.id) {
            if open.order != order {
                open.told = None;
            }
            open.order = order;
            return;
        }
        let open =
            Open { agent: lease.agent, order, renewed: now, begun: false, told: None, lost: None };
        self.open.insert(lease.id, open);
        self.by_agent.entry(lease.agent.agent).or_default().insert(lease.id);
    }

    /// A lease is over: nothing is done under it any more.
    pub(crate) fn close(&mut self, lease: LeaseId) {
        let Some(open) = self.open.remove(&lease) else { return };
        let agent = open.agent.agent;
        if let Some(theirs) = self.by_agent.get_mut(&agent) {
            theirs.remove(&lease);
            if theirs.is_empty() {
                self.by_agent.remove(&agent);
            }
        }
    }

    /// The leases of an agent, whatever process of it has them.
    fn theirs(&self, agent: AgentId) -> Vec<LeaseId> {
        self.by_agent.get(&agent).into_iter().flatten().copied().collect()
    }

    /// All leases.
    pub(crate) fn all(&self) -> impl Iterator<Item = LeaseId> {
        self.open.keys().copied()
    }

    /// The leases of a run.
    pub(crate) fn of_run(&self, run: RunId) -> Vec<LeaseId> {
        let first =
            LeaseId { run, stage: StageId::ROOT, attempt: Attempt(0), epoch: Epoch::default() };
        let from = self.open.range(first..).map(|(lease, _)| *lease);
        from.take_while(|lease| lease.run == run).collect()
    }

    /// An agent says that it holds these.
    pub(crate) fn held(&mut self, agent: AgentRef, leases: &[LeaseId]) {
        for lease in leases {
            if let Some(open) = self.open.get_mut(lease).filter(|open| open.agent == agent) {
                open.begun = true;
            }
        }
    }

    /// Renews a lease.
    pub(crate) fn renew(&mut self, agent: AgentRef, lease: LeaseId, now: Timestamp) -> Standing {
        let standing = self.standing(agent, lease);
        if let (Standing::Held, Some(open)) = (standing, self.open.get_mut(&lease)) {
            open.renewed = now;
            open.begun = true;
        }
        standing
    }

    /// Whether an agent may act under a lease.
    pub(crate) fn standing(&self, agent: AgentRef, lease: LeaseId) -> Standing {
        match self.open.get(&lease) {
            None => Standing::Unknown,
            Some(open) if open.agent == agent && open.lost.is_none() => Standing::Held,
            Some(_) => Standing::Over,
        }
    }

    /// A process of an agent is there: what earlier ones held is lost. Answers whether that is
    /// news of any.
    pub(crate) fn replaced(&mut self, newest: AgentRef) -> bool {
        let mut news = false;
        for lease in self.theirs(newest.agent) {
            let open = self.open.get_mut(&lease);
            let older = open.filter(|open| open.agent.incarnation < newest.incarnation);
            if let Some(open) = older.filter(|open| open.lost.is_none()) {
                open.lost = Some("its agent was started anew".to_owned());
                news = true;
            }
        }
        news
    }

    /// Notices what ran out; answers everything that is lost and not over yet, with the cause.
    pub(crate) fn lost(&mut self, now: Timestamp) -> Vec<(LeaseId, String)> {
        let patience = self.patience;
        for open in self.open.values_mut().filter(|open| open.lost.is_none()) {
            let silent = now.since(open.renewed);
            if silent >= patience {
                open.lost = Some(format!("its agent was not heard of for {}", whole(silent)));
            }
        }
        let lost = self.open.iter();
        lost.filter_map(|(lease, open)| Some((*lease, open.lost.clone()?))).collect()
    }

    /// What an agent is to be told now. What it was told and does not hold, it may not have got: an
    /// order is repeated after a while.
    ///
    /// An agent that is told to start counts its lease from the bid that is answered with this, so
    /// here it counts from now, which is later: else it could be lost while the agent may begin.
    pub(crate) fn orders(&mut self, agent: AgentRef, now: Timestamp) -> Vec<Order> {
        let mut orders = Vec::new();
        for lease in self.theirs(agent.agent) {
            let open = self.open.get_mut(&lease).filter(|open| open.agent == agent);
            let Some(open) = open.filter(|open| open.lost.is_none()) else { continue };
            let wanted = match &open.order {
                Order::Start(_) => !open.begun,
                Order::End { .. } => true,
                // It is about no lease, and comes from the market.
                Order::Look { .. } => false,
            };
            let due = wanted && open.told.is_none_or(|told| now.since(told) >= REPEAT);
            if due {
                if matches!(open.order, Order::Start(_)) {
                    open.renewed = now;
                }
                orders.push(open.order.clone());
                open.told = Some(now);
            }
        }
        orders
    }

    /// The agents that hold or are to hold something.
    pub(crate) fn agents(&self) -> BTreeSet<AgentRef> {
        self.open.values().map(|open| open.agent).collect()
    }

    /// The leases of an agent process.
    pub(crate) fn of_agent(&self, agent: AgentRef) -> Vec<LeaseId> {
        let held = |lease: &LeaseId| self.open.get(lease).is_some_and(|open| open.agent == agent);
        self.theirs(agent.agent).into_iter().filter(held).collect()
    }

    /// Who holds a lease, since when it was not renewed, and whether they have shown it.
    pub(crate) fn holder(&self, lease: LeaseId) -> Option<(AgentRef, Timestamp, bool)> {
        self.open.get(&lease).map(|open| (open.agent, open.renewed, open.begun))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// A span without its milliseconds, for people.
fn whole(span: Span) -> Span {
    Span::seconds(span.0 / 1000)
}

#[cfg(test)]
mod tests;
