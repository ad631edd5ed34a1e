//! The actor at the root of the control side: supervises the matchmaker and the shards.

use super::Outside;
use crate::address::Address;
use crate::backoff::Deaths;
use crate::errand::{self, Errand};
use crate::matchmaker::Matchmaker;
use crate::shard::{self, Shard};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use std::collections::BTreeMap;

/// What the actor starts with.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) outside: Outside,
    /// What each shard starts with, and where it is to be found.
    pub(super) shards: Vec<(shard::Arguments, Address<shard::Message>)>,
}

/// What the actor is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Start a dead child again.
    Revive(Child),
}

/// The children.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Child {
    Matchmaker,
    /// The shard at this place.
    Shard(usize),
}

/// The actor.
#[derive(Debug)]
pub(super) struct Root;

/// What the actor knows.
#[derive(Debug)]
pub(super) struct State {
    arguments: Arguments,
    by_actor: BTreeMap<ActorId, Child>,
    deaths: BTreeMap<Child, Deaths>,
    revivals: BTreeMap<Child, Errand>,
}

impl Actor for Root {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let shards = arguments.shards.len();
        let mut state = State {
            arguments,
            by_actor: BTreeMap::new(),
            deaths: BTreeMap::new(),
            revivals: BTreeMap::new(),
        };
        state.start(Child::Matchmaker, &myself).await?;
        for shard in 0..shards {
            state.start(Child::Shard(shard), &myself).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Message::Revive(child) = message;
        state.revivals.remove(&child);
        state.start(child, &myself).await?;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(child, cause) => {
                state.died(&child, cause.to_string(), &myself);
            }
            SupervisionEvent::ActorTerminated(child, _, cause) => {
                state.died(&child, cause.unwrap_or_default(), &myself);
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    async fn start(&mut self, child: Child, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let cell = myself.get_cell();
        let id = match child {
            Child::Matchmaker => {
                let outside = self.arguments.outside.clone();
                let spawned = Matchmaker::spawn_linked(None, Matchmaker, outside, cell);
                let (actor, _) = spawned.await?;
                let id = actor.get_id();
                self.arguments.outside.matchmaker.set(actor);
                for (_, shard) in &self.arguments.shards {
                    shard.tell(shard::Message::Rematch);
                }
                id
            }
            Child::Shard(place) => {
                let (arguments, address) = self.arguments.shards[place].clone();
                let (actor, _) = Shard::spawn_linked(None, Shard, arguments, cell).await?;
                let id = actor.get_id();
                address.set(actor);
                id
            }
        };
        self.by_actor.insert(id, child);
        Ok(())
    }

    fn died(&mut self, actor: &ActorCell, cause: String, myself: &ActorRef<Message>) {
        let Some(child) = self.by_actor.remove(&actor.get_id()) else { return };
        tracing::error!(?child, cause, "an actor of the control side died");
        let chance = self.arguments.outside.chance.as_ref();
        let pause = self.deaths.entry(child).or_default().another(cause, chance);
        let revival = errand::after(myself, pause.to_duration(), Message::Revive(child));
        self.revivals.insert(child, revival);
    }
}
