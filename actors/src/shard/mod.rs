//! The actor of one shard: supervises the actors of its live runs, and takes in new ones.
//!
//! When it starts it replays nothing: it looks up the runs that want an actor, and each of those
//! replays itself. A run's actor that died is started again after a pause that doubles; a run that
//! is asked for and has no actor gets one.

mod intake;

pub(crate) use intake::{Admitted, Answer as SubmitAnswer, Wanted};

use crate::backoff::Deaths;
use crate::control::answers::{Denial, Why};
use crate::control::{Outside, RETRY_AFTER};
use crate::ended::Ended;
use crate::errand::{self, Errand, Panicked};
use crate::matchmaker::Stall;
use crate::pipeline::{self, Pipeline};
use crate::plans::Plans;
use crate::ports::journal::{JournalError, SharedJournal};
use intake::{Intake, Projects, Queue};
use otto_core::ids::{AgentRef, Digest, RunId, StageId};
use otto_core::journal::{EntityId, EntityKind};
use otto_core::lease::LeaseId;
use otto_core::run::Run;
use otto_core::run::command::Command;
use otto_core::time::{Span, Timestamp};
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use std::collections::BTreeMap;

/// How many runs get their actors at a time, so that others get a turn in between.
const BATCH: usize = 100;
/// The pause before the index of wake-ups is read once more after an error.
const AGAIN: Span = Span(200);

/// What the actor starts with.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    /// The shard's journal.
    pub(crate) journal: SharedJournal,
    /// The shard's plans.
    pub(crate) plans: Plans,
    /// The shard's stall at the matchmaker.
    pub(crate) stall: Stall,
    /// All other ports.
    pub(crate) outside: Outside,
}

/// When runs are looked for that a submission without an answer may have made: it may be journaled
/// after all, then or later.
const UNKNOWN: [Span; 2] = [Span::seconds(1), Span::seconds(30)];

/// A place in the index of wake-ups.
type Cursor = (Timestamp, EntityId);

/// What the actor is told and asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// Go on reading the index of wake-ups behind this place.
    Load(Option<Cursor>),
    /// A part of that index.
    Loaded(Result<Result<Vec<Cursor>, JournalError>, Panicked>),
    /// When the next dormant run wants its actor.
    Next(Result<Result<Option<Timestamp>, JournalError>, Panicked>),
    /// Take in a new run.
    Submit(Box<Wanted>),
    /// What became of the submissions in flight.
    Admitted(Result<Admitted, Panicked>),
    /// A wish from outside.
    Command(RunId, Box<Command>, pipeline::Answer),
    /// The run as it is in the journal.
    View(RunId, RpcReplyPort<Result<Run, Denial>>),
    /// What is owed for a stage, and how its actors fare.
    Why(RunId, StageId, RpcReplyPort<Result<Why, Denial>>),
    /// Whether an agent holds a lease by the journal.
    Stands(AgentRef, LeaseId, RpcReplyPort<bool>),
    /// Whether a run's stages may work on a blob.
    Needs(RunId, Digest, RpcReplyPort<bool>),
    /// The matchmaker was started anew.
    Rematch,
    /// Start the dead actor of a run again.
    Revive(RunId),
    /// A run gives up its actor until then.
    Dormant { until: Timestamp },
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Loaded(_) => "loaded",
            Self::Next(_) => "next",
            Self::Submit(_) => "submit",
            Self::Admitted(_) => "admitted",
            Self::Command(..) => "command",
            Self::View(..) => "view",
            Self::Why(..) => "why",
            Self::Stands(..) => "stands",
            Self::Needs(..) => "needs",
            Self::Rematch => "rematch",
            Self::Revive(_) => "revive",
            Self::Dormant { .. } => "dormant",
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Shard;

/// What the actor knows.
#[derive(Debug)]
pub(crate) struct State {
    arguments: Arguments,
    runs: BTreeMap<RunId, Child>,
    by_actor: BTreeMap<ActorId, RunId>,
    projects: Projects,
    queue: Queue,
    intake: Option<Errand>,
    loading: Option<Errand>,
    /// Further looks at the index, after submissions without an answer.
    searches: Vec<Errand>,
    /// When the next dormant run wants its actor, and the sleep until then.
    alarm: Option<(Timestamp, Errand)>,
}

/// The actor of a run; none while the shard waits before starting it again.
#[derive(Debug, Default)]
struct Child {
    actor: Option<ActorRef<pipeline::Message>>,
    deaths: Deaths,
    revival: Option<Errand>,
}

impl Actor for Shard {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        myself.cast(Message::Load(None))?;
        Ok(State {
            arguments,
            runs: BTreeMap::new(),
            by_actor: BTreeMap::new(),
            projects: Projects::new(),
            queue: Queue::default(),
            intake: None,
            loading: None,
            searches: Vec::new(),
            alarm: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.outside.sabotage.strike("shard", message.name());
        match message {
            Message::Load(after) => state.load(after, &myself),
            Message::Loaded(page) => state.loaded(page, &myself).await?,
            Message::Next(next) => match next {
                Ok(Ok(next)) => state.looked_ahead(next, &myself),
                Ok(Err(_)) | Err(_) => state.load_later(&myself),
            },
            Message::Submit(wanted) => {
                if let Err(wanted) = state.queue.push(wanted) {
                    let busy = Denial::Busy { retry_after: RETRY_AFTER };
                    wanted.reply.send(Err(busy)).ok();
                }
                state.admit(&myself);
            }
            Message::Admitted(admitted) => state.admitted(admitted, &myself).await?,
            Message::Command(run, command, answer) => {
                state.pass(run, pipeline::Message::Command(command, answer), &myself).await?;
            }
            Message::View(run, reply) => {
                state.pass(run, pipeline::Message::View(reply), &myself).await?;
            }
            Message::Why(run, stage, reply) => {
                state.pass(run, pipeline::Message::Why(stage, reply), &myself).await?;
            }
            Message::Stands(agent, lease, reply) => {
                let question = pipeline::Message::Stands(agent, lease, reply);
                state.pass(lease.run, question, &myself).await?;
            }
            Message::Needs(run, blob, reply) => {
                state.pass(run, pipeline::Message::Needs(blob, reply), &myself).await?;
            }
            Message::Rematch => {
                for actor in state.runs.values().filter_map(|child| child.actor.as_ref()) {
                    actor.cast(pipeline::Message::Rematch).ok();
                }
            }
            Message::Revive(run) => {
                if state.runs.get(&run).is_some_and(|child| child.actor.is_none()) {
                    state.start(run, None, &myself).await?;
                }
            }
            Message::Dormant { until } => {
                if state.alarm.as_ref().is_none_or(|(at, _)| until < *at) {
                    state.sleep_until(Some(until), &myself);
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
        let Some(Ended { child, cause, failed }) = Ended::of(event) else { return Ok(()) };
        if failed {
            state.died(&child, cause, &myself);
        } else if let Some(run) = state.by_actor.remove(&child.get_id()) {
            state.runs.remove(&run);
        }
        Ok(())
    }
}

impl State {
    /// Reads the next part of the index of wake-ups: what is due, from the oldest on.
    fn load(&mut self, after: Option<Cursor>, myself: &ActorRef<Message>) {
        self.searches.retain(Errand::is_under_way);
        let Arguments { journal, outside, .. } = &self.arguments;
        let (journal, now) = (journal.clone(), outside.clock.now());
        let reading = async move { journal.due(now, after, BATCH).await };
        self.loading = Some(errand::start(myself, reading, Message::Loaded));
    }

    async fn loaded(
        &mut self,
        page: Result<Result<Vec<Cursor>, JournalError>, Panicked>,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        self.loading = None;
        let Ok(Ok(page)) = page else {
            self.load_later(myself);
            return Ok(());
        };
        for run in page.iter().filter_map(|(_, entity)| entity.as_run()) {
            if !self.runs.contains_key(&run) {
                self.start(run, None, myself).await?;
            }
        }
        match page.last() {
            Some(last) if page.len() >= BATCH => self.load(Some(*last), myself),
            Some(_) | None => self.look_ahead(myself),
        }
        Ok(())
    }

    fn load_later(&mut self, myself: &ActorRef<Message>) {
        self.loading = Some(errand::after(myself, AGAIN.to_duration(), Message::Load(None)));
    }

    /// Looks up when the next dormant run wants its actor.
    fn look_ahead(&mut self, myself: &ActorRef<Message>) {
        let Arguments { journal, outside, .. } = &self.arguments;
        let (journal, now) = (journal.clone(), outside.clock.now());
        let last = EntityId { kind: EntityKind::Agent, id: u128::MAX };
        let reading = async move {
            let next = journal.due(Timestamp(u64::MAX), Some((now, last)), 1).await?;
            Ok(next.first().map(|(at, _)| *at))
        };
        self.loading = Some(errand::start(myself, reading, Message::Next));
    }

    fn looked_ahead(&mut self, next: Option<Timestamp>, myself: &ActorRef<Message>) {
        self.loading = None;
        // A run may have gone dormant since this was read.
        let now = self.arguments.outside.clock.now();
        let set = self.alarm.as_ref().map(|(at, _)| *at).filter(|at| *at > now);
        self.sleep_until(next.into_iter().chain(set).min(), myself);
    }

    fn sleep_until(&mut self, next: Option<Timestamp>, myself: &ActorRef<Message>) {
        let now = self.arguments.outside.clock.now();
        self.alarm = next.map(|at| {
            let pause = at.since(now).max(Span(1)).to_duration();
            let zero = (Timestamp::default(), EntityId { kind: EntityKind::Agent, id: u128::MAX });
            (at, errand::after(myself, pause, Message::Load(Some(zero))))
        });
    }

    /// Proposes the submissions that are queued, unless some are in flight.
    fn admit(&mut self, myself: &ActorRef<Message>) {
        if self.intake.is_some() || self.queue.is_empty() {
            return;
        }
        let intake = Intake {
            journal: self.arguments.journal.clone(),
            plans: self.arguments.plans.clone(),
            clock: self.arguments.outside.clock.clone(),
            projects: std::mem::take(&mut self.projects),
            wanted: self.queue.gather(),
            answers: Vec::new(),
        };
        self.intake = Some(errand::start(myself, intake.admit(), Message::Admitted));
    }

    async fn admitted(
        &mut self,
        admitted: Result<Admitted, Panicked>,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        self.intake = None;
        // Where the intake panicked, those who wait get no answer, and ask again.
        let unknown = admitted.as_ref().map_or(true, |admitted| admitted.unknown);
        if unknown {
            let again = UNKNOWN
                .map(|pause| errand::after(myself, pause.to_duration(), Message::Load(None)));
            self.searches.extend(again);
        }
        if let Ok(Admitted { projects, runs, answers, .. }) = admitted {
            self.projects = projects;
            // A run that owes nothing, such as one whose stages are all skipped, needs no actor.
            for run in runs.into_iter().filter(|run| run.wake().is_some()) {
                if !self.runs.contains_key(&run.id()) {
                    self.start(run.id(), Some(run), myself).await?;
                }
            }
            for (reply, answer) in answers {
                reply.send(answer).ok();
            }
        }
        self.admit(myself);
        Ok(())
    }

    /// Hands a question to the actor of a run, which is started where there is none. While a dead
    /// one waits to be started again, who asks is told so, and asks again.
    async fn pass(
        &mut self,
        run: RunId,
        message: pipeline::Message,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        if !self.runs.contains_key(&run) {
            self.start(run, None, myself).await?;
        }
        match self.runs.get(&run) {
            Some(Child { actor: Some(actor), .. }) => {
                actor.cast(message).ok();
            }
            Some(Child { actor: None, deaths, .. }) => {
                let stuck = if deaths.stuck() { "is stuck: it " } else { "" };
                let Deaths { count, cause } = deaths;
                message.deny(Denial::Unanswered(format!(
                    "the run's actor {stuck}died {count} times, last of: {cause}"
                )));
            }
            None => {}
        }
        Ok(())
    }

    async fn start(
        &mut self,
        run: RunId,
        fresh: Option<Run>,
        myself: &ActorRef<Message>,
    ) -> Result<(), SpawnErr> {
        let Arguments { journal, plans, stall, outside } = self.arguments.clone();
        let shard = myself.clone();
        let arguments = pipeline::Arguments { run, fresh, shard, journal, plans, stall, outside };
        let spawned = Pipeline::spawn_linked(None, Pipeline, arguments, myself.get_cell());
        let (actor, _) = spawned.await?;
        self.by_actor.insert(actor.get_id(), run);
        let child = self.runs.entry(run).or_default();
        child.actor = Some(actor);
        child.revival = None;
        Ok(())
    }

    fn died(&mut self, actor: &ActorCell, cause: String, myself: &ActorRef<Message>) {
        let Some(run) = self.by_actor.remove(&actor.get_id()) else { return };
        let Some(child) = self.runs.get_mut(&run) else { return };
        tracing::warn!(%run, cause, "the actor of a run died");
        child.actor = None;
        let pause = child.deaths.another(cause, self.arguments.outside.chance.as_ref());
        let pause = pause.to_duration();
        child.revival = Some(errand::after(myself, pause, Message::Revive(run)));
    }
}
