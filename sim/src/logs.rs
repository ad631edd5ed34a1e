//! The control side's logs on a simulated disk: what was not sealed may be cut by a power loss.

use async_trait::async_trait;
use otto_actors::ports::logs::{LogError, LogId, Logs};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Logs that outlive their process. Clones are the same logs.
#[derive(Clone, Debug, Default)]
pub struct SimulatedLogs(Arc<Mutex<BTreeMap<LogId, Kept>>>);

#[derive(Clone, Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// So many of them are on the medium.
    synced: usize,
}

impl SimulatedLogs {
    /// The machine loses power: of each log a beginning is left, and all that was sealed.
    pub fn cut_power(&self, mut random: impl FnMut() -> u64) {
        for log in self.lock().values_mut() {
            let loose = log.bytes.len() - log.synced;
            let left = usize::try_from(random()).unwrap_or(0) % (loose + 1);
            log.bytes.truncate(log.synced + left);
        }
    }

    /// All logs.
    #[must_use]
    pub fn all(&self) -> BTreeMap<LogId, Vec<u8>> {
        self.lock().iter().map(|(log, kept)| (*log, kept.bytes.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Logs for SimulatedLogs {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let mut logs = self.lock();
        let kept = logs.entry(log).or_default();
        let length = kept.bytes.len() as u64;
        if let Some(known) = length.checked_sub(offset) {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            kept.bytes.extend_from_slice(bytes.get(known..).unwrap_or_default());
        }
        Ok(kept.bytes.len() as u64)
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let mut logs = self.lock();
        let kept = logs.entry(log).or_default();
        kept.synced = kept.bytes.len();
        Ok(kept.bytes.len() as u64 == length)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let logs = self.lock();
        let bytes = logs.get(&log).map_or(&[][..], |kept| &kept.bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[from..bytes.len().min(from.saturating_add(limit))].to_vec())
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        Ok(self.lock().get(&log).map_or(0, |kept| kept.bytes.len() as u64))
    }

    async fn lines_before(&self, _: LogId, _: u64) -> Result<Option<u64>, LogError> {
        Ok(None)
    }
}
