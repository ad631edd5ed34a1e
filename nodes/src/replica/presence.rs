//! Whom a leader hears: which members are there, whether they are a majority, how fast its log
//! grows.

use super::types::Vote;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A leader that did not hear a majority for so long stops serving: others elect one after less.
const CUT_OFF: Duration = Duration::from_millis(1500);
/// A member that was not heard for so long is not there.
const ABSENT: Duration = Duration::from_secs(10);

/// What a leader heard of its members.
#[derive(Debug)]
pub(super) struct Presence {
    /// Under which vote it was heard.
    vote: Vote,
    since: Instant,
    heard: BTreeMap<u64, Instant>,
    pace: Pace,
}

/// How fast a log grows.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    last: u64,
    per_second: u64,
}

impl Presence {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        let pace = Pace { since, last: 0, per_second: 0 };
        Self { vote: Vote::default(), since, heard: BTreeMap::default(), pace }
    }

    /// Begins anew where this node leads under another vote than before.
    pub(super) fn lead(&mut self, vote: Vote) {
        if self.vote != vote {
            *self = Self { vote, pace: self.pace, ..Self::new() };
        }
    }

    /// A member was heard: it answered what was sent then.
    pub(super) fn hear(&mut self, node: u64, sent: Instant) {
        let heard = self.heard.entry(node).or_insert(sent);
        *heard = sent.max(*heard);
    }

    fn heard_within(&self, node: u64, span: Duration) -> bool {
        let last = self.heard.get(&node).copied().unwrap_or(self.since);
        last.elapsed() < span
    }

    /// Whether a member is there.
    pub(super) fn is_there(&self, node: u64) -> bool {
        self.heard_within(node, ABSENT)
    }

    /// Whether majorities of all these sets of voters were heard; this node hears itself.
    pub(super) fn hears_majority(&self, node: u64, voters: &[BTreeSet<u64>]) -> bool {
        voters.iter().all(|set| {
            let heard = |voter: &&u64| **voter == node || self.heard_within(**voter, CUT_OFF);
            set.iter().filter(heard).count() * 2 > set.len()
        })
    }

    /// Takes in where the log's end is now.
    pub(super) fn measure(&mut self, last: u64) {
        let elapsed = self.pace.since.elapsed().as_secs();
        let grown = last.saturating_sub(self.pace.last);
        if let Some(per_second) = grown.checked_div(elapsed) {
            self.pace = Pace { since: Instant::now(), last, per_second };
        }
    }

    /// About how many entries a second brings.
    pub(super) fn entries_per_second(&self) -> u64 {
        self.pace.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::{CUT_OFF, Presence};
    use std::collections::BTreeSet;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_majority_is_one_of_every_set_of_voters() {
        let mut presence = Presence::new();
        tokio::time::advance(CUT_OFF).await;
        let sets = |sets: &[&[u64]]| -> Vec<BTreeSet<u64>> {
            sets.iter().map(|set| set.iter().copied().collect()).collect()
        };
        presence.hear(2, Instant::now());
        let cases: [(&[&[u64]], bool); 6] = [
            (&[&[1]], true),
            (&[&[1, 2]], true),
            (&[&[1, 3]], false),
            (&[&[1, 2, 3]], true),
            (&[&[1, 2, 3, 4]], false),
            (&[&[1, 2, 3], &[1, 3, 4]], false),
        ];
        for (voters, expected) in cases {
            assert_eq!(presence.hears_majority(1, &sets(voters)), expected, "{voters:?}");
        }
        tokio::time::advance(CUT_OFF).await;
        assert!(!presence.hears_majority(1, &sets(&[&[1, 2]])));
    }
}
