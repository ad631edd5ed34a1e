//! The actor of one live run: it journals, evolves, and keeps one child actor for each duty.
//!
//! It evolves only from entries that are in the journal, and has one proposal in flight; the wishes
//! that queue meanwhile are decided together. Where a proposal's outcome is not known, or another
//! one came first, the actor ends: its supervisor starts it again, and it replays the journal.

mod assignment;
mod duties;
mod time;

use crate::control::answers::{Denial, Why};
use crate::control::{Outside, RETRY_AFTER};
use crate::ended::Ended;
use crate::errand::{self, Errand, Panicked};
use crate::matchmaker::Stall;
use crate::plans::Plans;
use crate::ports::journal::{JournalError, SharedJournal};
use crate::shard;
use duties::Duties;
use otto_core::ids::{AgentRef, Digest, RunId, StageId};
use otto_core::journal::{EntityId, Head, Item, Proposal, Unreadable, Verdict, decode, encode};
use otto_core::lease::LeaseId;
use otto_core::run::command::{Command, Refusal, Wish};
use otto_core::run::duty::Duty;
use otto_core::run::event::{Entry, Event};
use otto_core::run::{DORMANT, Run};
use otto_core::time::Span;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How long a run that owes nothing keeps its actor after it was last asked for.
const LINGER: Span = Span::seconds(1);
/// A run that its shard would wake later than this never gives up its actor.
const LATE: Span = Span::seconds(1);

/// How many wishes from outside wait at most while a proposal is in flight.
const WAITING: usize = 1024;

/// Where the answer to a command goes.
pub(crate) type Answer = RpcReplyPort<Result<(), Denial>>;

/// What the actor starts with.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// Which run.
    pub(crate) run: RunId,
    /// The run, where its supervisor has just journaled its first entry.
    pub(crate) fresh: Option<Run>,
    /// Its shard.
    pub(crate) shard: ActorRef<shard::Message>,
    /// The shard's journal.
    pub(crate) journal: SharedJournal,
    /// The shard's plans.
    pub(crate) plans: Plans,
    /// The shard's stall at the matchmaker.
    pub(crate) stall: Stall,
    /// All other ports. The clock is the run's, as soon as that is known.
    pub(crate) outside: Outside,
}

/// What the actor is told and asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// A wish of one of its duties, which wishes again if this is lost.
    Wish(Wish),
    /// A wish from outside.
    Command(Box<Command>, Answer),
    /// What became of the proposal in flight.
    Proposed(Result<Result<Verdict, JournalError>, Panicked>),
    /// The run as it is in the journal.
    View(RpcReplyPort<Result<Run, Denial>>),
    /// What is owed for a stage, and how its actors fare.
    Why(StageId, RpcReplyPort<Result<Why, Denial>>),
    /// Whether an agent holds a lease by the journal.
    Stands(AgentRef, LeaseId, RpcReplyPort<bool>),
    /// Whether the run's stages may work on a blob.
    Needs(Digest, RpcReplyPort<bool>),
    /// The matchmaker was started anew.
    Rematch,
    /// Start the dead child of a duty again.
    Revive(Duty),
    /// Nobody has asked for long.
    Idle,
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Wish(_) => "wish",
            Self::Command(..) => "command",
            Self::Proposed(_) => "proposed",
            Self::View(_) => "view",
            Self::Why(..) => "why",
            Self::Stands(..) => "stands",
            Self::Needs(..) => "needs",
            Self::Rematch => "rematch",
            Self::Revive(_) => "revive",
            Self::Idle => "idle",
        }
    }
}

impl Message {
    /// Answers whoever asks that there is no answer now, and why.
    pub(crate) fn deny(self, denial: Denial) {
        match self {
            Self::Command(_, answer) => {
                answer.send(Err(denial)).ok();
            }
            Self::View(reply) => {
                reply.send(Err(denial)).ok();
            }
            Self::Why(_, reply) => {
                reply.send(Err(denial)).ok();
            }
            // Without an answer the lease is asked about again.
            Self::Stands(..)
            | Self::Needs(..)
            | Self::Wish(_)
            | Self::Proposed(_)
            | Self::Rematch
            | Self::Revive(_)
            | Self::Idle => {}
        }
    }
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Pipeline;

/// What the actor knows.
#[derive(Debug)]
pub(crate) struct State {
    arguments: Arguments,
    life: Life,
    queue: Vec<(Command, Option<Answer>)>,
    proposal: Option<InFlight>,
    duties: Duties,
    idle: Option<Errand>,
    /// How far its journal is ahead of this node's clock, by which the shard would wake it.
    ahead: Span,
}

/// The run, in this actor's hands.
#[derive(Debug)]
enum Life {
    /// It was replayed.
    Known(Box<Run>),
    /// It has no journal.
    Absent,
    /// Its journal cannot be replayed.
    Quarantined(String),
}

/// The proposal in flight.
#[derive(Debug)]
struct InFlight {
    /// The run as it is when the proposal is applied.
    next: Run,
    answers: Vec<(Option<Answer>, Result<(), Refusal>)>,
    _errand: Errand,
}

impl Actor for Pipeline {
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
            life: Life::Absent,
            queue: Vec::new(),
            proposal: None,
            duties: Duties::default(),
            idle: None,
            ahead: Span::default(),
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Message>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.outside.sabotage.strike("pipeline", "start");
        state.life = match state.arguments.fresh.take() {
            Some(run) => Life::Known(Box::new(run)),
            None => replay(&state.arguments).await?,
        };
        match &state.life {
            Life::Known(run) => {
                let clock = &mut state.arguments.outside.clock;
                state.ahead = time::go_on(run.last_at(), clock);
                state.duties.begin(run, &myself, &state.arguments).await?;
            }
            Life::Absent => {}
            Life::Quarantined(cause) => {
                tracing::error!(run = %state.arguments.run, cause, "a run is set apart");
            }
        }
        state.rest(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.outside.sabotage.strike("pipeline", message.name());
        match message {
            Message::Wish(wish) => state.enqueue(wish.into(), None, &myself),
            Message::Command(command, answer) => state.enqueue(*command, Some(answer), &myself),
            Message::Proposed(outcome) => state.proposed(outcome, &myself).await?,
            Message::View(reply) => {
                reply.send(state.run().cloned()).ok();
            }
            Message::Why(stage, reply) => {
                reply.send(state.run().map(|_| state.duties.why(stage))).ok();
            }
            Message::Stands(agent, lease, reply) => {
                let stands = state.run().is_ok_and(|run| duties::stands(run, agent, lease));
                reply.send(stands).ok();
            }
            Message::Needs(blob, reply) => {
                reply.send(state.run().is_ok_and(|run| assignment::needs(run, blob))).ok();
            }
            Message::Rematch => state.duties.rematch(),
            Message::Revive(duty) => {
                if let Life::Known(run) = &state.life {
                    state.duties.revive(duty, run, &myself, &state.arguments).await?;
                }
            }
            Message::Idle => {
                myself.drain()?;
                return Ok(());
            }
        }
        state.rest(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(Ended { child, cause, .. }) = Ended::of(event) {
            let chance = state.arguments.outside.chance.as_ref();
            state.duties.died(&child, cause, &myself, chance);
        }
        Ok(())
    }
}

impl State {
    fn run(&self) -> Result<&Run, Denial> {
        let id = self.arguments.run;
        match &self.life {
            Life::Known(run) => Ok(run),
            Life::Absent => Err(Denial::NoSuchRun(id)),
            Life::Quarantined(cause) => Err(Denial::Quarantined { run: id, cause: cause.clone() }),
        }
    }

    fn enqueue(&mut self, command: Command, answer: Option<Answer>, myself: &ActorRef<Message>) {
        let room = answer.is_none() || self.queue.len() < WAITING;
        let busy = Denial::Busy { retry_after: RETRY_AFTER };
        match self.run().and(if room { Ok(()) } else { Err(busy) }) {
            Ok(()) => {
                self.queue.push((command, answer));
                self.propose(myself);
            }
            Err(denial) => answer.into_iter().for_each(|answer| {
                answer.send(Err(denial.clone())).ok();
            }),
        }
    }

    /// Decides all that is queued, and proposes what follows, unless a proposal is in flight.
    fn propose(&mut self, myself: &ActorRef<Message>) {
        let Life::Known(run) = &self.life else { return };
        if self.proposal.is_some() || self.queue.is_empty() {
            return;
        }
        let (commands, answers): (Vec<_>, Vec<_>) = self.queue.drain(..).unzip();
        let decided = run.decide_all(&commands, self.arguments.outside.clock.now());
        let answers = answers.into_iter().zip(decided.answers).collect();
        let Some(entry) = decided.entry else {
            send(answers);
            return;
        };
        let mut next = Run::clone(run);
        next.apply(&entry);
        let proposal = Proposal { items: vec![item(&next, &entry)] };
        let journal = self.arguments.journal.clone();
        let proposing = async move { journal.propose(proposal).await };
        let errand = errand::start(myself, proposing, Message::Proposed);
        self.proposal = Some(InFlight { next, answers, _errand: errand });
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
        self.duties.reconcile(&next, myself, &self.arguments).await?;
        self.life = Life::Known(Box::new(next));
        self.arguments.outside.grown.ring(self.arguments.run);
        send(answers);
        self.propose(myself);
        Ok(())
    }

    /// Gives up the actor, after a while, where the run owes nothing for now.
    fn rest(&mut self, myself: &ActorRef<Message>) {
        let now = self.arguments.outside.clock.now();
        let rests = match &self.life {
            Life::Known(run) => match run.wake() {
                Some(at) if at > now.after(DORMANT) && self.ahead < LATE => {
                    self.arguments.shard.cast(shard::Message::Dormant { until: at }).ok();
                    true
                }
                Some(_) => false,
                None => true,
            },
            Life::Absent => true,
            Life::Quarantined(_) => false,
        };
        let busy = self.proposal.is_some() || !self.queue.is_empty();
        self.idle =
            (rests && !busy).then(|| errand::after(myself, LINGER.to_duration(), Message::Idle));
    }
}

/// Answers those who still wait.
fn send(answers: Vec<(Option<Answer>, Result<(), Refusal>)>) {
    for (answer, verdict) in answers {
        if let Some(answer) = answer {
            answer.send(verdict.map_err(Denial::Refused)).ok();
        }
    }
}

/// The part of a proposal that adds the last entry to a run's journal.
pub(crate) fn item(next: &Run, entry: &Entry) -> Item {
    Item {
        entity: EntityId::run(next.id()),
        expected: next.version() - 1,
        entry: encode(entry),
        head: Head { wake: next.wake(), summary: encode(&next.summary()) },
    }
}

/// Rebuilds the run from its journal.
async fn replay(arguments: &Arguments) -> Result<Life, ActorProcessingErr> {
    let entries = arguments.journal.entries(EntityId::run(arguments.run), 0).await?;
    let entries: Result<Vec<Entry>, Unreadable> =
        entries.iter().map(|bytes| decode("journal entry", bytes)).collect();
    let entries = match entries {
        Ok(entries) => entries,
        Err(unreadable) => return Ok(Life::Quarantined(unreadable.to_string())),
    };
    let Some(first) = entries.first() else { return Ok(Life::Absent) };
    let Some(Event::Submitted { submission, .. }) = first.events.first() else {
        return Ok(Life::Quarantined("its journal does not begin with a submission".to_owned()));
    };
    let plan = match arguments.plans.get(submission.plan).await? {
        Ok(plan) => plan,
        Err(cause) => return Ok(Life::Quarantined(cause)),
    };
    // Facts were checked when they were decided. Where a replay panics nevertheless, the bug costs
    // this run, and never its shard.
    let replayed = catch_unwind(AssertUnwindSafe(|| Run::replay(arguments.run, plan, &entries)));
    Ok(match replayed {
        Ok(run) => Life::Known(Box::new(run)),
        Err(panic) => Life::Quarantined(errand::words(panic.as_ref())),
    })
}
