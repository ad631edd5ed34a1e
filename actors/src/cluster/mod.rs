//! The cluster's own actors: they live where *meta* is led.
//!
//! ```text
//!   ClusterSide ── root ── heart ── chore     one for each duty that the cluster owes
//! ```
//!
//! The heart journals what the cluster decides, evolves, and keeps an actor for everything that is
//! owed, as the pipeline of a run does. It never decides itself.

mod chore;
mod heart;
mod root;

use crate::address::{Address, patiently};
use crate::control::tenure::{Tenure, TenuredJournal};
use crate::ports::chance::SharedChance;
use crate::ports::clock::SharedClock;
use crate::ports::journal::{JournalError, SharedJournal};
use crate::ports::membership::SharedMembership;
use crate::ports::sabotage::SharedSabotage;
use otto_core::cluster::Cluster;
use otto_core::cluster::command::{Refusal, Wish};
use otto_core::ids::ShardId;
use ractor::{Actor, ActorRef, SpawnErr};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything outside that a cluster's actors use.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The time of day.
    pub clock: SharedClock,
    /// Seeded randomness for back-offs.
    pub chance: SharedChance,
    /// Who lets actors die on purpose: nobody in production.
    pub sabotage: SharedSabotage,
    /// What duties act on.
    pub membership: SharedMembership,
}

/// Why the cluster did not do or tell what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    /// The cluster says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// *Meta* is not led here. Nothing was done.
    #[error("lead the cluster's own shard here")]
    NotHere,
    /// Whether it was done is not known: ask again.
    #[error("get an answer in time: {0}; ask again")]
    Unanswered(String),
}

/// What the cluster answers: how it is after the wish.
pub type Answer = Result<Arc<Cluster>, Denial>;

/// The cluster, as a node that may lead *meta* has it.
#[derive(Clone)]
pub struct ClusterSide {
    parts: Arc<Parts>,
}

impl fmt::Debug for ClusterSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSide")
    }
}

struct Parts {
    clock: SharedClock,
    heart: Address<heart::Message>,
    led: Mutex<Option<(Tenure, SharedJournal)>>,
    root: ActorRef<root::Message>,
}

impl ClusterSide {
    /// Starts the root; *meta* is not led yet.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn start(ports: Ports) -> Result<Self, SpawnErr> {
        let heart = Address::vacant();
        let clock = ports.clock.clone();
        let arguments = root::Arguments { ports, heart: heart.clone() };
        let (root, _) = root::Root::spawn(None, root::Root, arguments).await?;
        let parts = Parts { clock, heart, led: Mutex::default(), root };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Leads *meta* from now on. The journal must hold, and go on to hold, that nobody else does.
    pub fn lead(&self, journal: SharedJournal) {
        let tenure = Tenure::begin(ShardId::META, 0);
        let journal = TenuredJournal::shared(tenure.clone(), journal);
        let mut led = self.led();
        self.parts.root.cast(root::Message::Lead(journal.clone())).ok();
        if let Some((earlier, _)) = led.replace((tenure, journal)) {
            earlier.end();
        }
    }

    /// Leads *meta* no longer: when this returns nothing of it acts any more here.
    pub fn resign(&self) {
        if let Some((tenure, _)) = self.led().take() {
            tenure.end();
            self.parts.root.cast(root::Message::Resign).ok();
        }
    }

    /// Wishes something of the cluster; answers how it is then. What was granted before is granted
    /// again and changes nothing.
    ///
    /// # Errors
    /// The cluster's refusal; that *meta* is led elsewhere; or that no answer came in time.
    pub async fn wish(&self, wish: Wish) -> Answer {
        self.patiently(|| async {
            let journal = self.journal()?;
            let question = |reply| heart::Message::Wish(Box::new(wish.clone()), Some(reply));
            let asked = self.parts.heart.ask(question).await;
            let answer = asked.unwrap_or_else(|error| Err(Denial::Unanswered(error.to_string())));
            if let Err(Denial::Refused(_)) = answer {
                // Only a leader may say no: another one may know better.
                confirm(&journal).await?;
            }
            answer
        })
        .await
    }

    /// How the cluster is now.
    ///
    /// # Errors
    /// That *meta* is led elsewhere; or that no answer came in time.
    pub async fn view(&self) -> Answer {
        self.patiently(|| async {
            let journal = self.journal()?;
            confirm(&journal).await?;
            let asked = self.parts.heart.ask(heart::Message::View).await;
            asked.map_err(|error| Denial::Unanswered(error.to_string()))
        })
        .await
    }

    /// Ends all actors, as a process that is killed would.
    pub async fn stop(&self) {
        self.resign();
        self.parts.root.kill_and_wait(None).await.ok();
    }

    fn journal(&self) -> Result<SharedJournal, Denial> {
        self.led().as_ref().map(|(_, journal)| journal.clone()).ok_or(Denial::NotHere)
    }

    fn led(&self) -> MutexGuard<'_, Option<(Tenure, SharedJournal)>> {
        self.parts.led.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks again while what is asked is being started again.
    async fn patiently<F: Future<Output = Answer>>(&self, ask: impl FnMut() -> F) -> Answer {
        let unanswered = |denial: &Denial| matches!(denial, Denial::Unanswered(_));
        patiently(&self.parts.clock, unanswered, ask).await
    }
}

/// Returns when this process has shown, after the call, that it still leads *meta*.
async fn confirm(journal: &SharedJournal) -> Result<(), Denial> {
    journal.confirm().await.map_err(|error| match error {
        JournalError::NotLeader(_) => Denial::NotHere,
        JournalError::Unknown(_) | JournalError::Store(_) => Denial::Unanswered(error.to_string()),
    })
}
