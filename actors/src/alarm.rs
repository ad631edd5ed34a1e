//! The actor of one alarm: it wakes its run when it is time, and again until that has taken effect.

use crate::control::Outside;
use crate::errand::{self, Errand};
use crate::pipeline;
use otto_core::run::command::Wish;
use otto_core::time::{Span, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// The pause before a run is woken once more.
const AGAIN: Span = Span::seconds(1);
/// The longest sleep without a look at the clock, which may be set meanwhile.
const NAP: Span = Span::seconds(60);

/// What the actor starts with.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) at: Timestamp,
    pub(crate) pipeline: ActorRef<pipeline::Message>,
    pub(crate) outside: Outside,
}

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Look at the clock.
    Look,
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Alarm;

/// What the actor knows.
#[derive(Debug)]
pub(crate) struct State {
    arguments: Arguments,
    nap: Option<Errand>,
}

impl Actor for Alarm {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        myself.cast(Message::Look)?;
        Ok(State { arguments, nap: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Message::Look = message;
        let Arguments { at, pipeline, outside } = &state.arguments;
        outside.sabotage.strike("alarm", "look");
        let now = outside.clock.now();
        let pause = if now >= *at {
            pipeline.cast(pipeline::Message::Wish(Wish::Wake)).ok();
            AGAIN
        } else {
            at.since(now).min(NAP)
        };
        state.nap = Some(errand::after(&myself, pause.to_duration(), Message::Look));
        Ok(())
    }
}
