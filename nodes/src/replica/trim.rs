//! Trimming: what of a log may go, and when.

use super::pulse::matched;
use super::shard::Shard;
use openraft::error::Fatal;
use openraft::{BasicNode, RaftMetrics, ServerState};
use std::time::Duration;

/// How large a shard's log may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogBounds {
    /// A log that grew by less is left alone, for a trim costs two syncs.
    pub trimmed_from_bytes: u64,
    /// Up to here a log is kept for members that are away: they come back without a snapshot.
    pub kept_for_absent_bytes: u64,
    /// Up to here it is kept for members that are there and behind, and for travelling snapshots.
    pub kept_at_most_bytes: u64,
}

impl Default for LogBounds {
    fn default() -> Self {
        Self {
            trimmed_from_bytes: 1 << 20,
            kept_for_absent_bytes: 16 << 20,
            kept_at_most_bytes: 256 << 20,
        }
    }
}

/// How long trimming waits for the state to become durable.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);

impl Shard {
    /// Removes from the log what is durable in the state and nobody needs, if the log has grown.
    pub(super) async fn trim(&self, bounds: LogBounds) -> Result<(), Fatal<u64>> {
        let grown = self.log.grown_bytes();
        if grown < bounds.trimmed_from_bytes {
            return Ok(());
        }
        let before = self.raft.metrics().borrow().clone();
        if self.needed_behind(&before, bounds, grown) <= before.purged.map_or(0, |id| id.index) {
            return Ok(());
        }
        self.raft.trigger().snapshot().await?;
        let waiting = self.raft.wait(Some(SETTLE_PATIENCE));
        let built = waiting.metrics(
            |metrics| {
                metrics.snapshot > before.snapshot || metrics.snapshot >= metrics.last_applied
            },
            "the state is durable",
        );
        // Where the disk takes longer than that, the next round trims.
        if let Ok(metrics) = built.await
            && let Some(point) = metrics.snapshot
        {
            let upto = self.needed_behind(&metrics, bounds, grown).min(point.index);
            self.raft.trigger().purge_log(upto).await?;
        }
        Ok(())
    }

    /// Behind which index somebody needs the log.
    fn needed_behind(
        &self,
        metrics: &RaftMetrics<u64, BasicNode>,
        bounds: LogBounds,
        grown: u64,
    ) -> u64 {
        if grown > bounds.kept_at_most_bytes {
            return u64::MAX;
        }
        let by_members = if metrics.state == ServerState::Leader {
            let presence = self.presence();
            let wanted = |node| grown <= bounds.kept_for_absent_bytes || presence.is_there(node);
            matched(metrics, wanted).unwrap_or(u64::MAX)
        } else {
            self.floor()
        };
        by_members.min(self.holds.floor().unwrap_or(u64::MAX))
    }
}
