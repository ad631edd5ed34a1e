//! Logs in memory, for simulation and tests.

use async_trait::async_trait;
use otto_actors::ports::logs::{LogError, LogId, Logs};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Logs that are gone with the process.
#[derive(Debug, Default)]
pub struct MemoryLogs(Mutex<BTreeMap<LogId, Vec<u8>>>);

impl MemoryLogs {
    fn logs(&self) -> MutexGuard<'_, BTreeMap<LogId, Vec<u8>>> {
        // Every change is one call that cannot panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Logs for MemoryLogs {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let mut logs = self.logs();
        let content = logs.entry(log).or_default();
        let length = content.len() as u64;
        if let Some(known) = length.checked_sub(offset) {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            content.extend_from_slice(bytes.get(known..).unwrap_or_default());
        }
        Ok(content.len() as u64)
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        self.length(log).await.map(|now| now == length)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let logs = self.logs();
        let content = logs.get(&log).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let to = content.len().min(from.saturating_add(limit));
        Ok(content[from..to].to_vec())
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        Ok(self.logs().get(&log).map_or(0, |content| content.len() as u64))
    }

    async fn lines_before(&self, log: LogId, offset: u64) -> Result<Option<u64>, LogError> {
        let logs = self.logs();
        let content = logs.get(&log).map(Vec::as_slice).unwrap_or_default();
        let before = usize::try_from(offset).ok().and_then(|offset| content.get(..offset));
        Ok(before.map(|before| memchr::memchr_iter(b'\n', before).count() as u64))
    }
}
