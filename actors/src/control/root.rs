//! The actor at the root of the control side: supervises the matchmaker and the shards.

use super::Outside;
use crate::address::Address;
use crate::backoff::Deaths;
use crate::ended::Ended;
use crate::errand::{self, Errand};
use crate::matchmaker::{self, Matchmaker};
use crate::shard::{self, Shard};
use otto_core::ids::ShardId;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use std::collections::BTreeMap;

/// What the actor starts with.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) outside: Outside,
    /// Where the matchmaker is to be found.
    pub(super) matchmaker: Address<matchmaker::Message>,
}

/// What the actor is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Lead a shard, which is to be found there from the answer on.
    Lead(Box<shard::Arguments>, Address<shard::Message>, RpcReplyPort<()>),
    /// The tenure of this shard is over.
    Resign(ShardId),
    /// Start a dead child again.
    Revive(Child),
}

/// The children.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Child {
    Matchmaker,
    Shard(ShardId),
}

/// The actor.
#[derive(Debug)]
pub(super) struct Root;

/// What the actor knows.
#[derive(Debug)]
pub(super) struct State {
    arguments: Arguments,
    led: BTreeMap<ShardId, Led>,
    by_actor: BTreeMap<ActorId, Child>,
    deaths: BTreeMap<Child, Deaths>,
    revivals: BTreeMap<Child, Errand>,
}

/// A shard that is led here.
#[derive(Debug)]
struct Led {
    arguments: shard::Arguments,
    address: Address<shard::Message>,
    actor: Option<ActorRef<shard::Message>>,
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
        let mut state = State {
            arguments,
            led: BTreeMap::new(),
            by_actor: BTreeMap::new(),
            deaths: BTreeMap::new(),
            revivals: BTreeMap::new(),
        };
        state.start_matchmaker(&myself).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Lead(arguments, address, reply) => {
                let shard = arguments.stall.tenure().shard();
                state.resign(shard);
                let led = Led { arguments: *arguments, address, actor: None };
                state.led.insert(shard, led);
                state.start_shard(shard, &myself).await?;
                reply.send(()).ok();
            }
            Message::Resign(shard) => state.resign(shard),
            Message::Revive(child) => {
                state.revivals.remove(&child);
                match child {
                    Child::Matchmaker => state.start_matchmaker(&myself).await?,
                    Child::Shard(shard) => state.start_shard(shard, &myself).await?,
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(Ended { child, cause, .. }) = Ended::of(event) {
            state.died(&child, cause, &myself);
        }
        Ok(())
    }
}

impl State {
    async fn start_matchmaker(&mut self, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let outside = self.arguments.outside.clone();
        let cell = myself.get_cell();
        let (actor, _) = Matchmaker::spawn_linked(None, Matchmaker, outside, cell).await?;
        self.by_actor.insert(actor.get_id(), Child::Matchmaker);
        self.arguments.matchmaker.set(actor);
        for led in self.led.values() {
            led.address.tell(shard::Message::Rematch);
        }
        Ok(())
    }

    async fn start_shard(
        &mut self,
        shard: ShardId,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        let Some(led) = self.led.get_mut(&shard) else { return Ok(()) };
        let arguments = led.arguments.clone();
        let cell = myself.get_cell();
        let (actor, _) = Shard::spawn_linked(None, Shard, arguments, cell).await?;
        self.by_actor.insert(actor.get_id(), Child::Shard(shard));
        led.address.set(actor.clone());
        led.actor = Some(actor);
        Ok(())
    }

    /// Ends a shard's actors, and what the matchmaker has of them. Their tenure is over already.
    fn resign(&mut self, shard: ShardId) {
        let Some(led) = self.led.remove(&shard) else { return };
        self.deaths.remove(&Child::Shard(shard));
        self.revivals.remove(&Child::Shard(shard));
        if let Some(actor) = led.actor {
            self.by_actor.remove(&actor.get_id());
            // Its children end with it.
            actor.kill();
        }
        self.arguments.matchmaker.tell(matchmaker::Message::Resigned(shard));
    }

    fn died(&mut self, actor: &ActorCell, cause: String, myself: &ActorRef<Message>) {
        let Some(child) = self.by_actor.remove(&actor.get_id()) else { return };
        tracing::error!(?child, cause, "an actor of the control side died");
        if let Child::Shard(shard) = child
            && let Some(led) = self.led.get_mut(&shard)
        {
            led.actor = None;
        }
        let chance = self.arguments.outside.chance.as_ref();
        let pause = self.deaths.entry(child).or_default().another(cause, chance);
        let revival = errand::after(myself, pause.to_duration(), Message::Revive(child));
        self.revivals.insert(child, revival);
    }
}
