//! Blobs and logs where no store is shared by all nodes: what this one lacks, another may keep.
//!
//! A blob that comes in here goes to all other nodes that answer, so that whichever leads next can
//! hand it to an agent. A log stays with the node that took it, and is read from there; an agent
//! sends it anew to whoever leads next, until it is sealed. One that is sealed goes to one other
//! node that answers, so that the loss of either loses nothing. Where none does, or both are lost,
//! it is lost with them: for that there is the shared store.

use super::forward::{HopError, Neighbours};
use crate::rpc::api::ReadBlob;
use crate::rpc::kept::{AskKept, KeepLog, Kept};
use crate::wire::frame::MAX_LOG_PART;
use async_trait::async_trait;
use futures::future::join_all;
use otto_actors::ports::blobs::{BlobError, Blobs, SharedBlobs};
use otto_actors::ports::control::BlobPart;
use otto_actors::ports::logs::{LogError, LogId, Logs, SharedLogs};
use otto_core::ids::{Digest, NodeId};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a neighbour has to answer.
const ALLOWED: Duration = Duration::from_secs(3);
/// How long one that did not is left alone.
const REST: Duration = Duration::from_secs(10);

/// The other nodes' shelves.
#[derive(Debug)]
struct Shelves {
    neighbours: Neighbours,
    /// Who did not answer, and until when they are not asked.
    resting: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Shelves {
    fn new(neighbours: Neighbours) -> Self {
        Self { neighbours, resting: Mutex::default() }
    }

    /// The nodes that are asked now.
    fn awake(&self) -> Vec<(NodeId, String)> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, until| *until > Instant::now());
        let directory = self.neighbours.directory.borrow();
        let others = directory.nodes.iter().filter(|(node, _)| **node != self.neighbours.node);
        let awake = others.filter(|(node, _)| !resting.contains_key(node));
        awake.map(|(node, address)| (*node, address.clone())).collect()
    }

    /// Leaves a node alone for a while.
    fn rest(&self, node: NodeId) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.insert(node, Instant::now() + REST);
    }

    /// Asks all of them at once; answers what came, and whether nobody was left out.
    async fn ask(&self, ask: AskKept) -> (Vec<Kept>, bool) {
        let others = {
            let directory = self.neighbours.directory.borrow();
            directory.nodes.keys().filter(|node| **node != self.neighbours.node).count()
        };
        let calls = self.awake().into_iter().map(|(node, address)| {
            let ask = ask.clone();
            async move {
                let asked = timeout(ALLOWED, self.neighbours.hops.kept(&address, ask)).await;
                let cause = match asked {
                    Ok(Ok(kept)) => return Some(kept),
                    Ok(Err(HopError::Refused(cause))) => {
                        tracing::debug!(%node, %cause, "a neighbour does not keep this");
                        return Some(Kept::Absent);
                    }
                    Ok(Err(HopError::Later(cause))) => cause,
                    Err(_) => format!("no answer in {} s", ALLOWED.as_secs()),
                };
                tracing::info!(%node, %cause, "a neighbour does not say what it keeps");
                self.rest(node);
                None
            }
        });
        let answers: Vec<Kept> = join_all(calls).await.into_iter().flatten().collect();
        let all = answers.len() >= others;
        (answers, all)
    }
}

/// The blobs of all nodes.
#[derive(Debug)]
pub(super) struct BlobsOfAll {
    own: SharedBlobs,
    shelves: Shelves,
}

impl BlobsOfAll {
    /// This node's blobs, and those of its neighbours.
    pub(super) fn new(own: SharedBlobs, neighbours: Neighbours) -> Self {
        Self { own, shelves: Shelves::new(neighbours) }
    }
}

#[async_trait]
impl Blobs for BlobsOfAll {
    async fn has(&self, digest: Digest) -> Result<bool, BlobError> {
        if self.own.has(digest).await? {
            return Ok(true);
        }
        Ok(self.shelves.ask(AskKept::HasBlob(digest)).await.0.contains(&Kept::There))
    }

    async fn put(&self, part: BlobPart) -> Result<(), BlobError> {
        self.own.put(part.clone()).await?;
        self.shelves.ask(AskKept::KeepBlob(part)).await;
        Ok(())
    }

    async fn get(&self, digest: Digest, offset: u64, limit: u32) -> Result<Vec<u8>, BlobError> {
        match self.own.get(digest, offset, limit).await {
            Err(BlobError::Absent(_)) => {}
            answer => return answer,
        }
        let read = ReadBlob { digest, offset, limit };
        let (found, all) = self.shelves.ask(AskKept::ReadBlob(read)).await;
        let bytes = found.into_iter().find_map(|kept| match kept {
            Kept::Bytes(bytes) => Some(bytes.into_vec()),
            Kept::There | Kept::Absent | Kept::Length(_) => None,
        });
        bytes.ok_or_else(|| {
            if all {
                BlobError::Absent(digest)
            } else {
                // Whoever does not answer now may have it.
                BlobError::Store(format!("find blob {digest} at the nodes that answer"))
            }
        })
    }
}

/// The logs of all nodes.
#[derive(Debug)]
pub(super) struct LogsOfAll {
    own: SharedLogs,
    shelves: Shelves,
}

impl LogsOfAll {
    /// This node's logs, and those of its neighbours.
    pub(super) fn new(own: SharedLogs, neighbours: Neighbours) -> Self {
        Self { own, shelves: Shelves::new(neighbours) }
    }

    /// Has another node keep a sealed log, too: the first that answers, in a ring of all, so that
    /// copies are spread. An agent that grows tired meanwhile asks again, and it goes on then.
    async fn copy(&self, log: LogId, length: u64) {
        let me = self.shelves.neighbours.node;
        let (before, behind): (Vec<_>, Vec<_>) =
            self.shelves.awake().into_iter().partition(|(node, _)| *node < me);
        for (node, address) in behind.into_iter().chain(before) {
            match self.copy_to((node, &address), log, length).await {
                Ok(()) => return,
                Err(cause) => {
                    tracing::info!(%node, ?log, %cause, "a sealed log was not copied there");
                }
            }
        }
    }

    async fn copy_to(&self, to: (NodeId, &str), log: LogId, length: u64) -> Result<(), String> {
        let mut there = self.send(to, log, 0, Vec::new(), length).await?;
        while there < length {
            let bytes = self.own.read(log, there, MAX_LOG_PART).await;
            let bytes = bytes.map_err(|error| format!("failed to {error}"))?;
            let kept = self.send(to, log, there, bytes, length).await?;
            if kept <= there {
                return Err(format!("it has {kept} bytes of {length}, and takes no more"));
            }
            there = kept;
        }
        Ok(())
    }

    /// Sends a part; answers how much of the log is there then.
    async fn send(
        &self,
        (node, address): (NodeId, &str),
        log: LogId,
        offset: u64,
        bytes: Vec<u8>,
        length: u64,
    ) -> Result<u64, String> {
        let LogId { run, stage, attempt } = log;
        let part = KeepLog { run, stage, attempt, offset, bytes: ByteBuf::from(bytes), length };
        let asked = timeout(ALLOWED, self.shelves.neighbours.hops.keep_log(address, part)).await;
        let asked = asked.map_err(|_| {
            self.shelves.rest(node);
            format!("no answer in {} s", ALLOWED.as_secs())
        })?;
        asked.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Logs for LogsOfAll {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        self.own.append(log, offset, bytes).await
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let sealed = self.own.seal(log, length).await?;
        if sealed && length > 0 {
            self.copy(log, length).await;
        }
        Ok(sealed)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let here = self.own.read(log, offset, limit).await?;
        if !here.is_empty() {
            return Ok(here);
        }
        let LogId { run, stage, attempt } = log;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let ask = AskKept::ReadLog { run, stage, attempt, offset, limit };
        let (found, _) = self.shelves.ask(ask).await;
        let parts = found.into_iter().filter_map(|kept| match kept {
            Kept::Bytes(bytes) => Some(bytes.into_vec()),
            Kept::There | Kept::Absent | Kept::Length(_) => None,
        });
        // All of them are beginnings of the same log.
        Ok(parts.max_by_key(Vec::len).unwrap_or_default())
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        let here = self.own.length(log).await?;
        let LogId { run, stage, attempt } = log;
        let (found, _) = self.shelves.ask(AskKept::LogLength { run, stage, attempt }).await;
        let lengths = found.into_iter().filter_map(|kept| match kept {
            Kept::Length(length) => Some(length),
            Kept::There | Kept::Absent | Kept::Bytes(_) => None,
        });
        Ok(lengths.max().unwrap_or(0).max(here))
    }

    async fn lines_before(&self, log: LogId, offset: u64) -> Result<Option<u64>, LogError> {
        self.own.lines_before(log, offset).await
    }
}
