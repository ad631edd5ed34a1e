//! The actor of one lease at its agent: opens the stage, runs its steps in order, ships the log,
//! and tells how it ended.
//!
//! `finally` steps run however the steps ended, also when these were cancelled or timed out. The
//! stage's time limit is that of its steps and counts nothing of `finally`, which has a bound of
//! its own. An executor that dies is followed by one that clears up: the attempt is
//! lost.

mod shipping;
mod tally;

use crate::agent::{Outside, session};
use crate::errand::{self, Errand, Panicked};
use crate::ports::control::Assignment;
use crate::ports::stages::{Stage, StageError, StepEnd};
use otto_core::lease::LeaseId;
use otto_core::run::duty::EndReason;
use otto_core::run::outcome::{Outcome, Section, StepChange, StepFact, StepPlace};
use otto_core::time::Span;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use shipping::Stale;
use std::sync::{Arc, OnceLock};
use tally::Tally;

/// How long the `finally` steps of an attempt may take together.
const FINALLY: Span = Span::seconds(600);
/// How long an interrupted step may take to be gone.
const GRACE: Span = Span::seconds(60);
/// The pause before the log is shipped again after a panic.
const AGAIN: Span = Span::seconds(1);

/// The stage, from when it was opened; whoever clears up finds it here.
pub(crate) type Opened = Arc<OnceLock<Arc<dyn Stage>>>;

/// What an executor is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mission {
    /// Carry the assignment out.
    Run,
    /// The executor before it died: end what it left.
    ClearUp {
        /// What it died of.
        cause: String,
    },
}

/// What the actor starts with.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) opened: Opened,
    pub(crate) mission: Mission,
    pub(crate) outside: Outside,
}

/// What the actor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Begin.
    Begin,
    /// The stage is open, or cannot be opened.
    Opened(Result<Result<Arc<dyn Stage>, StageError>, Panicked>),
    /// The step at hand has ended.
    StepEnded(Result<Result<StepEnd, StageError>, Panicked>),
    /// A time limit is up.
    TimeUp(Limit),
    /// The control side wants the attempt to end; `finally` steps still run.
    Interrupt(EndReason),
    /// The lease is over: everything ends at once, and nothing is told.
    Abandon,
    /// Nothing of the stage is left, and the log has its last byte.
    Closed(Result<(), Panicked>),
    /// The log is delivered, or nobody takes it.
    Shipped(Result<Result<u64, Stale>, Panicked>),
    /// Ship the log once more.
    Ship,
}

impl Message {
    fn name(&self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Opened(_) => "opened",
            Self::StepEnded(_) => "step ended",
            Self::TimeUp(_) => "time up",
            Self::Interrupt(_) => "interrupt",
            Self::Abandon => "abandon",
            Self::Closed(_) => "closed",
            Self::Shipped(_) => "shipped",
            Self::Ship => "ship",
        }
    }
}

/// Whose time is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// This step's.
    Step(StepPlace),
    /// That of all `steps`.
    Steps,
    /// That of all `finally` steps.
    Finally,
    /// That of a step which was interrupted, and is still there.
    Grace(StepPlace),
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Executor;

/// What the actor knows.
#[derive(Debug)]
pub(crate) struct State {
    arguments: Arguments,
    /// The step that runs now.
    at: Option<StepPlace>,
    /// Opening, the step at hand, or closing.
    work: Option<Errand>,
    shipping: Option<Errand>,
    interrupting: Option<Errand>,
    step_timers: Vec<Errand>,
    /// The time limit of all steps of the section at hand.
    section_timer: Option<Errand>,
    tally: Tally,
    closing: bool,
    abandoned: bool,
}

impl Actor for Executor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        myself.cast(Message::Begin)?;
        let tally = Tally::of(&arguments.assignment);
        Ok(State {
            arguments,
            at: None,
            work: None,
            shipping: None,
            interrupting: None,
            step_timers: Vec::new(),
            section_timer: None,
            tally,
            closing: false,
            abandoned: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.arguments.outside.ports.sabotage.strike("executor", message.name());
        match message {
            Message::Begin => state.begin(&myself),
            Message::Opened(opened) => state.opened(opened, &myself).await,
            Message::StepEnded(end) => state.step_ended(end, &myself).await,
            Message::TimeUp(limit) => state.time_up(limit, &myself),
            Message::Interrupt(reason) => state.interrupt(reason, &myself),
            Message::Abandon => {
                state.abandoned = true;
                state.shipping = None;
                state.close(&myself);
            }
            Message::Closed(closed) => {
                // Where closing panicked nobody knows what is left: another executor clears up.
                closed?;
                state.closed(&myself).await;
            }
            Message::Shipped(shipped) => state.shipped(shipped, &myself).await,
            Message::Ship => state.ship(&myself),
        }
        Ok(())
    }
}

impl State {
    fn lease(&self) -> LeaseId {
        self.arguments.assignment.lease
    }

    fn begin(&mut self, myself: &ActorRef<Message>) {
        if let Mission::ClearUp { cause } = self.arguments.mission.clone() {
            self.tally.lost(format!("its executor died: {cause}"));
            self.ship(myself);
            self.close(myself);
            return;
        }
        if let Some(limit) = self.arguments.assignment.timeout {
            self.section_timer = Some(after(myself, limit, Limit::Steps));
        }
        let assignment = Arc::clone(&self.arguments.assignment);
        let slot = Arc::clone(&self.arguments.opened);
        let stages = self.arguments.outside.ports.stages.clone();
        let opening = async move {
            let stage = stages.open(&assignment).await?;
            Ok(Arc::clone(slot.get_or_init(|| stage)))
        };
        self.work = Some(errand::start(myself, opening, Message::Opened));
    }

    async fn opened(
        &mut self,
        opened: Result<Result<Arc<dyn Stage>, StageError>, Panicked>,
        myself: &ActorRef<Message>,
    ) {
        if self.closing {
            return;
        }
        self.ship(myself);
        match opened {
            Ok(Ok(_)) => self.go_on(None, myself),
            Ok(Err(error)) => {
                self.note(&format!("failed to {error}")).await;
                self.tally.unfit(&error);
                self.close(myself);
            }
            Err(panicked) => {
                self.tally.lost(panicked.to_string());
                self.close(myself);
            }
        }
    }

    /// Starts the step that comes after the last one, or ends the attempt.
    fn go_on(&mut self, last: Option<StepPlace>, myself: &ActorRef<Message>) {
        self.step_timers.clear();
        let assignment = Arc::clone(&self.arguments.assignment);
        let Some(place) = self.tally.next(&assignment, last) else {
            self.close(myself);
            return;
        };
        let Some(stage) = self.arguments.opened.get().cloned() else { return };
        let first_finally = StepPlace { section: Section::Finally, index: 0 };
        if place == first_finally {
            self.section_timer = Some(after(myself, FINALLY, Limit::Finally));
        }
        let call = tally::call(&assignment, place);
        if let Some(limit) = call.and_then(|call| call.timeout) {
            self.step_timers.push(after(myself, limit, Limit::Step(place)));
        }
        self.at = Some(place);
        self.fact(place, StepChange::Began);
        let captured = self.tally.seen().clone();
        let running = async move { stage.step(place, &captured).await };
        self.work = Some(errand::start(myself, running, Message::StepEnded));
    }

    async fn step_ended(
        &mut self,
        end: Result<Result<StepEnd, StageError>, Panicked>,
        myself: &ActorRef<Message>,
    ) {
        if self.closing {
            return;
        }
        let Some(place) = self.at.take() else { return };
        self.interrupting = None;
        match end {
            Ok(Ok(end)) => {
                let log_bytes = end.log_bytes;
                let counted = self.tally.step(&self.arguments.assignment, place, end);
                let (outcome, detail) = (counted.outcome, counted.detail);
                self.fact(place, StepChange::Ended { outcome, detail, log_bytes });
                for line in counted.notes {
                    self.note(&line).await;
                }
                self.go_on(Some(place), myself);
            }
            Ok(Err(error)) => {
                self.note(&format!("failed to {error}")).await;
                let outcome = self.tally.unfit(&error);
                let (detail, log_bytes) = (error.to_string(), None);
                self.fact(place, StepChange::Ended { outcome, detail, log_bytes });
                match error {
                    StageError::Unfit(_) => self.go_on(Some(place), myself),
                    StageError::Machine(_) => self.close(myself),
                }
            }
            Err(panicked) => {
                self.tally.lost(panicked.to_string());
                let (outcome, detail) = (Outcome::Lost, panicked.to_string());
                self.fact(place, StepChange::Ended { outcome, detail, log_bytes: None });
                self.close(myself);
            }
        }
    }

    fn time_up(&mut self, limit: Limit, myself: &ActorRef<Message>) {
        match limit {
            Limit::Step(place) if self.at == Some(place) => {
                let call = tally::call(&self.arguments.assignment, place);
                let limit = call.and_then(|call| call.timeout).unwrap_or_default();
                self.tally.overdue(place, format!("not done within {limit}"));
                self.stop_step(EndReason::TimedOut, myself);
            }
            Limit::Finally => {
                self.tally.no_more();
                if let Some(place) = self.at {
                    let cause = format!("`finally` was not done within {FINALLY}");
                    self.tally.overdue(place, cause);
                    self.stop_step(EndReason::TimedOut, myself);
                }
            }
            // Behind its last step it rang too late, on its way here.
            Limit::Steps if !self.closing && !self.in_finally() => {
                self.interrupt(EndReason::TimedOut, myself);
            }
            Limit::Grace(place) if self.at == Some(place) => {
                self.tally.lost("a step could not be ended".to_owned());
                self.close(myself);
            }
            // That step, or all of them, have ended meanwhile.
            Limit::Step(_) | Limit::Grace(_) | Limit::Steps => {}
        }
    }

    fn in_finally(&self) -> bool {
        self.at.is_some_and(|place| place.section == Section::Finally)
    }

    /// Ends the steps; those of `finally` go on, or begin.
    fn interrupt(&mut self, reason: EndReason, myself: &ActorRef<Message>) {
        if !self.tally.stop(reason) {
            return;
        }
        if self.at.is_some_and(|place| place.section == Section::Steps) {
            self.stop_step(reason, myself);
        }
    }

    fn stop_step(&mut self, reason: EndReason, myself: &ActorRef<Message>) {
        let (Some(stage), Some(place)) = (self.arguments.opened.get().cloned(), self.at) else {
            return;
        };
        let stopping = async move { stage.interrupt(reason).await };
        // Its end is told by the step's own call; a panic here leaves it to the grace period.
        let tell = move |_| Message::TimeUp(Limit::Grace(place));
        let lenient = async move {
            stopping.await;
            tokio::time::sleep(GRACE.to_duration()).await;
        };
        self.interrupting = Some(errand::start(myself, lenient, tell));
    }

    /// Ends everything that is left of the stage, then the log.
    fn close(&mut self, myself: &ActorRef<Message>) {
        self.closing = true;
        self.at = None;
        self.step_timers.clear();
        self.section_timer = None;
        self.interrupting = None;
        let stage = self.arguments.opened.get().cloned();
        // What nobody takes any more needs no end.
        let log = (!self.abandoned).then(|| self.arguments.outside.clone());
        let lease = self.lease();
        let closing = async move {
            if let Some(stage) = stage {
                stage.close().await;
            }
            if let Some(outside) = log {
                shipping::close(&outside, lease).await;
            }
        };
        self.work = Some(errand::start(myself, closing, Message::Closed));
    }

    async fn closed(&mut self, myself: &ActorRef<Message>) {
        self.work = None;
        if self.abandoned {
            self.leave(myself).await;
        } else {
            self.finish(myself).await;
        }
    }

    fn ship(&mut self, myself: &ActorRef<Message>) {
        let shipping = shipping::ship(self.arguments.outside.clone(), self.lease());
        self.shipping = Some(errand::start(myself, shipping, Message::Shipped));
    }

    async fn shipped(
        &mut self,
        shipped: Result<Result<u64, Stale>, Panicked>,
        myself: &ActorRef<Message>,
    ) {
        match shipped {
            Ok(Ok(length)) => {
                self.tally.log_bytes = Some(length);
                self.finish(myself).await;
            }
            Ok(Err(stale)) => {
                tracing::warn!(lease = %self.lease(), %stale, "a lease is over");
                self.arguments.outside.ledger.with(|ledger| ledger.give_up(self.lease()));
                self.abandoned = true;
                if self.closing && self.work.is_none() {
                    self.leave(myself).await;
                } else {
                    // What closes may be waiting for a disk that takes the end of the log.
                    self.close(myself);
                }
            }
            Err(_) => {
                let pause = AGAIN.to_duration();
                self.shipping = Some(errand::after(myself, pause, Message::Ship));
            }
        }
    }

    /// Enters the end into the ledger once nothing of the stage is left and its log is delivered.
    async fn finish(&mut self, myself: &ActorRef<Message>) {
        if !self.closing || self.work.is_some() || self.abandoned {
            return;
        }
        let Some(end) = self.tally.end(&self.arguments.assignment.outputs) else { return };
        self.arguments.outside.ledger.with(|ledger| ledger.finished(self.lease(), end));
        self.arguments.outside.session.tell(session::Message::News);
        self.leave(myself).await;
    }

    async fn leave(&mut self, myself: &ActorRef<Message>) {
        // The control side has the log, or will never take it; a spool that cannot be deleted is
        // deleted when the agent starts.
        self.arguments.outside.ports.spool.drop_log(self.lease()).await.ok();
        myself.stop(None);
    }

    fn fact(&self, step: StepPlace, what: StepChange) {
        let outside = &self.arguments.outside;
        let fact = StepFact { step, at: outside.ports.clock.now(), what };
        if outside.ledger.with(|ledger| ledger.fact(self.lease(), fact)) {
            outside.session.tell(session::Message::News);
        }
    }

    /// Adds a line of Otto's own to the log. A spool that fails says so when the log is shipped.
    async fn note(&self, line: &str) {
        self.arguments.outside.ports.spool.note(self.lease(), line).await.ok();
    }
}

fn after(myself: &ActorRef<Message>, pause: Span, limit: Limit) -> Errand {
    errand::after(myself, pause.to_duration(), Message::TimeUp(limit))
}
