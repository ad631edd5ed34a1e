//! The plans of a shard: stored once by their hash, and kept in memory while runs use them.

use crate::ports::journal::{JournalError, SharedJournal};
use otto_core::ids::PlanHash;
use otto_core::journal::{EntityId, EntityKind};
use otto_core::plan::Plan;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many plans are kept in memory beyond those that runs hold anyway.
const KEPT: usize = 64;

/// The plans of one shard.
#[derive(Clone, Debug)]
pub(crate) struct Plans {
    journal: SharedJournal,
    kept: Arc<Mutex<BTreeMap<PlanHash, Arc<Plan>>>>,
}

impl Plans {
    /// The plans in this journal.
    pub(crate) fn of(journal: SharedJournal) -> Self {
        Self { journal, kept: Arc::default() }
    }

    /// A plan that is stored here. The inner error says why what is stored cannot be used.
    pub(crate) async fn get(
        &self,
        hash: PlanHash,
    ) -> Result<Result<Arc<Plan>, String>, JournalError> {
        if let Some(plan) = self.known(hash) {
            return Ok(Ok(plan));
        }
        let Some(bytes) = self.bytes(hash).await? else {
            return Ok(Err(format!("its plan {} is not stored here", hash.short())));
        };
        Ok(Plan::from_bytes(&bytes).map_err(|error| error.to_string()).map(|plan| {
            let plan = Arc::new(plan);
            self.keep(hash, &plan);
            plan
        }))
    }

    /// The stored bytes of a plan.
    pub(crate) async fn bytes(&self, hash: PlanHash) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.journal.entries(entity(hash), 0).await?.into_iter().next())
    }

    /// A plan that is stored and in memory.
    pub(crate) fn known(&self, hash: PlanHash) -> Option<Arc<Plan>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned()
    }

    /// Keeps a plan that is stored.
    pub(crate) fn keep(&self, hash: PlanHash, plan: &Arc<Plan>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.retain(|_, plan| Arc::strong_count(plan) > 1);
        }
        if kept.len() >= KEPT {
            kept.pop_first();
        }
        kept.insert(hash, Arc::clone(plan));
    }
}

/// The journal that holds a plan's bytes.
pub(crate) fn entity(hash: PlanHash) -> EntityId {
    EntityId::by_hash(EntityKind::Plan, &hash.0)
}
