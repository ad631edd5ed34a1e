//! How much a log has grown: what decides when it is trimmed, and whom it waits for.

use std::collections::VecDeque;

/// With more entries of earlier processes than this, whose bytes nobody counted, a log is trimmed.
const INHERITED_ENTRIES: u64 = 64;
/// What an inherited entry counts.
const INHERITED_BYTES: u64 = 64 << 10;
/// After so many bytes it is noted how far the log is.
const STEP_BYTES: u64 = 64 << 10;

/// How many bytes a log has.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// All that were ever appended.
    appended: u64,
    /// How many of them are purged.
    purged: u64,
    /// (index, bytes appended up to it), some thousand at most.
    steps: VecDeque<(u64, u64)>,
}

impl Growth {
    /// Takes in what earlier processes left behind the last purge.
    pub(super) fn inherit(&mut self, purged: u64, last: u64) {
        let entries = last.saturating_sub(purged);
        if entries > INHERITED_ENTRIES {
            self.appended += entries * INHERITED_BYTES;
            self.steps.push_back((last, self.appended));
        }
    }

    /// An entry was appended.
    pub(super) fn add(&mut self, index: u64, bytes: usize) {
        self.appended += bytes as u64;
        let noted = self.steps.back().map_or(self.purged, |(_, bytes)| *bytes);
        if self.appended - noted >= STEP_BYTES {
            self.steps.push_back((index, self.appended));
        }
    }

    /// Everything up to an index was purged.
    pub(super) fn purge(&mut self, upto: u64) {
        while let Some((_, bytes)) = self.steps.pop_front_if(|(index, _)| *index <= upto) {
            self.purged = bytes;
        }
    }

    /// About how many bytes are left.
    pub(super) fn bytes(&self) -> u64 {
        self.appended - self.purged
    }
}

#[cfg(test)]
mod tests {
    use super::{Growth, INHERITED_BYTES, STEP_BYTES};

    #[test]
    fn what_is_purged_counts_no_more() {
        let step = usize::try_from(STEP_BYTES).expect("small");
        let mut growth = Growth::default();
        growth.inherit(10, 110);
        assert_eq!(growth.bytes(), 100 * INHERITED_BYTES);
        growth.purge(109);
        assert_eq!(growth.bytes(), 100 * INHERITED_BYTES);
        for index in 111..=120 {
            growth.add(index, step);
        }
        growth.purge(110);
        assert_eq!(growth.bytes(), 10 * STEP_BYTES);
        growth.purge(118);
        assert_eq!(growth.bytes(), 2 * STEP_BYTES);
    }
}
