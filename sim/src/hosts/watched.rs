//! What the judge wants to know of a control process, written down at its ports: who leads, who
//! grants whom a vote, and who journals by a wrong clock.

use super::ControlHost;
use crate::history::{Fact, History};
use async_trait::async_trait;
use otto_actors::ports::journal::{Journal, JournalError, SharedJournal};
use otto_core::ids::{NodeId, ShardId};
use otto_core::journal::{EntityId, EntityKind, Proposal, StoredHead, Verdict};
use otto_core::time::Timestamp;
use otto_nodes::replica::{PeerAnswer, PeerCall, Peers, Shards, SharedPeers, Standing, Unreached};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Peers that write down who grants this node a vote.
#[derive(Debug)]
pub(super) struct WatchedPeers {
    pub(super) node: NodeId,
    pub(super) host: String,
    pub(super) history: History,
    pub(super) peers: SharedPeers,
}

#[async_trait]
impl Peers for WatchedPeers {
    async fn call(
        &self,
        address: &str,
        call: PeerCall,
        allowed: Duration,
    ) -> Result<PeerAnswer, Unreached> {
        let (voter, candidacy) = (call.to(), call.candidacy());
        let answer = self.peers.call(address, call, allowed).await?;
        if let (Some((shard, term)), true) = (candidacy, answer.grants()) {
            let candidate = self.node;
            self.history.add(&self.host, Fact::Granted { voter, candidate, shard, term });
        }
        Ok(answer)
    }
}

/// Writes down whenever a shard begins, or ends, to be served here.
pub(super) fn tell_leading(shards: &Arc<Shards>, node: NodeId, host: &str, history: &History) {
    for view in shards.views() {
        let (shards, shard) = (Arc::clone(shards), view.shard);
        let (host, history) = (host.to_owned(), history.clone());
        tokio::spawn(async move { tell_leading_of(&shards, shard, node, &host, &history).await });
    }
}

async fn tell_leading_of(
    shards: &Shards,
    shard: ShardId,
    node: NodeId,
    host: &str,
    history: &History,
) {
    let Some(mut standing) = shards.standing(shard) else { return };
    let mut leads = false;
    loop {
        let now = *standing.borrow_and_update();
        match now {
            Standing::Serving { term } => {
                let view = shards.views().into_iter().find(|view| view.shard == shard);
                let members = view.map(|view| view.members).unwrap_or_default();
                let voters = members.iter().filter(|member| member.votes);
                let voters = voters.map(|member| member.node).collect();
                history.add(host, Fact::Leads { node, shard, term, voters });
                leads = true;
            }
            Standing::Following { .. } | Standing::Opening | Standing::Ended if leads => {
                history.add(host, Fact::Resigns { shard });
                leads = false;
            }
            Standing::Following { .. } | Standing::Opening | Standing::Ended => {}
        }
        if standing.changed().await.is_err() {
            return;
        }
    }
}

/// Catches a process while it awards a stage. Clones are the same trap.
#[derive(Clone, Debug, Default)]
pub struct Trap(Arc<AtomicU8>);

const SET: u8 = 1;
const SPRUNG: u8 = 2;

impl Trap {
    /// The next award is to be caught.
    pub fn set(&self) {
        self.0.store(SET, Ordering::Relaxed);
    }

    /// Whether one is on its way; it is told once.
    #[must_use]
    pub fn is_sprung(&self) -> bool {
        let sprung = self.0.load(Ordering::Relaxed) == SPRUNG;
        if sprung {
            self.0.store(0, Ordering::Relaxed);
        }
        sprung
    }

    fn see(&self, proposal: &Proposal) {
        let awards = |entry: &[u8]| entry.windows(AWARDED.len()).any(|bytes| bytes == AWARDED);
        let is_set = self.0.load(Ordering::Relaxed) == SET;
        if is_set && proposal.items.iter().any(|item| awards(&item.entry)) {
            self.0.store(SPRUNG, Ordering::Relaxed);
        }
    }
}

/// The name of the event that awards a stage, as journals have it.
const AWARDED: &[u8] = b"stage-awarded/";

/// A journal that writes down when its node journals by a wrong clock.
#[derive(Debug)]
pub(super) struct WatchedJournal {
    pub(super) host: ControlHost,
    pub(super) journal: SharedJournal,
}

#[async_trait]
impl Journal for WatchedJournal {
    async fn propose(&self, proposal: Proposal) -> Result<Verdict, JournalError> {
        self.host.trap.see(&proposal);
        let verdict = self.journal.propose(proposal).await;
        if verdict.is_ok() {
            self.host.proposes();
        }
        verdict
    }

    async fn confirm(&self) -> Result<(), JournalError> {
        self.journal.confirm().await
    }

    async fn entries(&self, entity: EntityId, after: u64) -> Result<Vec<Vec<u8>>, JournalError> {
        self.journal.entries(entity, after).await
    }

    async fn head(&self, entity: EntityId) -> Result<Option<StoredHead>, JournalError> {
        self.journal.head(entity).await
    }

    async fn heads(
        &self,
        kind: EntityKind,
        before: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, StoredHead)>, JournalError> {
        self.journal.heads(kind, before, limit).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, EntityId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EntityId)>, JournalError> {
        self.journal.due(until, after, limit).await
    }
}
