//! The duties of a run and their actors: what is owed has one, what is no longer owed has none.

use super::{Arguments, Message, assignment};
use crate::alarm::{self, Alarm};
use crate::backoff::Deaths;
use crate::control::answers::{Chore, Why};
use crate::errand::{self, Errand};
use crate::matchmaker::{Entry, market::OfferId};
use crate::ports::chance::Chance;
use crate::ports::control::Order;
use crate::ports::logs::LogId;
use crate::stage::{self, Stage};
use otto_core::ids::{AgentRef, RunId, StageId};
use otto_core::lease::{Lease, LeaseId};
use otto_core::run::Run;
use otto_core::run::duty::{Duty, EndReason, OwedChange};
use otto_core::time::Timestamp;
use ractor::{Actor, ActorCell, ActorId, ActorRef, SpawnErr};
use std::collections::{BTreeMap, BTreeSet};

/// The actors of a run's duties.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// The version of what is owed that these actors stand for.
    seen: u64,
    children: BTreeMap<Duty, Child>,
    by_actor: BTreeMap<ActorId, Duty>,
}

/// The actor of a duty; none while its supervisor waits before starting it again.
#[derive(Debug, Default)]
struct Child {
    actor: Option<Kind>,
    deaths: Deaths,
    revival: Option<Errand>,
}

/// The kinds of actors that duties have.
#[derive(Debug)]
enum Kind {
    Stage(ActorRef<stage::Message>),
    Alarm(ActorRef<alarm::Message>),
}

impl Kind {
    fn cell(&self) -> ActorCell {
        match self {
            Self::Stage(actor) => actor.get_cell(),
            Self::Alarm(actor) => actor.get_cell(),
        }
    }
}

impl Duties {
    /// Starts an actor for everything that is owed, and has the matchmaker forget what is not.
    pub(super) async fn begin(
        &mut self,
        run: &Run,
        myself: &ActorRef<Message>,
        arguments: &Arguments,
    ) -> Result<(), SpawnErr> {
        let offers = run.owed().iter().filter_map(|duty| offer_of(run.id(), duty));
        let leases = run.owed().iter().filter_map(|duty| lease_of(run.id(), duty));
        arguments.stall.enter(Entry::Only {
            run: run.id(),
            offers: offers.collect(),
            leases: leases.map(|lease| lease.id).collect(),
        });
        self.catch_up(run, run.owed().iter().cloned().collect(), myself, arguments).await
    }

    /// Stops the actors of what is gone, and starts those of what is new.
    pub(super) async fn reconcile(
        &mut self,
        run: &Run,
        myself: &ActorRef<Message>,
        arguments: &Arguments,
    ) -> Result<(), SpawnErr> {
        let touched: BTreeSet<Duty> = match run.owed().changes_since(self.seen) {
            Some(changes) => changes
                .map(|change| match change {
                    OwedChange::Owed(duty) | OwedChange::Gone(duty) => duty.clone(),
                })
                .collect(),
            None => self.children.keys().chain(run.owed().iter()).cloned().collect(),
        };
        let (owed, gone) = touched.into_iter().partition(|duty| run.owed().contains(duty));
        let gone: BTreeSet<Duty> = gone;
        for duty in gone {
            self.stop(run, &duty, arguments);
        }
        self.catch_up(run, owed, myself, arguments).await
    }

    async fn catch_up(
        &mut self,
        run: &Run,
        owed: BTreeSet<Duty>,
        myself: &ActorRef<Message>,
        arguments: &Arguments,
    ) -> Result<(), SpawnErr> {
        for duty in owed {
            if !self.children.contains_key(&duty) {
                self.children.insert(duty.clone(), Child::default());
                self.start(duty, run, myself, arguments).await?;
            }
        }
        self.seen = run.owed().version();
        Ok(())
    }

    /// Starts the actor of a duty whose last one died, if it is still owed.
    pub(super) async fn revive(
        &mut self,
        duty: Duty,
        run: &Run,
        myself: &ActorRef<Message>,
        arguments: &Arguments,
    ) -> Result<(), SpawnErr> {
        match self.children.get_mut(&duty) {
            Some(child) if child.actor.is_none() => {
                child.revival = None;
                self.start(duty, run, myself, arguments).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes down a death. The actor of a duty that is no longer owed was stopped, and is not here.
    pub(super) fn died(
        &mut self,
        actor: &ActorCell,
        cause: String,
        myself: &ActorRef<Message>,
        chance: &dyn Chance,
    ) {
        let Some(duty) = self.by_actor.remove(&actor.get_id()) else { return };
        let Some(child) = self.children.get_mut(&duty) else { return };
        tracing::warn!(?duty, cause, "the actor of a duty died");
        child.actor = None;
        let pause = child.deaths.another(cause, chance);
        child.revival = Some(errand::after(myself, pause.to_duration(), Message::Revive(duty)));
    }

    /// The matchmaker was started anew: the duties are entered there again.
    pub(super) fn rematch(&self) {
        for child in self.children.values() {
            if let Some(Kind::Stage(actor)) = &child.actor {
                actor.cast(stage::Message::Enter).ok();
            }
        }
    }

    /// What is owed for a stage, and how its actors fare.
    pub(super) fn why(&self, stage: StageId) -> Why {
        let chores = self.children.iter().filter(|(duty, _)| concerns(duty, stage));
        let chores = chores.map(|(duty, child)| Chore {
            duty: duty.clone(),
            deaths: child.deaths.count,
            cause: child.deaths.cause.clone(),
            stuck: child.deaths.stuck(),
        });
        Why { chores: chores.collect(), search: None, holder: None }
    }

    async fn start(
        &mut self,
        duty: Duty,
        run: &Run,
        myself: &ActorRef<Message>,
        arguments: &Arguments,
    ) -> Result<(), SpawnErr> {
        let (stall, outside) = (arguments.stall.clone(), arguments.outside.clone());
        let pipeline = myself.clone();
        let kind = match concern_of(run, &duty, arguments) {
            Concern::Stage(concern) => {
                let arguments = stage::Arguments { concern, pipeline, stall, outside };
                let spawned = Stage::spawn_linked(None, Stage, arguments, myself.get_cell());
                Kind::Stage(spawned.await?.0)
            }
            Concern::Alarm(at) => {
                let arguments = alarm::Arguments { at, pipeline, outside };
                let spawned = Alarm::spawn_linked(None, Alarm, arguments, myself.get_cell());
                Kind::Alarm(spawned.await?.0)
            }
        };
        self.by_actor.insert(kind.cell().get_id(), duty.clone());
        self.children.entry(duty).or_default().actor = Some(kind);
        Ok(())
    }

    fn stop(&mut self, run: &Run, duty: &Duty, arguments: &Arguments) {
        if let Some(actor) = self.children.remove(duty).and_then(|child| child.actor) {
            self.by_actor.remove(&actor.cell().get_id());
            actor.cell().stop(None);
        }
        if let Some(offer) = offer_of(run.id(), duty) {
            arguments.stall.enter(Entry::Withdraw(offer));
        }
        if let Some(lease) = lease_of(run.id(), duty).filter(|lease| !is_open(run, *lease)) {
            arguments.stall.enter(Entry::Close(lease.id));
            arguments.outside.printed.ring(LogId::from(lease.id));
        }
    }
}

/// Whether an agent holds a lease, by what the run owes.
pub(super) fn stands(run: &Run, agent: AgentRef, lease: LeaseId) -> bool {
    is_open(run, Lease { id: lease, agent })
}

fn is_open(run: &Run, lease: Lease) -> bool {
    let Lease { id: LeaseId { run: _, stage, attempt, epoch }, agent } = lease;
    let end = |reason| Duty::End { stage, attempt, epoch, agent, reason };
    let owed = run.owed();
    owed.contains(&Duty::Attend { stage, attempt, epoch, agent })
        || owed.contains(&end(EndReason::Cancelled))
        || owed.contains(&end(EndReason::TimedOut))
}

/// What the actor of a duty sees to.
enum Concern {
    Stage(stage::Concern),
    Alarm(Timestamp),
}

fn concern_of(run: &Run, duty: &Duty, arguments: &Arguments) -> Concern {
    let id = |stage, attempt, epoch| LeaseId { run: run.id(), stage, attempt, epoch };
    match *duty {
        Duty::Offer { stage, attempt, since } => Concern::Stage(stage::Concern::Offer {
            offer: OfferId { run: run.id(), stage, attempt },
            since,
            need: run.plan().stage(stage).runtime.clone(),
        }),
        Duty::Attend { stage, attempt, epoch, agent } => {
            let lease = Lease { id: id(stage, attempt, epoch), agent };
            let now = arguments.outside.clock.now();
            let assignment = assignment::of(run, lease, arguments.outside.settings.lease, now);
            let order = Order::Start(Box::new(assignment));
            Concern::Stage(stage::Concern::Lease { lease, order })
        }
        Duty::End { stage, attempt, epoch, agent, reason } => {
            let lease = Lease { id: id(stage, attempt, epoch), agent };
            let order = Order::End { lease: lease.id, reason };
            Concern::Stage(stage::Concern::Lease { lease, order })
        }
        Duty::Alarm { at } => Concern::Alarm(at),
    }
}

fn offer_of(run: RunId, duty: &Duty) -> Option<OfferId> {
    match duty {
        Duty::Offer { stage, attempt, .. } => {
            Some(OfferId { run, stage: *stage, attempt: *attempt })
        }
        Duty::Attend { .. } | Duty::End { .. } | Duty::Alarm { .. } => None,
    }
}

fn lease_of(run: RunId, duty: &Duty) -> Option<Lease> {
    match duty {
        Duty::Attend { stage, attempt, epoch, agent }
        | Duty::End { stage, attempt, epoch, agent, .. } => {
            let id = LeaseId { run, stage: *stage, attempt: *attempt, epoch: *epoch };
            Some(Lease { id, agent: *agent })
        }
        Duty::Offer { .. } | Duty::Alarm { .. } => None,
    }
}

fn concerns(duty: &Duty, asked: StageId) -> bool {
    match duty {
        Duty::Offer { stage, .. } | Duty::Attend { stage, .. } | Duty::End { stage, .. } => {
            *stage == asked
        }
        Duty::Alarm { .. } => asked == StageId::ROOT,
    }
}
