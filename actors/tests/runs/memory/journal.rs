//! A journal in memory, with faults on demand.

use async_trait::async_trait;
use otto_actors::ports::journal::{Journal, JournalError};
use otto_core::journal::{EntityId, EntityKind, Head, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong with a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    Fine,
    /// It is applied, and the answer is lost.
    AppliedUnknown,
    /// It is not applied, and nobody can say so.
    LostUnknown,
    /// Nobody can say, and it is applied some time later.
    LateUnknown,
    /// The store takes nothing.
    Full,
}

#[derive(Debug, Default)]
struct Stored {
    entries: Vec<Vec<u8>>,
    head: Head,
}

#[derive(Debug, Default)]
struct Store {
    entities: BTreeMap<EntityId, Stored>,
    due: BTreeSet<(Timestamp, EntityId)>,
}

/// A journal in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryJournal {
    store: Arc<Mutex<Store>>,
    /// What goes wrong with the next proposals.
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    /// The leader was deposed: nothing is answered any more.
    pub(crate) deposed: std::sync::atomic::AtomicBool,
    /// The term of the leader, where leaders are elected.
    term: AtomicU64,
    /// How many items each proposal had.
    pub(crate) weights: Mutex<Vec<usize>>,
}

/// The journal as one leader sees it, until another one is elected.
#[derive(Debug)]
pub(crate) struct Led {
    journal: Arc<MemoryJournal>,
    term: u64,
}

impl Led {
    /// The term that this leader was elected for.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    fn ready(&self) -> Result<(), JournalError> {
        if self.journal.term.load(Ordering::Relaxed) == self.term {
            return Ok(());
        }
        Err(JournalError::NotLeader("another one was elected".to_owned()))
    }
}

#[async_trait]
impl Journal for Led {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.ready()?;
        self.journal.propose_in(Some(self.term), proposal).await
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.ready()
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.ready()?;
        self.journal.entries(entity, after).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.ready()?;
        self.journal.head(entity).await
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.ready()?;
        self.journal.heads(kind, before, limit).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.ready()?;
        self.journal.due(until, after, limit).await
    }
}

impl Store {
    fn version(&self, entity: EntityId) -> u64 {
        self.entities.get(&entity).map_or(0, |stored| stored.entries.len() as u64)
    }

    fn apply(&mut self, proposal: Proposal) -> Verdict {
        for item in &proposal.items {
            let found = self.version(item.entity);
            if found != item.expected {
                return Verdict::Conflict { entity: item.entity, found };
            }
        }
        for item in proposal.items {
            let stored = self.entities.entry(item.entity).or_default();
            if let Some(wake) = stored.head.wake {
                self.due.remove(&(wake, item.entity));
            }
            stored.entries.push(item.entry);
            stored.head = item.head;
            if let Some(wake) = stored.head.wake {
                self.due.insert((wake, item.entity));
            }
        }
        Verdict::Applied
    }
}

impl MemoryJournal {
    /// Puts an entry in without any check.
    pub(crate) fn put(&self, entity: EntityId, entry: Vec<u8>) {
        let mut store = self.store.lock().unwrap();
        let stored = store.entities.entry(entity).or_default();
        stored.entries.push(entry);
        let wake = stored.head.wake;
        stored.head.wake = Some(Timestamp::default());
        if let Some(wake) = wake {
            store.due.remove(&(wake, entity));
        }
        store.due.insert((Timestamp::default(), entity));
    }

    /// Elects a leader; the one before it is deposed.
    pub(crate) fn elect(self: &Arc<Self>) -> Arc<Led> {
        let term = self.term.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Led { journal: Arc::clone(self), term })
    }

    /// Proposes something; where a leader does, it takes effect only in its term.
    async fn propose_in(
        &self,
        term: Option<u64>,
        proposal: Proposal,
    ) -> Result<Verdict, JournalError> {
        self.ready()?;
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::Fine);
        self.weights.lock().unwrap().push(proposal.items.len());
        tokio::time::sleep(Duration::from_millis(1)).await;
        let unknown = || Err(JournalError::Unknown("the answer was lost".to_owned()));
        if term.is_some_and(|term| self.term.load(Ordering::Relaxed) != term) {
            return unknown();
        }
        match fault {
            Fault::Fine => Ok(self.store.lock().unwrap().apply(proposal)),
            Fault::AppliedUnknown => {
                self.store.lock().unwrap().apply(proposal);
                unknown()
            }
            Fault::LostUnknown => unknown(),
            Fault::LateUnknown => {
                let store = Arc::clone(&self.store);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    store.lock().unwrap().apply(proposal);
                });
                unknown()
            }
            Fault::Full => Err(JournalError::Store("disk full".to_owned())),
        }
    }

    fn ready(&self) -> Result<(), JournalError> {
        if self.deposed.load(Ordering::Relaxed) {
            return Err(JournalError::NotLeader("deposed".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.propose_in(None, proposal).await
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.ready()
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.ready()?;
        let store = self.store.lock().unwrap();
        let entries = store.entities.get(&entity).map_or(&[][..], |stored| &stored.entries);
        Ok(entries.iter().skip(usize::try_from(after).unwrap()).cloned().collect())
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.ready()?;
        let store = self.store.lock().unwrap();
        Ok(store.entities.get(&entity).map(|stored| StoredHead {
            version: stored.entries.len() as u64,
            head: stored.head.clone(),
        }))
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.ready()?;
        let store = self.store.lock().unwrap();
        let below = |id: &EntityId| before.is_none_or(|before| *id < before);
        let found = store.entities.iter().rev().filter(|(id, _)| id.kind == kind && below(id));
        let head = |stored: &Stored| StoredHead {
            version: stored.entries.len() as u64,
            head: stored.head.clone(),
        };
        Ok(found.take(limit).map(|(id, stored)| (*id, head(stored))).collect())
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.ready()?;
        let store = self.store.lock().unwrap();
        let found = store.due.iter().filter(|(at, _)| *at <= until);
        let found = found.filter(|place| after.is_none_or(|after| **place > after));
        Ok(found.take(limit).copied().collect())
    }
}
