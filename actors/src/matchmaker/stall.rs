//! A shard's stall at the matchmaker: where its actors enter offers and leases, for one tenure.

use super::Message;
use super::market::OfferId;
use crate::address::Address;
use crate::control::tenure::Tenure;
use crate::ports::control::Order;
use crate::stage;
use otto_core::capability::Need;
use otto_core::ids::RunId;
use otto_core::lease::{Lease, LeaseId};
use otto_core::time::Timestamp;
use ractor::ActorRef;
use std::collections::BTreeSet;

/// What an actor of a shard enters with the matchmaker.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A stage looks for an agent.
    Offer { offer: OfferId, since: Timestamp, need: Need, seller: ActorRef<stage::Message> },
    /// It does not any more.
    Withdraw(OfferId),
    /// A stage is leased: its agent is to have this order, and `keeper` is told when it is lost.
    Lease { lease: Lease, order: Order, keeper: ActorRef<stage::Message> },
    /// A lease is over.
    Close(LeaseId),
    /// A run's actor was started anew: only these of its offers and leases still stand.
    Only { run: RunId, offers: BTreeSet<OfferId>, leases: BTreeSet<LeaseId> },
}

impl Entry {
    /// The name by which sabotage knows it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Withdraw(_) => "withdraw",
            Self::Lease { .. } => "lease",
            Self::Close(_) => "close",
            Self::Only { .. } => "only",
        }
    }
}

/// A shard's stall. What is entered after its tenure is passed over.
#[derive(Clone, Debug)]
pub(crate) struct Stall {
    tenure: Tenure,
    matchmaker: Address<Message>,
}

impl Stall {
    /// The stall of a tenure.
    pub(crate) fn new(tenure: Tenure, matchmaker: Address<Message>) -> Self {
        Self { tenure, matchmaker }
    }

    /// The tenure for which it stands.
    pub(crate) fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Enters something; it is lost where the matchmaker is being started anew, which asks for it.
    pub(crate) fn enter(&self, entry: Entry) {
        self.matchmaker.tell(Message::Enter(self.tenure.clone(), entry));
    }
}
