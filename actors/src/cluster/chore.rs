//! The actor of one duty that a cluster owes: it works on it, and again until it is owed no longer.

use super::heart;
use crate::backoff;
use crate::cluster::Ports;
use crate::errand::{self, Errand, Panicked};
use crate::ports::membership::NotYet;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::duty::Duty;
use otto_core::time::Span;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;

/// The pause before a duty that goes on is looked at again.
const AGAIN: Span = Span::seconds(1);
/// The longest pause after it could not be done.
const LONGEST: Span = Span::seconds(5);

/// What the actor starts with.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) duty: Duty,
    pub(super) heart: ActorRef<heart::Message>,
    pub(super) ports: Ports,
}

/// What the actor is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Ask how the cluster is, and work on the duty.
    Begin,
    /// How the cluster is.
    Known(Arc<Cluster>),
    /// What came of it.
    Performed(Result<Result<Option<Wish>, NotYet>, Panicked>),
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Known(_) => "known",
            Self::Performed(_) => "performed",
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(super) struct Chore;

/// What the actor knows.
#[derive(Debug)]
pub(super) struct State {
    arguments: Arguments,
    failures: u32,
    under_way: Option<Errand>,
}

impl Actor for Chore {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        myself.cast(Message::Begin)?;
        Ok(State { arguments, failures: 0, under_way: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.ports.sabotage.strike("chore", message.name());
        match message {
            Message::Begin => {
                state.arguments.heart.cast(heart::Message::Tell(myself)).ok();
            }
            Message::Known(cluster) => state.perform(cluster, &myself),
            Message::Performed(Ok(performed)) => state.performed(performed, &myself),
            Message::Performed(Err(panicked)) => return Err(panicked.into()),
        }
        Ok(())
    }
}

impl State {
    fn perform(&mut self, cluster: Arc<Cluster>, myself: &ActorRef<Message>) {
        let (membership, duty) = (self.arguments.ports.membership.clone(), self.arguments.duty);
        let performing = async move { membership.perform(duty, &cluster).await };
        self.under_way = Some(errand::start(myself, performing, Message::Performed));
    }

    fn performed(&mut self, performed: Result<Option<Wish>, NotYet>, myself: &ActorRef<Message>) {
        let pause = match performed {
            Ok(wish) => {
                self.failures = 0;
                if let Some(wish) = wish {
                    // If it is lost with a dying heart, the duty is still owed.
                    self.arguments.heart.cast(heart::Message::Wish(Box::new(wish), None)).ok();
                }
                AGAIN
            }
            Err(cause) => {
                let duty = self.arguments.duty;
                tracing::info!(?duty, %cause, "a duty of the cluster is not done yet");
                let chance = self.arguments.ports.chance.as_ref();
                let pause = backoff::pause(self.failures, LONGEST, chance);
                self.failures = self.failures.saturating_add(1);
                pause
            }
        };
        self.under_way = Some(errand::after(myself, pause.to_duration(), Message::Begin));
    }
}
