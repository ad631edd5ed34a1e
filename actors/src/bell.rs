//! Bells: whoever follows something that grows waits here until it has grown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;

/// One bell for each thing that somebody follows.
pub(crate) struct Bells<K> {
    hung: Arc<Mutex<BTreeMap<K, Weak<Notify>>>>,
}

impl<K> Clone for Bells<K> {
    fn clone(&self) -> Self {
        Self { hung: Arc::clone(&self.hung) }
    }
}

impl<K> Default for Bells<K> {
    fn default() -> Self {
        Self { hung: Arc::default() }
    }
}

impl<K> fmt::Debug for Bells<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bells")
    }
}

impl<K: Ord + Copy> Bells<K> {
    /// The bell of one thing. Enable its `notified()` before looking at the thing itself, so that
    /// nothing is missed.
    pub(crate) fn of(&self, key: K) -> Arc<Notify> {
        let mut hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = hung.get(&key).and_then(Weak::upgrade) {
            return bell;
        }
        hung.retain(|_, bell| bell.strong_count() > 0);
        let bell = Arc::new(Notify::new());
        hung.insert(key, Arc::downgrade(&bell));
        bell
    }

    /// It has grown: all who wait look again.
    pub(crate) fn ring(&self, key: K) {
        let hung = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = hung.get(&key).and_then(Weak::upgrade) {
            bell.notify_waiters();
        }
    }
}
