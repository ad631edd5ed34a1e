//! Which other nodes answer, and how their clocks compare with this one's.
//!
//! ```text
//!   this node   sent ───────────── received        the other's answer was given somewhere between,
//!   other node         └─ told ─┘                  so the middle is wrong by half the way at most
//! ```
//!
//! A node whose clock is off the others' leads nothing, for timers would ring at the wrong time. No
//! clock is ever set by this: whoever is off finds out, and lets others lead. Every node is asked,
//! whoever leads: so it is known which ones are there when nobody leads any more, too.

use crate::rpc::peer_link::PeerLinks;
use futures::future::join_all;
use otto_actors::ports::clock::SharedClock;
use otto_core::cluster::Cluster;
use otto_core::ids::NodeId;
use otto_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long another node has to tell the time.
const ALLOWED: Duration = Duration::from_millis(450);
/// A comparison that may be wrong by more says nothing about a second.
const MOST_WRONG_MS: u64 = 200;
/// For so long a comparison counts: clocks drift, and one may have been set since.
const KEPT: Duration = Duration::from_secs(5);
/// A node that has not answered for so long, which is several questions, is not there.
const ABSENT: Duration = Duration::from_millis(2500);

/// What is known of the others and their clocks.
#[derive(Debug)]
pub(super) struct Clocks {
    me: NodeId,
    clock: SharedClock,
    links: Arc<PeerLinks>,
    /// When this node began to ask.
    since: Instant,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    compared: BTreeMap<NodeId, Compared>,
    /// When each was asked that answered, the last time.
    heard: BTreeMap<NodeId, Instant>,
}

/// One comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Compared {
    /// How far the other's clock is ahead, by the middle of the way.
    ahead_ms: i64,
    /// By how much that may be wrong, either way.
    wrong_ms: u64,
    /// When it was made.
    at: Instant,
}

impl Clocks {
    pub(super) fn new(me: NodeId, clock: SharedClock, links: Arc<PeerLinks>) -> Self {
        Self { me, clock, links, since: Instant::now(), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all other nodes for the time, all at once.
    pub(super) async fn compare(&self, cluster: &Cluster) {
        let others = cluster.nodes().filter(|(node, _)| *node != self.me);
        let asked = others.filter_map(|(node, member)| {
            let address = member.addresses.first()?.clone();
            let (clock, links) = (self.clock.clone(), Arc::clone(&self.links));
            Some(async move {
                let (asked, sent) = (Instant::now(), clock.now());
                let told = links.clock(&address, ALLOWED).await.ok()?;
                Some((node, asked, compared(sent, told, clock.now())))
            })
        });
        let answers = join_all(asked).await;
        let mut known = self.known();
        for (node, asked, compared) in answers.into_iter().flatten() {
            known.heard.insert(node, asked);
            known.take_in(node, compared);
        }
        known.compared.retain(|_, compared| compared.at.elapsed() < KEPT);
    }

    /// For how long a node has not answered. Who never did was not asked before this node began.
    pub(super) fn silence(&self, node: NodeId) -> Duration {
        if node == self.me {
            return Duration::ZERO;
        }
        self.known().heard.get(&node).unwrap_or(&self.since).elapsed()
    }

    /// Whether a node answers.
    pub(super) fn is_there(&self, node: NodeId) -> bool {
        self.silence(node) < ABSENT
    }

    /// How far a node's clock is ahead of this node's; `None` where that is not known now.
    pub(super) fn ahead_ms(&self, node: NodeId) -> Option<i64> {
        if node == self.me {
            return Some(0);
        }
        self.known().compared.get(&node).map(|compared| compared.ahead_ms)
    }
}

impl Known {
    /// Keeps what says more: the closer comparison, but none that is old.
    fn take_in(&mut self, node: NodeId, new: Compared) {
        if new.wrong_ms > MOST_WRONG_MS {
            return;
        }
        let closer = self.compared.get(&node).is_some_and(|known| {
            known.wrong_ms * 2 < new.wrong_ms && known.at.elapsed() < KEPT / 2
        });
        if !closer {
            self.compared.insert(node, new);
        }
    }
}

/// Compares what another node told with when it was asked and when it had answered.
fn compared(sent: Timestamp, told: Timestamp, received: Timestamp) -> Compared {
    let way_ms = received.since(sent).0;
    let wrong_ms = way_ms.div_ceil(2);
    let middle = sent.0.saturating_add(way_ms / 2);
    let distance = i64::try_from(told.0.abs_diff(middle)).unwrap_or(i64::MAX);
    let ahead_ms = if told.0 < middle { -distance } else { distance };
    Compared { ahead_ms, wrong_ms, at: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::compared;
    use otto_core::time::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_compared_with_the_middle_of_the_way() {
        for (sent, told, received, ahead_ms, wrong_ms) in [
            (1_000, 1_000, 1_000, 0, 0),
            (1_000, 1_005, 1_010, 0, 5),
            (1_000, 4_005, 1_010, 3_000, 5),
            (9_000, 5, 9_011, -9_000, 6),
            (0, u64::MAX, 0, i64::MAX, 0),
        ] {
            let [sent, told, received] = [sent, told, received].map(Timestamp);
            let found = compared(sent, told, received);
            assert_eq!((found.ahead_ms, found.wrong_ms), (ahead_ms, wrong_ms), "{told:?}");
        }
    }
}
