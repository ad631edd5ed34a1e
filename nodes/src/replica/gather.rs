//! Gathering: while one entry of a shard is on its way, the proposals that come meanwhile gather
//! into the next. Each is fenced by its own versions and gets its own answer.

use super::shard::Standing;
use super::types::{Batch, Raft};
use crate::store::Health;
use otto_actors::ports::journal::JournalError;
use otto_core::journal::{Proposal, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How many proposals an entry takes at most.
const ENTRY_PROPOSALS: usize = 1000;
/// How many bytes an entry takes at most, but for a single proposal that is larger.
const ENTRY_BYTES: usize = 1 << 20;
/// How long an entry on its way is waited for after this node stopped serving: mostly it is agreed
/// on all the same.
const LOST_PATIENCE: Duration = Duration::from_secs(2);

/// A proposal that waits for its entry.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) proposal: Proposal,
    pub(super) answer: oneshot::Sender<Result<Verdict, JournalError>>,
}

/// Proposes what comes, until nobody can propose any more.
pub(super) async fn gather(
    raft: Raft,
    health: Health,
    mut standing: watch::Receiver<Standing>,
    mut inbox: mpsc::Receiver<Waiting>,
) {
    let mut next = inbox.recv().await;
    while let Some(first) = next.take() {
        let mut weight = first.proposal.weight();
        let mut gathered = vec![first];
        while gathered.len() < ENTRY_PROPOSALS
            && let Ok(waiting) = inbox.try_recv()
        {
            weight += waiting.proposal.weight();
            if weight > ENTRY_BYTES {
                next = Some(waiting);
                break;
            }
            gathered.push(waiting);
        }
        propose(&raft, &health, &mut standing, gathered).await;
        if next.is_none() {
            next = inbox.recv().await;
        }
    }
}

async fn propose(
    raft: &Raft,
    health: &Health,
    standing: &mut watch::Receiver<Standing>,
    gathered: Vec<Waiting>,
) {
    let (proposals, answers): (Vec<_>, Vec<_>) =
        gathered.into_iter().map(|waiting| (waiting.proposal, waiting.answer)).unzip();
    let before = *standing.borrow_and_update();
    let outcome = if let Standing::Serving { .. } = before {
        tokio::select! {
            biased;
            written = raft.client_write(Batch(Arc::new(proposals))) => {
                written.map_err(|error| JournalError::Unknown(error.to_string()))
            }
            () = lost(standing, before) => {
                Err(JournalError::Unknown("this node stopped leading meanwhile".to_owned()))
            }
        }
    } else {
        Err(JournalError::NotLeader("this node stopped leading meanwhile".to_owned()))
    };
    // An asker that has left needs no answer.
    match outcome {
        Ok(written) => {
            for (answer, verdict) in answers.into_iter().zip(written.data.0) {
                answer.send(Ok(verdict)).ok();
            }
        }
        Err(error) => {
            let fault = health.check().err();
            let error = fault.map_or(error, |fault| JournalError::Unknown(fault.to_string()));
            for answer in answers {
                answer.send(Err(error.clone())).ok();
            }
        }
    }
}

/// Returns when this node has not served under the standing that it had for a while.
async fn lost(standing: &mut watch::Receiver<Standing>, before: Standing) {
    // Where nobody tells any more, the shard was stopped.
    standing.wait_for(|now| *now != before).await.ok();
    tokio::time::sleep(LOST_PATIENCE).await;
}
