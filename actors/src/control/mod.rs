//! The control side of a node: what people and agents may ask of its shards.
//!
//! ```text
//!   ControlSide ── root ─┬─ matchmaker            agents' bids, offers, leases
//!    (this file)         └─ shard ── pipeline ─┬─ stage    one for each duty
//!                                              └─ alarm
//! ```
//!
//! A question is handed to an actor as one message, so a caller that leaves loses the answer, and
//! never half a decision.

mod agents;
pub mod answers;
mod reading;
mod root;

use crate::address::{Address, Unanswered};
use crate::bell::Bells;
use crate::matchmaker;
use crate::plans::Plans;
use crate::ports::blobs::SharedBlobs;
use crate::ports::chance::SharedChance;
use crate::ports::clock::SharedClock;
use crate::ports::journal::{JournalError, SharedJournal};
use crate::ports::logs::{LogId, SharedLogs};
use crate::ports::sabotage::SharedSabotage;
use crate::shard::{self, SubmitAnswer, Wanted};
use answers::{Denial, Source, SubmitRequest};
use otto_core::ids::{PlanHash, ProjectId, RunId};
use otto_core::lease;
use otto_core::plan::Plan;
use otto_core::run::command::{Command, Submission};
use otto_core::time::Span;
use ractor::{Actor, ActorRef, RpcReplyPort, SpawnErr};
use std::fmt;
use std::sync::Arc;

/// How long a question is repeated while what is asked is being started again.
const PATIENCE: Span = Span::seconds(10);
/// The pause before it is repeated.
const PAUSE: Span = Span(50);

/// What a control side does, as far as it can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster's incarnation, raised when a backup is restored.
    pub incarnation: u32,
    /// How long a lease holds without renewal.
    pub lease: Span,
    /// What is waited beyond that before a lease counts as lost.
    pub margin: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self { incarnation: 0, lease: lease::LEASE, margin: lease::MARGIN }
    }
}

/// Everything outside that a control side uses.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The time of day.
    pub clock: SharedClock,
    /// The journal of each shard, in the order of their numbers.
    pub journals: Vec<SharedJournal>,
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
    pub(crate) matchmaker: Address<matchmaker::Message>,
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
    shards: Vec<Home>,
    logs: SharedLogs,
    blobs: SharedBlobs,
    root: ActorRef<root::Message>,
}

/// A shard, as the facade reaches it.
struct Home {
    address: Address<shard::Message>,
    journal: SharedJournal,
    plans: Plans,
}

impl ControlSide {
    /// Starts the actors of all shards in `ports.journals`; each goes on with its live runs.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn start(settings: Settings, ports: Ports) -> Result<Self, SpawnErr> {
        let outside = Outside {
            settings,
            clock: ports.clock,
            chance: ports.chance,
            sabotage: ports.sabotage,
            matchmaker: Address::vacant(),
            grown: Bells::default(),
            printed: Bells::default(),
        };
        let home = |journal: SharedJournal| Home {
            address: Address::vacant(),
            plans: Plans::of(journal.clone()),
            journal,
        };
        let shards: Vec<Home> = ports.journals.into_iter().map(home).collect();
        let arguments = |home: &Home| {
            let (journal, plans) = (home.journal.clone(), home.plans.clone());
            let outside = outside.clone();
            (shard::Arguments { journal, plans, outside }, home.address.clone())
        };
        let arguments = root::Arguments {
            outside: outside.clone(),
            shards: shards.iter().map(arguments).collect(),
        };
        let (root, _) = root::Root::spawn(None, root::Root, arguments).await?;
        let parts = Parts { outside, shards, logs: ports.logs, blobs: ports.blobs, root };
        Ok(Self { parts: Arc::new(parts) })
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
        let home = self.home(ProjectId::of(&request.project))?;
        let SubmitRequest { key, project, by, source } = request;
        let Source { plan: hash, bytes, snapshot, continues } = source;
        let (plan, bytes) = self.plan_of(home, hash, bytes).await?;
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
            flat(home.address.ask(question).await)
        })
        .await
    }

    /// The plan of a submission, with its bytes where it is not known to be stored in the shard.
    async fn plan_of(
        &self,
        home: &Home,
        hash: PlanHash,
        bytes: Option<Vec<u8>>,
    ) -> Result<(Arc<Plan>, Option<Vec<u8>>), Denial> {
        if let Some(plan) = home.plans.known(hash) {
            return Ok((plan, None));
        }
        let Some(bytes) = bytes else {
            let stored = self.patiently(|| async { read(home.plans.get(hash).await) }).await?;
            return stored.map(|plan| (plan, None)).map_err(Denial::Unfit);
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
    /// The run's refusal; that there is no such run; or that no answer came in time.
    pub async fn command(&self, run: RunId, command: Command) -> Result<(), Denial> {
        let home = self.home(run.project)?;
        let ask = || async {
            let command = Box::new(command.clone());
            flat(home.address.ask(|reply| shard::Message::Command(run, command, reply)).await)
        };
        match command.id {
            Some(_) => self.patiently(ask).await,
            // Without an identity a repeat could be refused for what the first one did.
            None => ask().await,
        }
    }

    fn home(&self, project: ProjectId) -> Result<&Home, Denial> {
        let shards = u16::try_from(self.parts.shards.len()).unwrap_or(u16::MAX);
        let home = self.parts.shards.get(usize::from(project.home(shards).0));
        home.ok_or_else(|| Denial::Unanswered("no shard is served here".to_owned()))
    }

    /// Asks again while what is asked is being started again.
    async fn patiently<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Denial>
    where
        F: Future<Output = Result<T, Denial>>,
    {
        let clock = &self.parts.outside.clock;
        let deadline = clock.now().after(PATIENCE);
        loop {
            match ask().await {
                Err(Denial::Unanswered(_)) if clock.now() < deadline => {
                    tokio::time::sleep(PAUSE.to_duration()).await;
                }
                answer => return answer,
            }
        }
    }
}

/// An answer in which no answer is a denial too.
fn flat<T>(answer: Result<Result<T, Denial>, Unanswered>) -> Result<T, Denial> {
    answer.unwrap_or_else(|unanswered| Err(Denial::Unanswered(unanswered.to_string())))
}

/// What was read from a journal; what could not be may be asked for again.
fn read<T>(read: Result<T, JournalError>) -> Result<T, Denial> {
    read.map_err(|error| Denial::Unanswered(error.to_string()))
}
