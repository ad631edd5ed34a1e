//! Logs, as ports: what an agent spools until it is delivered, and what the control side shows.

use async_trait::async_trait;
use otto_core::ids::{Attempt, RunId, StageId};
use otto_core::lease::LeaseId;
use std::fmt;
use std::sync::Arc;

/// A log that could not be read or written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("use the log: {0}")]
pub struct LogError(pub String);

/// The agent's spool: what steps printed, masked, until the control side has sealed it.
#[async_trait]
pub trait Spool: fmt::Debug + Send + Sync + 'static {
    /// Bytes of a lease's log from `offset` on; empty when there are none yet.
    async fn read(&self, lease: LeaseId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError>;

    /// Waits until the log is longer than `length`, or closed; answers its length and whether it is
    /// closed.
    async fn grown(&self, lease: LeaseId, length: u64) -> Result<(u64, bool), LogError>;

    /// Adds a line of Otto's own.
    async fn note(&self, lease: LeaseId, line: &str) -> Result<(), LogError>;

    /// Nothing will be added any more.
    async fn close(&self, lease: LeaseId) -> Result<u64, LogError>;

    /// The control side has all of it: it is deleted here.
    async fn drop_log(&self, lease: LeaseId) -> Result<(), LogError>;
}

/// A spool that several actors use.
pub type SharedSpool = Arc<dyn Spool>;

/// The name of one attempt's log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId {
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: StageId,
    /// The attempt.
    pub attempt: Attempt,
}

impl From<LeaseId> for LogId {
    fn from(lease: LeaseId) -> Self {
        Self { run: lease.run, stage: lease.stage, attempt: lease.attempt }
    }
}

/// The control side's logs: appended to by agents, read by people.
#[async_trait]
pub trait Logs: fmt::Debug + Send + Sync + 'static {
    /// Adds bytes at `offset`; bytes that are there already are passed over, a gap adds nothing.
    /// Answers the length afterwards.
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError>;

    /// Makes the log durable; true when it has exactly this length.
    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError>;

    /// Bytes from `offset` on; empty at the end.
    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError>;

    /// The length now; zero where nothing was written.
    async fn length(&self, log: LogId) -> Result<u64, LogError>;

    /// How many line ends are in front of a byte, where that is known without reading all that is
    /// there.
    async fn lines_before(&self, log: LogId, offset: u64) -> Result<Option<u64>, LogError>;
}

/// Logs that several actors use.
pub type SharedLogs = Arc<dyn Logs>;
