//! One shard on this node: its group, whether it may serve, and its journal.

use super::gather::{Waiting, gather};
use super::log::ShardLog;
use super::machine::Machine;
use super::peers::Alone;
use super::types::{Batch, Raft};
use crate::store::{Fault, Health, State, Store};
use async_trait::async_trait;
use openraft::error::Fatal;
use openraft::{BasicNode, Config, ServerState};
use otto_actors::ports::journal::{Journal, JournalError};
use otto_core::ids::ShardId;
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Whether a shard serves here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Not yet: no entry that this process proposed, since it leads, is applied.
    Opening,
    /// It does.
    Serving,
    /// Not any more: the store failed or was closed.
    Ended,
}

/// How many proposals may wait for the next entry before askers wait to ask.
const WAITING_PROPOSALS: usize = 4096;

/// One shard on this node.
pub(super) struct Shard {
    id: ShardId,
    node: u64,
    raft: Raft,
    log: ShardLog,
    state: State,
    health: Health,
    proposals: mpsc::Sender<Waiting>,
    standing: watch::Sender<Standing>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shard").field(&self.id).finish()
    }
}

impl Shard {
    /// Starts the shard's group; makes it, with this node as its one voter, where it is new.
    pub(super) async fn start(
        id: ShardId,
        node: u64,
        config: Arc<Config>,
        store: &Store,
    ) -> Result<Arc<Self>, Fatal<u64>> {
        let log = ShardLog::new(id, store.log.clone());
        let machine = Machine::new(id, store.state.clone());
        let raft = Raft::new(node, config, Alone, log.clone(), machine).await?;
        let (proposals, inbox) = mpsc::channel(WAITING_PROPOSALS);
        let shard = Arc::new(Self {
            id,
            node,
            raft: raft.clone(),
            log,
            state: store.state.clone(),
            health: store.health.clone(),
            proposals,
            standing: watch::Sender::new(Standing::Opening),
        });
        tokio::spawn(gather(raft, store.health.clone(), inbox));
        tokio::spawn(Arc::clone(&shard).attend());
        Ok(shard)
    }

    /// Watches over the group: brings it to lead, and lets it serve when an empty entry of this
    /// process is applied, for openraft resumes a restarted leader at what was durable in the
    /// state, not at what was acknowledged.
    async fn attend(self: Arc<Self>) {
        let mut metrics = self.raft.server_metrics();
        let mut served = None;
        if let Err(fatal) = self.found().await {
            return self.end(&fatal);
        }
        loop {
            let (vote, leads) = {
                let seen = metrics.borrow_and_update();
                (seen.vote, seen.state == ServerState::Leader)
            };
            if !leads {
                served = None;
                self.standing.send_replace(Standing::Opening);
            } else if served != Some(vote) {
                self.standing.send_replace(Standing::Opening);
                match self.raft.client_write(Batch::default()).await {
                    Ok(_) => {
                        served = Some(vote);
                        self.standing.send_replace(Standing::Serving);
                    }
                    Err(error) => {
                        if let Some(fatal) = error.fatal() {
                            return self.end(fatal);
                        }
                        // It was deposed meanwhile; the metrics will say so.
                    }
                }
            }
            if metrics.changed().await.is_err() {
                return self.end(&Fatal::Stopped);
            }
        }
    }

    /// Makes the group where it is new, and has its one voter lead at once where it does not.
    async fn found(&self) -> Result<(), Fatal<u64>> {
        if !self.raft.is_initialized().await? {
            let members = BTreeMap::from([(self.node, BasicNode::default())]);
            // It fails only where the group was made already, which is as good.
            self.raft.initialize(members).await.ok();
        }
        let leads = self.raft.with_raft_state(|state| state.server_state).await?;
        if leads != ServerState::Leader && self.is_alone() {
            self.raft.trigger().elect().await?;
        }
        Ok(())
    }

    /// Ends serving for good, and says why unless that was said already or is no fault.
    fn end(&self, fatal: &Fatal<u64>) {
        match fatal {
            Fatal::Stopped => {}
            Fatal::StorageError(error) => self.health.raise(&Fault::Stopped(error.to_string())),
            Fatal::Panicked => {
                self.health.raise(&Fault::Stopped(format!("shard {} panicked", self.id)));
            }
        }
        self.standing.send_replace(Standing::Ended);
    }

    /// Whether this node is the group's only voter. It then needs nobody's word that it leads: it
    /// can only be deposed after it let others vote, which it would see here first.
    fn is_alone(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let seen = metrics.borrow();
        seen.membership_config.voter_ids().eq([self.node])
    }

    /// Waits until the shard serves.
    pub(super) async fn ready(&self) -> Result<(), JournalError> {
        let mut standing = self.standing.subscribe();
        // The sender is here, so there is always an answer.
        standing.wait_for(|standing| *standing != Standing::Opening).await.ok();
        self.serves()
    }

    fn serves(&self) -> Result<(), JournalError> {
        match *self.standing.borrow() {
            Standing::Serving => Ok(()),
            Standing::Opening => Err(JournalError::NotLeader(format!(
                "shard {} is not ready on this node yet",
                self.id
            ))),
            Standing::Ended => Err(self.health.check().err().unwrap_or(Fault::Closed).into()),
        }
    }

    /// Before every read: what is read must hold all that was acknowledged before.
    async fn linearize(&self) -> Result<(), JournalError> {
        self.serves()?;
        if !self.is_alone() {
            let leading = self.raft.ensure_linearizable().await;
            leading.map_err(|error| JournalError::NotLeader(error.to_string()))?;
        }
        Ok(())
    }

    /// Removes from the log what is durable in the state, if that is at least `least_bytes`.
    pub(super) async fn trim(&self, least_bytes: u64) -> Result<(), Fatal<u64>> {
        if self.log.grown_bytes() < least_bytes {
            return Ok(());
        }
        let before = self.raft.metrics().borrow().snapshot;
        self.raft.trigger().snapshot().await?;
        let waiting = self.raft.wait(Some(SETTLE_PATIENCE));
        let built = waiting.metrics(
            |metrics| metrics.snapshot > before || metrics.snapshot >= metrics.last_applied,
            "the state is durable",
        );
        // Where the disk takes longer than that, the next round trims.
        if let Ok(metrics) = built.await
            && let Some(point) = metrics.snapshot
        {
            self.raft.trigger().purge_log(point.index).await?;
        }
        Ok(())
    }

    /// Ends the group. Proposals on their way have an unknown outcome.
    pub(super) async fn stop(&self) {
        // It fails only where the group's task was already ended by a panic, which it reported.
        self.raft.shutdown().await.ok();
        self.standing.send_replace(Standing::Ended);
    }
}

/// How long trimming waits for the state to become durable.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);

impl From<Fault> for JournalError {
    fn from(fault: Fault) -> Self {
        Self::Store(fault.to_string())
    }
}

#[async_trait]
impl Journal for Shard {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.serves()?;
        let (answer, verdict) = oneshot::channel();
        let gone = |_| JournalError::NotLeader(format!("shard {} was stopped", self.id));
        self.proposals.send(Waiting { proposal, answer }).await.map_err(gone)?;
        let lost = || JournalError::Unknown(format!("shard {} was stopped", self.id));
        verdict.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.linearize().await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.linearize().await?;
        Ok(self.state.entries(self.id, entity, after)?)
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.linearize().await?;
        Ok(self.state.head(self.id, entity)?)
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.linearize().await?;
        Ok(self.state.heads(self.id, kind, before, limit)?)
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.linearize().await?;
        Ok(self.state.due(self.id, until, after, limit)?)
    }
}
