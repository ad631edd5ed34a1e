//! Holds on a log: while a state travels, the entries behind it are not purged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The holds on one shard's log.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    upto: BTreeMap<u64, u64>,
}

/// Keeps the entries behind an index until it is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    holds: Holds,
    number: u64,
}

impl Holds {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the entries behind an index.
    pub(super) fn hold(&self, index: u64) -> Hold {
        let mut held = self.held();
        let number = held.next;
        held.next += 1;
        held.upto.insert(number, index);
        Hold { holds: self.clone(), number }
    }

    /// Up to which index the log may be purged.
    pub(super) fn floor(&self) -> Option<u64> {
        self.held().upto.values().min().copied()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.held().upto.remove(&self.number);
    }
}
