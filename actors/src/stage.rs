//! The actor of one duty towards a stage: its offer, its lease, or its end.
//!
//! It lives as long as the duty is owed. It enters the duty with the matchmaker, and brings back
//! what comes of it as a wish to the run.

use crate::control::Outside;
use crate::matchmaker::{Entry, Stall, market::OfferId};
use crate::pipeline;
use crate::ports::control::Order;
use otto_core::capability::Need;
use otto_core::ids::AgentRef;
use otto_core::lease::Lease;
use otto_core::run::command::Wish;
use otto_core::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// What the actor sees to.
#[derive(Clone, Debug)]
pub(crate) enum Concern {
    /// Keep the offer with the matchmaker until it is awarded.
    Offer { offer: OfferId, since: Timestamp, need: Need },
    /// See to it that the agent has this order, and that a lost lease is given up.
    Lease { lease: Lease, order: Order },
}

/// What the actor starts with.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) concern: Concern,
    pub(crate) pipeline: ActorRef<pipeline::Message>,
    pub(crate) stall: Stall,
    pub(crate) outside: Outside,
}

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Enter the duty with the matchmaker: it is new, or the matchmaker is.
    Enter,
    /// The matchmaker chose an agent.
    Awarded(AgentRef),
    /// The lease is lost.
    Lost(String),
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Awarded(_) => "awarded",
            Self::Lost(_) => "lost",
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Stage;

impl Actor for Stage {
    type Msg = Message;
    type State = Arguments;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<Arguments, ActorProcessingErr> {
        myself.cast(Message::Enter)?;
        Ok(arguments)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut Arguments,
    ) -> Result<(), ActorProcessingErr> {
        state.outside.sabotage.strike("stage", message.name());
        match (message, &state.concern) {
            (Message::Enter, concern) => state.stall.enter(entry(concern, myself)),
            (Message::Awarded(agent), Concern::Offer { offer, .. }) => state.wish(Wish::Award {
                stage: offer.stage,
                attempt: offer.attempt,
                agent,
                incarnation: state.stall.tenure().incarnation(),
            }),
            (Message::Lost(cause), Concern::Lease { lease, .. }) => state.wish(Wish::Lose {
                stage: lease.id.stage,
                attempt: lease.id.attempt,
                epoch: lease.id.epoch,
                cause,
            }),
            // Word that concerns the duty before this one: the run knows better by now.
            (Message::Awarded(_), Concern::Lease { .. })
            | (Message::Lost(_), Concern::Offer { .. }) => {}
        }
        Ok(())
    }
}

/// What the matchmaker is told of a duty.
fn entry(concern: &Concern, myself: ActorRef<Message>) -> Entry {
    match concern.clone() {
        Concern::Offer { offer, since, need } => {
            Entry::Offer { offer, since, need, seller: myself }
        }
        Concern::Lease { lease, order } => Entry::Lease { lease, order, keeper: myself },
    }
}

impl Arguments {
    /// Hands a wish to the run. If it is lost with a dying actor, its cause comes again.
    fn wish(&self, wish: Wish) {
        self.pipeline.cast(pipeline::Message::Wish(wish)).ok();
    }
}
