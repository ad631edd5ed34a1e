//! Handing a group over: another node is elected while this one keeps still.
//!
//! openraft has no such move. A voter elects nobody as long as it heard its leader lately, so the
//! leader must first be silent for as long as an election may take.

use super::message::{Ask, Reply};
use super::shard::{Shard, Standing};
use openraft::ServerState;
use otto_core::ids::{NodeId, ShardId};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long until a voter elects another, after its leader went silent.
const SILENCE: Duration = Duration::from_millis(super::ELECTION_MS.1);
/// How long catching up may take, with no more proposals coming.
const CATCHING_UP: Duration = Duration::from_secs(5);
/// How long the election may take; then the group stays where it is.
const ELECTION: Duration = Duration::from_secs(2);
/// How long the target may take to say that it stands.
const ALLOWED: Duration = Duration::from_secs(1);
/// How often it is looked whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a group was not handed over. It stays where it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandOverError {
    /// This node does not lead it.
    #[error("hand shard {0} over: this node does not lead it")]
    NotLeader(ShardId),
    /// The other node does not vote in it, or is not there.
    #[error("hand shard {shard} over to node {target}: {why}")]
    Unfit {
        /// Which shard.
        shard: ShardId,
        /// To whom.
        target: NodeId,
        /// Why not.
        why: String,
    },
    /// It took too long.
    #[error("hand shard {shard} over to node {target}: {what} took too long")]
    TooSlow {
        /// Which shard.
        shard: ShardId,
        /// To whom.
        target: NodeId,
        /// What did.
        what: &'static str,
    },
}

/// Undoes what a move changed, however it ends.
struct Undo<'s>(&'s Shard);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.silent.store(false, Ordering::Relaxed);
        self.0.halt(|halted| halted.moving = false);
    }
}

impl Shard {
    /// Lets another voter lead.
    pub(super) async fn lead_elsewhere(&self, target: NodeId) -> Result<(), HandOverError> {
        let _alone = self.changing.lock().await;
        // Who keeps another time serves nobody, and is to give away what it leads.
        let gives_way = self.halted.borrow().off_time && !self.is_led_elsewhere();
        if !gives_way && !matches!(*self.standing().borrow(), Standing::Serving { .. }) {
            return Err(HandOverError::NotLeader(self.id));
        }
        let unfit = |why: &str| {
            let why = why.to_owned();
            HandOverError::Unfit { shard: self.id, target, why }
        };
        if target.0 == self.node {
            return Ok(());
        }
        let view = self.view();
        let member = view.members.iter().find(|member| member.node == target);
        let member = member.filter(|member| member.votes).ok_or_else(|| unfit("it has no vote"))?;
        if !member.there {
            return Err(unfit("it was not heard of lately"));
        }
        let _undo = Undo(self);
        self.halt(|halted| halted.moving = true);
        self.until(CATCHING_UP, || self.has_all(target)).await.ok_or(HandOverError::TooSlow {
            shard: self.id,
            target,
            what: "catching up",
        })?;
        self.silent.store(true, Ordering::Relaxed);
        tokio::time::sleep(SILENCE).await;
        let ask = Ask::Stand(self.id);
        match self.caller.ask(target.0, &member.address, ask, ALLOWED).await {
            Ok(Reply::Done) => {}
            Ok(other) => return Err(unfit(&format!("it answers {other:?}"))),
            Err(error) => return Err(unfit(&error.to_string())),
        }
        self.until(ELECTION, || self.is_led_elsewhere()).await.ok_or(HandOverError::TooSlow {
            shard: self.id,
            target,
            what: "its election",
        })
    }

    async fn until(&self, allowed: Duration, there: impl Fn() -> bool) -> Option<()> {
        let end = Instant::now() + allowed;
        while !there() {
            if Instant::now() >= end {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Some(())
    }

    /// Whether everything that is in this log is in the target's, and applied here.
    fn has_all(&self, target: NodeId) -> bool {
        let metrics = self.raft.metrics().borrow().clone();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&target.0).copied());
        let matched = matched.flatten().map(|id| id.index);
        matched == metrics.last_log_index
            && metrics.last_applied.map(|id| id.index) == metrics.last_log_index
    }

    fn is_led_elsewhere(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow();
        seen.state != ServerState::Leader
    }
}
