//! The actor at the root of the cluster's own actors: supervises the heart while *meta* is led.

use super::Ports;
use super::heart::{self, Heart};
use crate::address::Address;
use crate::backoff::Deaths;
use crate::ended::Ended;
use crate::errand::{self, Errand};
use crate::ports::journal::SharedJournal;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

/// What the actor starts with.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) ports: Ports,
    /// Where the heart is to be found.
    pub(super) heart: Address<heart::Message>,
}

/// What the actor is told.
#[derive(Debug)]
pub(super) enum Message {
    /// *Meta* is led here, over this journal.
    Lead(SharedJournal),
    /// It is led here no longer.
    Resign,
    /// Start the dead heart again.
    Revive,
}

/// The actor.
#[derive(Debug)]
pub(super) struct Root;

/// What the actor knows.
#[derive(Debug)]
pub(super) struct State {
    arguments: Arguments,
    journal: Option<SharedJournal>,
    heart: Option<ActorRef<heart::Message>>,
    deaths: Deaths,
    revival: Option<Errand>,
}

impl Actor for Root {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let deaths = Deaths::default();
        Ok(State { arguments, journal: None, heart: None, deaths, revival: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Lead(journal) => {
                state.resign();
                state.journal = Some(journal);
                state.start(&myself).await?;
            }
            Message::Resign => state.resign(),
            Message::Revive => state.start(&myself).await?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(Ended { child, cause, .. }) = Ended::of(event) else { return Ok(()) };
        if state.heart.as_ref().is_some_and(|heart| heart.get_id() == child.get_id()) {
            tracing::error!(cause, "the actor of the cluster died");
            state.heart = None;
            let chance = state.arguments.ports.chance.as_ref();
            let pause = state.deaths.another(cause, chance).to_duration();
            state.revival = Some(errand::after(&myself, pause, Message::Revive));
        }
        Ok(())
    }
}

impl State {
    async fn start(&mut self, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let Some(journal) = self.journal.clone().filter(|_| self.heart.is_none()) else {
            return Ok(());
        };
        let arguments = heart::Arguments { journal, ports: self.arguments.ports.clone() };
        let (heart, _) = Heart::spawn_linked(None, Heart, arguments, myself.get_cell()).await?;
        self.arguments.heart.set(heart.clone());
        self.heart = Some(heart);
        self.revival = None;
        Ok(())
    }

    /// Ends the heart; its chores end with it.
    fn resign(&mut self) {
        self.journal = None;
        self.revival = None;
        self.deaths = Deaths::default();
        if let Some(heart) = self.heart.take() {
            heart.kill();
        }
    }
}
