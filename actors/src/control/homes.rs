//! The shards that are led here, as the facade finds them.

use super::answers::Denial;
use super::tenure::{Tenure, TenuredJournal};
use crate::address::{Address, Unanswered};
use crate::plans::Plans;
use crate::ports::journal::{JournalError, SharedJournal};
use crate::shard;
use otto_core::ids::{ProjectId, ShardId};
use otto_core::time::Span;
use ractor::RpcReplyPort;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// A shard that is led here, for one tenure.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) tenure: Tenure,
    pub(super) address: Address<shard::Message>,
    pub(super) journal: SharedJournal,
    pub(super) plans: Plans,
    /// Each question that waits for its answer takes one.
    places: Semaphore,
}

/// How many questions a shard may have waiting. Whoever comes then is told when to come back.
const PLACES: usize = 8192;
/// When whoever found no place is to come back.
pub(crate) const RETRY_AFTER: Span = Span::seconds(1);

impl Home {
    /// Asks the shard's actor.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<Result<T, Denial>>) -> shard::Message,
    ) -> Result<T, Denial> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Denial::Busy { retry_after: RETRY_AFTER });
        };
        let unanswered = |unanswered: Unanswered| Denial::Unanswered(unanswered.to_string());
        self.address.ask(question).await.map_err(unanswered)?
    }

    /// Returns when this process has shown, after the call, that it still leads the shard.
    pub(super) async fn confirm(&self) -> Result<(), Denial> {
        self.journal.confirm().await.map_err(|error| self.denied(&error))
    }

    /// What was read from the journal; what could not be may be asked for again.
    pub(super) fn read<T>(&self, read: Result<T, JournalError>) -> Result<T, Denial> {
        read.map_err(|error| self.denied(&error))
    }

    /// Why the journal did not answer, for whoever asked.
    fn denied(&self, error: &JournalError) -> Denial {
        match error {
            JournalError::NotLeader(_) if self.tenure.is_over() => {
                Denial::NotHere { shard: self.tenure.shard() }
            }
            JournalError::NotLeader(_) | JournalError::Unknown(_) | JournalError::Store(_) => {
                Denial::Unanswered(error.to_string())
            }
        }
    }
}

/// The shards that are led here.
#[derive(Debug)]
pub(super) struct Homes {
    /// How many shards the cluster has.
    shards: u16,
    led: Mutex<BTreeMap<ShardId, Arc<Home>>>,
}

impl Homes {
    /// None, of so many.
    pub(super) fn of(shards: u16) -> Self {
        Self { shards, led: Mutex::default() }
    }

    /// Begins a tenure; one of the same shard that lasts is over. `started` is told of it before
    /// anybody else can begin or end one.
    pub(super) fn begin(
        &self,
        shard: ShardId,
        journal: SharedJournal,
        incarnation: u32,
        started: impl FnOnce(&Home),
    ) {
        let mut led = self.led();
        let tenure = Tenure::begin(shard, incarnation);
        let journal = TenuredJournal::shared(tenure.clone(), journal);
        let plans = Plans::of(journal.clone());
        let places = Semaphore::new(PLACES);
        let home = Home { tenure, address: Address::vacant(), journal, plans, places };
        started(&home);
        if let Some(earlier) = led.insert(shard, Arc::new(home)) {
            earlier.tenure.end();
        }
    }

    /// Ends the tenure of a shard, if there is one; `ended` is told of it before anybody else can
    /// begin or end one.
    pub(super) fn end(&self, shard: ShardId, ended: impl FnOnce()) {
        let mut led = self.led();
        if let Some(home) = led.remove(&shard) {
            home.tenure.end();
            ended();
        }
    }

    /// The shard that a project belongs to.
    pub(super) fn shard_of(&self, project: ProjectId) -> ShardId {
        project.home(self.shards)
    }

    /// The shard that a project belongs to, where it is led here.
    pub(super) fn of_project(&self, project: ProjectId) -> Result<Arc<Home>, Denial> {
        let shard = self.shard_of(project);
        self.led().get(&shard).cloned().ok_or(Denial::NotHere { shard })
    }

    /// All that are led here.
    pub(super) fn all(&self) -> Vec<Arc<Home>> {
        self.led().values().cloned().collect()
    }

    fn led(&self) -> MutexGuard<'_, BTreeMap<ShardId, Arc<Home>>> {
        self.led.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
