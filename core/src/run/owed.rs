//! What is owed to the outside now, and what of it changed since a version.

use super::duty::{Duty, OwedChange};
use crate::time::Timestamp;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

/// How many changes are remembered. Whoever lags by more looks at all duties again.
const REMEMBERED: u64 = 1024;

/// The duties of a run, with the last changes of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    duties: RedBlackTreeSetSync<Duty>,
    /// Changes by the version that they led to.
    changes: RedBlackTreeMapSync<u64, OwedChange>,
    version: u64,
    alarm: Option<Timestamp>,
}

impl Owed {
    /// Nothing.
    pub(super) fn nothing() -> Self {
        Self {
            duties: RedBlackTreeSetSync::new_sync(),
            changes: RedBlackTreeMapSync::new_sync(),
            version: 0,
            alarm: None,
        }
    }

    /// All duties, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Duty> {
        self.duties.iter()
    }

    /// How many duties there are.
    pub fn len(&self) -> usize {
        self.duties.size()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.duties.is_empty()
    }

    /// Whether this is owed.
    pub fn contains(&self, duty: &Duty) -> bool {
        self.duties.contains(duty)
    }

    /// The number of changes so far: whoever has seen this version is up to date.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the run wants to be woken.
    pub fn alarm(&self) -> Option<Timestamp> {
        self.alarm
    }

    /// What changed behind `version`, in order. `None` where that is no longer known, or lies in
    /// the future: then look at all duties.
    pub fn changes_since(&self, version: u64) -> Option<impl Iterator<Item = &OwedChange>> {
        let known_from = self.version.saturating_sub(REMEMBERED);
        let known = (known_from..=self.version).contains(&version);
        known.then(|| self.changes.range(version.saturating_add(1)..).map(|(_, change)| change))
    }

    /// Takes on a duty.
    pub(super) fn owe(&mut self, duty: Duty) {
        if !self.duties.contains(&duty) {
            self.duties.insert_mut(duty.clone());
            self.remember(OwedChange::Owed(duty));
        }
    }

    /// Lets go of a duty.
    pub(super) fn release(&mut self, duty: Duty) {
        if self.duties.remove_mut(&duty) {
            self.remember(OwedChange::Gone(duty));
        }
    }

    /// Sets the one alarm that is owed.
    pub(super) fn wake_at(&mut self, alarm: Option<Timestamp>) {
        if self.alarm == alarm {
            return;
        }
        if let Some(at) = std::mem::replace(&mut self.alarm, alarm) {
            self.release(Duty::Alarm { at });
        }
        if let Some(at) = alarm {
            self.owe(Duty::Alarm { at });
        }
    }

    fn remember(&mut self, change: OwedChange) {
        self.version += 1;
        self.changes.insert_mut(self.version, change);
        if let Some(forgotten) = self.version.checked_sub(REMEMBERED) {
            self.changes.remove_mut(&forgotten);
        }
    }
}
