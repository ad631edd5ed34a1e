//! The actor at the root of an agent: supervises the session and the executors.

use super::Outside;
use super::ledger::given_up_end;
use super::session::{self, Session};
use crate::backoff::Deaths;
use crate::ended::Ended;
use crate::errand::{self, Errand};
use crate::executor::{self, Executor, Mission, Opened};
use crate::ports::control::Assignment;
use otto_core::lease::LeaseId;
use otto_core::time::Timestamp;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// The control side gave leases in answer to a bid sent then.
    Begin(Vec<Assignment>, Timestamp),
    /// Start a dead child again.
    Revive(Child),
}

/// The children.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Child {
    Session,
    Executor(LeaseId),
}

/// The actor.
#[derive(Debug)]
pub(super) struct Root;

/// What the actor knows.
#[derive(Debug)]
pub(super) struct State {
    outside: Outside,
    by_actor: BTreeMap<ActorId, Child>,
    deaths: BTreeMap<Child, Deaths>,
    revivals: BTreeMap<Child, Errand>,
    works: BTreeMap<LeaseId, Work>,
}

/// What an executor works on; kept for the one that clears up if it dies.
#[derive(Clone, Debug)]
struct Work {
    assignment: Arc<Assignment>,
    opened: Opened,
}

impl Actor for Root {
    type Msg = Message;
    type State = State;
    type Arguments = Outside;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        outside: Outside,
    ) -> Result<State, ActorProcessingErr> {
        let mut state = State {
            outside,
            by_actor: BTreeMap::new(),
            deaths: BTreeMap::new(),
            revivals: BTreeMap::new(),
            works: BTreeMap::new(),
        };
        state.start_session(&myself).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Begin(assignments, sent) => {
                for assignment in assignments {
                    state.begin(assignment, sent, &myself).await?;
                }
                state.outside.session.tell(session::Message::Bid);
            }
            Message::Revive(child) => {
                state.revivals.remove(&child);
                match child {
                    Child::Session => state.start_session(&myself).await?,
                    Child::Executor(lease) => state.clear_up(lease, &myself).await?,
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
        if let Some(Ended { child, cause, failed }) = Ended::of(event) {
            state.died(&child, failed, cause, &myself);
        }
        Ok(())
    }
}

impl State {
    async fn start_session(&mut self, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let arguments = (self.outside.clone(), myself.clone());
        let spawned = Session::spawn_linked(None, Session, arguments, myself.get_cell());
        let (actor, _) = spawned.await?;
        self.by_actor.insert(actor.get_id(), Child::Session);
        self.outside.session.set(actor);
        Ok(())
    }

    /// Starts an executor for a lease. Only the agent counts its slots: without a free one the
    /// lease is declined. An order for a lease in hand is a repetition; one for a lease that was
    /// given up is answered with the truth, that nothing is done under it any more.
    async fn begin(
        &mut self,
        assignment: Assignment,
        sent: Timestamp,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        let (lease, span) = (assignment.lease, assignment.lease_span);
        let ledger = self.outside.ledger.clone();
        if ledger.with(|ledger| ledger.has(lease)) {
            return Ok(());
        }
        if ledger.with(|ledger| ledger.had(lease)) {
            ledger.with(|ledger| ledger.end_idle(lease, sent, given_up_end()));
            self.outside.session.tell(session::Message::News);
            return Ok(());
        }
        if ledger.with(|ledger| ledger.free()) == 0 {
            ledger.with(|ledger| ledger.decline(lease, span, sent));
            self.outside.session.tell(session::Message::News);
            return Ok(());
        }
        let work = Work { assignment: Arc::new(assignment), opened: Opened::default() };
        self.works.insert(lease, work.clone());
        let executor = self.spawn(lease, work, Mission::Run, myself).await?;
        ledger.with(|ledger| ledger.enter(lease, span, sent, executor));
        Ok(())
    }

    /// An executor died: another one ends what it left, and says that the attempt is lost.
    async fn clear_up(
        &mut self,
        lease: LeaseId,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        let Some(work) = self.works.get(&lease).cloned() else { return Ok(()) };
        let deaths = self.deaths.get(&Child::Executor(lease));
        let cause = deaths.map(|deaths| deaths.cause.clone()).unwrap_or_default();
        let executor = self.spawn(lease, work, Mission::ClearUp { cause }, myself).await?;
        self.outside.ledger.with(|ledger| ledger.replace(lease, executor));
        Ok(())
    }

    async fn spawn(
        &mut self,
        lease: LeaseId,
        work: Work,
        mission: Mission,
        myself: &ActorRef<Message>,
    ) -> Result<ActorRef<executor::Message>, SpawnErr> {
        let Work { assignment, opened } = work;
        let outside = self.outside.clone();
        let arguments = executor::Arguments { assignment, opened, mission, outside };
        let spawned = Executor::spawn_linked(None, Executor, arguments, myself.get_cell());
        let (actor, _) = spawned.await?;
        self.by_actor.insert(actor.get_id(), Child::Executor(lease));
        Ok(actor)
    }

    fn died(&mut self, actor: &ActorCell, failed: bool, cause: String, myself: &ActorRef<Message>) {
        let Some(child) = self.by_actor.remove(&actor.get_id()) else { return };
        if let Child::Executor(lease) = child {
            let done = self.outside.ledger.with(|ledger| ledger.executor_gone(lease, failed));
            self.outside.session.tell(session::Message::News);
            if done {
                self.works.remove(&lease);
                self.deaths.remove(&child);
                return;
            }
        }
        tracing::error!(?child, cause, "an actor of the agent died");
        let chance = self.outside.ports.chance.as_ref();
        let pause = self.deaths.entry(child).or_default().another(cause, chance);
        let revival = errand::after(myself, pause.to_duration(), Message::Revive(child));
        self.revivals.insert(child, revival);
    }
}
