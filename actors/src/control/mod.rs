//! The control side of a node: what people and agents may ask of its shards.
//!
//! ```text
//!   ControlSide ── root ─┬─ matchmaker            agents' bids, offers, leases
//!    (this file)         └─ shard ── pipeline ─┬─ stage    one for each duty
//!                                              └─ alarm
//! ```
//!
//! A control side starts with no shard. It begins to lead one when it is told to, and stops when it
//! is told to; a question about a project whose shard is led elsewhere is answered with its shard.
//!
//! A question is handed to an actor as one message, so a caller that leaves loses the answer, and
//! never half a decision.

mod agents;
pub mod answers;
mod homes;
mod reading;
mod root;
pub(crate) mod tenure;

use crate::address::{Address, patiently};
use crate::bell::Bells;
use crate::matchmaker::{self, Stall};
use crate::ports::blobs::SharedBlobs;
use crate::ports::chance::SharedChance;
use crate::ports::clock::SharedClock;
use crate::ports::journal::SharedJournal;
use crate::ports::logs::{LogId, SharedLogs};
use crate::ports::routes::Routes;
use crate::ports::sabotage::SharedSabotage;
use crate::shard::{self, SubmitAnswer, Wanted};
use answers::{Denial, Source, SubmitRequest};
pub(crate) use homes::RETRY_AFTER;
use homes::{Home, Homes};
use otto_core::ids::{PlanHash, ProjectId, RunId, ShardId};
use otto_core::lease;
use otto_core::plan::Plan;
use otto_core::run::command::{Command, Submission};
use otto_core::time::Span;
use ractor::{Actor, ActorRef, RpcReplyPort, SpawnErr};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// What a control side does, as far as it can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How many shards the cluster has.
    pub shards: u16,
    /// How long a lease holds without renewal.
    pub lease: Span,
    /// What is waited beyond that before a lease counts as lost.
    pub margin: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self { shards: 8, lease: lease::LEASE, margin: lease::MARGIN }
    }
}

/// Everything outside that a control side uses.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The time of day.
    pub clock: SharedClock,
    /// The logs.
    pub logs: SharedLogs,
    /// The blobs.
    pub blobs: SharedBlobs,
    /// Seeded randomness for back-offs.
    pub chance: SharedChance,
    /// Who lets actors die on purpose: nobody in production.
    pub sabotage: SharedSabotage,
}

/// What the actors of a control side share.
#[derive(Clone, Debug)]
pub(crate) struct Outside {
    pub(crate) settings: Settings,
    pub(crate) clock: SharedClock,
    pub(crate) chance: SharedChance,
    pub(crate) sabotage: SharedSabotage,
    /// Where control nodes are, for the agents.
    pub(crate) routes: Arc<watch::Sender<Arc<Routes>>>,
    /// Rung when a run's journal has grown.
    pub(crate) grown: Bells<RunId>,
    /// Rung when an attempt's log has grown or ended.
    pub(crate) printed: Bells<LogId>,
}

/// The control side of a node.
#[derive(Clone)]
pub struct ControlSide {
    parts: Arc<Parts>,
}

impl fmt::Debug for ControlSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlSide")
    }
}

struct Parts {
    outside: Outside,
    matchmaker: Address<matchmaker::Message>,
    homes: Homes,
    logs: SharedLogs,
    blobs: SharedBlobs,
    root: ActorRef<root::Message>,
}

impl ControlSide {
    /// Starts the actors that serve all shards; none is led yet.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn start(settings: Settings, ports: Ports) -> Result<Self, SpawnErr> {
        let outside = Outside {
            settings,
            clock: ports.clock,
            chance: ports.chance,
            sabotage: ports.sabotage,
            routes: Arc::default(),
            grown: Bells::default(),
            printed: Bells::default(),
        };
        let matchmaker = Address::vacant();
        let arguments =
            root::Arguments { outside: outside.clone(), matchmaker: matchmaker.clone() };
        let (root, _) = root::Root::spawn(None, root::Root, arguments).await?;
        let homes = Homes::of(settings.shards);
        let (logs, blobs) = (ports.logs, ports.blobs);
        let parts = Parts { outside, matchmaker, homes, logs, blobs, root };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Leads a shard from now on: its live runs go on here. The journal must hold, and go on to
    /// hold, that nobody else leads the shard. Where it is led here already it is taken over anew.
    ///
    /// The incarnation is the cluster's, which is raised when a backup is restored.
    ///
    /// Returns when the shard's actor is there; its runs get theirs one after another.
    pub async fn lead(&self, shard: ShardId, journal: SharedJournal, incarnation: u32) {
        let (reply, begun) = tokio::sync::oneshot::channel();
        self.parts.homes.begin(shard, journal, incarnation, |home| {
            let arguments = shard::Arguments {
                journal: home.journal.clone(),
                plans: home.plans.clone(),
                stall: Stall::new(home.tenure.clone(), self.parts.matchmaker.clone()),
                outside: self.parts.outside.clone(),
            };
            let begin =
                root::Message::Lead(Box::new(arguments), home.address.clone(), reply.into());
            // Where the root is gone this process is about to end.
            self.parts.root.cast(begin).ok();
        });
        begun.await.ok();
    }

    /// Leads a shard no longer: when this returns nothing of it acts any more here. What was asked
    /// of it and is not answered yet is not answered, or with where it is not.
    pub fn resign(&self, shard: ShardId) {
        self.parts.homes.end(shard, || {
            self.parts.root.cast(root::Message::Resign(shard)).ok();
        });
    }

    /// Has agents told where the control nodes are and what each leads, from now on.
    pub fn route(&self, routes: Routes) {
        let known = &self.parts.outside.routes;
        let differs = |known: &mut Arc<Routes>| {
            let differs = **known != routes;
            if differs {
                *known = Arc::new(routes);
            }
            differs
        };
        if known.send_if_modified(differs) {
            self.parts.matchmaker.tell(matchmaker::Message::Rerouted);
        }
    }

    /// The shards that are led here.
    #[must_use]
    pub fn leads(&self) -> Vec<ShardId> {
        self.parts.homes.all().iter().map(|home| home.tenure.shard()).collect()
    }

    /// The shard that a project belongs to.
    #[must_use]
    pub fn shard_of(&self, project: ProjectId) -> ShardId {
        self.parts.homes.shard_of(project)
    }

    /// Returns when the root of the actors has ended. Unless [`ControlSide::stop`] was called that
    /// is our bug, and the process had better be started anew.
    pub async fn ended(&self) {
        self.parts.root.wait(None).await.ok();
    }

    /// Ends all actors, as a process that is killed would; runs go on when it is started again.
    pub async fn stop(&self) {
        self.parts.root.kill_and_wait(None).await.ok();
    }

    /// Accepts a new run. It is in the journal when this returns.
    ///
    /// # Errors
    /// When the plan does not hold together, the run cannot be begun, or no answer came in time.
    pub async fn submit(&self, request: SubmitRequest) -> SubmitAnswer {
        let SubmitRequest { key, project, by, source } = request;
        let Source { plan: hash, bytes, snapshot, continues } = source;
        let id = ProjectId::of(&project);
        let (plan, bytes) = self.plan_of(id, hash, bytes).await?;
        let submission = Submission { plan: hash, project, by, snapshot, continues };
        self.patiently(|| async {
            let wanted = |reply: RpcReplyPort<SubmitAnswer>| Wanted {
                key: key.clone(),
                submission: submission.clone(),
                plan: Arc::clone(&plan),
                bytes: bytes.clone(),
                reply,
            };
            let question = |reply| shard::Message::Submit(Box::new(wanted(reply)));
            self.home(id)?.ask(question).await
        })
        .await
    }

    /// The plan of a submission, with its bytes where it is not known to be stored in the shard.
    async fn plan_of(
        &self,
        project: ProjectId,
        hash: PlanHash,
        bytes: Option<Vec<u8>>,
    ) -> Result<(Arc<Plan>, Option<Vec<u8>>), Denial> {
        if let Some(plan) = self.home(project)?.plans.known(hash) {
            return Ok((plan, None));
        }
        let Some(bytes) = bytes else {
            let stored = self.patiently(|| async {
                let home = self.home(project)?;
                home.read(home.plans.get(hash).await)
            });
            return stored.await?.map(|plan| (plan, None)).map_err(Denial::Unfit);
        };
        if PlanHash::of(&bytes) != hash {
            return Err(Denial::Unfit("use this plan: its bytes have another hash".to_owned()));
        }
        let plan = Plan::from_bytes(&bytes).map_err(|error| Denial::Unfit(error.to_string()))?;
        Ok((Arc::new(plan), Some(bytes)))
    }

    /// Asks something of a run. With an identity, a repeat gets the first answer.
    ///
    /// # Errors
    /// The run's refusal; that there is no such run; that its shard is led elsewhere; or that no
    /// answer came in time.
    pub async fn command(&self, run: RunId, command: Command) -> Result<(), Denial> {
        let ask = || async {
            let home = self.home(run.project)?;
            let command = Box::new(command.clone());
            let question = |reply| shard::Message::Command(run, command, reply);
            let answer = home.ask(question).await;
            if let Err(Denial::Refused(_) | Denial::NoSuchRun(_)) = answer {
                // Only a leader may say no: another one may know better.
                home.confirm().await?;
            }
            answer
        };
        match command.id {
            Some(_) => self.patiently(ask).await,
            // Without an identity a repeat could be refused for what the first one did.
            None => ask().await,
        }
    }

    fn home(&self, project: ProjectId) -> Result<Arc<Home>, Denial> {
        self.parts.homes.of_project(project)
    }

    /// Asks again while what is asked is being started again.
    async fn patiently<T, F>(&self, ask: impl FnMut() -> F) -> Result<T, Denial>
    where
        F: Future<Output = Result<T, Denial>>,
    {
        let unanswered = |denial: &Denial| matches!(denial, Denial::Unanswered(_));
        patiently(&self.parts.outside.clock, unanswered, ask).await
    }
}
