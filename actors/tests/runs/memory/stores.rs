//! Logs and blobs of the control side, in memory.

use async_trait::async_trait;
use otto_actors::ports::blobs::{BlobError, Blobs};
use otto_actors::ports::control::BlobPart;
use otto_actors::ports::logs::{LogError, LogId, Logs};
use otto_core::ids::Digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What was sealed, for all who share it.
pub(crate) type Sealed = Arc<Mutex<BTreeMap<LogId, Vec<u8>>>>;

/// Logs in memory: of one node, and sealed where others find them too.
#[derive(Debug, Default)]
pub(crate) struct MemoryLogs(Mutex<BTreeMap<LogId, Vec<u8>>>, Sealed);

impl MemoryLogs {
    /// The logs of one node of several.
    pub(crate) fn sharing(sealed: &Sealed) -> Self {
        Self(Mutex::default(), Arc::clone(sealed))
    }

    fn there(&self, log: LogId) -> Vec<u8> {
        let sealed = self.1.lock().unwrap().get(&log).cloned();
        sealed.unwrap_or_else(|| self.all(log))
    }

    /// All of a log that came here.
    pub(crate) fn all(&self, log: LogId) -> Vec<u8> {
        self.0.lock().unwrap().get(&log).cloned().unwrap_or_default()
    }

    /// Forgets what was not sealed beyond a length, as a crash of the control side may.
    pub(crate) fn cut(&self, log: LogId, length: usize) {
        self.0.lock().unwrap().entry(log).or_default().truncate(length);
    }
}

#[async_trait]
impl Logs for MemoryLogs {
    async fn append(&self, log: LogId, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let mut logs = self.0.lock().unwrap();
        let there = logs.entry(log).or_default();
        let offset = usize::try_from(offset).unwrap();
        if offset <= there.len() {
            let known = (there.len() - offset).min(bytes.len());
            there.extend_from_slice(&bytes[known..]);
        }
        Ok(there.len() as u64)
    }

    async fn seal(&self, log: LogId, length: u64) -> Result<bool, LogError> {
        let whole = self.there(log);
        let is_whole = whole.len() as u64 == length;
        if is_whole {
            self.1.lock().unwrap().insert(log, whole);
        }
        Ok(is_whole)
    }

    async fn read(&self, log: LogId, offset: u64, limit: usize) -> Result<Vec<u8>, LogError> {
        let offset = usize::try_from(offset).unwrap();
        Ok(self.there(log).into_iter().skip(offset).take(limit).collect())
    }

    async fn length(&self, log: LogId) -> Result<u64, LogError> {
        Ok(self.there(log).len() as u64)
    }

    async fn lines_before(&self, _: LogId, _: u64) -> Result<Option<u64>, LogError> {
        Ok(None)
    }
}

/// Blobs in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryBlobs(Mutex<BTreeMap<Digest, Vec<u8>>>);

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn has(&self, digest: Digest) -> Result<bool, BlobError> {
        Ok(self.0.lock().unwrap().contains_key(&digest))
    }

    async fn put(&self, part: BlobPart) -> Result<(), BlobError> {
        if Digest::of(&part.bytes) != part.digest {
            return Err(BlobError::Unfit("it has another digest".to_owned()));
        }
        self.0.lock().unwrap().insert(part.digest, part.bytes);
        Ok(())
    }

    async fn get(&self, digest: Digest, offset: u64, limit: u32) -> Result<Vec<u8>, BlobError> {
        let blobs = self.0.lock().unwrap();
        let blob = blobs.get(&digest).ok_or(BlobError::Absent(digest))?;
        let (offset, limit) = (usize::try_from(offset).unwrap(), usize::try_from(limit).unwrap());
        Ok(blob.iter().skip(offset).take(limit).copied().collect())
    }
}
