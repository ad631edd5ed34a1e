//! The actor of the cluster itself: journals what is decided, evolves, and keeps an actor for each
//! duty that is owed.

use super::chore::{self, Chore};
use super::{Answer, Denial, Ports};
use crate::backoff::Deaths;
use crate::ended::Ended;
use crate::errand::{self, Errand, Panicked};
use crate::ports::journal::{JournalError, SharedJournal};
use otto_core::cluster::Cluster;
use otto_core::cluster::command::Wish;
use otto_core::cluster::duty::Duty;
use otto_core::journal::{EntityId, Item, Proposal, Verdict, encode};
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the actor starts with.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    pub(super) journal: SharedJournal,
    pub(super) ports: Ports,
}

/// What the actor is told and asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// A wish, of somebody who waits for the answer or of a chore.
    Wish(Box<Wish>, Option<RpcReplyPort<Answer>>),
    /// What became of the proposal in flight.
    Proposed(Result<Result<Verdict, JournalError>, Panicked>),
    /// How the cluster is.
    View(RpcReplyPort<Arc<Cluster>>),
    /// Tell a chore how the cluster is.
    Tell(ActorRef<chore::Message>),
    /// Start the dead chore of a duty again.
    Revive(Duty),
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Wish(..) => "wish",
            Self::Proposed(_) => "proposed",
            Self::View(_) => "view",
            Self::Tell(_) => "tell",
            Self::Revive(_) => "revive",
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(super) struct Heart;

/// What the actor knows.
#[derive(Debug)]
pub(super) struct State {
    arguments: Arguments,
    cluster: Arc<Cluster>,
    queue: Vec<(Wish, Option<RpcReplyPort<Answer>>)>,
    proposal: Option<InFlight>,
    chores: BTreeMap<Duty, Child>,
    by_actor: BTreeMap<ActorId, Duty>,
}

/// The actor of a duty; none while the heart waits before starting it again.
#[derive(Debug, Default)]
struct Child {
    actor: Option<ActorCell>,
    deaths: Deaths,
    revival: Option<Errand>,
}

/// What wishes came to, and who waits to hear of it.
type Answers = Vec<(Option<RpcReplyPort<Answer>>, Result<(), Denial>)>;

/// The proposal in flight.
#[derive(Debug)]
struct InFlight {
    /// The cluster as it is when the proposal is applied.
    next: Arc<Cluster>,
    answers: Answers,
    _errand: Errand,
}

impl Actor for Heart {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            arguments,
            cluster: Arc::default(),
            queue: Vec::new(),
            proposal: None,
            chores: BTreeMap::new(),
            by_actor: BTreeMap::new(),
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.ports.sabotage.strike("heart", "start");
        let stored = state.arguments.journal.head(EntityId::CLUSTER).await?;
        state.cluster = Arc::new(Cluster::from_head(stored.as_ref().map(|it| &it.head))?);
        state.reconcile(&myself).await?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.ports.sabotage.strike("heart", message.name());
        match message {
            Message::Wish(wish, reply) => {
                state.queue.push((*wish, reply));
                state.propose(&myself);
            }
            Message::Proposed(outcome) => state.proposed(outcome, &myself).await?,
            Message::View(reply) => {
                reply.send(Arc::clone(&state.cluster)).ok();
            }
            Message::Tell(chore) => {
                chore.cast(chore::Message::Known(Arc::clone(&state.cluster))).ok();
            }
            Message::Revive(duty) => {
                if state.chores.get(&duty).is_some_and(|child| child.actor.is_none()) {
                    state.start(duty, &myself).await?;
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
    /// Decides all that is queued, and proposes what follows, unless a proposal is in flight.
    fn propose(&mut self, myself: &ActorRef<Message>) {
        if self.proposal.is_some() || self.queue.is_empty() {
            return;
        }
        let (wishes, replies): (Vec<_>, Vec<_>) = self.queue.drain(..).unzip();
        let decided = self.cluster.decide_all(&wishes, self.arguments.ports.clock.now());
        let verdicts = decided.answers.into_iter().map(|answer| answer.map_err(Denial::Refused));
        let answers = replies.into_iter().zip(verdicts).collect();
        let Some(entry) = decided.entry else {
            send(answers, &self.cluster);
            return;
        };
        let mut next = Cluster::clone(&self.cluster);
        next.apply(&entry);
        let item = Item {
            entity: EntityId::CLUSTER,
            expected: self.cluster.version(),
            entry: encode(&entry),
            head: next.to_head(),
        };
        let journal = self.arguments.journal.clone();
        let proposal = Proposal { items: vec![item] };
        let proposing = async move { journal.propose(proposal).await };
        let errand = errand::start(myself, proposing, Message::Proposed);
        self.proposal = Some(InFlight { next: Arc::new(next), answers, _errand: errand });
    }

    /// Takes in what became of the proposal. An error ends the actor; whoever waits for an answer
    /// asks again.
    async fn proposed(
        &mut self,
        outcome: Result<Result<Verdict, JournalError>, Panicked>,
        myself: &ActorRef<Message>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(InFlight { next, answers, _errand }) = self.proposal.take() else {
            return Ok(());
        };
        match outcome?? {
            Verdict::Applied => {}
            Verdict::Conflict { entity, found } => {
                return Err(format!("another proposal for {entity} came first ({found})").into());
            }
        }
        self.cluster = next;
        send(answers, &self.cluster);
        self.reconcile(myself).await?;
        self.propose(myself);
        Ok(())
    }

    /// Starts an actor for each duty that is newly owed, and ends those that are owed no longer.
    async fn reconcile(&mut self, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let owed = self.cluster.owed();
        let by_actor = &mut self.by_actor;
        self.chores.retain(|duty, child| {
            let stays = owed.contains(duty);
            if let Some(actor) = child.actor.as_ref().filter(|_| !stays) {
                by_actor.remove(&actor.get_id());
                actor.kill();
            }
            stays
        });
        for duty in owed {
            if !self.chores.contains_key(&duty) {
                self.start(duty, myself).await?;
            }
        }
        Ok(())
    }

    async fn start(&mut self, duty: Duty, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let (heart, ports) = (myself.clone(), self.arguments.ports.clone());
        let arguments = chore::Arguments { duty, heart, ports };
        let (actor, _) = Chore::spawn_linked(None, Chore, arguments, myself.get_cell()).await?;
        self.by_actor.insert(actor.get_id(), duty);
        let child = self.chores.entry(duty).or_default();
        child.actor = Some(actor.get_cell());
        child.revival = None;
        Ok(())
    }

    fn died(&mut self, actor: &ActorCell, cause: String, myself: &ActorRef<Message>) {
        let Some(duty) = self.by_actor.remove(&actor.get_id()) else { return };
        let Some(child) = self.chores.get_mut(&duty) else { return };
        tracing::warn!(?duty, cause, "the actor of a duty died");
        child.actor = None;
        let pause = child.deaths.another(cause, self.arguments.ports.chance.as_ref());
        child.revival = Some(errand::after(myself, pause.to_duration(), Message::Revive(duty)));
    }
}

/// Answers those who still wait: with how the cluster is now, where it did not refuse.
fn send(answers: Answers, cluster: &Arc<Cluster>) {
    for (reply, verdict) in answers {
        match (reply, verdict) {
            (Some(reply), verdict) => {
                reply.send(verdict.map(|()| Arc::clone(cluster))).ok();
            }
            (None, Err(refused)) => tracing::info!(%refused, "a report of a duty was refused"),
            (None, Ok(())) => {}
        }
    }
}
